"""SoftplusTruncatedNormal against scipy's truncated normal, deep tails against mpmath, and its own sampler."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate, stats
from scribe._dist.truncated import SoftplusTruncatedNormal

PARAMETERS = [(3.0, 0.3), (0.5, 0.5), (-0.3, 1.0), (-2.0, 0.49), (-6.0, 0.3), (60.0, 2.0)]
"""From hardly truncated to 20 standard deviations outside the support; the fourth sits next to the switch at 4."""


def mp_log_density(z: Any, loc: Any, scale: Any) -> Any:
    x = (mpmath.log1p(mpmath.exp(z)) - loc) / scale
    normal = -x * x / 2 - mpmath.log(2 * mpmath.pi) / 2 - mpmath.log(scale)
    return normal - mpmath.log(mpmath.ncdf(loc / scale)) - mpmath.log1p(mpmath.exp(-z))


def bulk(loc: float, scale: float) -> np.ndarray:
    """Values of z over the bulk of the distribution, by scipy's quantiles."""
    eta = stats.truncnorm(-loc / scale, np.inf, loc, scale).ppf([1e-4, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
    return eta + np.log(-np.expm1(-eta))


@pytest.mark.parametrize(("dtype", "allowed"), [(np.float32, 4e-5), (np.float64, 2e-12)])
@pytest.mark.parametrize(("loc", "scale"), [*PARAMETERS, (-50.0, 0.5)])
def test_log_prob_and_gradient(loc: float, scale: float, dtype: type, allowed: float) -> None:
    """Errors are relative to the larger of the result and of what its inputs' last digit changes in it."""
    with jax.enable_x64(dtype is np.float64), mpmath.workdps(60):
        z = np.concatenate([bulk(max(loc, -8.0), scale), [-60.0, -20.0, 0.0, 5.0]]).astype(dtype)
        arguments = (z, np.full_like(z, loc), np.full_like(z, scale))
        density = lambda z, loc, scale: SoftplusTruncatedNormal(loc, scale).log_prob(z)
        value = jax.jit(density)(*arguments)
        slopes = jax.jit(jax.vmap(jax.grad(density, argnums=(0, 1, 2))))(*arguments)
        exact = [mpmath.mpf(float(x[0])) for x in arguments[1:]]
        for i, x in enumerate(z):
            at = mpmath.mpf(float(x))
            eta = float(mpmath.log1p(mpmath.exp(at)))
            wanted = [mp_log_density(at, *exact)]
            wanted += [mpmath.diff(mp_log_density, (at, *exact), order) for order in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
            digits = [1.0, eta / scale**2, 1 / scale, (1 + (eta - loc) ** 2 / scale**2) / scale]
            found = [float(r[i]) for r in (value, *slopes)]
            for result, truth, unit in zip(found, wanted, digits, strict=True):
                assert abs(result - truth) < allowed * max(1, unit, abs(truth)), (x, result, truth)


@pytest.mark.parametrize(("loc", "scale"), PARAMETERS)
def test_sampler_cdf_and_quantile(loc: float, scale: float) -> None:
    law = SoftplusTruncatedNormal(loc, scale)
    truth = stats.truncnorm(-loc / scale, np.inf, loc, scale)
    draws = np.asarray(law.sample(jax.random.key(2), (4_000,)))
    assert stats.kstest(draws, lambda z: np.asarray(law.cdf(z.astype(np.float32)))).pvalue > 1e-3
    assert stats.kstest(np.logaddexp(draws, 0), truth.cdf).pvalue > 1e-3
    z = bulk(loc, scale)
    q = np.asarray([1e-4, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
    np.testing.assert_allclose(law.cdf(z.astype(np.float32)), q, rtol=5e-4, atol=2e-5)
    np.testing.assert_allclose(law.icdf(q.astype(np.float32)), z, rtol=2e-3, atol=2e-3)


ONSET = [(0.4 * ratio, 0.4) for ratio in (7.5, 8.4, 8.6, 12.0, 0.01, -0.01, -3.9, -4.1)]
"""Where the origin enters the bulk and where the rules of the quadrature and of the tail change."""


@pytest.mark.parametrize(("loc", "scale"), [*PARAMETERS, *ONSET])
def test_moments_by_quadrature(loc: float, scale: float) -> None:
    law = SoftplusTruncatedNormal(loc, scale)
    truth = stats.truncnorm(-loc / scale, np.inf, loc, scale)
    edges = truth.ppf([1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-12])

    def moment(f: Any) -> float:
        pieces = zip([0.0, *edges[:-1]], edges, strict=True)
        return sum(integrate.quad(lambda y: f(y + np.log(-np.expm1(-y))) * truth.pdf(y), a, b)[0] for a, b in pieces)

    mean = moment(lambda z: z)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(law.variance, moment(lambda z: (z - mean) ** 2), rtol=2e-4)


@pytest.mark.parametrize(("loc", "scale"), [(0.8, 0.5), (-3.0, 0.5)])
def test_samples_are_differentiable(loc: float, scale: float) -> None:
    """The derivative of the mean of the draws is that of the mean, here by central differences."""
    step = 0.02

    def sampled(loc: jax.Array, scale: jax.Array) -> jax.Array:
        return SoftplusTruncatedNormal(loc, scale).sample(jax.random.key(3), (100_000,)).mean()

    def mean(loc: float, scale: float) -> float:
        return float(SoftplusTruncatedNormal(loc, scale).mean)

    differences = [mean(loc + step, scale) - mean(loc - step, scale), mean(loc, scale + step) - mean(loc, scale - step)]
    slopes = jax.jit(jax.grad(sampled, argnums=(0, 1)))(loc, scale)
    np.testing.assert_allclose(slopes, np.array(differences) / (2 * step), rtol=0.04)


def test_is_a_pytree_with_shapes() -> None:
    law = SoftplusTruncatedNormal(jnp.asarray([0.1, 2.0, -30.0]), 0.5)
    assert law.batch_shape == (3,)
    assert law.sample(jax.random.key(0), (5, 2)).shape == (5, 2, 3)
    assert law.log_prob(jnp.zeros((4, 3))).shape == (4, 3)
    assert np.isfinite(law.sample(jax.random.key(0), (1_000,))).all()
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(law)))
    np.testing.assert_array_equal(again.mean, law.mean)


def test_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="SoftplusTruncatedNormal distribution got invalid scale"):
        SoftplusTruncatedNormal(1.0, 0.0, validate_args=True)
