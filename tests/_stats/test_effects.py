"""Errors of sign: against direct counts, brute force over thresholds, and the truth of simulated effects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scribe._stats.effects import called_at, find_threshold, lfsr, pefp, s_values
from scribe._stats.laws import Drawn, LowRankNormal, NormalMixture


def test_rates_count_draws_of_the_wrong_sign() -> None:
    draws = np.array([[1.0, -1.0, 0.0, 2.0], [2.0, -3.0, 0.0, -1.0], [1.5, -0.1, 0.0, -3.0], [0.2, 1.0, 0.0, -0.5]])
    law = Drawn(draws)
    np.testing.assert_allclose(lfsr(law), [0.25, 0.25, 1.0, 0.25], err_msg="never below 1/S; zero has no sign")
    np.testing.assert_allclose(lfsr(law, 1.0), [0.5, 0.75, 1.0, 0.75])
    np.testing.assert_allclose(lfsr(Drawn(-draws), 1.0), lfsr(law, 1.0))


@pytest.mark.parametrize("seed", range(20))
def test_threshold_is_the_largest_that_holds(seed) -> None:
    """Brute force over all sets that a strict threshold can call, with ties."""
    rng = np.random.default_rng(seed)
    rates = np.round(rng.uniform(0, 0.5, 30) ** 2, 2)
    target = 0.05
    possible = [t for t in [*rates, 1.0] if not np.any(rates < t) or rates[rates < t].mean() <= target]
    most = max(np.sum(rates < t) for t in possible)
    found = find_threshold(rates, target, max_lfsr=1)
    assert np.sum(rates < found) == most
    assert pefp(rates, rates < found) <= target
    np.testing.assert_array_equal(rates < found, s_values(rates) <= target)


def test_thresholds_at_the_ends() -> None:
    assert find_threshold(np.array([0.2, 0.4]), 0.05) == 0.0
    assert called_at(np.array([0.0, 0.1]), 0.05).all(), "a mean of just the target is allowed"
    good = np.array([0.01, 0.02])
    assert np.all(good < find_threshold(good, 0.05))
    assert pefp(good, np.zeros(2, bool)) == 0.0
    np.testing.assert_array_equal(s_values(np.array([np.nan, 0.1])), [np.nan, 0.1])
    with pytest.raises(ValueError, match="target_pefp must lie between 0 and 1, got 5"):
        find_threshold(good, 5)


def test_sure_genes_do_not_carry_unsure_ones() -> None:
    """99 genes without doubt would let a gene be called whose sign is a coin toss."""
    rates = np.append(np.zeros(99), [0.15, 0.5])
    np.testing.assert_array_equal(np.flatnonzero(called_at(rates, 0.05, max_lfsr=1)), np.arange(101))
    np.testing.assert_array_equal(np.flatnonzero(called_at(rates, 0.05)), np.arange(100))
    np.testing.assert_array_equal(np.flatnonzero(rates < find_threshold(rates, 0.05)), np.arange(100))
    assert called_at(rates, 0.05, max_lfsr=0.1).sum() == (rates < find_threshold(rates, 0.05, max_lfsr=0.1)).sum() == 99
    with pytest.raises(ValueError, match="max_lfsr must lie above 0 and not above 1, got 0; 1 calls by target_pefp"):
        called_at(rates, 0.05, max_lfsr=0)


def test_expected_share_of_wrong_signs_is_the_true_one() -> None:
    """Effects drawn from the prior, so that posteriors are right: calls at 5 % have 5 % wrong signs."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=40_000)
    seen = effects + rng.normal(size=effects.size)
    law = NormalMixture(np.ones((len(seen), 1)), 0.5 * seen[:, None], np.full((len(seen), 1), np.sqrt(0.5)))
    called = s_values(lfsr(law)) <= 0.05
    wrong = np.mean(np.sign(seen[called]) != np.sign(effects[called]))
    assert called.sum() > 5_000
    np.testing.assert_allclose(wrong, 0.05, atol=0.006)


def test_rates_of_normals_are_their_tails_and_never_zero() -> None:
    """A point at zero has the wrong sign whatever one says; far out no digits are lost."""
    law = NormalMixture(np.array([[0.25, 0.75]] * 3), np.array([[0, 12.0], [0, -1.0], [50, 45.0]]), np.ones((3, 2)))
    law.sds[:2, 0] = 0.0
    far = 0.75 * stats.norm.sf(12.0)
    np.testing.assert_allclose(lfsr(law)[:2], [0.25 + far, 0.25 + 0.75 * stats.norm.sf(1.0)], rtol=1e-12)
    np.testing.assert_allclose(lfsr(law, 2.0)[0], 0.25 + 0.75 * stats.norm.sf(10.0), rtol=1e-12)
    assert 0 < lfsr(law)[2] < 1e-300
    normal = LowRankNormal(np.array([-12.0, 60.0]), np.zeros((2, 1)), np.ones(2))
    np.testing.assert_allclose(lfsr(normal)[0], stats.norm.sf(12.0), rtol=1e-12)
    assert lfsr(normal)[1] > 0
