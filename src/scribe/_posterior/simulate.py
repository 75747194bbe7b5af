"""Simulated counts at the cost of their non-zeros.

Most counts are zero, and samplers that treat every element alike pay for it. Here a block of cells is drawn in two
steps: one uniform per element decides, against the probability of zero, which elements are positive; only these are
inverted through the cumulative distribution, count by count on a shrinking set. Elements of large mean go to the
family's own sampler.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.likelihood import expand, take_genes
from scribe._posterior.posterior import Parameters
from scribe._types import Array, FloatArray, IntArray, Key
from scribe.families import Family

__all__ = ["Sparse", "block_size", "simulate", "simulate_blocks"]

_LARGE_MEAN = 24.0
_BLOCK_ELEMENTS = 8_000_000


class Sparse(NamedTuple):
    """Positive counts of a block: cell and gene numbers and values, (non-zeros,) each, sorted by cell then gene."""

    cell: IntArray
    gene: IntArray
    value: FloatArray


def block_size(n_genes: int) -> int:
    """Cells per block so that a dense block stays small."""
    return max(_BLOCK_ELEMENTS // max(n_genes, 1), 1)


def simulate_blocks(family: Family, parameters: Parameters, key: Key, *, n_genes: int) -> Iterator[Sparse]:
    """Draw all cells block by block; cell numbers count from the first cell of all."""
    n_cells = parameters.offset.shape[0]
    size = block_size(n_genes)
    for first in range(0, n_cells, size):
        offset = parameters.offset[first : first + size]
        block = simulate(
            family, Parameters(parameters.natural, offset), jax.random.fold_in(key, first), n_genes=n_genes
        )
        yield block._replace(cell=block.cell + first)


def simulate(family: Family, parameters: Parameters, key: Key, *, n_genes: int) -> Sparse:
    """Draw one block of cells."""
    key_zero, key_large = jax.random.split(key)
    natural = {n: jnp.broadcast_to(v, (n_genes,)) if v.ndim == 0 else v for n, v in parameters.natural.items()}
    full = Parameters(natural, parameters.offset)
    uniform, p_zero, is_large = _positive(family, full, key_zero)
    positive = np.asarray((uniform > p_zero) & ~is_large)
    cell, gene = (axis.astype(np.int32) for axis in np.nonzero(positive))
    targets = Sparse(cell, gene, np.asarray(uniform)[positive])
    value = _invert(family, full, targets, np.asarray(p_zero)[positive])
    many_cell, many_gene = (axis.astype(np.int32) for axis in np.nonzero(np.asarray(is_large)))
    if many_cell.size:
        drawn = _sample_at(family, full, (many_cell, many_gene), key_large)
        keep = drawn > 0
        cell, gene = np.concatenate([cell, many_cell[keep]]), np.concatenate([gene, many_gene[keep]])
        value = np.concatenate([value, drawn[keep]])
        order = np.lexsort((gene, cell))
        cell, gene, value = cell[order], gene[order], value[order]
    return Sparse(cell, gene, value)


@functools.partial(jax.jit, static_argnums=0)
def _positive(family: Family, parameters: Parameters, key: Key) -> tuple[Array, Array, Array]:
    """A uniform per element, its probability of zero, and whether its mean is large."""
    wide, x = expand(parameters.natural, 2), parameters.offset[:, None]
    p_zero = jnp.exp(family.cell_term(jnp.zeros((1, 1), x.dtype), wide, x))
    shape = jnp.broadcast_shapes(p_zero.shape, x.shape)
    is_large = jnp.broadcast_to(family.moments(wide, x).mean > _LARGE_MEAN, shape)
    return jax.random.uniform(key, shape, x.dtype), jnp.broadcast_to(p_zero, shape), is_large


def _pad(n: int) -> int:
    """Next power of eight, so that few sizes are ever compiled."""
    size = 512
    while size < n:
        size *= 8
    return size


def _padded(array: np.ndarray[Any, Any], size: int) -> Array:
    return jnp.asarray(np.concatenate([array, np.zeros(size - len(array), array.dtype)]))


@functools.partial(jax.jit, static_argnums=0)
def _pmf_at(family: Family, parameters: Parameters, where: tuple[Array, Array], count: Array) -> Array:
    cell, gene = where
    x = parameters.offset.at[cell].get(mode="promise_in_bounds")
    u, here = jnp.full_like(x, 1.0) * count, take_genes(parameters.natural, gene)
    return jnp.exp(family.gene_term(u, here) + family.cell_term(u, here, x))


def _invert(family: Family, parameters: Parameters, targets: Sparse, reached: FloatArray) -> FloatArray:
    """Smallest count whose cumulative probability is at least the uniform held in ``targets.value``."""
    value = np.zeros(len(reached), np.float32)
    active = np.arange(len(reached))
    cumulative = reached.astype(np.float64)
    count = 0.0
    while active.size:
        count += 1.0
        size = _pad(active.size)
        where = (_padded(targets.cell[active], size), _padded(targets.gene[active], size))
        pmf = np.asarray(_pmf_at(family, parameters, where, jnp.asarray(count, parameters.offset.dtype)))[: active.size]
        cumulative = cumulative + pmf
        # the tail beyond float32 resolution of the uniform is negligible: stop where the pmf adds nothing any more
        found = (cumulative >= targets.value[active]) | ((pmf < 1e-9) & (count > _LARGE_MEAN))
        value[active[found]] = count
        active, cumulative = active[~found], cumulative[~found]
    return value


@functools.partial(jax.jit, static_argnums=0)
def _draw_at(family: Family, parameters: Parameters, where: tuple[Array, Array], key: Key) -> Array:
    cell, gene = where
    x = parameters.offset.at[cell].get(mode="promise_in_bounds")
    return family.sample(key, take_genes(parameters.natural, gene), x)


def _sample_at(family: Family, parameters: Parameters, where: tuple[IntArray, IntArray], key: Key) -> FloatArray:
    cell, gene = where
    size = _pad(len(cell))
    drawn = _draw_at(family, parameters, (_padded(cell, size), _padded(gene, size)), key)
    return np.asarray(drawn)[: len(cell)]
