"""Counts of pairs of genes against what the fitted model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._stats.statistics import bin_edges
from scribe._types import AnyArray, FloatArray, IntArray
from scribe.pl._canvas import DATA, MODEL, SHADES, chosen_among, drawn, plain
from scribe.pl._names import short_name
from scribe.pl._signature import Axes, Panels, plot

if TYPE_CHECKING:
    from matplotlib.axis import Axis

__all__ = ["corner_ppc", "frame"]

_FEW = 14
_TICKS, _FEWER_TICKS = (0, 1, 3, 10, 32, 100), (0, 3, 10, 100, 1000, 10_000)
"""Counts that are written at an axis of few bins, and of more."""

_LARGEST, _SMALLEST = 60.0, 1.5
"""Areas of the largest and the smallest dot, points squared."""


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per pair of genes and bins of their counts: cells ``observed`` and ``expected``."""
    table: pd.DataFrame = read_derived(adata, key=key, name="ppc", verb="ppc")["pairs"].reset_index(drop=True)
    return table


@plot("pair, row by row of the lower triangle; on the diagonal one gene", after=("ppc(adata, joint=3)",))
def corner_ppc(
    adata: AnnData, genes: Sequence[str] | str | None = None, *, key: str = "scribe", **figure: Unpack[Panels]
) -> AnyArray:
    """Counts of pairs of genes in the same cells, and where the model expects 50, 68 and 95 % of cells to be.

    Every dot stands for the cells with these counts of both genes, its area for their number; the shades are the
    smallest regions that hold so much of the posterior predictive distribution. Histograms of single genes are on the
    diagonal. A model without cell types knows of genes that go together only by the size of the cell: dots outside of
    its shades, in a corner or along a diagonal, are what a mixture would explain.

    Parameters
    ----------
    adata
        Annotated data with a posterior predictive check.
    genes
        Genes to draw among those the check looked at together, its ``joint``; None draws all.
    """
    table = frame(adata, key)
    call = f"scribe.tl.ppc(adata, joint={genes or '...'!r}, key={key!r})"
    chosen = chosen_among(table["gene"], genes, call, "pairs")
    # panels of a column share the counts they show
    last = table[table["gene"] == table["other"]]
    last = last[(last["observed"] > 0) | (last["expected"] >= 0.5)].groupby("gene")["count"].max()
    table = table[(table["count"] <= table["gene"].map(last)) & (table["other_count"] <= table["other"].map(last))]
    pairs = [(x, y) for y in range(len(chosen)) for x in range(y + 1)]
    tables = [_of(table, chosen[x], chosen[y]) for x, y in pairs]
    places = [y * len(chosen) + x for x, y in pairs]
    return drawn(draw, tables, size=(2.3, 2.1), columns=len(chosen), places=places, **figure)


def _of(table: pd.DataFrame, gene: str, other: str) -> pd.DataFrame:
    """Rows of one pair, whichever way round it was kept."""
    rows = table[(table["gene"] == gene) & (table["other"] == other)]
    if len(rows):
        return rows
    swapped = {"gene": "other", "count": "other_count", "count_to": "other_count_to"}
    rows = table[(table["gene"] == other) & (table["other"] == gene)]
    return rows.rename(columns=swapped | {new: old for old, new in swapped.items()})


def regions(expected: FloatArray) -> FloatArray:
    """Percent of the cells that the smallest region with a bin holds, from the expected cells of all bins."""
    order = np.argsort(-expected, kind="stable")
    before = np.cumsum(expected[order]) - expected[order]
    out = np.empty(len(expected))
    out[order] = 100 * before / max(expected.sum(), 1e-12)
    return out


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one pair, or one gene with itself; bins are equally wide."""
    gene, other = rows["gene"].iloc[0], rows["other"].iloc[0]
    edges = bin_edges(rows[["count", "other_count"]].to_numpy().max())
    x, y = (np.searchsorted(edges, rows[name]) for name in ("count", "other_count"))
    shape = (y.max() + 1, x.max() + 1)
    seen, expected = np.zeros(shape), np.zeros(shape)
    seen[y, x], expected[y, x] = rows["observed"], rows["expected"]
    for level, alpha in SHADES.items():
        ax.fill_between([], [], color=MODEL, linewidth=0, alpha=alpha, label=f"{level} % of cells, by the model")
    ax.scatter([], [], s=25, facecolor="none", edgecolor=DATA, linewidth=0.7, label="observed, the more the larger")
    if gene == other:
        _draw_gene(seen.sum(axis=0), expected.sum(axis=0), ax)
    else:
        _draw_pair(seen, expected, ax)
        _ticks(ax.yaxis, edges[: shape[0]])
    _ticks(ax.xaxis, edges[: shape[1]])
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_xlabel(f"{short_name(gene)} (count)")
    ax.set_ylabel("cells" if gene == other else f"{short_name(other)} (count)")


def _draw_gene(seen: FloatArray, expected: FloatArray, ax: Axes) -> None:
    ax.stairs(expected, np.arange(len(expected) + 1) - 0.5, fill=True, color=MODEL, alpha=SHADES[68], linewidth=0)
    ax.plot(np.arange(len(seen)), seen, "o", color=DATA, markersize=3.2, clip_on=False, zorder=3)
    ax.set_ylim(0, None)


def _draw_pair(seen: FloatArray, expected: FloatArray, ax: Axes) -> None:
    from matplotlib.colors import ListedColormap

    held = regions(expected.ravel()).reshape(expected.shape)
    up, across = (np.arange(n + 1) - 0.5 for n in expected.shape)
    for level, alpha in SHADES.items():
        inside = np.ma.masked_where(held >= level, np.ones_like(held))
        ax.pcolormesh(across, up, inside, cmap=ListedColormap([MODEL]), alpha=alpha, linewidth=0, rasterized=True)
    y, x = np.nonzero(seen)
    # between length and area, so that single cells are seen beside the many without either gene
    area = _SMALLEST + _LARGEST * np.sqrt(seen[y, x] / seen.max())
    ax.scatter(x, y, s=area, facecolor="none", edgecolor=DATA, linewidth=0.7, clip_on=False, zorder=3)
    ax.set_ylim(-0.5, len(up) - 1.5)


def _ticks(axis: Axis, edges: IntArray) -> None:
    """Label some bins by their lowest counts."""
    ticks = _TICKS if len(edges) <= _FEW else _FEWER_TICKS
    shown = [place for place, count in enumerate(edges) if count in ticks]
    axis.set_ticks(shown, [plain(float(edges[place])) for place in shown])
