"""Summaries of a sparse count matrix that replace the matrix itself in the likelihood.

A negative binomial likelihood with shared odds needs only the pair histogram (how often each gene shows each count) and
the cell totals, and cells with equal totals are interchangeable. Everything here walks over the stored values in
blocks, so that temporary memory is bounded whatever the number of non-zeros, and accumulates in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

__all__ = [
    "BLOCK",
    "CellGroups",
    "GeneMoments",
    "PairCounter",
    "PairHistogram",
    "blocks",
    "cell_groups",
    "gene_moments",
    "gene_sums",
    "log_factorial_sum",
    "row_sums",
    "sort_keys",
]

BLOCK = 2**20
"""Stored values per block of a pass."""

SMALL = 16
COUNT_BITS = 32
COUNT_MASK = 2**COUNT_BITS - 1


@dataclass(frozen=True, eq=False)
class PairHistogram:
    """How many cells show each distinct non-zero count of each gene, sorted by gene, then by count.

    ``gene`` and ``count`` (pairs,) are the pair, ``n`` (pairs,) the number of cells in which the gene shows the count.
    """

    gene: NDArray[np.int32]
    count: NDArray[np.float32]
    n: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Cells grouped by equal totals, in increasing order of the total.

    ``index`` (cells,) is the group of each cell; ``totals`` and ``n`` (groups,) are the total count that the cells of
    each group share, and their number.
    """

    index: NDArray[np.int32]
    totals: NDArray[np.float64]
    n: NDArray[np.float64]


class GeneMoments(NamedTuple):
    """Per-gene sums over cells of the count u, of u times a cell weight, and of u squared; each of shape (n_genes,)."""

    total: NDArray[np.float64]
    weighted: NDArray[np.float64]
    square: NDArray[np.float64]


