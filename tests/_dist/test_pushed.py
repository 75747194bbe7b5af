"""Normals and kernel densities pushed through a link, against quadrature of scipy and moments of draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from scribe._dist.links import LINKS
from scribe._dist.pushed import PushedKernels, PushedNormal, kernel_density

pytestmark = pytest.mark.loose_promotion

FUNCTIONS = {"exp": np.exp, "softplus": lambda z: np.logaddexp(0, z), "sigmoid": lambda z: 1 / (1 + np.exp(-z))}
CASES = [(0.0, 1.0), (-3.0, 0.1), (2.0, 3.0), (-8.0, 0.5)]


@pytest.mark.parametrize("link", ["softplus", "sigmoid"])
@pytest.mark.parametrize(("loc", "scale"), CASES)
def test_moments(link, loc, scale):
    def expectation(f):
        low, high = loc - 10 * scale, loc + 10 * scale
        return integrate.quad(lambda z: f(z) * stats.norm.pdf(z, loc, scale), low, high, epsabs=0, limit=200)[0]

    with jax.enable_x64(True):
        found = PushedNormal(jnp.asarray([loc]), jnp.asarray([scale]), LINKS[link])
        mean = expectation(FUNCTIONS[link])
        variance = expectation(lambda z: (FUNCTIONS[link](z) - mean) ** 2)
        np.testing.assert_allclose(found.mean, [mean], rtol=1e-8)
        np.testing.assert_allclose(found.variance, [variance], rtol=1e-7)


def test_density_and_draws_agree():
    with jax.enable_x64(True):
        found = PushedNormal(jnp.asarray(0.3), jnp.asarray(0.7), LINKS["sigmoid"])
        draws = np.asarray(found.sample(jax.random.key(0), (4000,)))
        assert stats.kstest(np.log(draws / (1 - draws)), stats.norm(0.3, 0.7).cdf).pvalue > 1e-3
        total = integrate.quad(lambda x: float(jnp.exp(found.log_prob(x))), 0, 1, limit=200)[0]
        assert total == pytest.approx(1.0, abs=1e-6)
        assert draws.mean() == pytest.approx(float(found.mean), abs=0.01)


def test_draws_of_kernels_follow_their_density():
    values = np.random.default_rng(0).normal([[0.0], [2.0]], [[1.0], [0.3]], (2, 40)) ** 3
    density = kernel_density(jnp.asarray(values, jnp.float32))
    found = np.asarray(PushedKernels(density, LINKS["exp"]).sample(jax.random.key(0), (5, 800)), np.float64)
    assert found.shape == (5, 800, 2)
    kernels = density.component_distribution
    for i in range(2):
        law = stats.norm(np.asarray(kernels.loc[i], np.float64), np.asarray(kernels.scale[i], np.float64))
        draws = np.log(found[..., i].ravel())
        assert stats.kstest(draws, lambda x, law=law: law.cdf(np.asarray(x)[:, None]).mean(axis=1)).pvalue > 1e-3
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.06


def test_kernel_density_has_the_moments_of_the_draws():
    rng = np.random.default_rng(0)
    draws = np.stack([rng.normal(2.0, 0.5, 500), rng.standard_gamma(2.0, 500)]).astype(np.float32)
    density = kernel_density(jnp.asarray(draws))
    np.testing.assert_allclose(density.mean, draws.mean(1), rtol=1e-4)
    np.testing.assert_allclose(density.variance, draws.var(1), rtol=1e-3)
    at = np.asarray([2.1, 1.0], np.float32)
    exact = [stats.norm(2.0, 0.5).pdf(2.1), stats.gamma(2.0).pdf(1.0)]
    np.testing.assert_allclose(np.exp(density.log_prob(at)), exact, rtol=0.2)
    alone = kernel_density(jnp.full((1, 20), 3.0))
    np.testing.assert_allclose(alone.mean, 3.0, rtol=1e-6)


@pytest.mark.parametrize("link", ["exp", "sigmoid", "softplus"])
def test_pushed_kernels_have_the_moments_of_pushed_draws(link):
    draws = np.random.default_rng(1).normal(-0.5, 0.3, (2, 500)).astype(np.float32)
    law = PushedKernels(kernel_density(jnp.asarray(draws)), LINKS[link])
    values = np.asarray(LINKS[link].value(jnp.asarray(draws)))
    np.testing.assert_allclose(law.mean, values.mean(1), rtol=5e-3)
    np.testing.assert_allclose(law.variance, values.var(1), rtol=5e-2)
    again = np.asarray(law.sample(jax.random.key(0), (4000,)))
    np.testing.assert_allclose(again.mean(0), values.mean(1), rtol=0.03)
    top = min(values.max() * 1.7, 0.999) if link == "sigmoid" else values.max() * 1.7
    grid = np.linspace(values.min() * 0.3, top, 4001)[:, None].astype(np.float32)
    density = np.exp(np.asarray(law.log_prob(np.broadcast_to(grid, (4001, 2)))))
    np.testing.assert_allclose(np.trapezoid(density, grid, axis=0), 1.0, rtol=0.01)


def test_bandwidth_is_silvermans_and_many_draws_are_thinned_evenly():
    draws = np.random.default_rng(2).standard_t(2, (1, 300))
    width = 0.9 * min(draws.std(), stats.iqr(draws) / 1.34) * 300**-0.2
    np.testing.assert_allclose(kernel_density(jnp.asarray(draws)).component_distribution.scale, width, rtol=1e-5)
    trend = kernel_density(jnp.arange(5000.0)[None]).component_distribution
    assert trend.loc.shape[-1] <= 512
    np.testing.assert_allclose(trend.loc.mean(), 2500.0, rtol=0.01)
