"""Diagnostics of chains whose effective sample size and disagreement are known."""

from __future__ import annotations

import numpy as np
import pytest

from scribe.engines.chains import diagnostics, judge

N_CHAINS, N_DRAWS = 4, 1000


def statistics(*, divergent=0, num_steps=7):
    diverging = np.zeros((N_CHAINS, N_DRAWS), bool)
    diverging[0, :divergent] = True
    return {
        "diverging": diverging,
        "num_steps": np.full((N_CHAINS, N_DRAWS), num_steps),
        "accept_prob": np.full((N_CHAINS, N_DRAWS), 0.8),
    }


def verdict(draws, *, max_tree_depth=10, **kept):
    return judge(
        {"r_unconstrained": draws, "p_unconstrained": draws[..., 0]},
        statistics(**kept),
        step_size=np.full(N_CHAINS, 0.25),
        max_tree_depth=max_tree_depth,
    )


@pytest.fixture
def independent():
    return np.random.default_rng(0).standard_normal((N_CHAINS, N_DRAWS, 3))


def test_independent_draws_count_in_full(independent):
    found = diagnostics(independent)
    assert found.r_hat.shape == found.ess_bulk.shape == found.ess_tail.shape == (3,)
    np.testing.assert_allclose(found.ess_bulk, N_CHAINS * N_DRAWS, rtol=0.15)
    np.testing.assert_allclose(found.ess_tail, N_CHAINS * N_DRAWS, rtol=0.2)
    assert np.all(np.abs(found.r_hat - 1) < 3e-3)


def test_autocorrelated_draws_count_as_theory_says():
    """A first-order autoregression has an effective sample size of n (1 - a) / (1 + a)."""
    a, rng = 0.8, np.random.default_rng(1)
    draws = np.empty((N_CHAINS, N_DRAWS, 8))
    draws[:, 0] = rng.standard_normal((N_CHAINS, 8))
    for i in range(1, N_DRAWS):
        draws[:, i] = a * draws[:, i - 1] + np.sqrt(1 - a**2) * rng.standard_normal((N_CHAINS, 8))
    expected = N_CHAINS * N_DRAWS * (1 - a) / (1 + a)
    assert diagnostics(draws).ess_bulk.mean() == pytest.approx(expected, rel=0.15)


def test_split_and_rank_normalised(independent):
    """A shifted chain, a drift within chains and a chain of another width are all seen."""
    shifted, drifting, wide = independent.copy(), independent.copy(), independent.copy()
    shifted[0] += 1.0
    drifting += np.linspace(-1, 1, N_DRAWS)[None, :, None]
    wide[0] *= 3.0
    for draws in (shifted, drifting, wide):
        assert np.all(diagnostics(draws).r_hat > 1.02)


def test_good_chains(independent):
    found = verdict(independent)
    assert found.converged
    assert str(found).startswith("converged: 4 x 1,000 draws, R-hat at most 1.00")
    assert (found.divergences, found.step_size, found.tree_depth) == (0, 0.25, 3.0)
    assert found.acceptance == pytest.approx(0.8)
    assert found.r_hat == pytest.approx(float(diagnostics(independent).r_hat.max()))
    assert found.ess_bulk == pytest.approx(float(diagnostics(independent).ess_bulk.min()))


def test_many_chains_need_a_hundred_effective_draws_each():
    draws = np.random.default_rng(3).standard_normal((8, 80, 1))
    about = {name: np.repeat(value, 2, axis=0)[:, :80] for name, value in statistics().items()}
    found = judge({"r_unconstrained": draws}, about, step_size=np.ones(8), max_tree_depth=10)
    assert 400 < found.ess_bulk < 800
    assert "(r[0]), below 800" in found.reason


def test_the_worst_parameter_is_named(independent):
    independent[0, :, 2] += 5.0
    found = verdict(independent)
    assert not found.converged
    assert "R-hat is " in found.reason
    assert "(r[2]), not below 1.01" in found.reason
    assert "(r[2]), below 400; raise n_samples and n_warmup, or start from a fit by SVI" in found.reason


def test_stuck_chains_and_divergences(independent):
    independent[..., 1] = 1.0
    stuck = verdict(independent)
    assert not stuck.converged
    assert stuck.r_hat == np.inf
    fine = np.random.default_rng(2).standard_normal((N_CHAINS, N_DRAWS, 3))
    assert verdict(fine, divergent=4).converged
    diverged = verdict(fine, divergent=5)
    assert not diverged.converged
    assert "5 of 4,000 draws diverged; raise target_accept" in diverged.reason
    assert "max_tree_depth=5" in verdict(independent, num_steps=7, max_tree_depth=3).reason


def test_one_chain_is_compared_with_itself():
    """Halves of one chain: noise agrees with itself, a drift does not."""
    rng = np.random.default_rng(0)
    noise, drift = rng.normal(size=(1, 1001, 3)), np.linspace(0, 3, 1001)[None, :, None]
    assert np.all(diagnostics(noise).r_hat < 1.01)
    np.testing.assert_allclose(diagnostics(noise).r_hat, diagnostics(noise[:, 1:].reshape(2, 500, 3)).r_hat)
    assert np.all(diagnostics(noise + drift).r_hat > 1.3)
