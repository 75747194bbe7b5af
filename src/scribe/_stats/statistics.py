"""Statistics of a data set of counts, in one pass over its non-zeros: what predictive checks compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from scribe._types import FloatArray, IntArray

__all__ = ["SUMMARIES", "Block", "Statistics", "Watch", "bin_edges", "statistics"]

Block = tuple[IntArray, IntArray, FloatArray]
"""Cell, gene and value of the positive counts of consecutive cells."""

_SMALL = 4096


class Watch(NamedTuple):
    """Genes whose histograms are kept by group of cells, and those that are also looked at together.

    ``group`` is that of every cell, -1 for cells of none. The genes in ``together`` are kept by cell.
    """

    genes: IntArray
    group: IntArray
    n_groups: int
    together: IntArray


class Statistics(NamedTuple):
    """Statistics of one data set.

    ``gene`` holds ``mean``, ``variance`` and ``zero_fraction`` over cells, (genes,) each, ``cell`` the ``total`` count
    and the number of genes ``detected``, (cells,) each. ``histogram`` is the number of cells by bin of the count,
    (genes, bins), ``watched`` the same of each group of cells, (groups, watched genes, bins). ``together`` are the
    counts of the genes to look at together, (cells, those genes).
    """

    gene: Mapping[str, FloatArray]
    cell: Mapping[str, FloatArray]
    histogram: IntArray
    watched: IntArray
    together: FloatArray


def bin_edges(largest: float) -> IntArray:
    """Lowest count of every bin: 0, 1, 2, 3, 4, 5-6, 7-9, 10-14, 15-21, ..., six to a decade; the last one is open.

    They go on to about three times the largest observed count, so that replicates have room.
    """
    decades = np.rint(10 ** (np.arange(4, 60) / 6)).astype(np.int64)
    return np.concatenate([np.arange(5), decades[: np.searchsorted(decades, largest, side="right") + 3]])


def statistics(blocks: Iterable[Block], *, n_cells: int, n_genes: int, edges: IntArray, watch: Watch) -> Statistics:
    """Statistics of one data set in one pass over its non-zeros."""
    sums, squares = np.zeros((2, n_genes))
    totals, detected = np.zeros((2, n_cells))
    histogram = np.zeros(n_genes * len(edges), np.int64)
    genes, order = np.unique(watch.genes, return_inverse=True)
    watched = np.zeros((watch.n_groups, len(genes), len(edges)), np.int64)
    position = _positions(genes, n_genes)
    together, column = np.zeros((n_cells, len(watch.together)), np.float32), _positions(watch.together, n_genes)
    for cell, gene, value in blocks:
        if not len(value):
            continue
        weight = value.astype(np.float64)
        sums += np.bincount(gene, weight, n_genes)
        squares += np.bincount(gene, weight * weight, n_genes)
        first = int(cell.min())
        here = slice(first, int(cell.max()) + 1)
        totals[here] += np.bincount(cell - first, weight)
        detected[here] += np.bincount(cell - first)
        bins = _bin_of(value, edges)
        histogram += np.bincount(gene * np.int64(len(edges)) + bins, minlength=histogram.size)
        seen = np.flatnonzero((position[gene] >= 0) & (watch.group[cell] >= 0))
        place = np.ravel_multi_index((watch.group[cell[seen]], position[gene[seen]], bins[seen]), watched.shape)
        watched += np.bincount(place, minlength=watched.size).reshape(watched.shape)
        chosen = np.flatnonzero(column[gene] >= 0)
        together[cell[chosen], column[gene[chosen]]] = value[chosen]
    table = histogram.reshape(n_genes, len(edges))
    table[:, 0] = n_cells - table.sum(axis=1)
    sizes = np.bincount(watch.group[watch.group >= 0], minlength=watch.n_groups)
    watched[..., 0] = sizes[:, None] - watched.sum(axis=2)
    variance = np.maximum(squares - sums * sums / n_cells, 0.0) / max(n_cells - 1, 1)
    gene_statistics = {"mean": sums / n_cells, "variance": variance, "zero_fraction": table[:, 0] / n_cells}
    cell_statistics = {"total": totals, "detected": detected}
    return Statistics(gene_statistics, cell_statistics, table, watched[:, order], together)


def _positions(genes: IntArray, n_genes: int) -> IntArray:
    """Place of every gene among some, -1 for the others."""
    position = np.full(n_genes, -1)
    position[genes] = np.arange(len(genes))
    return position


def _bin_of(value: FloatArray, edges: IntArray) -> IntArray:
    """Bin of every positive count; counts that are not whole go to the nearest whole number above zero."""
    whole = np.maximum(np.rint(value), 1.0).astype(np.int64)
    table = np.searchsorted(edges, np.arange(_SMALL), side="right") - 1
    bins = table[np.minimum(whole, _SMALL - 1)]
    large = whole >= _SMALL
    if large.any():
        bins[large] = np.searchsorted(edges, whole[large], side="right") - 1
    return bins


def _dispersion(data: Statistics) -> float:
    seen = data.gene["mean"] > 0
    ratio = data.gene["variance"][seen] / data.gene["mean"][seen]
    return float(ratio.mean()) if ratio.size else 0.0


SUMMARIES: tuple[tuple[str, str, Callable[[Statistics], float]], ...] = (
    ("total_mean", "cell", lambda data: float(data.cell["total"].mean())),
    ("total_variance", "cell", lambda data: float(data.cell["total"].var())),
    ("detected_mean", "cell", lambda data: float(data.cell["detected"].mean())),
    ("detected_variance", "cell", lambda data: float(data.cell["detected"].var())),
    ("zero_fraction", "gene", lambda data: float(data.gene["zero_fraction"].mean())),
    ("dispersion", "gene", _dispersion),
    ("never_detected", "gene", lambda data: float((data.gene["mean"] == 0).sum())),
)
"""Statistics of a whole data set: name, whether over cells or genes, and how to compute it."""
