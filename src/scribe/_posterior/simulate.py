"""Simulated counts at the cost of their non-zeros.

Most counts are zero, and samplers that treat every element alike pay for it. Here a block of cells is drawn in two
steps: one uniform per element decides, against the probability of zero, which elements are positive; only these are
inverted through the cumulative distribution, count by count on a shrinking set. Elements of large mean go to the
family's own sampler.

The random numbers of an element are a function of the key, its cell and its gene: neither blocks nor the order of cells
and genes make a difference.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.levels import n_levels
from scribe._counts.parameters import Parameters
from scribe._model.likelihood import Likelihood
from scribe._rng import keys_of_elements, uniform
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key, Natural
from scribe.families import Family

__all__ = [
    "LARGE_MEAN",
    "Noise",
    "Sparse",
    "compressed_rows",
    "draw_elements",
    "elements",
    "in_pieces",
    "simulate",
    "simulate_blocks",
]

LARGE_MEAN = 24.0
"""Mean above which counts are drawn by the family itself."""

_BLOCK_ELEMENTS = 4_000_000
_PIECES = (4096, 131_072)
_WIDTH = 64

_Places = tuple[IntArray, ...]
"""Cell and gene numbers."""


class Sparse(NamedTuple):
    """Positive counts of a block: cell and gene numbers and values, (non-zeros,) each, sorted by cell then gene."""

    cell: IntArray
    gene: IntArray
    value: FloatArray


class Noise(NamedTuple):
    """Random numbers of counts: a function of the key and of what tells the cell and the gene apart (uint32)."""

    key: Key
    cell: IntArray
    gene: IntArray

    def of_cells(self, cells: slice) -> Noise:
        """Those of some cells."""
        return self._replace(cell=self.cell[cells])

    def uniforms(self, dtype: Any) -> Array:
        """A uniform number for every cell and gene, (cells, genes)."""
        return uniform(self.key, self.cell[:, None], self.gene[None], dtype)


def simulate_blocks(
    family: Family, parameters: Parameters, key: Key, *, n_genes: int, ids: Mapping[str, IntArray] | None = None
) -> Iterator[Sparse]:
    """Draw all cells block by block; cell numbers count from the first cell of all.

    Cells and genes are told apart by their places, or by ``ids`` as those of `Posterior.ids`.
    """
    n_cells = parameters.n_cells
    places = {axis: np.arange(n, dtype=np.uint32) for axis, n in (("cell", n_cells), ("gene", n_genes))}
    noise = Noise(key, **(places if ids is None else ids))
    # so few cells that a dense block stays small
    size = max(_BLOCK_ELEMENTS // max(n_genes, 1), 1)
    for first in range(0, n_cells, size):
        cells = slice(first, min(first + size, n_cells))
        block = simulate(family, parameters.map_cells(operator.itemgetter(cells)), noise.of_cells(cells))
        yield block._replace(cell=block.cell + first)


def compressed_rows(blocks: Iterable[Sparse], n_cells: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Row starts, genes and values of all cells."""
    genes, values, per_cell = [], [], np.zeros(n_cells, np.int64)
    for block in blocks:
        genes.append(block.gene)
        values.append(block.value.astype(np.float32, copy=False))
        per_cell += np.bincount(block.cell, minlength=n_cells)
    return np.append(np.int64(0), np.cumsum(per_cell)), np.concatenate(genes), np.concatenate(values)


def simulate(family: Family, parameters: Parameters, noise: Noise) -> Sparse:
    """Draw one block of cells."""
    screened = _positive(family, parameters, noise)
    pmf, draw = functools.partial(_pmf_at, family), functools.partial(_draw_at, family)
    of = elements(family, parameters, n_genes=len(noise.gene))
    (cell, gene), value, many, drawn = draw_elements(pmf, draw, of, screened, noise=noise)
    if drawn.size:
        keep = drawn > 0
        cell, gene = np.concatenate([cell, many[0][keep]]), np.concatenate([gene, many[1][keep]])
        value = np.concatenate([value, drawn[keep]])
        order = np.lexsort((gene, cell))
        cell, gene, value = cell[order], gene[order], value[order]
    return Sparse(cell.astype(np.int32), gene.astype(np.int32), value)


def draw_elements(
    pmf: Callable[..., Array],
    draw: Callable[..., Array],
    of: Elements,
    screened: Iterable[Array],
    *given: AnyArray,
    noise: Noise,
) -> tuple[_Places, FloatArray, _Places, FloatArray]:
    """Places and values of counts above zero, of those of small mean and, zero or not, of those of large mean.

    ``screened`` are a uniform per element, its probability of zero, and whether its mean is large. ``pmf`` takes
    counts, ``draw`` a key and what tells cells and genes apart; then both take natural parameters and offsets, made by
    `elements`, and what is ``given`` of the elements. These are taken on the host: compiled code knows neither axis of
    the matrix.
    """
    uniforms, p_zero, is_large = map(np.asarray, screened)

    def at(cell: IntArray, gene: IntArray) -> tuple[Any, ...]:
        return *of(cell, gene), *(x[cell, gene] for x in given)

    small, large = np.nonzero((uniforms > p_zero) & ~is_large), np.nonzero(is_large)
    here = at(*small)

    def probability(active: IntArray, count: FloatArray) -> FloatArray:
        return in_pieces(pmf, (count, *jax.tree.map(lambda x: x[active], here)))

    value = _invert(probability, uniforms[small], p_zero[small])
    ids = noise.cell[large[0]], noise.gene[large[1]]
    drawn = in_pieces(functools.partial(draw, noise.key), (ids, *at(*large)))
    return small, value, large, drawn