def blocks(size: int, *, step: int = BLOCK) -> Iterator[slice]:
    """Yield consecutive slices of at most `step` entries that cover `range(size)`."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def row_blocks(indptr: NDArray[np.int64], *, step: int = BLOCK) -> Iterator[slice]:
    """Yield consecutive slices of rows holding at most `step` stored values, or one row when it alone holds more."""
    start, n_rows = 0, indptr.size - 1
    while start < n_rows:
        stop = int(np.searchsorted(indptr, indptr[start] + step, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop


def row_sums(indptr: NDArray[np.int64], data: NDArray[np.float32], *, step: int = BLOCK) -> NDArray[np.float64]:
    """Sum the stored values of each row in float64, (rows,), in a pass over blocks of ``step`` values."""
    sums = np.zeros(indptr.size - 1, dtype=np.float64)
    for rows in row_blocks(indptr, step=step):
        first, last = indptr[rows.start], indptr[rows.stop]
        filled = np.flatnonzero(np.diff(indptr[rows.start : rows.stop + 1]))
        if filled.size:
            starts = indptr[rows.start + filled] - first
            sums[rows.start + filled] = np.add.reduceat(data[first:last].astype(np.float64), starts)
    return sums


def gene_sums(indices: NDArray[np.int32], data: NDArray[np.float32], *, n_genes: int) -> NDArray[np.float64]:
    """Sum the stored values of each gene in float64, shape (n_genes,)."""
    sums = np.zeros(n_genes, dtype=np.float64)
    for part in blocks(data.size):
        sums += np.bincount(indices[part], weights=data[part], minlength=n_genes)
    return sums


def gene_moments(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    *,
    weights: NDArray[np.float64],
    n_genes: int,
    step: int = BLOCK,
) -> GeneMoments:
    """Sum u, u times the weight (cells,) of its cell, and u squared over the cells of compressed sparse rows."""
    moments = GeneMoments(*np.zeros((3, n_genes), dtype=np.float64))
    for rows in row_blocks(indptr, step=step):
        part = slice(indptr[rows.start], indptr[rows.stop])
        gene, value = indices[part], data[part].astype(np.float64)
        lengths = np.diff(indptr[rows.start : rows.stop + 1])
        weighted = value * np.repeat(weights[rows], lengths)
        for total, terms in zip(moments, (value, weighted, value * value), strict=True):
            np.add(total, np.bincount(gene, weights=terms, minlength=n_genes), out=total)
    return moments


def log_factorial_sum(pairs: PairHistogram) -> float:
    """Sum lgamma(u + 1) over all counts in float64; zeros contribute nothing."""
    return float(pairs.n @ gammaln(pairs.count.astype(np.float64) + 1.0))


def cell_groups(totals: NDArray[np.float64]) -> CellGroups:
    """Group cells of equal totals, shape (n_cells,) in."""
    unique, index, n = np.unique(totals, return_inverse=True, return_counts=True)
    return CellGroups(index.astype(np.int32), unique, n.astype(np.float64))


class PairCounter:
    """Counts the cells that show each distinct pair of gene and non-zero count, over any number of blocks.

    Whole counts below 16, nearly all of single-cell data, are tallied in a genes x 16 table. The others are merged as
    sorted 64-bit keys: the gene in the upper half and the bits of the float32 count in the lower half, which sort like
    the count itself because counts are positive. Nothing can overflow, and counts need not be whole numbers.
    """

    def __init__(self, n_genes: int) -> None:
        self._table = np.zeros(n_genes * SMALL, dtype=np.int64)
        self._large = _KeyCounter()

    def add(self, indices: NDArray[np.int32], data: NDArray[np.float32], *, step: int = BLOCK) -> None:
        """Take in gene and value (nnz,) of stored values, all positive, ``step`` at a time."""
        for part in blocks(data.size, step=step):
            gene, count = indices[part], data[part]
            small = (count < SMALL) & (count == np.rint(count))
            slots = gene[small].astype(np.int64) * SMALL + count[small].astype(np.int64)
            self._table += np.bincount(slots, minlength=self._table.size)
            self._large.add(sort_keys(gene[~small], count[~small]))

    def result(self) -> PairHistogram:
        """Return the histogram of all that was taken in."""
        slots = np.flatnonzero(self._table)
        large_keys, large_n = self._large.result()
        keys = np.concatenate([sort_keys(slots // SMALL, (slots % SMALL).astype(np.float32)), large_keys])
        order = np.argsort(keys, kind="stable")
        gene, count = _decode(keys[order])
        return PairHistogram(gene, count, np.concatenate([self._table[slots], large_n])[order].astype(np.float64))


class _KeyCounter:
    """Counts of distinct 64-bit keys in a stream, merged often enough to bound memory and rarely enough to be fast."""

    def __init__(self) -> None:
        self._keys = [np.empty(0, dtype=np.int64)]
        self._n = [np.empty(0, dtype=np.int64)]

    def add(self, keys: NDArray[np.int64]) -> None:
        """Add one block of keys."""
        unique, n = np.unique(keys, return_counts=True)
        self._keys.append(unique)
        self._n.append(n)
        if sum(part.size for part in self._keys[1:]) > max(BLOCK, self._keys[0].size):
            self.result()

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct keys so far, sorted, and how often each was seen."""
        keys, n = np.concatenate(self._keys), np.concatenate(self._n)
        order = np.argsort(keys, kind="stable")  # the parts are sorted: this merges them
        keys, n = keys[order], n[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        if first.size:
            keys, n = keys[first], np.add.reduceat(n, first)
        self._keys, self._n = [keys], [n]
        return keys, n


def sort_keys(gene: NDArray[np.integer], count: NDArray[np.float32]) -> NDArray[np.int64]:
    """One integer per pair of gene and positive count; they sort by gene, then by count."""
    return (gene.astype(np.int64) << COUNT_BITS) | count.view(np.int32)


def _decode(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    count = (keys & COUNT_MASK).astype(np.uint32).view(np.float32)
    return (keys >> COUNT_BITS).astype(np.int32), count
