"""Smooth functions of the offset of a cell, by their values at Chebyshev nodes.

All cells share one function of their offset per gene: known at the nodes, it is known in every cell at the cost of a
matrix product, whatever it costs itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import Array, FloatArray

__all__ = ["Interval", "clenshaw", "matmul", "n_nodes", "nodes_needed", "sum_over_cells", "to_coefficients"]

matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
"""In full precision on accelerators, too."""


def n_nodes(dtype: np.dtype) -> int:
    """Nodes per function.

    The sharpest function of the offset is the zero of a zero-inflated gene, with singularities at an angle of
    pi / logit(gate) from the real axis. With capture over a factor of 100 and a gate of 3e-4, its derivatives are good
    to 5e-9 with 48 nodes (negative binomial; Poisson 3e-5), and to rounding in float64 with 192.
    """
    return 192 if dtype == np.float64 else 48


def nodes_needed(half: float, *, distance: float, error: float = 1e-8) -> int:
    r"""Nodes with which a function on an interval of this half-width is known to an ``error``.

    Its nearest singularity is ``distance`` away from the real axis: the error falls by the factor
    :math:`\rho = d + \sqrt{1 + d^2}` with every node, d being that distance in half-widths (Trefethen,
    *Approximation Theory and Approximation Practice*, theorem 8.2).
    """
    return math.ceil(-math.log(error) / math.asinh(distance / half)) + 1


class Interval(NamedTuple):
    """Middle and half-width of a range of offsets."""

    middle: Array
    half: Array

    @classmethod
    def around(cls, offset: Array) -> Interval:
        """The range of some offsets, as constants."""
        low = jax.lax.stop_gradient(jnp.min(offset))
        high = jax.lax.stop_gradient(jnp.max(offset))
        return cls((high + low) / 2, jnp.maximum((high - low) / 2, 1e-3))

    def nodes(self, n: int | None = None) -> Array:
        """Offsets at which a function is to be known, (nodes,): ``n`` of them, or as many as any function needs."""
        angles = _angles(n or n_nodes(self.half.dtype))
        return self.middle + self.half * jnp.asarray(np.cos(angles), self.half.dtype)

    def polynomials(self, offset: Array, n: int | None = None) -> Array:
        """Values of the Chebyshev polynomials of every degree below the number of nodes, (nodes, cells)."""
        return _chebyshev(self.place(offset), n=n or n_nodes(offset.dtype))

    def place(self, offset: Array) -> Array:
        """Where offsets are on the interval from -1 to 1."""
        return (offset - self.middle) / self.half


def clenshaw(coefficients: Array, place: Array) -> Array:
    """Sums of Chebyshev polynomials, (cells,), from the coefficients of every cell, (nodes, cells), by Clenshaw's rule.

    The loop is written out: what is done to every cell is then one operation that vectorises.
    """
    after, last = jnp.zeros_like(place), jnp.zeros_like(place)
    for coefficient in coefficients[:0:-1]:
        after, last = last, coefficient + 2.0 * place * last - after
    return coefficients[0] + place * last - after


def to_coefficients(n: int) -> FloatArray:
    """The matrix from values at the nodes to the coefficients of the polynomials, (nodes, nodes)."""
    angles = _angles(n)
    degrees = np.arange(len(angles))
    return np.cos(np.outer(degrees, angles)) * np.where(degrees == 0, 1.0, 2.0)[:, None] / len(angles)


def _angles(n: int) -> FloatArray:
    return (np.arange(n) + 0.5) * np.pi / n


def _node_weights(cell_weight: Array, offset: Array) -> Array:
    """Weights w (B,) with ``sum_c n_c f(x_c) = sum_b w_b f(x_b)`` for polynomials f of degree below B."""
    polynomials = Interval.around(offset).polynomials(offset)
    return matmul(matmul(polynomials, cell_weight), jnp.asarray(to_coefficients(n_nodes(offset.dtype)), offset.dtype))


def _chebyshev(t: Array, *, n: int) -> Array:
    """Values of the first ``n`` Chebyshev polynomials, (n, cells).

    By ``T[m+j] = 2 T[m] T[j] - T[m-j]`` for all j up to m: the number known doubles with every operation.
    """
    known = jnp.stack([jnp.ones_like(t), t])
    while len(known) < n:
        m = len(known) - 1
        more = min(m, n - len(known))
        known = jnp.concatenate([known, 2.0 * known[m][None] * known[1 : more + 1] - known[::-1][1 : more + 1]])
    return known


@jax.custom_jvp
def _sum_from_nodes(cell_weight: Array, offset: Array, values: Array, slopes: Array) -> Array:
    """``sum_c n_c f(x_c)`` from ``f`` and its derivative at the nodes, (B, ...) each."""
    return matmul(_node_weights(cell_weight, offset), values)


@_sum_from_nodes.defjvp
def _sum_from_nodes_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """The derivative is interpolated as well: that of the interpolant magnifies rounding errors by B / interval."""
    cell_weight, offset, values, slopes = primals
    d_weight, d_offset, d_values, d_slopes = tangents
    by_weight = _sum_from_nodes(d_weight, offset, values, slopes)
    by_values = _sum_from_nodes(cell_weight, offset, d_values, d_slopes)
    moved = matmul(_node_weights(cell_weight * d_offset, offset), slopes)
    return _sum_from_nodes(*primals), by_weight + by_values + moved


def sum_over_cells(f: Callable[[Array], Array], offset: Array, cell_weight: Array) -> Array:
    """``sum_c n_c f(x_c)`` of a smooth function of the offset, (k,) -> (k, ...)."""
    if offset.shape[0] <= n_nodes(offset.dtype):
        return matmul(cell_weight, f(offset))
    nodes = Interval.around(offset).nodes()
    values, slopes = jax.jvp(f, (nodes,), (jnp.ones_like(nodes),))
    return _sum_from_nodes(cell_weight, offset, values, slopes)
