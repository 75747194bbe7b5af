"""Histograms of genes against what the fitted model predicts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._types import AnyArray
from scribe.pl._canvas import DATA, MODEL, finish, grid, group_name, legend, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "ppc"]

_IN_A_ROW = 5
_SHADES = {95: 0.18, 68: 0.32, 50: 0.5}


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene, group and bin of counts: cells ``observed``, ``median`` and limits of the predictive bands."""
    record = read_derived(adata, key=key, name="ppc", verb="ppc")
    table: pd.DataFrame = record["bands"].reset_index(drop=True)
    table.attrs["groupby"] = str(record.get("groupby", "")).removeprefix(f"{key}_")
    return table


def ppc(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    *,
    groups: Sequence[str] | str | None = None,
    key: str = "scribe",
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> AnyArray:
    """Histogram of the counts of every gene, and the 50, 68 and 95 % bands of the posterior predictive distribution.

    Counts and cells are on axes that are linear near zero and logarithmic above, so that the many zeros and the few
    large counts are both seen. Where the points leave the darkest bands for the model's liking too often, the gene is
    not described by it; :func:`scribe.tl.ppc` says how often. With its ``groupby`` there is a panel for every group of
    cells, such as the components of a mixture: one row per gene.

    Parameters
    ----------
    adata
        Annotated data with a posterior predictive check.
    genes
        Genes to draw among those the check kept; None draws all.
    groups
        Groups of cells to draw among those the check kept; None draws all.
    key
        Name of the fit.
    ax
        Axes to draw into, one per gene and group; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    Array of the axes, one per gene and group, gene by gene.
    """
    table = frame(adata, key)
    chosen = _chosen(table["gene"], genes, f"scribe.tl.ppc(adata, genes={genes or '...'!r}, key={key!r})")
    parts = _chosen(table["group"], groups, f"scribe.tl.ppc(adata, groupby=..., key={key!r})")
    what = table.attrs["groupby"]
    # groups of a gene share the counts they show
    shown = table[((table["observed"] > 0) | (table["upper_95"] > 0)) & table["group"].isin(parts)]
    reach = shown.groupby("gene")["count"].max()
    columns, places = _layout(len(chosen), len(parts))
    panels = grid(ax, len(places), size=(2.3, 2.1 if what else 2.0), columns=columns, places=places)
    for panel, (gene, group) in zip(panels, itertools.product(chosen, parts), strict=True):
        rows = table[(table["gene"] == gene) & (table["group"] == group) & (table["count"] <= reach[gene])]
        draw(panel, rows, f"{gene}\n{group_name(group, what)}" if what else gene)
    label(panels, owned=ax is None)
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def _layout(n_genes: int, n_groups: int) -> tuple[int | None, Sequence[int]]:
    """Columns of the figure and places of its panels: every gene begins a row if there are groups, of five at most."""
    if n_groups == 1:
        return None, range(n_genes)
    rows = -(-n_groups // _IN_A_ROW)
    columns = -(-n_groups // rows)
    return columns, [gene * rows * columns + group for gene in range(n_genes) for group in range(n_groups)]


def _chosen(column: pd.Series, wanted: Sequence[str] | str | None, call: str) -> list[str]:
    """Genes or groups to draw, all of a column unless some are named; the error names the call that makes others."""
    kept = list(dict.fromkeys(column.astype(str)))
    chosen = kept if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    missing = [name for name in chosen if name not in kept]
    if missing or not chosen:
        msg = f"The check kept no histograms of {missing or f'any {column.name}'}. Run {call} first."
        raise KeyError(msg)
    return chosen


def draw(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    """Draw one gene in one group of cells: bands as steps over the bins, the observed histogram as points."""
    from matplotlib.ticker import FuncFormatter

    left, right = rows["count"].to_numpy() - 0.5, rows["count_to"].to_numpy() + 0.5
    width = right - left
    edges = np.append(left, right[-1])
    for level, alpha in _SHADES.items():
        ax.stairs(
            rows[f"upper_{level}"] / width,
            edges,
            baseline=(rows[f"lower_{level}"] / width).to_numpy(),
            fill=True,
            color=MODEL,
            alpha=alpha,
            linewidth=0,
            label=f"{level} % of replicates",
        )
    observed = rows["observed"].to_numpy() / width
    middle = (rows["count"].to_numpy() + rows["count_to"].to_numpy()) / 2
    ax.plot(middle, observed, "o", color=DATA, markersize=3.2, label="observed", clip_on=False, zorder=3)
    ax.set_xscale("symlog", linthresh=2, linscale=0.6)
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    if right[-1] < 30:
        ax.set_xticks([tick for tick in (0, 1, 2, 5, 10, 20) if tick < right[-1]])
    ax.set_ylim(0, None)
    ax.set_xlim(left[0], right[-1])
    ax.set_title(title, fontsize="small" if "\n" in title else "medium")
    tidy(ax)


def label(panels: Sequence[Axes], *, owned: bool) -> None:
    """Name axes and colours once per figure, or in every panel of the user's own."""
    for panel in panels if not owned else ():
        panel.set_xlabel("count")
        panel.set_ylabel("cells per count")
    figure = panels[0].get_figure(root=True)
    if owned and figure is not None:
        figure.supxlabel("count", fontsize="medium")
        figure.supylabel("cells per count", fontsize="medium")
    legend(panels, owned=owned)
