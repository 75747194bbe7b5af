"""Special functions against mpmath at 50 digits, evaluated at exactly the rounded inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special as scipy_special

from scribe._dist import special

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpmath import mpf
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

pytestmark = pytest.mark.optimized

DTYPES = (np.float32, np.float64)


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def precision(dtype: type) -> Any:
    return jax.enable_x64(dtype is np.float64)


def worst(result: Any, reference: list[mpf], *, floor: float = 0.0) -> float:
    """Largest error relative to max(floor, abs(reference)); without a floor zeros must be exact."""
    flat = [mpmath.mpf(float(x)) for x in np.asarray(result).ravel()]
    scales = [max(mpmath.mpf(floor), abs(y)) or mpmath.mpf("1e-300") for y in reference]
    return float(max(abs(x - y) / scale for x, y, scale in zip(flat, reference, scales, strict=True)))


def both_signs(*exponents: tuple[float, float, int]) -> Floats:
    x = np.concatenate([np.logspace(*e) for e in exponents])
    return np.concatenate([x, -x[x < 1], [0.0]])


@dataclass(frozen=True)
class Unary:
    """A function of one variable, its reference and the largest relative errors allowed in float32 and float64."""

    function: Callable[[Any], jax.Array]
    value: Callable[[mpf], mpf]
    slope: Callable[[mpf], mpf]
    points: Floats
    value_errors: tuple[float, float]
    slope_errors: tuple[float, float]
    floor: float = 0.0


def mp_stirling(z: mpf) -> mpf:
    return mpmath.loggamma(z + 1) - (z + 0.5) * mpmath.log(z) + z - mpmath.log(2 * mpmath.pi) / 2


def mp_log_softplus(z: mpf) -> mpf:
    return mpmath.log(mpmath.log1p(mpmath.exp(z)))


NEAR_ONE = 1 - np.logspace(-6, -0.4, 40)
UNARY = {
    "log1pmx": Unary(
        special.log1pmx,
        lambda x: mpmath.log1p(x) - x,
        lambda x: -x / (1 + x),
        np.concatenate([both_signs((-18, 8, 200)), -NEAR_ONE, [-0.5, 1.0]]),
        (6e-7, 1e-15),
        (3e-7, 5e-16),
    ),
    "deviance_term": Unary(
        special.deviance_term,
        lambda t: (1 + t) * mpmath.log1p(t) - t if t > -1 else mpmath.mpf(1),
        mpmath.log1p,
        np.concatenate([both_signs((-18, 8, 200)), -NEAR_ONE, [-0.5, 1.0]]),
        (6e-7, 1e-15),
        (3e-7, 5e-16),
    ),
    "stirling_error": Unary(
        special.stirling_error,
        mp_stirling,
        lambda z: mpmath.digamma(z) - mpmath.log(z) + 1 / (2 * z),
        np.concatenate([np.logspace(-3, 12, 300), [0.5, 1.0, 2.0], 1 - np.logspace(-7, -1, 10)]),
        (2e-6, 1e-14),
        (4e-6, 3e-14),
    ),
    "log1mexp": Unary(
        special.log1mexp,
        lambda x: mpmath.log(-mpmath.expm1(x)),
        lambda x: mpmath.exp(x) / mpmath.expm1(x),
        -np.concatenate([np.logspace(-30, 1.8, 200), [np.log(2.0)]]),
        (4e-7, 1e-15),
        (8e-6, 1e-14),
    ),
    "softplus_inverse": Unary(
        special.softplus_inverse,
        lambda y: y + mpmath.log(-mpmath.expm1(-y)),
        lambda y: -1 / mpmath.expm1(-y),
        np.concatenate([np.logspace(-30, 4, 200), [np.log(2.0)]]),
        (4e-7, 1e-15),
        (4e-7, 1e-15),
        floor=1.0,
    ),
    "log_softplus": Unary(
        special.log_softplus,
        mp_log_softplus,
        lambda z: 1 / ((1 + mpmath.exp(-z)) * mpmath.log1p(mpmath.exp(z))),
        np.concatenate([np.linspace(-300, 300, 301), np.linspace(-19, 5, 100)]),
        (4e-7, 1e-15),
        (8e-7, 2e-15),
        floor=1.0,
    ),
}


def slope_of(function: Callable[[Any], jax.Array]) -> Callable[[Any], jax.Array]:
    return jax.jit(jax.vmap(jax.grad(function)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_value_and_slope(name: str, dtype: type) -> None:
    case, row = UNARY[name], DTYPES.index(dtype)
    # elementary functions of accelerators are a little less exact
    room = 1.0 if jax.default_backend() == "cpu" else 1.5
    with precision(dtype):
        points = case.points.astype(dtype)
        exact = [mpmath.mpf(float(x)) for x in points]
        value, slope = jax.jit(case.function)(points), slope_of(case.function)(points)
        assert value.dtype == slope.dtype == dtype
        assert worst(value, [case.value(x) for x in exact], floor=case.floor) < room * case.value_errors[row]
        assert worst(slope, [case.slope(x) for x in exact], floor=case.floor) < room * case.slope_errors[row]


@pytest.mark.parametrize("name", UNARY)
def test_unary_second_derivative(name: str) -> None:
    case = UNARY[name]
    points = case.points[(np.abs(case.points) < 60) & (np.abs(case.points) > 1e-3)].astype(np.float32)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(case.function))))(points)
    reference = [mpmath.diff(case.slope, mpmath.mpf(float(x))) for x in points]
    assert worst(second, reference, floor=1.0) < 5e-5


@pytest.mark.parametrize("name", UNARY)
def test_unary_jit_changes_nothing_but_rounding(name: str) -> None:
    case = UNARY[name]
    points = np.resize(case.points[::5], 65).astype(np.float32)
    np.testing.assert_allclose(case.function(points), jax.jit(case.function)(points), rtol=1e-6, atol=1e-7)


def test_ends_of_the_domain() -> None:
    assert special.deviance_term(-1.0) == 1.0
    assert special.log1pmx(-1.0) == -jnp.inf
    assert special.log1mexp(-0.0) == -jnp.inf
    assert special.log1mexp(-200.0) == 0.0


def test_softplus_of_both_signs_and_their_slopes() -> None:
    """At zero, too, where the parts that they are made of have kinks."""
    z = np.array([-80.0, -20.0, -1.5, -1e-3, 0.0, 1e-3, 0.7, 20.0, 80.0])
    for sign, number in ((1.0, 0), (-1.0, 1)):
        value, slope = jax.value_and_grad(lambda x, k=number: jnp.sum(special.softplus_both(x)[k]))(jnp.float32(z))
        np.testing.assert_allclose(value, np.logaddexp(0.0, sign * z).sum(), rtol=1e-6)
        np.testing.assert_allclose(slope, sign * scipy_special.expit(sign * z), rtol=1e-6)
        np.testing.assert_allclose(special.softplus_both(jnp.float32(z))[number], np.logaddexp(0, sign * z), rtol=1e-6)


def test_softplus_inverse_undoes_softplus() -> None:
    z = np.linspace(-80, 80, 101, dtype=np.float32)
    np.testing.assert_allclose(special.softplus_inverse(jax.nn.softplus(z)), z, rtol=2e-6)


COUNTS = np.concatenate([np.arange(21), [37, 100, 3_000, 65_536, 1e6], [0.25, 0.5, 2.5]])
SIZES = np.concatenate([np.logspace(-3, 10, 22), [1.0, 16.0]])


@dataclass(frozen=True)
class OfCounts:
    """A function of a count and a size, with its reference and the largest errors allowed."""

    function: Callable[[Any, Any], jax.Array]
    value: Callable[[mpf, mpf], mpf]
    slope: Callable[[mpf, mpf], mpf]
    value_errors: tuple[float, float]
    slope_errors: tuple[float, float]
    value_floor: float


def mp_log_rising(k: mpf, r: mpf) -> mpf:
    return mpmath.loggamma(k + r) - mpmath.loggamma(r) if k else mpmath.mpf(0)


def mp_digamma_difference(k: mpf, r: mpf) -> mpf:
    return mpmath.digamma(k + r) - mpmath.digamma(r) if k else mpmath.mpf(0)


def mp_trigamma_difference(k: mpf, r: mpf) -> mpf:
    return mpmath.polygamma(1, k + r) - mpmath.polygamma(1, r) if k else mpmath.mpf(0)


OF_COUNTS = {
    "log_rising": OfCounts(
        special.log_rising, mp_log_rising, mp_digamma_difference, (2e-6, 1e-14), (6e-7, 1e-14), value_floor=1.0
    ),
    "log_binomial": OfCounts(
        special.log_binomial,
        lambda k, r: mp_log_rising(k, r) - mpmath.loggamma(k + 1),
        mp_digamma_difference,
        (2e-6, 1e-14),
        (6e-7, 1e-14),
        value_floor=1.0,
    ),
    "digamma_difference": OfCounts(
        special.digamma_difference,
        mp_digamma_difference,
        mp_trigamma_difference,
        (6e-7, 1e-14),
        (5e-6, 1e-13),
        value_floor=0.0,
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_COUNTS)
def test_of_counts_value_and_slope(name: str, dtype: type) -> None:
    """The slope in r is held to its own size: at r = 1e10 it is k/r, not noise around zero."""
    case, row = OF_COUNTS[name], DTYPES.index(dtype)
    with precision(dtype):
        k, r = (a.ravel().astype(dtype) for a in np.meshgrid(COUNTS, SIZES))
        exact = [(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(k, r, strict=True)]
        value = jax.jit(case.function)(k, r)
        slope = jax.jit(jax.vmap(jax.grad(case.function, argnums=1)))(k, r)
        assert value.dtype == slope.dtype == dtype
        assert not np.asarray(value)[k == 0].any()
        assert worst(value, [case.value(*x) for x in exact], floor=case.value_floor) < case.value_errors[row]
        assert worst(slope, [case.slope(*x) for x in exact]) < case.slope_errors[row]


@pytest.mark.parametrize("name", ["log_rising", "log_binomial"])
def test_counts_are_data(name: str) -> None:
    function = jax.jit(OF_COUNTS[name].function)
    k, r = jnp.asarray([0.0, 3.0, 1e6]), jnp.asarray([1e-3, 2.0, 1e8])
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.grad(function)))(k, r), np.zeros(3))
    np.testing.assert_array_equal(function(np.asarray([0, 3, 1_000_000]), r), function(k, r))


def test_second_derivative_of_log_binomial() -> None:
    k, r = (a.ravel().astype(np.float32) for a in np.meshgrid(COUNTS, SIZES))
    second = jax.jit(jax.vmap(jax.grad(jax.grad(special.log_binomial, argnums=1), argnums=1)))(k, r)
    exact = [mp_trigamma_difference(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(k, r, strict=True)]
    assert worst(second, exact) < 5e-6


def test_large_size_keeps_the_leading_term() -> None:
    """The two digammas agree to nine digits here, so that their float32 difference would be noise."""
    slope = jax.jit(jax.grad(special.log_rising, argnums=1))(3.0, 1e8)
    np.testing.assert_allclose(slope, 3e-8, rtol=1e-6)


def test_shapes_broadcast_and_batch() -> None:
    k, r = jnp.arange(4.0), jnp.asarray([[0.5], [20.0]])
    table = jax.jit(special.log_rising)(k, r)
    assert table.shape == (2, 4)
    batched = jax.jit(jax.vmap(special.log_rising, in_axes=(None, 0)))(k, r[:, 0])
    np.testing.assert_allclose(batched, table, rtol=1e-6)
    k, r = np.asarray(k), np.asarray(r)
    expected = scipy_special.gammaln(k + r) - scipy_special.gammaln(r)
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)
