r"""Where every count lies in the distribution that the model predicts for it.

Of a count :math:`u` with the distribution function F, and W uniform, the randomized value

.. math:: V = F(u-1) + W\,\{F(u) - F(u-1)\}

is uniform if F is right, whatever the distribution (Smith 1985; Dunn and Smyth 1996,
doi:10.1080/10618600.1996.10474708).
Here F is that of the gene in this very cell, with its capture, zero inflation, mixing and dataset; in mixtures the
average over the components the cell may be of given all its counts; and the average over draws of the parameters.

Genes pass in blocks, all cells of a gene at once. Most counts are zeros, where :math:`V = W P(0)`: they come from
`scribe._counts.zeros`, and the non-zeros one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.levels import at_elements, map_components, single_dataset
from scribe._counts.zeros import zeros
from scribe._posterior.denoise import with_responsibilities
from scribe._posterior.indexing import check_draws
from scribe._posterior.parameters import Parameters
from scribe._posterior.posterior import Posterior
from scribe._rng import stream, uniform
from scribe._types import Array, FloatArray, IntArray, Key, Natural
from scribe.families import Family

__all__ = ["EDGE", "ResidualBlock", "by_size", "residual_blocks"]

EDGE = 1e-6
"""Values are kept as far from zero and one, so that their normal scores are finite."""

_BLOCK_ELEMENTS = 4_000_000

_TILE = 4096
"""Most cells whose zeros are computed at a time."""

_PIECES = (1024, 8192)
"""Non-zeros computed at a time: few enough that they are of similar size, for which a sum takes the same time."""


class ResidualBlock(NamedTuple):
    """Randomized values of consecutive genes, (cells, genes), uniform on [0, 1] if the model holds.

    ``cell``, ``gene`` (from the first of the block on) and ``u`` are the non-zeros of these genes, and ``size`` is
    the number of genes in every block but the last.
    """

    genes: slice
    value: FloatArray
    cell: IntArray
    gene: IntArray
    u: FloatArray
    size: int


def residual_blocks(posterior: Posterior, counts: Counts, key: Key, *, n_samples: int) -> Iterator[ResidualBlock]:
    """Randomized values of all counts, block by block of genes.

    The distribution functions are averaged over ``n_samples`` draws of the parameters; 0 takes them at their most
    probable values.
    """
    check_draws(n_samples)
    draws, key_ranks = _stacked(posterior, counts, key, n_samples), stream(key, "ranks")
    family, columns = posterior.spec.family, counts.to_csr().tocsc()
    tiles = list(_tiles(np.zeros(counts.n_cells, int) if draws.dataset is None else np.asarray(draws.dataset[0])))
    size = min(max(_BLOCK_ELEMENTS // counts.n_cells, 1), counts.n_genes)
    for first in range(0, counts.n_genes, size):
        genes = slice(first, min(first + size, counts.n_genes))
        width = genes.stop - first
        # the last block is as wide as all others, so that nothing is compiled anew
        filled = np.minimum(np.arange(size) + first, genes.stop - 1)
        here = draws._replace(natural=_take(draws.natural, -1, filled))
        starts = columns.indptr[first : genes.stop + 1]
        cell, u = (x[starts[0] : starts[-1]] for x in (columns.indices, columns.data))
        gene = np.repeat(np.arange(width), np.diff(starts))
        rank = np.asarray(_ranks(key_ranks, posterior.ids["cell"], posterior.ids["gene"][filled]))[:, :width]
        below, at = _of_non_zeros(family, here, cell, gene, u)
        value = np.empty_like(rank)
        for dataset, cells in tiles:
            value[cells] = rank[cells] * _of_tile(family, here, dataset, cells, n_genes=size)[:, :width]
        value[cell, gene] = below + rank[cell, gene] * at
        yield ResidualBlock(genes, np.clip(value, EDGE, 1.0 - EDGE, out=value), cell, gene, u, size)


@jax.jit
def _ranks(key: Key, cell: Array, gene: Array) -> Array:
    return uniform(key, cell[:, None], gene[None], jnp.zeros(()).dtype)


def _stacked(posterior: Posterior, counts: Counts, key: Key, n_samples: int) -> Parameters:
    """Parameters at all draws, stacked along the first axis, with the responsibilities for components."""
    values = posterior.draws(key, n_samples) if n_samples else jax.tree.map(lambda x: x[None], posterior.centre())
    draws = jax.vmap(posterior.parameters)(values)
    return draws if draws.log_weights is None else with_responsibilities(posterior, posterior.data(counts), draws)


def _take(natural: Natural, axis: int, index: IntArray) -> dict[str, Array]:
    """Parameters of some genes (axis -1) or datasets (axis -2), from draws stacked along the first axis."""
    return {n: jnp.take(x, index, axis) if x.ndim > -axis and x.shape[axis] > 1 else x for n, x in natural.items()}


def _tiles(dataset: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Cells by dataset, in parts of equal size; the last ones of a dataset repeat its last cell."""
    found, n = np.unique(dataset, return_counts=True)
    size = min(_TILE, n.max())
    for number in found:
        cells = np.flatnonzero(dataset == number)
        for first in range(0, len(cells), size):
            yield int(number), cells[np.minimum(first + np.arange(size), len(cells) - 1)]


