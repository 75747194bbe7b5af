r"""Special functions of count models, elementwise and accurate to rounding in float32 and float64.

Every function takes arrays that broadcast, can be transformed by ``jit``, ``vmap`` and ``grad``, and has an analytic
derivative that can be differentiated again.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from scribe._dist._kernels import (
    as_floats,
    digamma_tail,
    log1pmx_of_log,
    promote,
    scaled_digamma_error,
    stirling_error_of_log,
    stirling_tail,
)
from scribe._dist._negative_binomial import nb_log_pmf
from scribe._types import Array

__all__ = [
    "deviance_term",
    "digamma_difference",
    "log1mexp",
    "log1pmx",
    "log_binomial",
    "log_rising",
    "log_softplus",
    "nb_log_pmf",
    "softplus_both",
    "softplus_inverse",
    "stirling_error",
]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SOFTPLUS_IS_EXP = -18.0
"""Below it softplus(z) = exp(z) (1 - exp(z)/2) to float64 rounding of the logarithm."""


@jax.custom_jvp
def _log1pmx(x: Array) -> Array:
    return log1pmx_of_log(x, jnp.log1p(x))


_log1pmx.defjvps(lambda t, _, x: -x / (1.0 + x) * t)


def log1pmx(x: ArrayLike) -> Array:
    r"""Compute :math:`\log(1+x) - x` for :math:`x \ge -1`, without cancellation near 0; minus infinity at -1.

    For :math:`x \in [-1/2, 1]` it sums :math:`2\,\mathrm{artanh}(s) - x` with :math:`s = x/(2+x)`, that is
    :math:`s\{2s^2(\tfrac13 + \tfrac15 s^2 + \dots) - x\}` (Loader 2000). The derivative is :math:`-x/(1+x)`.
    """
    return _log1pmx(*as_floats(x))


@jax.custom_jvp
def _deviance_term(t: Array) -> Array:
    near = (t >= -0.5) & (t <= 1.0)
    inside = jnp.where(near, t, 0.0)
    far = jnp.where(near, 0.0, t)
    q = 1.0 + far
    direct = jnp.where(q > 0.0, q * jnp.log1p(jnp.where(q > 0.0, far, 0.0)), 0.0) - far
    square = inside * inside
    return jnp.where(near, square + (1.0 + inside) * _log1pmx(inside), direct)


_deviance_term.defjvps(lambda dt, _, t: jnp.log1p(t) * dt)


def deviance_term(t: ArrayLike) -> Array:
    r"""Compute :math:`(1+t)\log(1+t) - t` for :math:`t \ge -1`, the unit deviance of a Poisson count.

    With observed :math:`u = (1+t) m`, :math:`m` times this is :math:`u\log(u/m) - (u - m)` (Loader's ``bd0``). It is
    :math:`t^2 + (1+t)L(t)` with :math:`L(t) = \log(1+t) - t` near 0, and 1 at :math:`t = -1`. The derivative is
    :math:`\log(1+t)`.
    """
    return _deviance_term(*as_floats(t))


@jax.custom_jvp
def _stirling_error(z: Array) -> Array:
    return stirling_error_of_log(z, jnp.log(z))


_stirling_error.defjvps(lambda t, _, z: scaled_digamma_error(z, jnp.log(z)) / z * t)


def stirling_error(z: ArrayLike) -> Array:
    r"""Error of Stirling's formula, :math:`\delta(z) = \log\Gamma(z+1) - (z+\tfrac12)\log z + z - \tfrac12\log 2\pi`.

    For :math:`z > 0` it is positive and decays as :math:`1/(12 z)` (Loader 2000). The derivative is
    :math:`\psi(z) - \log z + 1/(2z)`.
    """
    return _stirling_error(*as_floats(z))


def _digamma_difference(k: Array, r: Array) -> Array:
    base, total = r + 1.0, k + r + 1.0
    rational = k / (k + r) / r + 0.5 * (k / base) / total
    difference = rational + jnp.log1p(k / base) + (digamma_tail(total) - digamma_tail(base))
    return jnp.where(k == 0.0, 0.0, difference)  # fused multiply-adds leave a residue of the two equal tails


def digamma_difference(k: ArrayLike, r: ArrayLike) -> Array:
    r"""Compute :math:`\psi(k+r) - \psi(r)` without cancellation, also for :math:`r \gg k`, where it is :math:`k/r`.

    Both arguments are moved up by one, and the logarithms and reciprocals of the expansion of :math:`\psi` are
    subtracted in closed form:

    .. math::
        \frac{k}{r(k+r)} + \log\Bigl(1 + \frac{k}{r+1}\Bigr) + \frac{k}{2(r+1)(k+r+1)} + \delta'(k+r+1) - \delta'(r+1).

    ``k`` is not negative, a count or real, and ``r`` is positive. The result is exactly 0 at ``k = 0``.
    """
    return _digamma_difference(*promote(k, r))


@jax.custom_jvp
def _log_rising(k: Array, r: Array) -> Array:
    base, total = r + 1.0, k + r + 1.0
    leading = k * jnp.log(total) + (r + 0.5) * jnp.log1p(k / base) - k
    value = leading + (stirling_tail(total) - stirling_tail(base)) + jnp.log(r / (k + r))
    return jnp.where(k == 0.0, 0.0, value)


_log_rising.defjvps(None, lambda t, _, k, r: _digamma_difference(k, r) * t)


def log_rising(k: ArrayLike, r: ArrayLike) -> Array:
    r"""Logarithm of the rising factorial, :math:`\log\Gamma(k+r) - \log\Gamma(r)`.

    Stirling's formula at :math:`k+r+1` and :math:`r+1`, with the logarithms merged:

    .. math::
        k\log(k+r+1) + (r+\tfrac12)\log\Bigl(1 + \frac{k}{r+1}\Bigr) - k + \delta(k+r+1) - \delta(r+1)
        - \log\Bigl(1 + \frac{k}{r}\Bigr).

    ``k`` are counts, or other values that are not negative: data, with respect to which the derivative is taken as
    zero. By the positive ``r`` it is :math:`\psi(k+r) - \psi(r)`. The result is exactly 0 at ``k = 0``.
    """
    return _log_rising(*promote(k, r))


@jax.custom_jvp
def _log_binomial(k: Array, r: Array) -> Array:
    base, total, next_k = r + 1.0, k + r + 1.0, k + 1.0
    leading = k * jnp.log1p(r / next_k) + (r + 0.5) * jnp.log1p(k / base)
    tails = stirling_tail(total) - stirling_tail(base) - stirling_tail(next_k)
    value = leading + tails + (1.0 - _HALF_LOG_2PI) - jnp.log(jnp.sqrt(next_k) * (k / r + 1.0))
    return jnp.where(k == 0.0, 0.0, value)


_log_binomial.defjvps(None, lambda t, _, k, r: _digamma_difference(k, r) * t)


def log_binomial(k: ArrayLike, r: ArrayLike) -> Array:
    r"""Logarithm of the negative binomial coefficient, :math:`\log\Gamma(k+r) - \log\Gamma(r) - \log k!`.

    Written as a sum of terms none of which exceeds the result by much:

    .. math::
        k\log\Bigl(1 + \frac{r}{k+1}\Bigr) + (r+\tfrac12)\log\Bigl(1 + \frac{k}{r+1}\Bigr) - \tfrac12\log(k+1)
        - \log\Bigl(1 + \frac{k}{r}\Bigr) + \delta(k+r+1) - \delta(r+1) - \delta(k+1) + 1 - \tfrac12\log 2\pi.

    Arguments, derivatives and the value at ``k = 0`` are as those of `log_rising`.
    """
    return _log_binomial(*promote(k, r))


@jax.custom_jvp
def _log1mexp(x: Array) -> Array:
    near = x > -math.log(2)
    small, large = jnp.where(near, x, -1.0), jnp.where(near, -1.0, x)
    return jnp.where(near, jnp.log(-jnp.expm1(small)), jnp.log1p(-jnp.exp(large)))


_log1mexp.defjvps(lambda t, _, x: jnp.exp(x) / jnp.expm1(x) * t)


def log1mexp(x: ArrayLike) -> Array:
    r"""Compute :math:`\log(1 - e^x)` for :math:`x < 0`, with the branches of Maechler (2012); minus infinity at 0.

    The derivative is :math:`e^x/(e^x - 1)`.
    """
    return _log1mexp(*as_floats(x))


@jax.custom_jvp
def softplus_both(x: Array) -> tuple[Array, Array]:
    """``softplus(x)`` and ``softplus(-x)``, from one exponential and one logarithm."""
    rest = jnp.log1p(jnp.exp(-jnp.abs(x)))
    return jnp.maximum(x, 0.0) + rest, jnp.maximum(-x, 0.0) + rest


@softplus_both.defjvp
def _softplus_both_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    # the parts above have a kink at zero each, where their slopes do not add up to a half
    (x,), (dx,) = primals, tangents
    return softplus_both(x), (jax.nn.sigmoid(x) * dx, -jax.nn.sigmoid(-x) * dx)


def softplus_inverse(y: ArrayLike) -> Array:
    r"""Solve :math:`\log(1 + e^z) = y > 0` for :math:`z`: :math:`z = y + \log(1 - e^{-y})`."""
    (y,) = as_floats(y)
    return y + _log1mexp(-y)


@jax.custom_jvp
def _log_softplus(z: Array) -> Array:
    low = z < _SOFTPLUS_IS_EXP
    return jnp.where(low, z - 0.5 * jnp.exp(z), jnp.log(jax.nn.softplus(jnp.where(low, 0.0, z))))


@_log_softplus.defjvp
def _log_softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (z,) = primals
    low = z < _SOFTPLUS_IS_EXP
    inside = jnp.where(low, 0.0, z)
    slope = jnp.where(low, 1.0 - 0.5 * jnp.exp(z), jax.nn.sigmoid(inside) / jax.nn.softplus(inside))
    return _log_softplus(z), slope * tangents[0]


def log_softplus(z: ArrayLike) -> Array:
    r"""Compute :math:`\log\log(1 + e^z)`, the logarithm of a positive parameter that is the softplus of ``z``.

    It is :math:`z - e^z/2` far below 0 and :math:`\log z` far above. The derivative is :math:`\sigma(z)/\log(1+e^z)`.
    """
    return _log_softplus(*as_floats(z))
