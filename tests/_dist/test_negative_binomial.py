"""The contract of the negative binomial: 4e-5 relative to max(1, |reference|) in float32, value and gradient."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats

from scribe._dist import _kernels
from scribe._dist.special import nb_log_pmf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

CONTRACT = 4e-5
ALLOWED = {np.float32: (2e-6, 3e-6, 2e-6), np.float64: (2e-14, 2e-10, 3e-14)}
"""Value, slope in log mean, slope in log size. In float64 the second is limited by the rounding of exp at 1e6."""
SMALLEST, LARGEST = np.log([1e-3, 1e-6, 1.0]), np.log([1e10, 1e6, 1e6])


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def grid() -> tuple[Floats, Floats, Floats]:
    """Corners of the stated ranges, random counts over all magnitudes, and counts close to their mean."""
    corners = itertools.product(
        [0, 1, 2, 5, 100, 1e4, 999_999, 1e6], np.log([1e-6, 1e-3, 1, 30, 1e3, 1e6]), np.log([1e-3, 1, 1e2, 1e5, 1e10])
    )
    rng = np.random.default_rng(15)
    log_size, log_mean, log_count = rng.uniform(SMALLEST, LARGEST, (1_000, 3)).T
    mean = np.exp(log_mean)
    spread = np.sqrt(mean + mean**2 / np.exp(log_size))
    kinds = (np.floor(np.exp(log_count)), np.exp(log_count - 7), mean + rng.normal(size=1_000) * spread, mean)
    counts = np.choose(rng.integers(0, 4, 1_000), kinds)
    counts = np.where(counts > 1, np.round(counts), np.abs(counts))
    random = np.stack([np.clip(counts, 0, 1e6), log_mean, log_size])
    u, log_mean, log_size = np.concatenate([np.array(list(corners)).T, random], axis=1)
    return u, log_mean, log_size


def reference(u: float, log_mean: float, log_size: float) -> tuple[Any, Any, Any]:
    u, mean, size = mpmath.mpf(u), mpmath.exp(mpmath.mpf(log_mean)), mpmath.exp(mpmath.mpf(log_size))
    zero_odds = mpmath.log1p(mean / size)
    value = mpmath.loggamma(u + size) - mpmath.loggamma(size) - mpmath.loggamma(u + 1)
    value += -size * zero_odds - u * mpmath.log1p(size / mean)
    psi = mpmath.digamma(u + size) - mpmath.digamma(size)
    return value, (u - mean) * size / (size + mean), size * (psi - zero_odds + (mean - u) / (mean + size))


def value_and_slopes(u: Floats, log_mean: Floats, log_size: Floats) -> tuple[jax.Array, jax.Array, jax.Array]:
    slopes = jax.grad(lambda m, r: nb_log_pmf(u, m, r).sum(), argnums=(0, 1))(log_mean, log_size)
    return nb_log_pmf(u, log_mean, log_size), *slopes


COMPILED = jax.jit(value_and_slopes)


def errors(result: Any, exact: list[Any]) -> Floats:
    pairs = zip(np.asarray(result), exact, strict=True)
    return np.array([float(abs(mpmath.mpf(float(x)) - y) / max(mpmath.mpf(1), abs(y))) for x, y in pairs])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_and_gradient_against_mpmath(dtype: type) -> None:
    assert max(ALLOWED[np.float32]) < CONTRACT
    with jax.enable_x64(dtype is np.float64):
        arguments = tuple(a.astype(dtype) for a in grid())
        points = np.stack(arguments, axis=1).tolist()
        exact = list(zip(*(reference(*point) for point in points), strict=True))
        results = COMPILED(*arguments)
        for result, truth, allowed in zip(results, exact, ALLOWED[dtype], strict=True):
            assert result.dtype == dtype
            assert errors(result, truth).max() < allowed


def test_without_jit_the_same() -> None:
    arguments = tuple(a[::20].astype(np.float32) for a in grid())
    np.testing.assert_allclose(nb_log_pmf(*arguments), jax.jit(nb_log_pmf)(*arguments), rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("size", [0.3, 4.0, 1e3])
@pytest.mark.parametrize("mean", [0.05, 3.0, 80.0])
def test_probabilities_and_scores(mean: float, size: float) -> None:
    """The pmf sums to 1 and equals scipy's; both scores have mean zero, the first with variance m r/(r+m)."""
    u = np.arange(4_000, dtype=np.float32)
    log_mean, log_size = (np.full_like(u, np.log(x)) for x in (mean, size))
    value, in_mean, in_size = (np.asarray(a, np.float64) for a in COMPILED(u, log_mean, log_size))
    np.testing.assert_allclose(value[:50], stats.nbinom.logpmf(u[:50], size, size / (size + mean)), rtol=2e-5)
    probability = np.exp(value)
    np.testing.assert_allclose(probability.sum(), 1.0, rtol=2e-6)
    np.testing.assert_allclose(probability @ in_mean, 0.0, atol=1e-5 * mean)
    np.testing.assert_allclose(probability @ in_size, 0.0, atol=1e-5)
    np.testing.assert_allclose(probability @ in_mean**2, mean * size / (size + mean), rtol=2e-4)


