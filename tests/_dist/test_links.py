"""Links against mpmath, from underflow to overflow, in both precisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import mpmath
import numpy as np
import pytest
from numpyro.distributions import constraints

from scribe._dist.links import LINKS, Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpmath import mpf

Z = np.array([-700.0, -85, -40, -20, -18, -15.01, -14.99, -5, -1, -1e-3, 0, 1e-3, 0.7, 4.99, 5.01, 15, 30, 80, 600])
"""Both sides of every switch between formulas, and what only float64 can hold."""


def logit(p: mpf) -> mpf:
    return mpmath.log(p) - mpmath.log1p(-p)


@dataclass(frozen=True)
class Row:
    """The map and its inverse, what the likelihoods are written in, and where the parameter itself can be stored."""

    value: Callable[[mpf], mpf]
    inverse: Callable[[mpf], mpf]
    working: Callable[[mpf], mpf]
    unit: bool


TABLE = {
    "exp": Row(mpmath.exp, mpmath.log, mpmath.log, unit=False),
    "softplus": Row(
        lambda z: mpmath.log1p(mpmath.exp(z)), lambda y: mpmath.log(mpmath.expm1(y)), mpmath.log, unit=False
    ),
    "sigmoid": Row(lambda z: 1 / (1 + mpmath.exp(-z)), logit, logit, unit=True),
}

PRECISIONS = {np.float32: 80.0, np.float64: 700.0}
"""Largest absolute value of z with a finite, normal exponential."""


def points(dtype: Any) -> Any:
    return Z[np.abs(Z) <= PRECISIONS[dtype]].astype(dtype)


def errors(found: Any, exact: list[mpf]) -> Any:
    """Relative errors, absolute below one: a parameter near one has a logarithm or logit that is a rounded zero."""
    flat = np.asarray(found).tolist()
    return np.array([float(abs(a - b) / max(abs(b), 1)) for a, b in zip(flat, exact, strict=True)])


@pytest.fixture(params=TABLE)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=PRECISIONS, ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    with jax.enable_x64(request.param is np.float64), mpmath.workdps(400):
        yield request.param


def test_every_link_has_a_row() -> None:
    # weights of components and plain real numbers are no elementwise map to a bounded support
    assert set(TABLE) == set(LINKS) - {"softmax", "identity"}
    assert all(link.name == name for name, link in LINKS.items())


def test_value_keeps_its_digits(name: str, dtype: Any) -> None:
    """Relative to the value, however small."""
    z = points(dtype)
    found = np.asarray(jax.jit(LINKS[name].value)(z))
    assert found.dtype == dtype
    exact = [TABLE[name].value(mpmath.mpf(float(x))) for x in z]
    relative = [float(abs(a - b) / b) for a, b in zip(found.tolist(), exact, strict=True)]
    assert max(relative) < 4 * np.finfo(dtype).eps * max(1, PRECISIONS[dtype] / 40)


def test_working_scale_never_goes_through_the_value(name: str, dtype: Any) -> None:
    """log of a positive parameter, logit of a probability: also where the parameter rounds to 1 or would to 0."""
    z = points(dtype)
    exact = [TABLE[name].working(TABLE[name].value(mpmath.mpf(float(x)))) for x in z]
    assert errors(jax.jit(LINKS[name].working)(z), exact).max() < 4 * np.finfo(dtype).eps


def test_from_working_inverts_working(name: str, dtype: Any) -> None:
    """Against mpmath from the working scale alone; a logarithm above 6.6 would not fit through exp in float32."""
    y = points(dtype)
    row, link = TABLE[name], LINKS[name]
    if row.unit or name == "exp":
        exact = [mpmath.mpf(float(x)) for x in y]
    else:
        y = y[y < np.log(PRECISIONS[dtype]) + 80]
        exact = [row.inverse(mpmath.exp(mpmath.mpf(float(x)))) for x in y]
    found = jax.jit(link.from_working)(y)
    allowed = 4 * np.finfo(dtype).eps * max(1.0, float(np.max(np.abs(y))))
    assert errors(found, exact).max() < allowed
    back = jax.jit(lambda z: link.from_working(link.working(z)))(points(dtype))
    np.testing.assert_allclose(back, points(dtype), rtol=8 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).eps)


def test_inverse(name: str, dtype: Any) -> None:
    """From the parameter itself: as exact as the parameter is, so probabilities stay away from one."""
    z = points(dtype)
    z = z[z < 5] if TABLE[name].unit else z[z < 80]
    value = np.asarray(jax.jit(LINKS[name].value)(z))
    exact = [TABLE[name].inverse(mpmath.mpf(float(v))) for v in value]
    steepest = 1 / np.min(1 - value) if TABLE[name].unit else 1.0
    assert errors(jax.jit(LINKS[name].inverse)(value), exact).max() < 8 * np.finfo(dtype).eps * steepest


def test_slopes_are_finite_and_positive(name: str, dtype: Any) -> None:
    """Of the working scale, which is what is differentiated: against mpmath's derivative."""
    z = points(dtype)
    row = TABLE[name]
    found = jax.jit(jax.vmap(jax.grad(LINKS[name].working)))(z)
    step = mpmath.mpf(10) ** -60

    def slope(x: Any) -> mpf:
        x = mpmath.mpf(float(x))
        return (row.working(row.value(x + step)) - row.working(row.value(x - step))) / (2 * step)

    relative = [float(abs(a - b) / b) for a, b in zip(found.tolist(), map(slope, z), strict=True)]
    assert max(relative) < 1e3 * np.finfo(dtype).eps
    inverse = jax.jit(jax.vmap(jax.grad(LINKS[name].from_working)))(z[z < 80])
    assert np.all(np.isfinite(inverse) & (np.asarray(inverse) > 0))


def test_the_numpyro_transform_is_the_same_map(name: str) -> None:
    link: Link = LINKS[name]
    z = np.linspace(-20, 12, 33, dtype=np.float32)
    np.testing.assert_allclose(link.transform(z), link.value(z), rtol=1e-6)
    support = constraints.unit_interval if TABLE[name].unit else constraints.positive
    assert np.all(support(link.transform(z)))
