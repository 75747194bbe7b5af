"""Information criteria against arviz-stats, formulas by hand, brute force and refitting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

from scribe._stats.information import (
    differences,
    in_blocks,
    log_mean_exp,
    pseudo_bma,
    psis_loo,
    stacking,
    told_apart,
    waic,
)

RNG = np.random.default_rng(0)
LOG_LIKELIHOOD = -3.0 + RNG.normal(0, 0.5, (800, 40)) * RNG.uniform(0.1, 2.0, 40)


def test_psis_is_that_of_arviz():
    from arviz_stats.base import array_stats

    found = psis_loo(LOG_LIKELIHOOD, r_eff=0.8)
    elpd, k_hat, penalty = array_stats.loo(LOG_LIKELIHOOD.T[:, None], r_eff=0.8)
    np.testing.assert_allclose(found.elpd, elpd, rtol=1e-12)
    np.testing.assert_allclose(found.k_hat, k_hat, rtol=1e-9)
    np.testing.assert_allclose(found.penalty, penalty, rtol=1e-9)


@pytest.mark.parametrize("criterion", [psis_loo, waic])
@pytest.mark.parametrize("shift", [-5000.0, 3000.0])
def test_a_shift_of_the_log_likelihood_shifts_the_elpd(criterion, shift):
    """Whole cells have log-likelihoods of thousands of nats."""
    here, there = criterion(LOG_LIKELIHOOD), criterion(LOG_LIKELIHOOD + shift)
    np.testing.assert_allclose(there.elpd - shift, here.elpd, atol=1e-9)
    np.testing.assert_allclose(there.penalty, here.penalty, atol=1e-9)
    if here.k_hat is not None:
        np.testing.assert_allclose(there.k_hat, here.k_hat, atol=1e-6)


def test_observations_that_say_nothing_of_the_parameters():
    flat = np.column_stack([LOG_LIKELIHOOD[:, 0], np.full(800, -7.0)])
    found = psis_loo(flat)
    assert found.elpd[1] == -7.0
    assert found.penalty[1] == 0.0
    assert found.k_hat[1] == -np.inf
    np.testing.assert_array_equal(found.elpd[0], psis_loo(flat[:, :1]).elpd[0])
    assert psis_loo(flat[:, 1:]).elpd == [-7.0]


def test_models_are_told_apart_by_nats_and_by_errors():
    np.testing.assert_array_equal(told_apart([5.0, 3.0, -10.0, 4.1], [3.0, 1.0, 1.0, 0.0]), [False, False, True, True])


def test_waic_by_hand():
    one = np.log([[0.1], [0.2], [0.6]])
    found = waic(one)
    variance = np.mean((one - one.mean()) ** 2)
    np.testing.assert_allclose(found.elpd, np.log(0.3) - variance)
    np.testing.assert_allclose(found.penalty, variance)
    np.testing.assert_allclose(log_mean_exp(one), np.log(0.3))


def test_leave_one_out_is_what_refitting_gives():
    """Poisson counts with a gamma prior: the predictive distribution without one of them is negative binomial."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(4.0, 30)
    rate = rng.gamma(1.0 + counts.sum(), 1.0 / (0.5 + len(counts)), 20_000)
    found = psis_loo(stats.poisson(rate[:, None]).logpmf(counts))
    rest = 1.0 + counts.sum() - counts
    exact = stats.nbinom(rest, (0.5 + len(counts) - 1) / (0.5 + len(counts))).logpmf(counts)
    np.testing.assert_allclose(found.elpd, exact, atol=0.01)
    assert found.k_hat.max() < 0.3


@pytest.mark.parametrize("criterion", [psis_loo, waic])
def test_a_prior_that_saw_the_observation_forgets_it(criterion):
    """Normal data and a normal prior about their mean: leaving one out moves the prior, too, in closed form."""
    rng, n, sd = np.random.default_rng(2), 30, 0.15
    y = rng.normal(1.0, 1.0, n)
    draws = rng.normal(y.mean(), (n + sd**-2) ** -0.5, (40_000, 1))
    log_likelihood, rest = stats.norm(draws, 1.0).logpdf(y), (y.sum() - y) / (n - 1)
    share = stats.norm(y.mean(), sd).logpdf(draws) - stats.norm(rest, sd).logpdf(draws)
    exact = stats.norm(rest, np.sqrt(1 + 1 / (n - 1 + sd**-2))).logpdf(y)
    found = criterion(log_likelihood, log_likelihood + share)
    np.testing.assert_allclose(found.elpd, exact, atol=0.02)
    np.testing.assert_allclose(found.penalty, log_mean_exp(log_likelihood) - found.elpd, atol=1e-9)
    assert criterion(log_likelihood).elpd.sum() > exact.sum() + 0.5, "it would count twice"


def test_differences():
    elpd = RNG.normal(-10, 3, (50, 3))
    found = differences(elpd, 1)
    d = elpd[:, 0] - elpd[:, 1]
    np.testing.assert_allclose(found.elpd_diff[0], d.sum())
    np.testing.assert_allclose(found.dse[0], np.sqrt(50) * np.std(d))
    assert found.elpd_diff[1] == 0.0
    assert found.dse[1] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_stacking_is_the_best_on_the_simplex(seed):
    rng = np.random.default_rng(seed)
    elpd = rng.normal(-900, 1.0, (60, 3)) + rng.normal(0, 0.3, 3)
    weights = stacking(elpd)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(), 1.0)
    grid = np.linspace(0, 1, 101)
    every = np.array([(a, b, max(1 - a - b, 0.0)) for a, b in itertools.product(grid, grid) if a + b < 1 + 1e-9])
    scores = special.logsumexp(elpd[:, None], axis=2, b=every).sum(axis=0)
    assert special.logsumexp(elpd, axis=1, b=weights).sum() >= scores.max() - 1e-6
    np.testing.assert_allclose(weights, every[scores.argmax()], atol=0.011)


def test_weights_of_models_that_tell_nothing_apart_or_everything():
    base = RNG.normal(-10, 1, (40, 1))
    np.testing.assert_allclose(pseudo_bma(np.repeat(base, 2, axis=1)), [0.5, 0.5])
    clear = np.column_stack([base, base - 5.0])
    np.testing.assert_allclose(stacking(clear), [1.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(pseudo_bma(clear), [1.0, 0.0], atol=1e-4)


def test_pseudo_bma_is_the_mean_over_weighted_observations():
    """Two observations: the share of the first is uniform, and the integral over it a closed form."""
    elpd = np.array([[0.0, 1.0], [0.0, -1.0]])
    # weight of the second model 1/(1 + exp(-2 (2s - 1))), averaged over s
    assert abs(pseudo_bma(elpd, n_replicates=20_000)[1] - 0.5) < 0.01
    skewed = np.array([[0.0, 2.0], [0.0, -1.0]])
    s = (np.arange(100_000) + 0.5) / 100_000
    expected = np.mean(special.expit(2 * (3 * s - 1)))
    assert abs(pseudo_bma(skewed, n_replicates=20_000)[1] - expected) < 0.01


@pytest.mark.parametrize("criterion", [psis_loo, waic])
def test_blocks_of_observations_change_nothing(criterion):
    log_likelihood = np.random.default_rng(0).normal(size=(200, 11))
    for given in (log_likelihood,), (log_likelihood, None), (log_likelihood, log_likelihood - 1.0):
        for found, expected in zip(in_blocks(criterion, *given, size=4), criterion(*given), strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                np.testing.assert_allclose(found, expected, rtol=1e-12)
