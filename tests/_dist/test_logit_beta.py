"""LogitBeta against scipy's Beta on the logit scale, mpmath for the density, and its own sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special, stats

from scribe._dist.logit_beta import LogitBeta

if TYPE_CHECKING:
    from mpmath import mpf

SHAPES = [(0.02, 0.5), (1.0, 1.0), (2.0, 7.5), (400.0, 3.0), (3e5, 1e6)]


def density(z: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    return LogitBeta(a, b).log_prob(z)


DENSITY, CDF = jax.jit(density), jax.jit(LogitBeta.cdf)
SLOPES = jax.jit(jax.vmap(jax.grad(density, argnums=(0, 1, 2))))
SAMPLE = jax.jit(LogitBeta.sample, static_argnums=2)
MOMENTS = jax.jit(lambda law: (law.mean, law.variance))


def mp_log_density(z: mpf, a: mpf, b: mpf) -> mpf:
    log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
    return -a * mpmath.log1p(mpmath.exp(-z)) - b * mpmath.log1p(mpmath.exp(z)) - log_beta


def points(a: float, b: float) -> np.ndarray:
    """The bulk, in standard deviations, and both tails."""
    centre, spread = np.log(a / b), np.sqrt(special.polygamma(1, a) + special.polygamma(1, b))
    return np.concatenate([centre + spread * np.linspace(-6, 6, 13), [-200.0, -80.0, -3.0, 0.0, 3.0, 80.0, 200.0]])


@pytest.mark.parametrize(("dtype", "allowed"), [(np.float32, 1e-5), (np.float64, 2e-14)])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_log_prob_and_gradient(a: float, b: float, dtype: type, allowed: float) -> None:
    """Also for a concentration of a million, where log-gammas in float32 are off by whole units.

    On top of the relative error the result may move as much as the last digit of the logit moves it.
    """
    with jax.enable_x64(dtype is np.float64), mpmath.workdps(50):
        z = points(a, b).astype(dtype)
        arguments = (z, np.full_like(z, a), np.full_like(z, b))
        value, slopes = DENSITY(*arguments), SLOPES(*arguments)
        exact = [mpmath.mpf(float(x[0])) for x in arguments[1:]]
        for i, x in enumerate(z):
            at = mpmath.mpf(float(x))
            p, q = special.expit(float(x)), special.expit(-float(x))
            wanted = [mp_log_density(at, *exact)]
            wanted += [mpmath.diff(mp_log_density, (at, *exact), order) for order in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
            moves = [abs(wanted[1]), (a + b) * p * q, q, p]
            found = [float(r[i]) for r in (value, *slopes)]
            for result, truth, move in zip(found, wanted, moves, strict=True):
                digit = 2 * np.finfo(dtype).eps * max(1.0, abs(float(x)))
                assert abs(result - truth) < allowed * max(1, abs(truth)) + digit * move, (x, result, truth)


@pytest.mark.parametrize(("a", "b"), SHAPES[:4])
def test_sampler_agrees_with_cdf_and_moments(a: float, b: float) -> None:
    law = LogitBeta(a, b)
    mean, variance = MOMENTS(law)
    draws = np.asarray(SAMPLE(law, jax.random.key(1), (4_000,)))
    assert stats.kstest(np.asarray(CDF(law, draws)), "uniform").pvalue > 1e-3
    np.testing.assert_allclose(draws.mean(), mean, atol=5 * np.sqrt(variance / 4_000))
    np.testing.assert_allclose(mean, special.digamma(a) - special.digamma(b), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, special.polygamma(1, a) + special.polygamma(1, b), rtol=1e-5)


@pytest.mark.parametrize(("a", "b"), SHAPES[:4])
def test_cdf_against_scipy(a: float, b: float) -> None:
    z = np.linspace(-30, 30, 61)
    expected = np.where(z < 0, stats.beta.cdf(special.expit(z), a, b), stats.beta.sf(special.expit(-z), b, a))
    np.testing.assert_allclose(CDF(LogitBeta(a, b), z.astype(np.float32)), expected, rtol=2e-4, atol=1e-6)


def test_cdf_where_the_probability_underflows() -> None:
    """With a shape of 0.02 a sixth of the mass lies below logit -88, where p is no float32."""
    z = np.array([-500.0, -120.0, -88.0, -30.0, -7.5], np.float32)
    expected = [float(mpmath.betainc(0.02, 0.5, 0, 1 / (1 + mpmath.exp(-float(x))), regularized=True)) for x in z]
    np.testing.assert_allclose(CDF(LogitBeta(0.02, 0.5), z), expected, rtol=5e-5)
    np.testing.assert_allclose(1 - np.asarray(CDF(LogitBeta(0.5, 0.02), -z)), expected, rtol=5e-5, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), SHAPES[1:])
def test_density_integrates_to_one(a: float, b: float) -> None:
    law = LogitBeta(a, b)
    mean, variance = map(float, MOMENTS(law))
    centre, spread = mean, variance**0.5
    z = np.linspace(centre - 14 * spread, centre + 10 * spread, 20_001)
    density = np.exp(np.asarray(DENSITY(z.astype(np.float32), *map(jnp.asarray, (a, b))), float))
    np.testing.assert_allclose(np.trapezoid(density, z), 1.0, rtol=3e-4)


def test_curvature_at_the_centre() -> None:
    """The curvature in z is -(a+b) p (1-p), at the mode too, where the density is written with an absolute value."""
    curvature = jax.jit(jax.grad(jax.grad(lambda z: LogitBeta(4.0, 4.0).log_prob(z))))
    for z in (0.0, 0.5, -3.0):
        np.testing.assert_allclose(curvature(z), -8 * special.expit(z) * special.expit(-z), rtol=1e-5)


def test_samples_are_differentiable() -> None:
    """The derivative of the mean is the trigamma function of each shape."""

    def mean(a: jax.Array, b: jax.Array) -> jax.Array:
        return LogitBeta(a, b).sample(jax.random.key(0), (10_000,)).mean()

    slopes = jax.jit(jax.grad(mean, argnums=(0, 1)))(2.0, 5.0)
    np.testing.assert_allclose(slopes, [special.polygamma(1, 2), -special.polygamma(1, 5)], rtol=0.04)


def test_is_a_pytree_with_shapes() -> None:
    law, zeros = LogitBeta(jnp.asarray([1.0, 2.0, 3.0]), 0.5), jnp.zeros((4, 3))
    assert law.batch_shape == (3,)
    assert jax.eval_shape(lambda: law.sample(jax.random.key(0), (5, 2))).shape == (5, 2, 3)
    log_prob = jax.jit(LogitBeta.log_prob)(law, zeros)
    assert log_prob.shape == (4, 3)
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(law)))
    assert again.batch_shape == law.batch_shape
    np.testing.assert_array_equal(again.concentration1, law.concentration1)
    np.testing.assert_array_equal(again.concentration0, law.concentration0)
    batched = jax.jit(jax.vmap(LogitBeta.log_prob))(law, zeros[0])
    np.testing.assert_allclose(batched, log_prob[0], rtol=1e-6)


def test_shapes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="LogitBeta distribution got invalid concentration0"):
        LogitBeta(1.0, -1.0, validate_args=True)
