"""Streamed predictive checks against the same numbers from dense arrays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scribe._stats.joint import diverse
from scribe._stats.ppc import LEVELS, bands, check, distinct, pairs, shares, spread, summary
from scribe._stats.ranks import Tally, two_sided
from scribe._stats.statistics import SUMMARIES, Watch, bin_edges, statistics

CELLS, GENES, DRAWS = 60, 7, 19


def ungrouped(genes: list[int], together: tuple[int, ...] = ()) -> Watch:
    """Genes watched in all cells together."""
    return Watch(np.array(genes, int), np.zeros(CELLS, np.int64), 1, np.array(together, int))


NOTHING = ungrouped([])


def blocks_of(dense, *, size=25):
    for first in range(0, len(dense), size):
        cell, gene = np.nonzero(dense[first : first + size])
        yield cell.astype(np.int32) + first, gene.astype(np.int32), dense[first + cell, gene].astype(np.float32)


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    mean = np.array([0.0, 0.02, 0.3, 1.0, 4.0, 30.0, 6000.0])
    counts = rng.negative_binomial(1.5, 1.5 / (1.5 + mean), (DRAWS + 1, CELLS, GENES))
    counts[:, 7] = 0
    return counts


@pytest.fixture(scope="module")
def result(dense):
    return check(
        blocks_of(dense[0]),
        (blocks_of(replicate) for replicate in dense[1:]),
        n_cells=CELLS,
        n_genes=GENES,
        largest=float(dense[0].max()),
        watch=ungrouped([5, 2], (4, 2)),
    )


def table_of(dense, edges):
    limits = np.append(edges, np.inf)
    return np.stack([np.histogram(column, limits)[0] for column in dense.T])


def test_bins():
    edges = bin_edges(100.0)
    assert edges.tolist() == [0, 1, 2, 3, 4, 5, 7, 10, 15, 22, 32, 46, 68, 100, 147, 215, 316]
    assert bin_edges(0.0).tolist() == [0, 1, 2, 3, 4, 5, 7, 10]
    assert bin_edges(1e6)[-1] > 2e6


@pytest.mark.parametrize("size", [1, 25, 100])
def test_statistics_equal_those_of_the_dense_array(dense, size):
    data = dense[0]
    edges = bin_edges(float(data.max()))
    found = statistics(blocks_of(data, size=size), n_cells=CELLS, n_genes=GENES, edges=edges, watch=NOTHING)
    np.testing.assert_allclose(found.gene["mean"], data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.gene["variance"], data.var(0, ddof=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.gene["zero_fraction"], (data == 0).mean(0))
    np.testing.assert_array_equal(found.cell["total"], data.sum(1))
    np.testing.assert_array_equal(found.cell["detected"], (data > 0).sum(1))
    np.testing.assert_array_equal(found.histogram, table_of(data, edges))


def test_counts_that_are_not_whole_stay_out_of_the_zeros():
    block = (np.zeros(3, np.int32), np.arange(3, dtype=np.int32), np.array([0.2, 1.4, 8.6], np.float32))
    found = statistics([block], n_cells=2, n_genes=3, edges=bin_edges(9.0), watch=NOTHING)
    assert [np.flatnonzero(row).tolist() for row in found.histogram] == [[0, 1], [0, 1], [0, 6]]


def test_counts_beyond_the_last_bin_fall_into_it():
    block = (np.zeros(2, np.int32), np.arange(2, dtype=np.int32), np.array([50.0, 1e8], np.float32))
    found = statistics([block], n_cells=1, n_genes=2, edges=bin_edges(1.0), watch=NOTHING)
    np.testing.assert_array_equal(found.histogram[:, -1], 1)


def test_an_empty_data_set():
    found = statistics([], n_cells=4, n_genes=3, edges=bin_edges(0.0), watch=NOTHING)
    np.testing.assert_array_equal(found.histogram[:, 0], 4)
    assert [function(found) for _, _, function in SUMMARIES] == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0]


def test_p_values_count_ties_for_half():
    tally = Tally(np.array([2.0, 0.0, 9.0]))
    for replicate in ([1.0, 0.0, 1.0], [2.0, 0.0, 2.0], [3.0, 0.0, 3.0], [4.0, 1.0, 4.0]):
        tally.add(np.array(replicate))
    np.testing.assert_allclose(tally.p_value, [(2 + 1) / 5, (1 + 2) / 5, 0.5 / 5])
    np.testing.assert_allclose(tally.expected, [2.5, 0.25, 2.5])
    assert two_sided(tally.p_value).min() == pytest.approx(1 / 5)


def test_p_values_of_the_check(dense, result):
    for name, function in {
        "mean": lambda x: x.mean(1),
        "zero_fraction": lambda x: (x == 0).mean(1),
    }.items():
        values = function(dense)
        above, ties = (values[1:] > values[0]).sum(0), (values[1:] == values[0]).sum(0)
        np.testing.assert_allclose(result.gene[name].p_value, (above + (ties + 1) / 2) / (DRAWS + 1))
        np.testing.assert_allclose(result.gene[name].expected, values[1:].mean(0))
    totals = dense.sum(2)
    ties = (totals[1:] == totals[0]).sum(0)
    np.testing.assert_allclose(
        result.cell["total"].p_value, ((totals[1:] > totals[0]).sum(0) + (ties + 1) / 2) / (DRAWS + 1)
    )


@pytest.mark.parametrize("level", [0.5, 0.68, 0.95])
def test_coverage_is_the_average_over_ties_broken_at_random(dense, result, level):
    rng = np.random.default_rng(1)
    histograms = np.stack([table_of(data, result.edges) for data in dense]).astype(float)
    inside = np.zeros(histograms.shape[1:])
    n = 4000
    for _ in range(n):
        jitter = rng.uniform(size=histograms.shape) * 0.5
        rank = (histograms[1:] + jitter[1:] < histograms[0] + jitter[0]).sum(0)
        place = (rank + rng.uniform(size=rank.shape)) / (DRAWS + 1)
        inside += np.abs(place - 0.5) <= level / 2
    tells = (histograms != histograms[0]).any(0)
    expected = [row[told].mean() / n if told.any() else np.nan for row, told in zip(inside, tells, strict=True)]
    np.testing.assert_allclose(result.histogram.coverage(level), expected, atol=0.02)
    assert np.isnan(expected[0])


def test_ranks_of_exchangeable_data_are_calibrated():
    rng = np.random.default_rng(2)
    shape = (400, 8)
    rate = rng.gamma(0.7, 3.0, shape)  # one rate for all data sets of an element, many ties
    tally = Tally(rng.poisson(rate))
    for _ in range(30):
        tally.add(rng.poisson(rate))
    assert tally.p_value.mean() == pytest.approx(0.5, abs=0.02)
    for level in LEVELS:
        # rows leave out bins that never vary, which are the same for every order of the data sets
        assert tally.coverage(level / 100).mean() == pytest.approx(level / 100, abs=0.02)
    continuous = Tally(rng.normal(size=2000))
    for _ in range(40):
        continuous.add(rng.normal(size=2000))
    assert stats.kstest(continuous.p_value, "uniform").pvalue > 1e-3


def test_the_summary_table(dense, result):
    table = summary(result)
    assert table["statistic"] == [name for name, _, _ in SUMMARIES]
    assert set(table["level"]) == {"cell", "gene"}
    totals = dense.sum(2)
    values = {
        "total_mean": totals.mean(1),
        "total_variance": totals.var(1),
        "detected_mean": (dense > 0).sum(2).mean(1),
        "detected_variance": (dense > 0).sum(2).var(1),
        "zero_fraction": (dense == 0).mean((1, 2)),
        "dispersion": [np.mean([x.var(ddof=1) / x.mean() for x in data.T if x.any()]) for data in dense],
        "never_detected": (dense.sum(1) == 0).sum(1),
    }
    for row, name in enumerate(table["statistic"]):
        expected = np.asarray(values[name])
        assert table["observed"][row] == pytest.approx(expected[0])
        assert table["expected"][row] == pytest.approx(expected[1:].mean())
        assert table["lower"][row] == pytest.approx(np.quantile(expected[1:], 0.025))
        assert table["upper"][row] == pytest.approx(np.quantile(expected[1:], 0.975))


def test_the_bands(dense, result):
    table = bands(result)
    for gene in (5, 2):
        rows = table["gene"] == gene
        histograms = np.stack([table_of(data, result.edges)[gene] for data in dense])
        last = np.flatnonzero(histograms.any(0))[-1] + 1
        np.testing.assert_array_equal(table["count"][rows], result.edges[:last])
        np.testing.assert_array_equal(table["count_to"][rows][:-1], result.edges[1:last] - 1)
        np.testing.assert_array_equal(table["observed"][rows], histograms[0, :last])
        for level in LEVELS:
            low, high = np.quantile(histograms[1:, :last], (0.5 - level / 200, 0.5 + level / 200), axis=0)
            np.testing.assert_allclose(table[f"lower_{level}"][rows], low)
            np.testing.assert_allclose(table[f"upper_{level}"][rows], high)
        np.testing.assert_allclose(table["median"][rows], np.median(histograms[1:, :last], axis=0))
    assert table["gene"][0] == 5, "genes keep the order asked for"


def test_the_bands_of_groups_of_cells(dense):
    group = np.arange(CELLS) % 3 - 1
    watch = Watch(np.array([5, 2, 5]), group, 2, np.array([], int))
    found = check(
        blocks_of(dense[0]),
        map(blocks_of, dense[1:]),
        n_cells=CELLS,
        n_genes=GENES,
        largest=float(dense[0].max()),
        watch=watch,
    )
    table = bands(found)
    order = [(5, 0), (5, 1), (2, 0), (2, 1), (5, 0), (5, 1)]
    starts = np.flatnonzero(table["count"] == 0)
    assert list(zip(table["gene"][starts], table["group"][starts], strict=True)) == order
    for (gene, number), first, end in zip(order, starts, [*starts[1:], None], strict=True):
        histograms = np.stack([table_of(data[group == number], found.edges)[gene] for data in dense])
        rows = slice(first, end)
        np.testing.assert_array_equal(table["observed"][rows], histograms[0][: len(table["observed"][rows])])
        high = np.quantile(histograms[1:], 0.975, axis=0)
        np.testing.assert_allclose(table["upper_95"][rows], high[: len(table["upper_95"][rows])])
        assert table["observed"][rows].sum() == CELLS / 3


def test_distinct_genes_have_the_largest_poisson_likelihood_ratio():
    rng = np.random.default_rng(4)
    sums = rng.poisson(rng.gamma(1.0, 20.0, (3, 40))).astype(float)
    sums[:, 7] = 0
    expected = sums.sum(1)[:, None] * (sums.sum(0) / sums.sum())
    ratio = (stats.poisson.logpmf(sums, np.maximum(sums, 1e-9)) - stats.poisson.logpmf(sums, expected)).sum(0)
    np.testing.assert_array_equal(distinct(sums, 12), np.argsort(-np.nan_to_num(ratio))[:12])
    assert len(distinct(sums, 100)) == 40


def test_replicates_are_read_one_by_one(dense):
    alive = []

    def stream():
        for replicate in dense[1:4]:
            alive.append("made")
            yield blocks_of(replicate)
            alive.append("used")

    check(
        blocks_of(dense[0]),
        stream(),
        n_cells=CELLS,
        n_genes=GENES,
        largest=10.0,
        watch=ungrouped([1]),
    )
    assert alive == ["made", "used"] * 3


def test_spread_takes_each_gene_once_from_rare_to_common():
    totals = np.exp(np.random.default_rng(3).normal(3.0, 2.0, 500)).round()
    chosen = spread(totals, 25)
    assert len(set(chosen.tolist())) == 25
    assert (np.diff(totals[chosen]) >= 0).all()
    assert totals[chosen[0]] >= 10
    assert totals[chosen[-1]] == totals.max()
    steps = np.diff(np.log(totals[chosen]))
    assert steps.max() < 4 * np.median(steps)
    np.testing.assert_array_equal(chosen, spread(totals, 25))


@pytest.mark.parametrize(
    ("totals", "n", "expected"),
    [
        ([0, 50, 20, 0], 3, [2, 1]),
        ([0, 3, 2], 2, [2, 1]),
        ([10, 10, 10, 10], 3, [0, 1, 2]),
        ([10, 11, 12, 1000], 3, [0, 2, 3]),
        ([0, 0], 5, []),
    ],
)
def test_spread_with_few_genes(totals, n, expected):
    assert spread(np.asarray(totals, float), n).tolist() == expected


def test_genes_looked_at_together(result, dense):
    """Tables of pairs and shares against histograms of dense arrays."""
    totals, limits = dense.sum(axis=2), np.append(result.edges, np.inf)
    names = np.array(["a", "b"])
    table = pd.DataFrame(pairs(result, names))
    assert list(dict.fromkeys(zip(table["gene"], table["other"], strict=True))) == [("a", "a"), ("a", "b"), ("b", "b")]
    of_both = table[(table["gene"] == "a") & (table["other"] == "b")]
    observed, expected = np.zeros((2, len(result.edges), len(result.edges)))
    place = tuple(np.searchsorted(result.edges, of_both[name]) for name in ("count", "other_count"))
    observed[place], expected[place] = of_both["observed"], of_both["expected"]
    each = [np.histogram2d(data[:, 4], data[:, 2], [limits, limits])[0] for data in dense]
    np.testing.assert_array_equal(observed, each[0])
    np.testing.assert_allclose(expected, np.mean(each[1:], axis=0))
    alone = table[(table["gene"] == "b") & (table["other"] == "b")]
    assert (alone["count"] == alone["other_count"]).all()
    assert alone["observed"].sum() == CELLS
    portions = pd.DataFrame(shares(result, names))
    assert portions.groupby("gene")["observed"].sum().tolist() == [CELLS, CELLS]
    for name, gene in (("a", 4), ("b", 2)):
        rows = portions[portions["gene"] == name]
        share = dense[:, :, gene] / np.maximum(totals, 1)
        inner = rows.iloc[len(rows) // 2]
        held = (share >= inner["share"]) & (share < inner["share_to"])
        assert inner["observed"] == held[0].sum()
        assert inner["median"] == np.median(held[1:].sum(axis=1))
        none = rows.iloc[0]
        assert (none["share"], none["share_to"], none["observed"]) == (0, 0, (share[0] == 0).sum())
        assert rows["pseudobulk"].unique() == pytest.approx(dense[0, :, gene].sum() / dense[0].sum())


def test_genes_of_the_most_and_the_least_correlated_pairs():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=2000)
    mean = np.exp(np.stack([factor, factor, -factor, 0 * factor, 0.2 * factor, 0 * factor], axis=1)) * 20
    counts = rng.poisson(mean).astype(float)
    totals = np.full(2000, 1000.0)
    assert set(diverse(counts, totals, 3)) == {0, 1, 2}
    assert diverse(counts, totals, 4).size == 4
    assert diverse(counts, totals, 9).tolist() == list(range(6))
    assert diverse(np.column_stack([counts[:, 0], np.full(2000, 3.0)]), totals, 1).tolist() == [0]
