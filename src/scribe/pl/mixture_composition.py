"""How many cells each component of a mixture has."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.design import groups_of
from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, require
from scribe.pl._canvas import colours, drawn
from scribe.pl._draws import slot
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["frame", "mixture_composition"]


def frame(adata: AnnData, key: str = "scribe", *, groupby: str | None = None) -> pd.DataFrame:
    """One row per group and component: ``n_cells`` and their ``fraction`` of the cells of the group."""
    require(adata, key)
    found = slot(adata, "obs", Slots(key).component, key=key, lacks="is of no mixture", option="n_components=5, ")
    # subsets forget the components they have no cells of, the fit does not
    every = list(read_fit(adata, key=key).spec.levels["component"].labels)
    component = pd.Categorical(found.astype(str), categories=every)
    group = pd.Categorical(["all"] * adata.n_obs) if groupby is None else groups_of(adata, groupby)
    cells = pd.DataFrame({"group": group, "component": component}).groupby(["group", "component"], observed=False)
    table = cells.size().rename("n_cells").reset_index()
    in_group = table.groupby("group", observed=False)["n_cells"].transform("sum")
    table["fraction"] = table["n_cells"] / np.maximum(in_group, 1)
    table.attrs["groupby"] = groupby
    return table


@plot(fit="n_components=3")
def mixture_composition(
    adata: AnnData, groupby: str | None = None, *, key: str = "scribe", **figure: Unpack[OnePanel]
) -> Axes:
    """Number of cells of every component of a mixture, or its share of the cells of every group.

    Cells count for their most probable component.

    Parameters
    ----------
    adata
        Annotated data with a fit of a mixture.
    groupby
        Column of ``adata.obs``, such as the dataset or an annotation, whose groups get a bar each, with the share of
        every component; None counts all cells, one bar per component.
    """
    table = frame(adata, key, groupby=groupby)
    n_bars = table["component" if groupby is None else "group"].nunique()
    size = (5.0 if groupby is None else 6.8, 1.1 + 0.32 * max(n_bars, 3))
    return drawn(draw, [table], size=size, **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw one bar per component, or one bar per group, of shares of components."""
    names = table["component"].cat.categories
    shades, groupby = colours(len(names)), table.attrs["groupby"]
    if groupby is None:
        cells = table["n_cells"]
        bars = ax.barh(names.astype(str), cells, color=shades, height=0.75)
        texts = [f"{n:,} ({fraction:.1%})" for n, fraction in zip(cells, table["fraction"], strict=True)]
        ax.set_xlim(0, 1.25 * max(cells.max(), 1))
        ax.set_xlabel("cells")
    else:
        wide = table.pivot(index="group", columns="component", values=["n_cells", "fraction"])
        left = np.zeros(len(wide))
        for name, shade in zip(names, shades, strict=True):
            width = wide["fraction", name].to_numpy()
            bars = ax.barh(wide.index, width, left=left, color=shade, height=0.75, edgecolor="white", label=str(name))
            left += width
        texts = [f"{size:,.0f}" for size in wide["n_cells"].sum(axis=1)]
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of cells (number of cells at the right)")
        small = {"fontsize": "small", "title_fontsize": "small", "frameon": False}
        ax.legend(title="component", loc="upper left", bbox_to_anchor=(1.1, 1.0), **small)
    ax.bar_label(bars, texts, padding=3, fontsize="small")
    ax.set_ylabel("component" if groupby is None else groupby)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
