"""Posterior predictive checks, streamed: replicate data sets pass by one at a time, as blocks of their non-zeros.

What is kept of a replicate is how its statistics rank against the observed ones, so that memory does not grow with the
number of replicates; only the histograms of a few chosen genes are kept whole, for plots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scribe._stats.joint import Joint, joint_of, pairs_table, shares_table
from scribe._stats.ranks import Tally
from scribe._stats.statistics import SUMMARIES, Block, Statistics, Watch, bin_edges, statistics
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["LEVELS", "Check", "bands", "check", "distinct", "pairs", "shares", "spread", "summary"]

LEVELS = (50, 68, 95)
"""Percent of the replicates that the central bands hold."""

_MIN_TOTAL = 10


@dataclass(frozen=True)
class Check:
    """Outcome of a posterior predictive check.

    ``gene`` and ``cell`` rank the statistics of every gene and cell, ``histogram`` the number of cells, (genes, bins),
    by count, with the lowest counts of bins in ``edges``. ``observed`` are the `SUMMARIES` of the observed data,
    ``replicates`` (draws, summaries) those of the replicates. Of the genes and groups to ``watch`` the histograms are
    kept: ``watched`` (groups, genes, bins) the observed ones, ``drawn`` (draws, groups, genes, bins) the others. Of the
    genes to watch together ``joint`` is observed, ``pairs`` the mean over replicates of its pairs, and ``shares``
    (draws, genes, bins) those of the replicates; ``pseudobulk`` (genes,) their share in all observed counts.
    """

    edges: IntArray
    gene: dict[str, Tally]
    cell: dict[str, Tally]
    histogram: Tally
    observed: FloatArray
    replicates: FloatArray
    watch: Watch
    watched: IntArray
    drawn: IntArray
    joint: Joint
    pairs: FloatArray
    shares: IntArray
    pseudobulk: FloatArray


def check(
    observed: Iterable[Block],
    replicates: Iterable[Iterable[Block]],
    *,
    n_cells: int,
    n_genes: int,
    largest: float,
    watch: Watch,
) -> Check:
    """Compare the positive counts of observed data, the ``largest`` among them, with those of replicate data sets."""
    edges = bin_edges(largest)

    def summarise(blocks: Iterable[Block]) -> Statistics:
        return statistics(blocks, n_cells=n_cells, n_genes=n_genes, edges=edges, watch=watch)

    data = summarise(observed)
    gene, cell = ({name: Tally(v) for name, v in level.items()} for level in (data.gene, data.cell))
    histogram = Tally(data.histogram)
    joint = joint_of(data.together, data.cell["total"], edges)
    pairs, rows, drawn, shares = np.zeros(joint.pairs.shape), [], [], []
    for blocks in replicates:
        replicate = summarise(blocks)
        for tallies, values in ((gene, replicate.gene), (cell, replicate.cell)):
            for name, tally in tallies.items():
                tally.add(values[name])
        histogram.add(replicate.histogram)
        rows.append([function(replicate) for _, _, function in SUMMARIES])
        drawn.append(replicate.watched)
        made = joint_of(replicate.together, replicate.cell["total"], edges)
        pairs += made.pairs
        shares.append(made.shares)
    whole = np.asarray([function(data) for _, _, function in SUMMARIES])
    return Check(
        edges=edges,
        gene=gene,
        cell=cell,
        histogram=histogram,
        observed=whole,
        replicates=np.asarray(rows),
        watch=watch,
        watched=data.watched,
        drawn=np.stack(drawn),
        joint=joint,
        pairs=pairs / len(rows),
        shares=np.stack(shares),
        pseudobulk=data.together.sum(axis=0, dtype=np.float64) / max(data.cell["total"].sum(), 1.0),
    )


def _central(draws: IntArray) -> dict[str, FloatArray]:
    """Median and limits of the central bands over the first axis, by name."""
    probabilities = [0.5, *(0.5 - level / 200 for level in LEVELS), *(0.5 + level / 200 for level in LEVELS)]
    names = ["median", *(f"lower_{level}" for level in LEVELS), *(f"upper_{level}" for level in LEVELS)]
    return dict(zip(names, np.quantile(draws, probabilities, axis=0), strict=True))


def pairs(result: Check, names: AnyArray) -> dict[str, Any]:
    """Columns of `pairs_table` of the genes watched together, of which ``names`` are the names."""
    return pairs_table(result.joint.pairs, result.pairs, result.edges, names)


def shares(result: Check, names: AnyArray) -> dict[str, Any]:
    """Columns of `shares_table` of the genes watched together, of which ``names`` are the names."""
    return shares_table(result.joint.shares, _central(result.shares), result.pseudobulk, names)


def summary(result: Check) -> dict[str, Any]:
    """Columns of the table of `SUMMARIES`: statistic, level, observed, expected, lower, upper (95 %), p_value."""
    ranks = Tally(result.observed)
    for row in result.replicates:
        ranks.add(row)
    lower, upper = np.quantile(result.replicates, (0.025, 0.975), axis=0)
    return {
        "statistic": [name for name, _, _ in SUMMARIES],
        "level": [level for _, level, _ in SUMMARIES],
        "observed": result.observed,
        "expected": ranks.expected,
        "lower": lower,
        "upper": upper,
        "p_value": ranks.p_value,
    }


def bands(result: Check) -> dict[str, Any]:
    """Columns of the table of histograms of the watched genes, one row per gene, group and bin.

    ``gene`` and ``group`` (numbers), ``count`` and ``count_to`` (first and last count of the bin), ``observed``
    (cells), the ``median`` over replicates and the limits ``lower_95`` to ``upper_95`` of the central bands. A gene's
    rows end with the last bin that any data set reaches in any group.
    """
    quantiles = {name: np.swapaxes(values, 0, 1) for name, values in _central(result.drawn).items()}
    observed = np.swapaxes(result.watched, 0, 1)
    reached = np.any(result.watched > 0, axis=0) | np.any(result.drawn > 0, axis=(0, 1))
    last = reached.shape[1] - 1 - np.argmax(reached[:, ::-1], axis=1)
    shown = np.arange(reached.shape[1]) <= last[:, None]
    at = np.nonzero(np.broadcast_to(shown[:, None], observed.shape))
    gene, group, column = at
    ends = np.append(result.edges[1:] - 1, result.edges[-1])
    out = {"gene": result.watch.genes[gene], "group": group, "count": result.edges[column], "count_to": ends[column]}
    values = {name: quantile[at] for name, quantile in quantiles.items()}
    return out | {"observed": observed[at]} | values


def distinct(sums: FloatArray, n: int) -> IntArray:
    r"""Up to ``n`` genes whose share of the counts differs most between groups of cells, the most different first.

    By the likelihood ratio of Poisson counts with a rate per group to those with one rate,
    :math:`\sum_k n_{gk} \log\{n_{gk} N / (n_g N_k)\}`, from the sums :math:`n_{gk}` of ``sums``, (groups, genes), with
    :math:`N_k` the sum of all counts of a group.
    """
    expected = np.outer(sums.sum(axis=1), sums.sum(axis=0)) / max(sums.sum(), 1.0)
    safe = np.where(sums > 0, sums, 1.0)
    ratio = np.sum(sums * np.log(safe / np.where(sums > 0, expected, 1.0)), axis=0)
    return np.argsort(-ratio, kind="stable")[:n]


def spread(totals: FloatArray, n: int) -> IntArray:
    """Up to ``n`` genes at equal steps of the logarithm of their total count, in that order.

    Genes with fewer than ten counts say little and are taken only where no others are left.
    """
    candidates = np.flatnonzero(totals >= _MIN_TOTAL)
    if len(candidates) < n:
        candidates = np.flatnonzero(totals > 0)
    order = candidates[np.argsort(totals[candidates], kind="stable")]
    if len(order) <= n:
        return order
    level = np.log(totals[order])
    wanted = np.searchsorted(level, np.linspace(level[0], level[-1], n)).astype(np.int64)
    # each gene once: push ties up, then down again from the far end
    up = np.maximum.accumulate(wanted - np.arange(n)) + np.arange(n)
    limit = len(order) - n + np.arange(n)
    return order[np.minimum(up, limit)]
