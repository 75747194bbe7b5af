"""How many cells each component of a mixture has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.design import groups_of
from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, require
from scribe.pl._canvas import DATA, colours, finish, grid, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "mixture_composition"]


def frame(adata: AnnData, key: str = "scribe", *, groupby: str | None = None) -> pd.DataFrame:
    """One row per group and component: ``n_cells`` and their ``fraction`` of the cells of the group."""
    require(adata, key)
    name = Slots(key).component
    if name not in adata.obs:
        msg = (
            f"No adata.obs[{name!r}]: the fit {key!r} is of no mixture. Run "
            f"scribe.tl.fit(adata, n_components=5, key_added={key!r}) first."
        )
        raise KeyError(msg)
    # subsets forget the components they have no cells of, the fit does not
    every = list(read_fit(adata, key=key).spec.levels["component"].labels)
    component = pd.Categorical(adata.obs[name].astype(str), categories=every)
    group = pd.Categorical(["all"] * adata.n_obs) if groupby is None else groups_of(adata, groupby)
    names, labels = component.categories, group.categories
    n_cells = np.zeros((len(labels), len(names)), np.int64)
    known = (group.codes >= 0) & (component.codes >= 0)
    np.add.at(n_cells, (group.codes[known], component.codes[known]), 1)
    return pd.DataFrame(
        {
            "group": pd.Categorical(np.repeat(labels, len(names)), categories=labels),
            "component": pd.Categorical(np.tile(names, len(labels)), categories=names),
            "n_cells": n_cells.ravel(),
            "fraction": (n_cells / np.maximum(n_cells.sum(axis=1, keepdims=True), 1)).ravel(),
        }
    )


def mixture_composition(
    adata: AnnData,
    groupby: str | None = None,
    *,
    key: str = "scribe",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
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
    key
        Name of the fit.
    ax
        Axes to draw into; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    The axes.
    """
    table = frame(adata, key, groupby=groupby)
    n_bars = (table["component"] if groupby is None else table["group"]).nunique()
    panel = grid(ax, 1, size=(5.0 if groupby is None else 6.8, 1.1 + 0.32 * max(n_bars, 3)))[0]
    if groupby is None:
        draw(panel, table)
    else:
        draw_groups(panel, table, groupby)
    finish([panel], owned=ax is None, show=show, save=save)
    return panel


def draw(ax: Axes, table: pd.DataFrame) -> None:
    """Draw one bar per component."""
    names = table["component"].astype(str)
    ax.barh(names, table["n_cells"], color=colours(len(table)), height=0.75)
    for place, (n, fraction) in enumerate(zip(table["n_cells"], table["fraction"], strict=True)):
        ax.annotate(
            f"{n:,} ({fraction:.1%})", (n, place), (3, 0), textcoords="offset points", va="center", fontsize="small"
        )
    ax.set_xlim(0, 1.25 * max(table["n_cells"].max(), 1))
    ax.set_xlabel("cells")
    _finish_axes(ax, "component")


def draw_groups(ax: Axes, table: pd.DataFrame, groupby: str) -> None:
    """Draw one bar per group, of shares of components."""
    groups, components = (list(table[name].cat.categories) for name in ("group", "component"))
    shares = table["fraction"].to_numpy().reshape(len(groups), len(components))
    sizes = table["n_cells"].to_numpy().reshape(shares.shape).sum(axis=1)
    left = np.zeros(len(groups))
    for width, component, colour in zip(shares.T, components, colours(len(components)), strict=True):
        ax.barh(groups, width, left=left, color=colour, height=0.75, edgecolor="white", label=str(component))
        left += width
    for place, size in enumerate(sizes):
        ax.annotate(
            f"{size:,}", (1, place), (3, 0), textcoords="offset points", va="center", fontsize="small", color=DATA
        )
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of cells (number of cells at the right)")
    ax.legend(
        title="component",
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        loc="upper left",
        bbox_to_anchor=(1.1, 1.0),
    )
    _finish_axes(ax, groupby)


def _finish_axes(ax: Axes, what: str) -> None:
    ax.set_ylabel(what)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    tidy(ax)
