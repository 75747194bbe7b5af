"""Tables of comparisons: their units, and what is called."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import scribe
from scribe._compare.differential import DifferentialExpression
from scribe._compare.relative import covering
from scribe._compare.tables import Calls, gene_table
from scribe._posterior.level_counts import LevelCounts
from scribe._stats.contrasts import Samples


@pytest.fixture(scope="module")
def found():
    """Five genes by draws, of which the last is the reference: up fourfold, up by a factor of 1.5, down, unchanged."""
    rng, log_fold = np.random.default_rng(0), np.log([4.0, 1.5, 0.2, 1.0, 1.0])
    draws = np.exp(0.1 * rng.normal(size=(2, 4000, 5)))
    return scribe.compare(draws[0] * np.exp(log_fold), draws[1], method="empirical", reference=[4], paired=False)


def test_fold_changes_and_their_limit_are_in_log2(found) -> None:
    table, strict = gene_table(found), gene_table(found, Calls(min_lfc=1.0))
    np.testing.assert_allclose(table["lfc_mean"], np.log2([4.0, 1.5, 0.2, 1.0, 1.0]), atol=0.02)
    for column, law in (("prob_up", found.law.above(np.log(2.0))), ("prob_down", found.law.below(-np.log(2.0)))):
        np.testing.assert_allclose(strict[column], law)
    assert list(table["is_de"][:3]) == [True, True, True]
    assert list(strict["is_de"]) == [True, False, True, False, False]
    np.testing.assert_allclose(table["prob_de"], np.maximum(table["prob_up"], table["prob_down"]))


def test_genes_without_counts_or_on_few_cells_are_not_called(found) -> None:
    seen, held = np.array([True, False, True, True, True]), (np.array([0.9, 0.1, 0.2, 0.1, 0.1]), np.full(5, 0.1))
    table = gene_table(found, seen=seen, held=held)
    assert list(table["status"][:3]) == ["few cells", "no counts", "ok"]
    assert list(table["is_de"][:3]) == [False, False, True]
    assert table["lfc_mean"].isna().to_numpy().tolist() == [False, True, False, False, False]
    assert gene_table(found, Calls(call_extremes=True), seen=seen, held=held)["is_de"][0]


def test_a_gene_that_rests_on_one_sample_is_not_called() -> None:
    """Gene 0 is 30 times up in one of four samples and hardly in the others, gene 1 eight times in all."""
    rng, n = np.random.default_rng(0), 4
    molecules = rng.poisson(5000.0, (2 * n, 60)).astype(float)
    molecules[:n, 0], molecules[:n, 1] = [150_000, 5500, 5500, 5500], 40_000
    counts = LevelCounts(molecules, np.ones(molecules.shape), np.full(molecules.shape, 1e3))
    found = DifferentialExpression(
        Samples(counts, np.arange(2 * n) < n, np.zeros(2 * n, int)), level="sample", method="shrinkage"
    )
    table, all_called = gene_table(found), gene_table(found, Calls(call_extremes=True))
    assert list(table["status"][:2]) == list(all_called["status"][:2]) == ["one sample", "ok"]
    assert list(table["is_de"][:2]) == [False, True]
    assert list(all_called["is_de"][:2]) == [True, True]
    np.testing.assert_allclose(table["top_sample_group"][0], 150_000 / molecules[:n, 0].sum())
    left = found.relative.left_without_extreme()
    assert left[0] < 0.2
    assert 0.8 < left[1] < 1.2


def test_fewest_genes_that_cover_a_share() -> None:
    shares = np.array([0.2, 0.5, 0.3])
    for coverage, expected in (
        (0.4, [1]),
        (0.5, [1]),
        (0.6, [1, 2]),
        (0.8, [1, 2]),
        (0.81, [0, 1, 2]),
        (1.0, [0, 1, 2]),
    ):
        assert list(np.flatnonzero(covering(shares, coverage))) == expected
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="coverage must lie above 0"):
            covering(shares, wrong)


def test_shared_labels_are_in_the_order_of_the_first() -> None:
    first, second = (
        SimpleNamespace(spec=SimpleNamespace(levels={"component": SimpleNamespace(labels=labels)}))
        for labels in (("b", "a", "c"), ("a", "d", "b"))
    )
    assert scribe.get_shared_labels(first, second) == ["b", "a"]
    assert scribe.match_components_by_label(first, second, "b") == (0, 2)
