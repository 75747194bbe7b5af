r"""Where every count lies in the distribution that the model predicts for it.

Of a count :math:`u` with the distribution function F, and W uniform, the randomized value

.. math:: V = F(u-1) + W\,\{F(u) - F(u-1)\}

is uniform if F is right, whatever the distribution (Smith 1985; Dunn and Smyth 1996,
doi:10.1080/10618600.1996.10474708).
Here F is that of the gene in this very cell, with its capture, zero inflation, mixing and dataset; in mixtures the
average over the components the cell may be of given all its counts; and the average over draws of the parameters.

Genes pass in blocks, all cells of a gene at once. Most counts are zeros, where :math:`V = W P(0)`. Every family is a
mixture of Poisson laws: :math:`P(0) = E\,\exp(-\lambda e^x)` is a smooth function of the offset, whose values at
Chebyshev nodes give those in all cells, of all draws and components at once, by a product of matrices. The non-zeros
are computed one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.interpolation import Interval, matmul, nodes_needed, to_coefficients
from scribe._counts.levels import at_elements, at_rows, map_components, without_components
from scribe._counts.likelihood import expand
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import offsets, offsets_at
from scribe._counts.zeros import log_zeros
from scribe._posterior.denoise import with_responsibilities
from scribe._posterior.indexing import check_draws
from scribe._posterior.posterior import Posterior
from scribe._rng import stream, uniform
from scribe._types import Array, FloatArray, IntArray, Key, Natural
from scribe.families import Family

__all__ = ["EDGE", "ResidualBlock", "by_size", "residual_blocks"]

EDGE = 1e-6
"""Values are kept as far from zero and one, so that their normal scores are finite."""

_BLOCK_ELEMENTS = 2_000_000

_TILE = 4096
"""Most cells whose zeros are computed at a time."""

_COLUMNS = 2**20
"""Non-zeros that are put in the order of genes at a time."""

_KEPT = 2**26
"""Most memory, in bytes, for polynomials that are computed once for all blocks of genes."""

_PIECES = (1024, 8192)
"""Non-zeros computed at a time, of similar size, for which a sum takes the same time; few are padded less."""


class ResidualBlock(NamedTuple):
    """Randomized values of consecutive genes, (genes, cells), uniform on [0, 1] if the model holds.

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
    (n_cells, n_genes), family = counts.shape, posterior.spec.family
    tiles, size = _tiles(draws, n_cells), min(max(_BLOCK_ELEMENTS // n_cells, 1), n_genes)
    of_zeros = (_interpolated if draws.predictor.separable else _one_by_one)(family, draws, tiles, size)
    for genes, (cell, gene, u) in counts.columns(size, most=_COLUMNS):
        # the last block is as wide as all others, so that nothing is compiled anew
        filled, width = np.minimum(np.arange(size) + genes.start, genes.stop - 1), genes.stop - genes.start
        here = draws._replace(natural=_take(draws.natural, -1, filled), predictor=draws.predictor.take_genes(filled))
        value, of_tile = np.empty((width, n_cells), np.float32), of_zeros(here)
        for i, tile in enumerate(tiles):
            value[:, tile.cells] = np.asarray(of_tile(i))[:width]
        rank = np.asarray(_ranks(key_ranks, posterior.ids["cell"], posterior.ids["gene"][filled]))
        value *= rank[:width]
        for piece, _ in by_size(u):
            below, at = np.asarray(_non_zeros(family, here, cell[piece], gene[piece], u[piece]))
            value[gene[piece], cell[piece]] = below + rank[gene[piece], cell[piece]] * at
        yield ResidualBlock(genes, np.clip(value, EDGE, 1.0 - EDGE, out=value), cell, gene, u, size)


@jax.jit
def _ranks(key: Key, cell: Array, gene: Array) -> Array:
    return uniform(key, cell[None], gene[:, None], jnp.zeros(()).dtype)


def _stacked(posterior: Posterior, counts: Counts, key: Key, n_samples: int) -> Parameters:
    """Parameters at all draws, stacked along the first axis, with the responsibilities for components."""
    values = posterior.draws(key, n_samples) if n_samples else jax.tree.map(lambda x: x[None], posterior.centre())
    draws = jax.vmap(posterior.parameters)(values)
    return draws if draws.log_weights is None else with_responsibilities(posterior, posterior.data(counts), draws)


def _take(natural: Natural, axis: int, index: IntArray) -> dict[str, Array]:
    """Parameters of some genes (axis -1) or datasets (axis -2), from draws stacked along the first axis."""
    return {n: jnp.take(x, index, axis) if x.ndim > -axis and x.shape[axis] > 1 else x for n, x in natural.items()}


class _Tile(NamedTuple):
    """Some cells of one dataset."""

    dataset: int
    cells: IntArray


def _tiles(draws: Parameters, n_cells: int) -> list[_Tile]:
    """Cells by dataset, in parts of equal size; the last ones of a dataset repeat its last cell."""
    dataset = np.zeros(n_cells, int) if draws.dataset is None else np.asarray(draws.dataset[0])
    found, n = np.unique(dataset, return_counts=True)
    size, tiles = min(_TILE, n.max()), []
    for number in found:
        cells = np.flatnonzero(dataset == number)
        starts = range(0, len(cells), size)
        tiles += [_Tile(int(number), cells[np.minimum(first + np.arange(size), len(cells) - 1)]) for first in starts]
    return tiles


def _cached(function: Callable[[int], Array], *, of: int) -> Callable[[int], Array]:
    """The function of so many numbers, with what it returns kept in memory where that is not too much."""
    return functools.cache(function) if of * function(0).nbytes <= _KEPT else function


_OfTile = Callable[[Parameters], Callable[[int], Array]]
"""From parameters of a block of genes to their probabilities of a zero in the cells of a tile, (genes, cells)."""


def _interpolated(family: Family, draws: Parameters, tiles: list[_Tile], size: int) -> _OfTile:
    """By products of matrices, where cells differ by one number."""
    interval = Interval.around(draws.log_exposure)
    nodes = interval.nodes(nodes_needed(float(interval.half), distance=np.pi / 2, error=EDGE))
    polynomials = _cached(lambda i: _polynomials(draws, tiles[i].cells, interval, nodes), of=len(tiles))

    def of_block(here: Parameters) -> Callable[[int], Array]:
        chances = _coefficients(family, here.natural, nodes, n_genes=size)
        return lambda i: _product(chances[tiles[i].dataset % len(chances)], polynomials(i))

    return of_block


def _one_by_one(family: Family, draws: Parameters, tiles: list[_Tile], size: int) -> _OfTile:
    """Element by element."""
    return lambda here: lambda i: _chances(family, here, tiles[i].cells)


@functools.partial(jax.jit, static_argnums=0)
def _chances(family: Family, draws: Parameters, cells: Array) -> Array:
    def of_draw(every: Parameters) -> Array:
        parameters = every.map_cells(lambda x: x[cells])
        x = offsets(parameters.predictor)

        def of_component(natural: Natural) -> Array:
            rows = expand(at_rows(natural, parameters.dataset), 2)
            return jnp.exp(family.cell_term(jnp.zeros((1, 1), x.dtype), rows, x)).T

        return _over_components(of_component, parameters, lambda weights: weights.T[:, None])

    return _average(of_draw, draws)


@jax.jit
def _polynomials(draws: Parameters, cells: IntArray, interval: Interval, nodes: Array) -> Array:
    """Polynomials of the offsets of some cells, (draws x components x nodes, cells), by the weights of both."""

    def of_draw(parameters: Parameters) -> Array:
        values = interval.polynomials(parameters.log_exposure[cells], nodes.shape[0])
        weights = parameters.log_weights
        return values[None] if weights is None else jnp.exp(weights[cells].T)[:, None] * values[None]

    every = jax.vmap(of_draw)(draws)
    return every.reshape(-1, every.shape[-1]) / every.shape[0]


@functools.partial(jax.jit, static_argnums=0, static_argnames="n_genes")
def _coefficients(family: Family, natural: Natural, nodes: Array, *, n_genes: int) -> Array:
    """Coefficients of the probability of a zero, (datasets, draws x components x nodes, genes)."""
    values = jnp.exp(jax.vmap(lambda one: log_zeros(family, one, nodes))(natural))
    coefs = matmul(jnp.asarray(to_coefficients(nodes.shape[0]), nodes.dtype)[None, None, None], values)
    wide = jnp.broadcast_to(coefs, (*coefs.shape[:-1], n_genes))
    return jnp.moveaxis(wide, 2, 0).reshape(wide.shape[2], -1, n_genes)


@jax.jit
def _product(coefficients: Array, polynomials: Array) -> Array:
    return matmul(coefficients.T, polynomials)


def by_size(u: FloatArray) -> Iterator[tuple[IntArray, int]]:
    """Numbers of elements in pieces of one length, from small counts to large, and how many of a piece are new.

    The last piece is filled up with its last element.
    """
    # 16-bit numbers are sorted by counting
    order, size = np.argsort(np.minimum(u, 65535).astype(np.uint16), kind="stable"), _PIECES[len(u) > _PIECES[0]]
    for first in range(0, len(u), size):
        yield order[np.minimum(np.arange(first, first + size), len(u) - 1)], min(size, len(u) - first)


@functools.partial(jax.jit, static_argnums=0)
def _non_zeros(family: Family, draws: Parameters, cell: Array, gene: Array, u: Array) -> Array:
    def of_draw(parameters: Parameters) -> Array:
        x = offsets_at(parameters.predictor, cell, gene)
        dataset = None if parameters.dataset is None else parameters.dataset[cell]

        def of_component(natural: Natural) -> Array:
            here = {name: jnp.broadcast_to(v, u.shape) for name, v in at_elements(natural, dataset, gene).items()}
            return jnp.stack(family.below_and_at(u, here, x))

        return _over_components(of_component, parameters, lambda weights: weights[cell].T[:, None])

    return _average(of_draw, draws)


def _over_components(
    function: Callable[[Natural], Array], parameters: Parameters, place: Callable[[Array], Array]
) -> Array:
    """Average of a function of a component's parameters over those a cell may be of.

    ``place`` makes (components, ...) of their probabilities (cells, components).
    """
    if parameters.log_weights is None:
        return function(without_components(parameters.natural))
    return jnp.sum(place(jnp.exp(parameters.log_weights)) * map_components(function, parameters.natural), axis=0)


def _average(function: Callable[[Parameters], Array], draws: Parameters) -> Array:
    """Average over draws stacked along the first axis, one after the other."""
    start = jax.eval_shape(function, jax.tree.map(lambda x: x[0], draws))

    def add(total: Array, parameters: Parameters) -> tuple[Array, None]:
        return total + function(parameters), None

    total: Array = jax.lax.scan(add, jnp.zeros(start.shape, start.dtype), draws)[0]
    return total / draws.log_exposure.shape[0]
