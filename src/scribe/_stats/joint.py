"""How few genes go together in the cells of a data set: counts of pairs, and shares of a cell's counts."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["SHARES", "Joint", "diverse", "joint_of", "pairs_table", "shares_table"]

SHARES = np.concatenate([[0.0], 10.0 ** np.linspace(-5, 0, 41)])
"""Lower ends of the bins of shares: nothing, then eight to a decade; the second one takes all smaller ones."""


class Joint(NamedTuple):
    """Numbers of cells of one data set.

    ``pairs`` (pairs, bins, bins) by the counts of every pair of genes, each with itself among them, in the order of
    `itertools.combinations_with_replacement`; ``shares`` (genes, bins) by the share of a gene in all counts of a cell.
    """

    pairs: IntArray
    shares: IntArray


def joint_of(counts: FloatArray, totals: FloatArray, edges: IntArray) -> Joint:
    """Number of cells by the counts (cells, genes) of some genes; ``edges`` are the lowest counts of bins."""
    n_genes, n = counts.shape[1], len(edges)
    bins = np.searchsorted(edges, np.rint(counts), side="right") - 1
    pairs = [
        np.bincount(bins[:, x] * n + bins[:, y], minlength=n * n).reshape(n, n)
        for x, y in itertools.combinations_with_replacement(range(n_genes), 2)
    ]
    share = counts / np.maximum(totals, 1.0)[:, None]
    place = np.where(counts > 0, np.maximum(np.searchsorted(SHARES, share, side="right") - 1, 1), 0)
    shares = [np.bincount(column, minlength=len(SHARES)) for column in place.T]
    return Joint(np.reshape(pairs, (len(pairs), n, n)), np.reshape(shares, (n_genes, len(SHARES))))


def pairs_table(observed: IntArray, expected: FloatArray, edges: IntArray, names: AnyArray) -> dict[str, Any]:
    """Columns of the table of pairs, one row per pair and bins that hold any cells.

    ``gene`` and ``other``, ``count`` to ``count_to`` and ``other_count`` to ``other_count_to`` (first and last counts
    of bins), ``observed`` and ``expected`` (cells).
    """
    ends = np.append(edges[1:] - 1, edges[-1])
    pair, x, y = at = np.nonzero((observed > 0) | (expected > 0))
    genes = np.asarray(list(itertools.combinations_with_replacement(range(len(names)), 2)), np.int64).reshape(-1, 2)
    named = {"gene": names[genes[pair, 0]], "other": names[genes[pair, 1]]}
    counts = {"count": edges[x], "count_to": ends[x], "other_count": edges[y], "other_count_to": ends[y]}
    return {**named, **counts, "observed": observed[at], "expected": expected[at]}


def shares_table(
    observed: IntArray, quantiles: dict[str, FloatArray], pseudobulk: FloatArray, names: AnyArray
) -> dict[str, Any]:
    """Columns of the table of shares, one row per gene and bin.

    ``gene``, ``share`` and ``share_to`` (ends of the bin, both 0 for cells without the gene), ``observed`` (cells), its
    ``quantiles`` (genes, bins) over replicates, and ``pseudobulk``, the share of the gene in the counts of all cells.
    """
    reached = (observed > 0) | np.any([values > 0 for values in quantiles.values()], axis=0)
    shown = np.flatnonzero(reached.any(axis=0) & (np.arange(len(SHARES)) > 0))
    bins = np.append(0, np.arange(shown[0], shown[-1] + 1)) if len(shown) else np.zeros(1, np.int64)
    ends = np.append(SHARES[1:], 1.0)
    ends[0] = 0.0
    table = {"gene": np.repeat(names, len(bins)), "share": np.tile(SHARES[bins], len(names))}
    table |= {"share_to": np.tile(ends[bins], len(names)), "observed": observed[:, bins].ravel()}
    table |= {name: values[:, bins].ravel() for name, values in quantiles.items()}
    return table | {"pseudobulk": np.repeat(pseudobulk, len(bins))}


def diverse(counts: FloatArray, totals: FloatArray, n: int) -> IntArray:
    """Up to ``n`` genes of the pairs that correlate most and least, in turn.

    By the correlation of logarithms of the counts (cells, genes) normalised to the ``totals`` of cells.
    """
    logs = np.log1p(counts / np.maximum(totals, 1.0)[:, None] * np.median(totals))
    varying = np.flatnonzero(logs.std(axis=0) > 0)
    if len(varying) <= n:
        return varying
    first, second = np.triu_indices(len(varying), 1)
    order = np.argsort(-np.corrcoef(logs[:, varying], rowvar=False)[first, second], kind="stable")
    turns = np.stack([order, order[::-1]], axis=1).ravel()
    genes = np.stack([first[turns], second[turns]], axis=1).ravel()
    _, at = np.unique(genes, return_index=True)
    return varying[genes[np.sort(at)[:n]]]
