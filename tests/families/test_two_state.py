"""What is particular to the two-state promoter: clamps that keep the mean, limits, two peaks, and a fit."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe.families import nb, two_state
from scribe.families.two_state import SHAPE_RANGE

pytestmark = pytest.mark.loose_promotion


log_pmf = jax.jit(two_state.log_pmf)


def natural(mean, on, off):
    return {
        name: np.log(np.asarray(value, float))
        for name, value in (("log_mean", mean), ("log_k_on", on), ("log_k_off", off))
    }


def test_clamps_keep_the_mean_and_act_as_at_the_ends():
    """The rate while on follows the clamped rates of switching: mean and sum over the pmf are mu all the same."""
    low, high = SHAPE_RANGE
    beyond = natural(np.full(4, 5.0), [1e-4, 1e6, 2.0, 2.0], [0.3, 0.3, 1e-5, 1e7])
    inside = natural(np.full(4, 5.0), [low, high, 2.0, 2.0], [0.3, 0.3, low, high])
    u, x = np.arange(400.0)[:, None], np.zeros((1, 1))
    with jax.enable_x64(True):
        wide = {name: value[None] for name, value in beyond.items()}
        at_end = {name: value[None] for name, value in inside.items()}
        found = np.asarray(log_pmf(u, wide, x))
        np.testing.assert_allclose(found, log_pmf(u, at_end, x), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose((np.arange(400)[:, None] * np.exp(found)).sum(axis=0), 5.0, rtol=1e-5)
        np.testing.assert_allclose(two_state.moments(wide, x).mean, 5.0, rtol=1e-6)
        slopes = jax.jit(jax.grad(lambda n: two_state.log_pmf(u[:9], n, x).sum()))(wide)
    np.testing.assert_array_equal(slopes["log_k_on"][0, :2], 0.0)
    np.testing.assert_array_equal(slopes["log_k_off"][0, 2:], 0.0)
    assert np.all(np.asarray(slopes["log_mean"]) != 0)


def test_fast_switching_off_is_negative_binomial():
    """At the upper end of k_off, the size is k_on and the mean the same; the difference is of order 1/k_off."""
    mean, on = np.array([0.3, 4.0]), np.array([0.5, 2.0])
    mine = natural(mean, on, [1e3, 1e3])
    limit = {"log_mean": mine["log_mean"], "log_odds": np.log(on / mean)}
    u, x = np.arange(12.0)[:, None], np.full((1, 1), -0.7)
    found = log_pmf(u, {k: v[None] for k, v in mine.items()}, x)
    expected = jax.jit(nb.log_pmf)(u, {k: v[None] for k, v in limit.items()}, x)
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_start_has_the_moments_asked_for():
    mean, odds = np.array([2.0, 9.0]), np.array([0.8, 0.3])
    start = two_state.from_moments(jnp.log(mean), jnp.log(odds))
    moments = two_state.moments(start, jnp.zeros(2))
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(moments.variance, mean * (1 + 1 / odds), rtol=1e-5)
    rare = two_state.from_moments(jnp.log(jnp.asarray([1e-3])), jnp.asarray([0.0]))
    assert np.exp(rare["log_k_on"]) > SHAPE_RANGE[0], "a start beyond the clamps has no slope to leave by"


@jax.jit
def of_unseen(n, x):
    """Log-probabilities of up to 400 molecules of genes of which none was seen, (molecules, genes), and their modes."""
    m = jnp.arange(400.0)[:, None] + 0.0 * n["log_mean"]
    return two_state.denoise(jnp.zeros_like(m), n, x).log_prob(m), two_state.denoise(jnp.zeros_like(m[0]), n, x).mode()


def test_mode_with_two_peaks():
    """A promoter mostly on or off: the posterior of the molecules has a peak at each end, either of which is higher."""
    n = natural([40.0, 40.0, 40.0, 5.0], on=[0.2, 0.7, 0.5, 0.3], off=[0.3, 0.12, 0.3, 0.12])
    law, mode = map(np.asarray, of_unseen(n, np.full(4, -5.0)))
    padded = np.pad(law, ((1, 1), (0, 0)), constant_values=-np.inf)
    assert np.all(np.sum((law > padded[:-2]) & (law > padded[2:]), axis=0) >= 2)
    np.testing.assert_array_equal(mode, law.argmax(axis=0))
    assert (mode == 0).tolist() == [True, False, True, True]
    np.testing.assert_allclose(np.exp(law).sum(axis=0), 1.0, rtol=1e-4)


@pytest.fixture(scope="module")
def fitted():
    """Three kinds of promoter: slow, in between, and nearly negative binomial."""
    rng = np.random.default_rng(1)
    delta = np.repeat([0.5, 0.1, 0.01], 4)
    truth = {"mu": rng.uniform(8, 30, 12), "excess_fano": rng.uniform(2, 6, 12), "inv_concentration": delta}
    adata = scribe.datasets.simulate(400, 12, "twostate", params=truth)
    options = {"n_steps": 250, "early_stopping": False, "optimizer_config": {"step_size": 0.05}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, "twostate", **options)
    return adata


@pytest.mark.slow
def test_recovers_the_parameters(fitted):
    results = scribe.get.results(fitted)
    found = results.get_map()
    truth = fitted.varm["truth"]
    np.testing.assert_allclose(found["mu"], truth["mu"], rtol=0.15)
    np.testing.assert_allclose(found["excess_fano"], truth["excess_fano"], rtol=0.35)
    delta = np.asarray(found["inv_concentration"])
    assert delta[:4].min() > 0.25, "slow promoters stand apart"
    assert delta[8:].max() < 0.15


def test_without_capture_nothing_is_unseen(made_fit):
    adata = made_fit("twostate")
    with pytest.warns(UserWarning, match="neither capture nor zero inflation"):
        scribe.tl.denoise(adata, n_samples=3)
    np.testing.assert_allclose(adata.layers["scribe_denoised"], adata.X.toarray(), rtol=1e-6)


def test_simulated_counts_follow_the_moments():
    adata = scribe.datasets.simulate(3000, 3, "twostate", params={"mu": 12.0, "k_off": 0.7, "burst_size": 15.0}, rng=2)
    share = stats.beta(0.8, 0.7)
    rate = 12.0 * 1.5 / 0.8
    counts = adata.X.toarray()
    np.testing.assert_allclose(counts.mean(axis=0), 12.0, rtol=0.06)
    np.testing.assert_allclose(counts.var(axis=0), 12.0 + rate**2 * share.var(), rtol=0.06)