def _of_tile(family: Family, draws: Parameters, dataset: int, cells: IntArray, *, n_genes: int) -> FloatArray:
    """Probabilities of zeros in cells of one dataset, (cells, genes)."""
    of_dataset = draws._replace(natural=_take(draws.natural, -2, np.asarray([dataset])), dataset=None)
    return np.asarray(_zeros(family, of_dataset.map_cells(lambda x: x[:, cells]), n_genes=n_genes))


def _of_non_zeros(
    family: Family, draws: Parameters, cell: IntArray, gene: IntArray, u: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Probabilities of less than a count and of as much, (elements,) each."""
    out = np.empty((2, len(u)), np.float32)
    for piece, _ in by_size(u):
        out[:, piece] = _non_zeros(family, draws, cell[piece], gene[piece], u[piece])
    return out[0], out[1]


def by_size(u: FloatArray) -> Iterator[tuple[IntArray, int]]:
    """Numbers of elements in pieces of one length, from small counts to large, and how many of a piece are new.

    The last piece is filled up with its last element.
    """
    order, size = np.argsort(u, kind="stable"), _PIECES[len(u) > _PIECES[0]]
    for first in range(0, len(u), size):
        yield order[np.minimum(np.arange(first, first + size), len(u) - 1)], min(size, len(u) - first)


@functools.partial(jax.jit, static_argnums=0, static_argnames="n_genes")
def _zeros(family: Family, draws: Parameters, *, n_genes: int) -> Array:
    def of_draw(parameters: Parameters) -> Array:
        x = parameters.offset

        def of_component(natural: Natural) -> Array:
            return jnp.exp(zeros(family, single_dataset(natural), x).at(x)) + jnp.zeros((1, n_genes), x.dtype)

        return _over_components(of_component, parameters, lambda weights: weights.T[:, :, None])

    return _average(of_draw, draws)


@functools.partial(jax.jit, static_argnums=0)
def _non_zeros(family: Family, draws: Parameters, cell: Array, gene: Array, u: Array) -> Array:
    def of_draw(parameters: Parameters) -> Array:
        x, dataset = parameters.offset[cell], None if parameters.dataset is None else parameters.dataset[cell]

        def of_component(natural: Natural) -> Array:
            here = at_elements(natural, dataset, gene)
            return jnp.stack([family.cdf(u - 1.0, here, x), jnp.exp(family.log_pmf(u, here, x))])

        return _over_components(of_component, parameters, lambda weights: weights[cell].T[:, None])

    return _average(of_draw, draws)


def _over_components(
    function: Callable[[Natural], Array], parameters: Parameters, place: Callable[[Array], Array]
) -> Array:
    """Average of a function of a component's parameters over those a cell may be of.

    ``place`` makes (components, ...) of their probabilities (cells, components).
    """
    if parameters.log_weights is None:
        return function({name: x[0] if x.ndim == 3 else x for name, x in parameters.natural.items()})
    return jnp.sum(place(jnp.exp(parameters.log_weights)) * map_components(function, parameters.natural), axis=0)


def _average(function: Callable[[Parameters], Array], draws: Parameters) -> Array:
    """Average over draws stacked along the first axis, one after the other."""
    start = jax.eval_shape(function, jax.tree.map(lambda x: x[0], draws))

    def add(total: Array, parameters: Parameters) -> tuple[Array, None]:
        return total + function(parameters), None

    total: Array = jax.lax.scan(add, jnp.zeros(start.shape, start.dtype), draws)[0]
    return total / draws.offset.shape[0]
