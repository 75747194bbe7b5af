"""Building blocks of the special functions, written for float32 and float64 alike.

They assume arrays of one shape and one floating type; ``as_floats`` and ``promote`` bring about both.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from scribe._dist._tables import ATANH_TAIL, DIGAMMA, DIGAMMA_SMALL, LOG_GAMMA_SMALL, STIRLING, Table
from scribe._types import Array

__all__ = [
    "as_floats",
    "count_residual",
    "digamma_tail",
    "log1pmx_of_log",
    "log1pmx_ratio",
    "promote",
    "scaled_digamma_error",
    "stirling_error_of_log",
    "stirling_tail",
]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SHIFT = 0.4


def as_floats(*arguments: ArrayLike) -> tuple[Array, ...]:
    """Bring parameters to one floating type and one shape."""
    dtype = jnp.result_type(float, *arguments)
    return tuple(jnp.broadcast_arrays(*(jnp.asarray(a, dtype) for a in arguments)))


def promote(value: ArrayLike, *parameters: ArrayLike) -> tuple[Array, ...]:
    """Bring a value, such as an integer count, to the floating type of its parameters, and all to one shape."""
    dtype = jnp.result_type(float, *parameters)
    return as_floats(jnp.asarray(value).astype(dtype), *parameters)


def _polynomial(table: Table, x: Array) -> Array:
    """Horner's rule with the coefficients that suit the precision of ``x``."""
    single, double = table
    coefficients = double if x.dtype == jnp.float64 else single
    return functools.reduce(lambda total, c: total * x + c, reversed(coefficients[:-1]), coefficients[-1] + 0.0 * x)


def _log1pmx_series(x: Array, s: Array) -> Array:
    r"""Sum :math:`2\,\mathrm{artanh}(s) - x` at :math:`s = x/(2+x)`, whose two leading terms merge into ``-s x``."""
    y = s * s
    return s * (2.0 * y * _polynomial(ATANH_TAIL, y) - x)


def log1pmx_of_log(x: Array, log1p_x: Array) -> Array:
    r"""Compute :math:`\log(1+x) - x` from ``x`` and a good :math:`\log(1+x)`; the series is used on [-1/2, 1]."""
    near = (x >= -0.5) & (x <= 1.0)
    inside = jnp.where(near, x, 0.0)
    return jnp.where(near, _log1pmx_series(inside, inside / (2.0 + inside)), log1p_x - x)


@jax.custom_jvp
def log1pmx_ratio(x: Array, ratio: Array) -> Array:
    r"""Compute :math:`\log(\rho) - x` for :math:`\rho = 1 + x` known on its own, that is also where ``1 + x`` rounds.

    The derivative is taken along ``x`` alone: ``ratio`` is the same variable.
    """
    near = (ratio >= 0.5) & (ratio <= 2.0)
    return jnp.where(near, _log1pmx_series(x, x / (1.0 + ratio)), jnp.log(ratio) - x)


@log1pmx_ratio.defjvp
def _log1pmx_ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, ratio = primals
    return log1pmx_ratio(x, ratio), -(x / ratio) * tangents[0]


def stirling_tail(z: Array) -> Array:
    r"""Stirling error :math:`\delta(z)` for :math:`z \ge 1`."""
    v = 1.0 / (z + _SHIFT)
    return v * _polynomial(STIRLING, v)


def digamma_tail(z: Array) -> Array:
    r"""Derivative :math:`\delta'(z) = \psi(z) - \log z + 1/(2z)` for :math:`z \ge 1`."""
    v = 1.0 / (z + _SHIFT)
    return -v * (v * _polynomial(DIGAMMA, v))


def stirling_error_of_log(z: Array, log_z: Array) -> Array:
    r"""Stirling error :math:`\delta(z)` for :math:`z > 0` whose logarithm is known."""
    small = z < 1.0
    inside = jnp.where(small, z, 0.5)
    near_zero = inside * (_polynomial(LOG_GAMMA_SMALL, inside) + 1.0 - log_z) - 0.5 * log_z - _HALF_LOG_2PI
    return jnp.where(small, near_zero, stirling_tail(jnp.where(small, 1.0, z)))


