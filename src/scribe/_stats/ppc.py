"""Posterior predictive checks, streamed: replicate data sets pass by one at a time, as blocks of their non-zeros.

What is kept of a replicate is how its statistics rank against the observed ones, so that memory does not grow with the
number of replicates; only the histograms of a few chosen genes are kept whole, for plots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scribe._stats.ranks import Tally
from scribe._stats.statistics import SUMMARIES, Block, Statistics, bin_edges, statistics
from scribe._types import FloatArray, IntArray

__all__ = ["LEVELS", "Check", "bands", "check", "spread", "summary"]

LEVELS = (50, 68, 95)
"""Percent of the replicates that the central bands hold."""

_MIN_TOTAL = 10


@dataclass(frozen=True)
class Check:
    """Outcome of a posterior predictive check.

    Parameters
    ----------
    edges
        Lowest count of every bin of the histograms.
    gene, cell
        Ranks of the statistics of every gene and cell, by name.
    histogram
        Ranks of the number of cells, (genes, bins).
    observed, replicates
        The `SUMMARIES` of the observed data, (summaries,), and of the replicates, (draws, summaries).
    chosen
        Genes whose histograms were kept.
    drawn
        Their histograms, (draws, chosen genes, bins).
    """

    edges: IntArray
    gene: dict[str, Tally]
    cell: dict[str, Tally]
    histogram: Tally
    observed: FloatArray
    replicates: FloatArray
    chosen: IntArray
    drawn: IntArray


def check(
    observed: Iterable[Block],
    replicates: Iterable[Iterable[Block]],
    *,
    n_cells: int,
    n_genes: int,
    largest: float,
    chosen: IntArray,
) -> Check:
    """Compare observed counts with replicate data sets.

    Parameters
    ----------
    observed
        The positive counts of the observed data.
    replicates
        Those of every replicate, one data set after the other.
    n_cells, n_genes
        Shape of all of them.
    largest
        Largest observed count.
    chosen
        Genes whose histograms are kept.
    """
    edges = bin_edges(largest)

    def summarise(blocks: Iterable[Block]) -> Statistics:
        return statistics(blocks, n_cells=n_cells, n_genes=n_genes, edges=edges)

    data = summarise(observed)
    gene, cell = ({name: Tally(v) for name, v in level.items()} for level in (data.gene, data.cell))
    histogram = Tally(data.histogram)
    rows, drawn = [], []
    for blocks in replicates:
        replicate = summarise(blocks)
        for tallies, values in ((gene, replicate.gene), (cell, replicate.cell)):
            for name, tally in tallies.items():
                tally.add(values[name])
        histogram.add(replicate.histogram)
        rows.append([function(replicate) for _, _, function in SUMMARIES])
        drawn.append(replicate.histogram[chosen])
    whole = np.asarray([function(data) for _, _, function in SUMMARIES])
    return Check(edges, gene, cell, histogram, whole, np.asarray(rows), chosen, np.stack(drawn))


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
    """Columns of the table of histograms of the chosen genes, one row per gene and bin.

    ``gene`` (index), ``count`` and ``count_to`` (first and last count of the bin), ``observed`` (cells), the ``median``
    over replicates and the limits ``lower_95`` to ``upper_95`` of the central bands. A gene's rows end with the last
    bin that any data set reaches.
    """
    probabilities = [0.5, *(0.5 - level / 200 for level in LEVELS), *(0.5 + level / 200 for level in LEVELS)]
    names = ["median", *(f"lower_{level}" for level in LEVELS), *(f"upper_{level}" for level in LEVELS)]
    quantiles = np.quantile(result.drawn, probabilities, axis=0)
    observed = result.histogram.observed[result.chosen]
    reached = (observed > 0) | (result.drawn > 0).any(axis=0)
    last = reached.shape[1] - 1 - np.argmax(reached[:, ::-1], axis=1)
    gene, column = np.nonzero(np.arange(reached.shape[1]) <= last[:, None])
    ends = np.append(result.edges[1:] - 1, result.edges[-1])
    out = {"gene": result.chosen[gene], "count": result.edges[column], "count_to": ends[column]}
    out |= {"observed": observed[gene, column]}
    return out | {name: values[gene, column] for name, values in zip(names, quantiles, strict=True)}


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
