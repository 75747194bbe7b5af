"""Poisson-Beta probabilities and the law of the share of time on: against Kummer's function by mpmath, and limits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats

from scribe._dist.poisson_beta import TiltedBeta, poisson_beta_log_pmf
from scribe._dist.special import nb_log_pmf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHAPES = (0.05, 0.4, 3.0, 50.0, 1e3)
RATES = (1e-3, 0.3, 12.0, 300.0, 1e4)
SHARES = (0.0, 0.1, 0.6, 0.97, 1.1)
"""Counts relative to the rate."""

ALLOWED = {np.float32: (4e-5, 2e-3), np.float64: (2e-8, 2e-7)}
"""Errors of the value and of its slopes, relative to max(1, abs(reference))."""


@functools.cache
def log_integral(a: Any, b: Any, rate: Any) -> Any:
    """Integral of ``p^(a-1) q^(b-1) exp(-rate p)``, by a series of positive terms."""
    series = mpmath.hyp1f1(b, a + b, rate, maxterms=10**6)
    return mpmath.log(series) - rate + mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)


def log_pmf(u: Any, log_rate: Any, a: Any, b: Any) -> Any:
    log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
    whole = log_integral(a + u, b, mpmath.exp(log_rate))
    return u * log_rate - mpmath.loggamma(u + 1) + whole - log_beta


def value_and_slopes(u: Floats, log_rate: Floats, a: Floats, b: Floats) -> tuple[jax.Array, ...]:
    slopes = jax.grad(lambda *x: poisson_beta_log_pmf(u, *x).sum(), argnums=(0, 1, 2))(log_rate, a, b)
    return poisson_beta_log_pmf(u, log_rate, a, b), slopes[0], slopes[1] * a, slopes[2] * b


COMPILED = jax.jit(value_and_slopes)
N_CASES = 114
"""Of all calls, so that they share what is compiled."""


@functools.cache
def cases() -> tuple[tuple[Floats, ...], Floats]:
    """Arguments exact in single precision, and value and derivatives by logarithms from mpmath."""
    rng = np.random.default_rng(0)
    corners = [(np.round(s * r), r, a, b) for s in SHARES for r in RATES for a in SHAPES for b in SHAPES]
    few = [corners[i] for i in rng.choice(len(corners), N_CASES - 4, replace=False)]
    few += [(1500.0, 0.01, 2.0, 3.0), (1000.0, 1e4, 0.05, 0.05), (9700.0, 1e4, 0.05, 0.05), (0.0, 20.0, 0.05, 0.05)]
    u, rate, a, b = np.array(few).T
    arguments = tuple(x.astype(np.float32).astype(float) for x in (u, np.log(rate), a, b))
    mpmath.mp.dps = 40
    found = []
    for point in zip(*arguments, strict=True):
        n, log_rate, on, off = (mpmath.mpf(x) for x in point)
        h = mpmath.mpf(10) ** -12

        def slope(scaled: Any, n: Any = n, log_rate: Any = log_rate, on: Any = on, off: Any = off, h: Any = h) -> Any:
            x, a, b = scaled
            ends = (log_pmf(n, log_rate + s * x, on * (1 + s * a), off * (1 + s * b)) for s in (h, -h))
            return (next(ends) - next(ends)) / (2 * h)

        axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        found.append([float(x) for x in (log_pmf(n, log_rate, on, off), *(slope(axis) for axis in axes))])
    return arguments, np.array(found).T


@pytest.fixture
def as_users_compile() -> Iterator[None]:
    """With optimisations, without which slopes in single precision lose a little more."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.usefixtures("as_users_compile")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_and_slopes_against_mpmath(dtype: type) -> None:
    arguments, exact = cases()
    with jax.enable_x64(dtype is np.float64):
        results = COMPILED(*(jnp.asarray(x, dtype) for x in arguments))
    for result, truth, allowed in zip(results, exact, [ALLOWED[dtype][0]] + 3 * [ALLOWED[dtype][1]], strict=True):
        assert result.dtype == dtype
        error = np.abs(np.asarray(result, float) - truth) / np.maximum(1, np.abs(truth))
        assert error.max() < allowed