def test_zeros_keep_their_relative_accuracy() -> None:
    """97 % of the entries of a matrix are zeros with tiny log-probabilities: their errors must not add up."""
    log_mean, log_size = (a.ravel().astype(np.float32) for a in np.meshgrid(np.linspace(-13, 13), np.linspace(-6, 23)))
    mean, size = np.exp(log_mean.astype(float)), np.exp(log_size.astype(float))
    value, in_mean, in_size = COMPILED(np.zeros_like(log_mean), log_mean, log_size)
    np.testing.assert_allclose(value, -size * np.log1p(mean / size), rtol=3e-6)
    np.testing.assert_allclose(in_mean, -mean * size / (size + mean), rtol=3e-6)
    odds = mean / size
    exact = np.where(odds < 1e-4, odds**2 * (2 / 3 * odds - 0.5), odds / (1 + odds) - np.log1p(odds)) * size
    np.testing.assert_allclose(in_size, exact, rtol=6e-6, atol=1e-30)


def mp_hessian(u: float, log_mean: float, log_size: float) -> Floats:
    """Derivatives of both slopes by mpmath's differences."""
    at = (mpmath.mpf(log_mean), mpmath.mpf(log_size))
    orders = ((1, 0), (0, 1))
    rows = [[mpmath.diff(lambda m, r, i=i: reference(u, m, r)[i], at, order) for order in orders] for i in (1, 2)]
    return np.array(rows, float)


def test_hessian_against_mpmath() -> None:
    u = np.array([0, 1, 7, 300, 2, 50, 0.5])
    log_mean = np.log([0.2, 0.01, 9.0, 250.0, 1e3, 40.0, 0.7])
    log_size = np.log([0.5, 0.01, 3.0, 1e4, 0.1, 1e6, 0.9])
    points = np.stack([u, log_mean, log_size], axis=1).astype(np.float32)
    hessian = jax.jit(jax.vmap(jax.hessian(lambda x: nb_log_pmf(*x))))(points)[:, 1:, 1:]
    expected = [mp_hessian(*point) for point in points.tolist()]
    np.testing.assert_allclose(hessian, expected, rtol=2e-5, atol=2e-5)


def test_beyond_the_stated_ranges_all_is_finite() -> None:
    extremes = np.array([-1e4, -100.0, -50.0, 0.0, 50.0, 100.0, 1e4], np.float32)
    points = np.meshgrid(np.array([0.0, 0.001, 1.0, 1e6], np.float32), extremes, extremes)
    arguments = [p.ravel() for p in points]
    for result in COMPILED(*arguments):
        assert np.isfinite(result).all()
    hessian = jax.jit(jax.vmap(jax.hessian(nb_log_pmf, argnums=2)))(*arguments)
    assert np.isfinite(hessian).all()


def test_counts_may_be_integers_and_ranks_differ() -> None:
    u = jnp.arange(6).reshape(2, 3)
    table = jax.jit(nb_log_pmf)(u, jnp.asarray([0.1, 0.2, 0.3]), 0.5)
    assert table.shape == (2, 3)
    one = jax.jit(nb_log_pmf)(4.0, 0.2, 0.5)
    np.testing.assert_allclose(table[1, 1], one, rtol=1e-6)
    assert jax.jit(jax.grad(nb_log_pmf))(3.0, 0.1, 0.5) == 0.0


def test_residual_of_a_large_count() -> None:
    """A plain float32 exponential is off by up to 0.06 at 1e6; the compensated one by less than 1e-5."""
    log_mean = np.log(np.linspace(9e5, 1.1e6, 500)).astype(np.float32)
    exact = [mpmath.exp(mpmath.mpf(float(x))) for x in log_mean]
    u = np.array([round(float(x)) for x in exact], np.float32)
    residual = jax.jit(_kernels.count_residual)(u, log_mean)
    differences = [
        float(mpmath.mpf(float(a)) - (mpmath.mpf(float(b)) - c)) for a, b, c in zip(residual, u, exact, strict=True)
    ]
    assert np.abs(differences).max() < 1e-5
    slope = jax.jit(jax.vmap(jax.grad(_kernels.count_residual, argnums=1)))(u, log_mean)
    np.testing.assert_allclose(slope, -np.exp(log_mean.astype(float)), rtol=1e-6)
