"""Histograms of genes against what the fitted model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import DATA, bands, chosen_among, drawn, group_name, plain
from scribe.pl._names import short_name
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "ppc"]

_IN_A_ROW = 5


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene, group and bin of counts: cells ``observed``, ``median`` and limits of the predictive bands."""
    record = read_derived(adata, key=key, name="ppc", verb="ppc")
    table: pd.DataFrame = record["bands"].reset_index(drop=True)
    table.attrs["groupby"] = str(record.get("groupby", "")).removeprefix(f"{key}_")
    return table


@plot("gene and group, gene by gene", after=("ppc(adata)",))
def ppc(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    *,
    groups: Labels | None = None,
    key: str = "scribe",
    **figure: Unpack[Panels],
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
    """
    table = frame(adata, key)
    call = f"scribe.tl.ppc(adata, genes={genes or '...'!r}, key={key!r})"
    chosen = chosen_among(table["gene"], genes, call, "histograms")
    parts = chosen_among(table["group"], groups, f"scribe.tl.ppc(adata, groupby=..., key={key!r})", "histograms")
    # groups of a gene share the counts they show
    shown = table[((table["observed"] > 0) | (table["upper_95"] > 0)) & table["group"].isin(parts)]
    table = table[table["count"] <= table["gene"].map(shown.groupby("gene")["count"].max())]
    tables = [table[(table["gene"] == gene) & (table["group"] == group)] for gene in chosen for group in parts]
    columns, places = _layout(len(chosen), len(parts))
    size = (2.3, 2.1 if table.attrs["groupby"] else 2.0)
    return drawn(draw, tables, size=size, columns=columns, places=places, **figure)


def _layout(n_genes: int, n_groups: int) -> tuple[int | None, Sequence[int]]:
    """Columns of the figure and places of its panels: every gene begins a row if there are groups, of five at most."""
    if n_groups == 1:
        return None, range(n_genes)
    rows = -(-n_groups // _IN_A_ROW)
    columns = -(-n_groups // rows)
    return columns, [gene * rows * columns + group for gene in range(n_genes) for group in range(n_groups)]


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one gene in one group of cells: bands as steps over the bins, the observed histogram as points."""
    from matplotlib.ticker import FuncFormatter

    left, right = rows["count"].to_numpy() - 0.5, rows["count_to"].to_numpy() + 0.5
    cells = rows.drop(columns=["gene", "group"]).div(right - left, axis=0)
    edges = np.append(left, right[-1])
    bands(ax, cells, edges)
    middle = (left + right) / 2
    ax.plot(middle, cells["observed"], "o", color=DATA, markersize=3.2, label="observed", clip_on=False, zorder=3)
    ax.set_xscale("symlog", linthresh=2, linscale=0.6, subs=range(2, 10))
    ax.set_yscale("symlog", linthresh=1, linscale=0.5, subs=range(2, 10))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    if right[-1] < 30:
        ax.set_xticks([tick for tick in (0, 1, 2, 5, 10, 20) if tick < right[-1]])
    ax.set_ylim(0, None)
    ax.set_xlim(left[0], right[-1])
    ax.set_xlabel("count")
    ax.set_ylabel("cells per count")
    gene, group, what = short_name(rows["gene"].iloc[0]), rows["group"].iloc[0], rows.attrs["groupby"]
    ax.set_title(f"{gene}\n{group_name(group, what)}" if what else gene, fontsize="small" if what else "medium")
