"""Cumulative probabilities, against scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe._dist.cumulative import nb_below_and_at, nb_cdf, sum_of_pmf
from scribe._dist.special import nb_log_pmf

DTYPES = {np.float32: 1e-4, np.float64: 1e-11}


@pytest.mark.parametrize("dtype", DTYPES)
def test_nb_cdf_against_scipy(dtype):
    """From the Poisson limit to sizes of 0.001, within three standard deviations of the mean."""
    rng, n = np.random.default_rng(0), 20_000
    mean, size = 10 ** rng.uniform(-6, 4, n), 10 ** rng.uniform(-3, 8, n)
    spread = np.sqrt(mean + mean**2 / size) * rng.choice([0.1, 1.0], n)
    u = np.floor(np.clip(mean + spread * rng.normal(0, 1.5, n), -1, 1e5))
    p, q, k = mean / (size + mean), size / (size + mean), np.maximum(u, 0)
    expected = np.where(p < 0.5, 1 - special.betainc(k + 1, size, p), special.betainc(size, k + 1, q)) * (u >= 0)
    with jax.enable_x64(dtype == np.float64):
        found = jax.jit(nb_cdf)(*(jnp.asarray(x, dtype) for x in (u, np.log(mean), np.log(size))))
        limit = jax.jit(nb_cdf)(jnp.asarray(k, dtype), jnp.asarray(np.log(mean), dtype), jnp.asarray(40.0, dtype))
    np.testing.assert_allclose(found, expected, atol=DTYPES[dtype])
    np.testing.assert_allclose(limit, stats.poisson(mean).cdf(k), atol=DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("mean", "size"), [(0.3, 0.1), (15.0, 1e9), (300.0, 1e9), (2000.0, 4.0), (1e4, 1e9)])
def test_sum_of_pmf_against_scipy(mean, size, dtype):
    law = stats.nbinom(size, size / (size + mean))
    u = np.unique(np.floor(np.clip(mean + law.std() * np.linspace(-3, 3, 30), -1, None)))
    with jax.enable_x64(dtype == np.float64):
        log_mean, log_size = (jnp.asarray(np.log(x), dtype) for x in (mean, size))
        found = jax.jit(lambda u: sum_of_pmf(lambda k: nb_log_pmf(k, log_mean, log_size), u))(jnp.asarray(u, dtype))
    np.testing.assert_allclose(found, law.cdf(u), atol=2e-6 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("largest", [0.0, 1.0, 16.0, 40.0, 7.5])
def test_nb_below_and_at_against_scipy(largest):
    """Small whole counts by recursion, all others by the distribution function."""
    rng = np.random.default_rng(1)
    u = np.floor(rng.uniform(0, largest + 1, 200)).clip(max=largest)
    u[0] = largest
    mean, size = np.exp(rng.normal(0, 2, 200)), np.exp(rng.normal(0, 3, 200))
    below, at = nb_below_and_at(*(jnp.asarray(x, jnp.float32) for x in (u, np.log(mean), np.log(size))))
    whole = u == np.floor(u)
    exact = stats.nbinom(size[whole], size[whole] / (size + mean)[whole])
    np.testing.assert_allclose(np.asarray(below)[whole], exact.cdf(u[whole] - 1), rtol=3e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(at)[whole], exact.pmf(u[whole]), rtol=1e-4, atol=1e-6)