Elements = Callable[[IntArray, IntArray], tuple[Natural, FloatArray]]
"""Natural parameters and offsets of elements, by their cell and gene numbers."""


def elements(family: Family, parameters: Parameters, *, n_genes: int) -> Elements:
    """Return what gives natural parameters and offsets of elements, by cell and gene number, on the host."""
    predictor = jax.tree.map(np.asarray, parameters.predictor)
    shape = (n_levels(parameters.natural, 0), n_levels(parameters.natural, 1), n_genes)
    natural = {name: np.broadcast_to(np.asarray(value), shape) for name, value in parameters.natural.items()}
    by_cell = (parameters.component, parameters.dataset)
    levels = [_codes(n, codes, parameters.n_cells) for n, codes in zip(shape[:2], by_cell, strict=True)]

    def at(cell: IntArray, gene: IntArray) -> tuple[Natural, FloatArray]:
        place = (*(codes[cell] for codes in levels), gene)
        here, field = {name: value[place] for name, value in natural.items()}, predictor.field_at(cell, gene)
        return here if field is None else family.shifted(here, field), predictor.log_exposure[cell]

    return at


def _codes(n: int, codes: Array | None, n_cells: int) -> IntArray:
    """Level of every cell; the only one where parameters do not differ between levels."""
    return np.zeros(n_cells, np.int32) if codes is None or n == 1 else np.asarray(codes)


@functools.partial(jax.jit, static_argnums=0)
def _positive(family: Family, parameters: Parameters, noise: Noise) -> tuple[Array, Array, Array]:
    """A uniform per element, its probability of zero, and whether its mean is large."""
    wide, x = Likelihood(family).elementwise(parameters)
    p_zero = jnp.exp(family.cell_term(jnp.zeros((1, 1), x.dtype), wide, x))
    uniforms = noise.uniforms(x.dtype)
    is_large = jnp.broadcast_to(family.moments(wide, x).mean > LARGE_MEAN, uniforms.shape)
    return uniforms, jnp.broadcast_to(p_zero, uniforms.shape), is_large


def in_pieces(function: Callable[..., Array], arrays: tuple[Any, ...]) -> FloatArray:
    """Apply a function of arrays to pieces of them, of two sizes so that no more are ever compiled."""
    n = len(jax.tree.leaves(arrays)[0])
    size = _PIECES[n > _PIECES[0]]
    padded = jax.tree.map(lambda array: np.pad(array, (0, -n % size)), arrays)
    parts = [
        np.asarray(function(*jax.tree.map(operator.itemgetter(slice(first, first + size)), padded)))
        for first in range(0, n, size)
    ]
    return np.concatenate(parts)[:n] if parts else np.zeros(0, np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _pmf_at(family: Family, u: Array, natural: Natural, x: Array) -> Array:
    return jnp.exp(family.gene_term(u, natural) + family.cell_term(u, natural, x))


@functools.partial(jax.jit, static_argnums=0)
def _draw_at(family: Family, key: Key, ids: tuple[Array, Array], natural: Natural, x: Array) -> Array:
    return jax.vmap(family.sample)(keys_of_elements(key, *ids), natural, x)


def _invert(pmf: Callable[[IntArray, FloatArray], FloatArray], target: FloatArray, reached: FloatArray) -> FloatArray:
    """Smallest count >= 1 at which the cumulative probability is at least ``target``.

    ``pmf(active, count)`` gives the probability of a count for some of the elements; ``reached`` is that of zero. The
    fewer elements are left, the more counts are looked at in one go.
    """
    value = np.zeros(len(reached), np.float32)
    active = np.arange(len(reached))
    cumulative = reached.astype(np.float64)
    last = 0.0
    while active.size:
        width = int(np.clip(_PIECES[0] // active.size, 1, _WIDTH))
        counts = (last + 1.0 + np.arange(width)).astype(np.float32)
        probability = pmf(np.repeat(active, width), np.tile(counts, active.size)).reshape(-1, width)
        sums = cumulative[:, None] + np.cumsum(probability, axis=1, dtype=np.float64)
        # the tail beyond float32 resolution of the uniform is negligible: stop where the pmf adds nothing any more
        found = (sums >= target[active, None]) | ((probability < 1e-9) & (counts > LARGE_MEAN))
        ended = found.any(axis=1)
        value[active[ended]] = counts[np.argmax(found[ended], axis=1)]
        active, cumulative, last = active[~ended], sums[~ended, -1], last + width
    return value