def test_second_derivatives_against_differences_of_the_slopes() -> None:
    """Zero counts included: the engine differentiates twice."""
    u = np.array([0.0, 3.0, 40.0, 2.0])
    at = np.array([(1.0, 0.4, 7.0), (2.5, 1.2, 0.3), (4.0, 8.0, 2.0), (-3.0, 0.2, 0.1)])
    with jax.enable_x64(True):
        gradient = jax.jit(jax.vmap(jax.grad(lambda x, n: poisson_beta_log_pmf(n, *x))))
        hessian = jax.jit(jax.vmap(jax.hessian(lambda x, n: poisson_beta_log_pmf(n, *x))))
        found, step = np.asarray(hessian(at, u)), 1e-5
        for i in range(3):
            move = step * np.eye(3)[i]
            expected = (np.asarray(gradient(at + move, u)) - np.asarray(gradient(at - move, u))) / (2 * step)
            np.testing.assert_allclose(found[:, i], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("as_users_compile")
def test_negative_binomial_limit() -> None:
    """With b to infinity at a fixed burst size rate/b the share is a gamma variable: the error falls as 1/b."""
    a, burst = 1.7, 4.0
    with jax.enable_x64(True):
        u, b = (x.ravel() for x in np.meshgrid(np.arange(N_CASES / 3), np.array([1e3, 1e4, 1e5])))
        found = COMPILED(*map(jnp.asarray, (u, np.log(burst * b), np.full_like(b, a), b)))[0]
        expected = nb_log_pmf(u, np.full_like(u, np.log(a * burst)), np.full_like(u, np.log(a)))
    errors = np.abs(np.asarray(found) - np.asarray(expected)).reshape(3, -1).max(axis=1)
    np.testing.assert_allclose(errors[:-1] / errors[1:], 10, rtol=0.25)
    assert errors[-1] < 0.02


@pytest.mark.usefixtures("as_users_compile")
def test_poisson_limit() -> None:
    """A promoter that is always on."""
    u = np.arange(N_CASES, dtype=np.float32) % 40
    found = COMPILED(jnp.asarray(u), *(jnp.full(N_CASES, x, np.float32) for x in (np.log(9.0), 1e3, 1e-6)))
    np.testing.assert_allclose(found[0], stats.poisson.logpmf(u, 9.0), rtol=2e-5)
    np.testing.assert_allclose(found[1], u - 9.0, rtol=1e-4, atol=1e-4)


LAWS = ((0.05, 0.05, 10.0), (0.05, 30.0, 3.0), (4.0, 0.3, 50.0), (500.0, 2.0, 1e3), (20.0, 30.0, 1e-17))


@pytest.mark.parametrize(("dtype", "allowed"), [(np.float32, 2e-5), (np.float64, 1e-9)])
def test_moments_of_the_share_on(dtype: type, allowed: float) -> None:
    mpmath.mp.dps = 40
    with jax.enable_x64(dtype is np.float64):
        mean, variance = TiltedBeta(*(jnp.asarray(x, dtype) for x in np.array(LAWS).T)).moments()
    for i, law in enumerate(LAWS):
        a, b, rate = (mpmath.mpf(x) for x in law)
        first, second = (mpmath.exp(log_integral(a + k, b, rate) - log_integral(a, b, rate)) for k in (1, 2))
        np.testing.assert_allclose(mean[i], float(first), rtol=allowed)
        np.testing.assert_allclose(variance[i], float(second - first**2), rtol=allowed)


def test_draws_of_the_share_on() -> None:
    """Mean and variance of draws, by their standard errors."""
    n = 4000
    law = TiltedBeta(*(jnp.broadcast_to(jnp.asarray(x, np.float32), (n, len(LAWS))) for x in np.array(LAWS).T))
    draws = np.asarray(jax.jit(law.sample)(jax.random.key(3)), float)
    mean, variance = (np.asarray(x, float)[0] for x in TiltedBeta(*(x[:1] for x in law)).moments())
    assert np.abs((draws.mean(axis=0) - mean) / np.sqrt(variance / n)).max() < 4
    square = (draws - mean) ** 2
    assert np.abs((square.mean(axis=0) - variance) / (square.std(axis=0) / np.sqrt(n))).max() < 4
