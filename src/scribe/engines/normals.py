r"""Independent normals of one or two elements each, and steps of Newton's kind on their evidence lower bound.

Of a block with the log-density f and :math:`z_i = m_i + s_i \xi_i` the bound is :math:`J = E[f(z)] + \sum_i \log s_i`.
By Stein's lemma the gradients of f at the nodes of a quadrature rule suffice for

.. math::

    g_i = s_i J_{m_i} = E[s_i \partial_i f],\qquad
    H_{ij} = s_i s_j E[\partial_i \partial_j f] = E[s_i \partial_i f\, \xi_j].

At the optimum g vanishes and all :math:`H_{ii} = -1` (Opper and Archambeau 2009, doi:10.1162/neco.2008.08-07-592):
locations make Newton steps, and scales go where H, if it stayed, would have them. All blocks move at once; each keeps a
step only if its own bound has risen.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from scribe._device import on_device
from scribe._types import Array

__all__ = ["Ascent", "Blocks", "Density", "Rule", "ascend", "bound", "mean", "quadrature"]

Density = Callable[[Array], tuple[Array, Array]]
"""Log-densities of all blocks, (blocks,), and their gradients, at one value of each, (elements, blocks)."""

Tree = TypeVar("Tree")

_NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)
_LONGEST = 2.0
"""Step of a location, on whose scale it is mostly a factor of seven."""
_FLATTEST, _STEEPEST = 0.1, 100.0
"""Least curvature, in squares of scales, and the largest that a scale follows at once."""
_MOST_ALIKE = 0.999
"""Correlation of two elements that steps believe in."""
_SLOWER, _FASTER = 0.25, 2.0


class Blocks(NamedTuple):
    """Locations and logarithms of scales, (elements, blocks) each."""

    loc: Array
    log_scale: Array

    def at(self, xi: Array) -> Array:
        """Value of every block so many scales from its location, (elements,) in."""
        return self.loc + jnp.exp(self.log_scale) * xi[:, None]


class Rule(NamedTuple):
    """Nodes (nodes, elements) and weights (nodes,) of means over standard normals."""

    nodes: Array
    weights: Array


class Ascent(NamedTuple):
    """Where blocks are after some steps, and their bounds there.

    ``promised`` is what another step would gain if f were quadratic, (blocks,), and ``first`` what one would have
    gained at the start.
    """

    blocks: Blocks
    value: Array
    promised: Array
    first: Array


def quadrature(n_elements: int, order: int) -> Rule:
    """A product of Gauss-Hermite rules."""
    x, w = np.polynomial.hermite_e.hermegauss(order)
    nodes = np.stack(np.meshgrid(*[x] * n_elements, indexing="ij"), axis=-1).reshape(-1, n_elements)
    weights = functools.reduce(np.multiply.outer, [w / w.sum()] * n_elements).ravel()
    return Rule(on_device(nodes), on_device(weights))


def mean(function: Callable[[Array], Tree], rule: Rule) -> Tree:
    """Mean of a function of standard normals, (elements,) in."""

    def add(total: Tree, node: Rule) -> tuple[Tree, None]:
        return jax.tree.map(lambda sum_, term: sum_ + node.weights * term, total, function(node.nodes)), None

    shapes = jax.eval_shape(function, rule.nodes[0])
    return jax.lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), rule)[0]


def bound(log_density: Callable[[Array], Array], blocks: Blocks, rule: Rule) -> Array:
    """Evidence lower bound of every block, (blocks,)."""
    return mean(lambda xi: log_density(blocks.at(xi)), rule) + _entropy(blocks)


def _entropy(blocks: Blocks) -> Array:
    return jnp.sum(blocks.log_scale + _NORMAL_ENTROPY, axis=0)


def ascend(density: Density, blocks: Blocks, rule: Rule, *, n_steps: int) -> Ascent:
    """Make steps; each block keeps those that raise its bound, and makes shorter ones after another."""

    def step(number: Array, carry: tuple[Blocks, Ascent, Blocks, Array]) -> tuple[Blocks, Ascent, Blocks, Array]:
        candidate, best, move, pace = carry
        value, ahead, promised = _newton(density, candidate, rule)
        # where rounding hides whether a bound has risen, its slope tells
        error = 4 * jnp.finfo(value.dtype).eps * jnp.abs(value)
        better = (value > best.value + error) | ((value >= best.value - error) & (promised <= best.promised))

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(jnp.broadcast_to(better, new.shape), new, old)

        first = jnp.where(number == 0, promised, best.first)
        now = Ascent(
            jax.tree.map(keep, candidate, best.blocks), keep(value, best.value), keep(promised, best.promised), first
        )
        move = jax.tree.map(keep, ahead, move)
        pace = keep(jnp.minimum(_FASTER * pace, 1.0), _SLOWER * pace)
        return jax.tree.map(lambda x, dx: x + pace[None] * dx, now.blocks, move), now, move, pace

    ones = jnp.ones_like(blocks.loc[0])
    nothing = Ascent(blocks, -jnp.inf * ones, jnp.inf * ones, 0.0 * ones)
    # the first round evaluates where the blocks are
    return jax.lax.fori_loop(0, n_steps + 1, step, (blocks, nothing, jax.tree.map(jnp.zeros_like, blocks), ones))[1]


def _newton(density: Density, blocks: Blocks, rule: Rule) -> tuple[Array, Blocks, Array]:
    """Bound of all blocks, the step from there, and what it would gain if the density were quadratic."""
    scale = jnp.exp(blocks.log_scale)

    def terms(xi: Array) -> tuple[Array, Array, Array]:
        value, slope = density(blocks.at(xi))
        return value, scale * slope, (scale * slope)[:, None] * xi[None, :, None]

    value, slope, outer = mean(terms, rule)
    curvature = jnp.maximum(-jnp.stack([outer[i, i] for i in range(len(slope))]), _FLATTEST)
    step = _solve(curvature, -(outer[0, -1] + outer[-1, 0]) / 2, slope)
    move, believed = jnp.clip(step, -_LONGEST / scale, _LONGEST / scale), jnp.minimum(curvature, _STEEPEST)
    widen = -0.5 * jnp.log(believed)
    # of t - h exp(2t)/2, where it is highest, over t = 0
    gain = 0.5 * jnp.sum(slope * move + believed - 1.0 - jnp.log(believed), axis=0)
    return value + _entropy(blocks), Blocks(scale * move, widen), gain


def _solve(diagonal: Array, off: Array, slope: Array) -> Array:
    """Solve for one or two elements, (elements, blocks); ``off`` the diagonal no more than keeps a matrix positive."""
    if len(slope) == 1:
        return slope / diagonal
    most = _MOST_ALIKE * jnp.sqrt(diagonal[0] * diagonal[1])
    off = jnp.clip(off, -most, most)
    return (diagonal[::-1] * slope - off[None] * slope[::-1]) / (diagonal[0] * diagonal[1] - off**2)[None]
