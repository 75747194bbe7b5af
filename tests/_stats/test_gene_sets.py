"""Scatter of sets against the orthonormal basis it stands for, and p-values under the null."""

from __future__ import annotations

import numpy as np
from scipy import stats

from scribe._stats.gene_sets import matched_sets, perturbation, scatter
from scribe._stats.laws import Drawn, LowRankNormal
from scribe._stats.logratios import basis


def test_scatter_is_the_mean_square_of_isometric_coordinates() -> None:
    draws = np.random.default_rng(0).normal(size=(300, 12))
    sets = [np.array([0, 3, 5]), np.arange(6, 12)]
    expected = [np.mean(np.sum((draws[:, s] @ basis(len(s))) ** 2, axis=1)) for s in sets]
    # the variance of the draws has one degree of freedom less
    np.testing.assert_allclose(scatter(Drawn(draws), sets), expected, rtol=0.01)
    np.testing.assert_allclose(scatter(Drawn(draws + 5.0), sets), scatter(Drawn(draws), sets), rtol=1e-9)


def test_random_sets_match_expression() -> None:
    rng = np.random.default_rng(1)
    expression, members = rng.lognormal(size=200), np.array([3, 50, 77, 120])
    rank = np.argsort(np.argsort(expression)) * 10 // 200
    for drawn in matched_sets(members, expression, 20, rng):
        assert sorted(rank[drawn]) == sorted(rank[members])
        assert len(set(drawn)) == 4


def test_p_values_are_uniform_without_and_small_with_a_disturbance() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(60):
        law = LowRankNormal(rng.normal(size=100), np.zeros((100, 1)), np.full(100, 0.04))
        members = rng.choice(100, 10, replace=False)
        found.append(perturbation(law, members, np.arange(100.0), n_permutations=99, rng=rng).p_value)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    alike = LowRankNormal(np.zeros(100), np.zeros((100, 1)), np.zeros(100))
    assert perturbation(alike, np.arange(10), np.arange(100.0), n_permutations=9, rng=rng).p_value == 1.0, "ties count"
    loc = np.zeros(100)
    loc[::10] = np.tile([3.0, -3.0], 5)
    disturbed = LowRankNormal(loc, np.zeros((100, 1)), np.full(100, 0.04))
    result = perturbation(disturbed, np.arange(0, 100, 10), np.arange(100.0), n_permutations=99, rng=rng)
    assert result.p_value == 0.01, "never zero"
