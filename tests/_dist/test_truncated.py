"""SoftplusTruncatedNormal against scipy's truncated normal, deep tails against mpmath, and its own sampler."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import integrate, special, stats

from scribe._dist.truncated import SoftplusTruncatedNormal

PARAMETERS = [(3.0, 0.3), (0.5, 0.5), (-0.3, 1.0), (-2.0, 0.49), (-6.0, 0.3), (60.0, 2.0)]
"""From hardly truncated to 20 standard deviations outside the support; the fourth sits next to the switch at 4."""


def density(z: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    return SoftplusTruncatedNormal(loc, scale).log_prob(z)


DENSITY, CDF, ICDF = jax.jit(density), jax.jit(SoftplusTruncatedNormal.cdf), jax.jit(SoftplusTruncatedNormal.icdf)
SLOPES = jax.jit(jax.vmap(jax.grad(density, argnums=(0, 1, 2))))
SAMPLE = jax.jit(SoftplusTruncatedNormal.sample, static_argnums=2)
QUANTILE_SLOPES = jax.jit(
    jax.vmap(jax.grad(lambda q, loc, scale: SoftplusTruncatedNormal(loc, scale).icdf(q), argnums=(1, 2)))
)
MOMENTS = jax.jit(lambda law: (law.mean, law.variance))


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
    """Errors are relative to the result or, where larger, to the scale on which a step of its inputs changes it."""
    with jax.enable_x64(dtype is np.float64), mpmath.workdps(60):
        z = np.concatenate([bulk(max(loc, -8.0), scale), [-60.0, -20.0, 0.0, 5.0]]).astype(dtype)
        arguments = (z, np.full_like(z, loc), np.full_like(z, scale))
        value, slopes = DENSITY(*arguments), SLOPES(*arguments)
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
    draws = np.asarray(SAMPLE(law, jax.random.key(2), (4_000,)))
    assert stats.kstest(np.logaddexp(draws, 0), truth.cdf).pvalue > 1e-3
    z = bulk(loc, scale)
    q = np.asarray([1e-4, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
    cdf = np.asarray(CDF(law, np.concatenate([z.astype(np.float32), draws])))
    assert stats.kstest(cdf[7:], "uniform").pvalue > 1e-3
    np.testing.assert_allclose(cdf[:7], q, rtol=5e-4, atol=2e-5)
    np.testing.assert_allclose(ICDF(law, q.astype(np.float32)), z, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("loc", "scale"), [(2.0, 1.5), (-4.1, 1.0), (-15.0, 0.5)])
def test_quantiles_undo_the_distribution_function_to_rounding_in_double_precision(loc: float, scale: float) -> None:
    q = np.asarray([1e-4, 0.01, 0.5, 0.9, 0.99])
    with jax.enable_x64(True):
        law = SoftplusTruncatedNormal(jnp.asarray(loc), jnp.asarray(scale))
        np.testing.assert_allclose(CDF(law, ICDF(law, q)), q, rtol=1e-10)


ONSET = [(0.4 * ratio, 0.4) for ratio in (7.5, 8.4, 8.6, 12.0, 0.01, -0.01, -3.9, -4.1)]
"""Where the origin enters the bulk and where the rules of the quadrature and of the tail change."""


@pytest.mark.parametrize(("loc", "scale"), [*PARAMETERS, *ONSET])
def test_moments_by_quadrature(loc: float, scale: float) -> None:
    found_mean, found_variance = MOMENTS(SoftplusTruncatedNormal(loc, scale))
    edges = stats.truncnorm(-loc / scale, np.inf, loc, scale).ppf([1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-12])
    log_mass = special.log_ndtr(loc / scale) + math.log(scale * math.sqrt(2 * math.pi))

    def moment(f: Any) -> float:
        def integrand(eta: float) -> float:
            return f(eta + math.log(-math.expm1(-eta))) * math.exp(-0.5 * ((eta - loc) / scale) ** 2 - log_mass)

        pieces = zip([0.0, *edges[:-1]], edges, strict=True)
        return sum(integrate.quad(integrand, a, b)[0] for a, b in pieces)

    mean = moment(lambda z: z)
    np.testing.assert_allclose(found_mean, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found_variance, moment(lambda z: (z - mean) ** 2), rtol=2e-4)


def inverse_mills(x: np.ndarray) -> np.ndarray:
    return np.exp(stats.norm.logpdf(x) - special.log_ndtr(x))


@pytest.mark.parametrize(("loc", "scale"), PARAMETERS)
def test_samples_are_differentiable(loc: float, scale: float) -> None:
    """A draw is a quantile, whose derivatives follow from holding Phi((loc-eta)/scale)/Phi(loc/scale) fixed."""
    z = bulk(loc, scale)[1:-1]
    arguments = np.array([0.01, 0.2, 0.5, 0.8, 0.99], np.float32), *(np.full(5, x, np.float32) for x in (loc, scale))
    in_loc, in_scale = QUANTILE_SLOPES(*arguments)
    eta = np.logaddexp(z, 0)
    x, beta = (loc - eta) / scale, loc / scale
    ratio = inverse_mills(beta) / inverse_mills(x)
    stretch = -1 / np.expm1(-eta)
    np.testing.assert_allclose(in_loc, stretch * (1 - ratio), rtol=2e-3)
    np.testing.assert_allclose(in_scale, stretch * (beta * ratio - x), rtol=2e-3, atol=2e-3)


def test_is_a_pytree_with_shapes() -> None:
    law = SoftplusTruncatedNormal(jnp.asarray([0.1, 2.0, -30.0]), 0.5)
    assert law.batch_shape == (3,)
    assert jax.eval_shape(lambda: law.sample(jax.random.key(0), (5, 2))).shape == (5, 2, 3)
    log_prob = jax.jit(SoftplusTruncatedNormal.log_prob)(law, jnp.zeros((4, 3)))
    assert log_prob.shape == (4, 3)
    batched = jax.jit(jax.vmap(SoftplusTruncatedNormal.log_prob))(law, jnp.zeros(3))
    np.testing.assert_allclose(batched, log_prob[0], rtol=1e-6)
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(law)))
    assert again.batch_shape == law.batch_shape
    np.testing.assert_array_equal(again.loc, law.loc)
    np.testing.assert_array_equal(again.scale, law.scale)


def test_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="SoftplusTruncatedNormal distribution got invalid scale"):
        SoftplusTruncatedNormal(1.0, 0.0, validate_args=True)