def scaled_digamma_error(z: Array, log_z: Array) -> Array:
    r"""Compute :math:`z\,\delta'(z) = z\{\psi(z) - \log z\} + \tfrac12` for :math:`z > 0` whose logarithm is known."""
    small = z < 1.0
    inside = jnp.where(small, z, 0.5)
    near_zero = inside * (_polynomial(DIGAMMA_SMALL, inside) - log_z) - 0.5
    outside = jnp.where(small, 1.0, z)
    return jnp.where(small, near_zero, outside * digamma_tail(outside))


def _head(x: Array) -> Array:
    """Keep the 12 leading bits of a float32, so that a product of two heads is exact."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jax.lax.bitcast_convert_type(bits & jnp.int32(-4096), jnp.float32)


_STEPS = 8
_POWERS = tuple(float(np.float32(2.0 ** (j / _STEPS))) for j in range(_STEPS))
_POWER_RESTS = tuple(2.0 ** (j / _STEPS) - power for j, power in enumerate(_POWERS))
_STEP = math.log(2) / _STEPS
_STEP_HEAD = round(_STEP * 2**16) / 2**16
_STEP_MIDDLE = round((_STEP - _STEP_HEAD) * 2**33) / 2**33
_STEP_REST = _STEP - _STEP_HEAD - _STEP_MIDDLE


def _pick(index: Array, values: tuple[float, ...], like: Array) -> Array:
    """Look up a short table by comparisons, which vectorise where a gather does not."""
    return functools.reduce(
        lambda chosen, j: jnp.where(index == j, values[j], chosen),
        range(1, len(values)),
        jnp.full_like(like, values[0]),
    )


def _reduce_exponent(x: Array) -> tuple[Array, Array, Array]:
    r"""Write ``x`` as :math:`\tfrac{n}{8}\log 2 + s` with s an unevaluated sum; the first two products are exact."""
    n = jnp.round(x / _STEP)
    outer = x - n * _STEP_HEAD
    step = n * _STEP_MIDDLE
    s = outer - step
    return n.astype(jnp.int32), s, ((outer - s) - step) - n * _STEP_REST


def _exp_pair(x: Array) -> tuple[Array, Array]:
    r"""Exponential of a float32 as an unevaluated sum of two, good to about :math:`2^{-37}`, for ``|x| <= 80``.

    It is :math:`2^{n/8} e^s`. Every product that matters is one of 12-bit heads and exact, so that the result does not
    depend on whether the compiler fuses multiplications and additions.
    """
    n, s, s_rest = _reduce_exponent(x)
    s_head = _head(s)
    half_square = 0.5 * s_head * s_head
    y = s + half_square
    cubic = s * s * s * (1 / 6 + s * (1 / 24 + s * (1 / 120 + s * (1 / 720))))
    y_rest = (half_square - (y - s)) + 0.5 * (s - s_head) * (s + s_head) + cubic + s_rest * (1.0 + s)
    power = _pick(n & (_STEPS - 1), _POWERS, x)
    power_head, y_head = _head(power), _head(y)
    product = power_head * y_head
    total = power + product
    rest = (product - (total - power)) + power_head * ((y - y_head) + y_rest) + (power - power_head) * (y + y_rest)
    rest = rest + _pick(n & (_STEPS - 1), _POWER_RESTS, x) * (1.0 + y)
    scale = jax.lax.bitcast_convert_type(((n >> 3) + 127) << 23, jnp.float32)
    return scale * total, scale * rest


@jax.custom_jvp
def count_residual(u: Array, log_mean: Array) -> Array:
    r"""Compute :math:`u - e^{\log m}` without losing its digits where the two nearly agree.

    A float32 exponential of 1e6 is off by 0.06, which is more than the residual itself near the mode of a large count.
    """
    if log_mean.dtype != jnp.float32:
        return u - jnp.exp(log_mean)
    mean, rest = _exp_pair(log_mean)
    return (u - mean) - rest


@count_residual.defjvp
def _count_residual_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    u, log_mean = primals
    return count_residual(u, log_mean), tangents[0] - jnp.exp(log_mean) * tangents[1]
