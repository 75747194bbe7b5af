"""Tables of comparisons: their units, and what is called."""

from __future__ import annotations

import numpy as np
import pytest

import scribe
from scribe._compare.tables import Calls, gene_table


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
