r"""The sparse exact likelihood: what a matrix costs is its non-zeros.

Genes are independent given their parameters and a cell enters through one scalar offset :math:`x_c`, its log exposure,
so with the log-pmf split into a gene term :math:`a` and a cell term :math:`b`,

.. math::

    \sum_{cg}\log P(u_{cg}) = \sum_{(g,k)} n_{gk}\,a(k;\theta_g) + \sum_{cg} b(0;\theta_g,x_c)
        + \sum_{u_{cg}>0}\{b(u_{cg};\theta_g,x_c) - b(0;\theta_g,x_c)\}.

The first sum runs over distinct pairs of gene and count. The second is, gene by gene, a sum of one smooth function of
:math:`x` over all cells: interpolated at Chebyshev nodes it costs genes x nodes. Only the third runs over
non-zeros, and a family may replace the last two by a closed form in the totals.

Where a cell adds to every gene a number of its own, :math:`x_{cg}`, the second sum is over all elements, made for a
block of cells at a time; the others stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from scribe._counts.data import Cells, CountData, NonZeros
from scribe._counts.interpolation import sum_over_cells
from scribe._counts.levels import (
    at_rows,
    map_components,
    map_datasets,
    n_levels,
    single_dataset,
    spread,
    tells,
    without_components,
)
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Predictor, offsets, offsets_at
from scribe._types import SLOPES, Array, Natural

__all__ = [
    "ElementwisePmf",
    "block_sum",
    "by_cell",
    "by_component",
    "by_gene",
    "expand",
    "log_likelihood",
    "sum_of_offsets",
    "take_genes",
]


class ElementwisePmf(Protocol):
    """What the engine needs of a family."""

    def gene_term(self, u: Array, natural: Natural) -> Array:
        """Part of the log-pmf free of the offset, zero at ``u = 0``."""

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """The rest of the log-pmf."""

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        """``cell_term`` at ``u`` less that at zero; zero at ``u = 0``."""

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> Array | None:
        """Closed form of the sum of ``cell_term`` over the genes of every cell, or None."""


def expand(natural: Natural, ndim: int) -> dict[str, Array]:
    """Prepend axes of length one so that every array parameter has ``ndim`` axes; scalars stay scalars."""
    return {
        name: value if value.ndim == 0 else value.reshape((1,) * (ndim - value.ndim) + value.shape)
        for name, value in natural.items()
    }


def take_genes(natural: Natural, genes: Array) -> dict[str, Array]:
    """Parameters at gene ids of any shape, which must be in bounds; shared scalars stay scalars."""
    return {
        name: value if value.ndim == 0 else value.at[genes].get(mode="promise_in_bounds")
        for name, value in natural.items()
    }


def block_sum(x: Array) -> Array:
    """Sum over all elements, in blocks, so that float32 does not lose the tail of millions of terms."""
    flat = x.ravel()
    width = 256
    padded = jnp.pad(flat, (0, -flat.size % width))
    return jnp.sum(jnp.sum(padded.reshape(-1, width), axis=0))


def _zeros_by_gene(family: ElementwisePmf, natural: Natural, offset: Array) -> Array:
    """``cell_term`` of a zero count of every gene at offsets (k, genes) or (k, 1), (k, genes)."""
    return family.cell_term(jnp.zeros((1, 1), offset.dtype), expand(natural, 2), offset)


def _zeros(family: ElementwisePmf, natural: Natural, offset: Array) -> Array:
    """``cell_term`` of zero counts summed over genes, (k,)."""
    return jnp.sum(_zeros_by_gene(family, natural, offset), axis=1)


_LANES = 16
"""Sums over the thousands of genes of a cell run in so many lanes: one after the other, float32 loses two digits."""


def _lanes(non_zeros: NonZeros) -> Array:
    """Ids of the cells of every entry, one for each lane; genes take turns."""
    return non_zeros.cell * _LANES + non_zeros.gene % _LANES


def _offset_of_entries(predictor: Predictor, non_zeros: NonZeros) -> Array:
    """Offset of every entry; the gradient is summed in lanes where rows hold many cells."""
    if not predictor.separable:
        return offsets_at(predictor, non_zeros.cell, non_zeros.gene)
    offset = predictor.log_exposure
    if non_zeros.cell.shape[1] == 1:
        return offset.at[non_zeros.cell].get(mode="promise_in_bounds")
    return jnp.repeat(offset, _LANES).at[_lanes(non_zeros)].get(mode="promise_in_bounds")


def _corrections(family: ElementwisePmf, natural: Natural, predictor: Predictor, non_zeros: NonZeros) -> Array:
    """Difference of ``cell_term`` between every non-zero and a zero in its place, (rows, CHUNK); 0 at padding."""
    here = take_genes(natural, non_zeros.gene)
    return family.correction(non_zeros.value, here, _offset_of_entries(predictor, non_zeros))


def _rows_at_once() -> int:
    """Rows of non-zeros worked on at a time: on a CPU what they need then stays in its cache, others want much work."""
    return 2**13 if jax.default_backend() == "cpu" else 2**18


def _sum_of_corrections(family: ElementwisePmf, natural: Natural, predictor: Predictor, non_zeros: NonZeros) -> Array:
    """Sum of the corrections, block by block; the gradient computes a block anew, all but the slopes."""
    n_rows = non_zeros.value.shape[0]
    most = _rows_at_once()
    block = min(n_rows & -n_rows, most)  # padded lengths are multiples of a large power of two
    if n_rows <= most or 8 * block < most:
        return block_sum(_corrections(family, natural, predictor, non_zeros))
    blocks = jax.tree.map(lambda x: x.reshape(-1, block, x.shape[1]), non_zeros)
    keep = jax.checkpoint_policies.save_only_these_names(SLOPES)
    one = jax.checkpoint(lambda rows: block_sum(_corrections(family, natural, predictor, rows)), policy=keep)
    return jnp.sum(jax.lax.map(one, blocks))


def _require(non_zeros: NonZeros | None) -> NonZeros:
    if non_zeros is None:
        msg = "These data hold totals only, but the model needs the non-zeros: build them with totals_suffice=False."
        raise ValueError(msg)
    return non_zeros


def log_likelihood(family: ElementwisePmf, parameters: Parameters, data: CountData) -> Array:
    r"""Log-likelihood of all counts, a scalar.

    In a minibatch the cell terms are scaled up; the gene terms are those of the whole data set. In a mixture every cell
    comes from one component for all its genes,

    .. math:: \sum_c \log \sum_k w_{ck} \prod_g P(u_{cg} \mid \theta_{kg}, x_c).
    """
    if parameters.log_weights is not None:
        joint = by_component(family, parameters, data) + parameters.log_weights
        return data.scale * block_sum(data.cells.weight * jax.nn.logsumexp(joint, axis=1))
    natural, predictor = _of_one_component(parameters.natural), parameters.predictor
    flat, pairs = spread(natural), data.pairs
    genes = block_sum(pairs.n * family.gene_term(pairs.value, take_genes(flat, pairs.gene)))
    terms = _cell_totals(family, natural, predictor, data.cells)
    if terms is None:
        cells = jnp.sum(_sum_of_zeros(functools.partial(_zeros, family), natural, predictor, data.cells))
        cells = cells + _sum_of_corrections(family, flat, predictor, _require(data.non_zeros))
    else:
        cells = jnp.sum(data.cells.weight * terms)
    return genes + data.scale * cells


def _of_one_component(natural: Natural) -> Natural:
    if not tells(natural, "component"):
        return natural
    one = without_components(natural)
    return one if n_levels(natural, 1) > 1 else single_dataset(one)


def _cell_totals(family: ElementwisePmf, natural: Natural, predictor: Predictor, cells: Cells) -> Array | None:
    """Cell terms of every cell where its total suffices for them, (cells,), else None."""
    if not predictor.separable:
        return None
    offset = predictor.log_exposure
    if cells.dataset is None or not tells(natural, "dataset"):
        return family.cell_totals(natural, offset, cells.totals)
    per_dataset = map_datasets(lambda one, _: family.cell_totals(one, offset, cells.totals), natural)
    return None if per_dataset is None else jnp.take_along_axis(per_dataset, cells.dataset[None], axis=0)[0]


_Term = Callable[[Natural, Array], Array]
"""Something of a zero count at parameters and offsets (k, genes) or (k, 1): (k, genes) or, summed over them, (k,)."""


def _sum_of_zeros(term: _Term, natural: Natural, predictor: Predictor, cells: Cells) -> Array:
    """Weighted sum of a term over cells, or, with datasets and one offset per cell, one sum for each, stacked."""
    if not predictor.separable:
        return _sum_over_blocks(term, natural, predictor, cells)
    if cells.dataset is None or not tells(natural, "dataset"):
        return sum_of_offsets(functools.partial(term, natural), predictor, cells.weight)
    dataset = cells.dataset

    def one(here: Natural, number: Array) -> Array:
        weight = jnp.where(dataset == number, cells.weight, 0.0)
        return sum_of_offsets(functools.partial(term, here), predictor, weight)

    return map_datasets(one, natural)


_BLOCK = 128
"""Cells whose elements are made at a time, where every one has an offset of its own."""


def _sum_over_blocks(term: _Term, natural: Natural, predictor: Predictor, cells: Cells) -> Array:
    """Weighted sum of a term over cells that have an offset for every gene."""

    def of_block(x: Array, index: Array) -> Array:
        return term(at_rows(natural, None if cells.dataset is None else cells.dataset[index]), x)

    return _over_blocks(of_block, predictor, cells.weight)


def sum_of_offsets(function: Callable[[Array], Array], predictor: Predictor, weight: Array) -> Array:
    """``sum_c n_c f(x_c)`` of a smooth function of offsets, (k, genes) or (k, 1) -> (k, ...)."""
    if predictor.separable:
        return sum_over_cells(lambda x: function(x[:, None]), predictor.log_exposure, weight)
    return _over_blocks(lambda x, _: function(x), predictor, weight)


def _over_blocks(function: Callable[[Array, Array], Array], predictor: Predictor, weight: Array) -> Array:
    """Weighted sum of a function of offsets and numbers of cells, block by block; the gradient makes a block anew."""
    n_cells = weight.shape[0]
    size = min(_BLOCK, n_cells)
    index = jnp.arange(-(-n_cells // size) * size).reshape(-1, size)

    def of_block(index: Array) -> Array:
        here, there = jnp.minimum(index, n_cells - 1), jnp.where(index < n_cells, 1.0, 0.0)
        values = function(offsets(predictor.map_cells(lambda x: x[here])), here)
        return jnp.tensordot(there.astype(values.dtype) * weight[here], values, axes=1)

    return jnp.sum(jax.lax.map(jax.checkpoint(of_block), index), axis=0)


def by_gene(
    family: ElementwisePmf, parameters: Parameters, data: CountData, *, n_genes: int, gamma: Array | None = None
) -> Array:
    r"""Log-likelihood of every gene, (genes,), summed over cells, which count as much as they weigh.

    In mixtures a cell is of one component for all its genes: theirs are averaged with its responsibilities ``gamma``
    (cells, components), :math:`\sum_c \sum_k \gamma_{ck} \log P(u_{cg} \mid \theta_{kg})`.
    """
    if gamma is not None:
        total = jnp.zeros(n_genes, parameters.log_exposure.dtype)
        for k in range(gamma.shape[1]):
            weighted = data._replace(cells=data.cells._replace(weight=data.cells.weight * gamma[:, k]))
            total = total + by_gene(family, parameters.of_component(k), weighted, n_genes=n_genes)
        return total
    natural, predictor = _of_one_component(parameters.natural), parameters.predictor
    flat, non_zeros = spread(natural), _require(data.non_zeros)
    zeros = _sum_of_zeros(functools.partial(_zeros_by_gene, family), natural, predictor, data.cells)
    n_datasets = n_levels(natural, 1)
    terms = _gene_terms(family, flat, data) + _corrections(family, flat, predictor, non_zeros)
    weight = data.cells.weight.at[non_zeros.cell].get(mode="promise_in_bounds")
    columns = _scatter(weight * terms, non_zeros.gene, n_genes * n_datasets)
    if zeros.ndim == 2:
        return jnp.sum(columns.reshape(-1, n_genes) + zeros, axis=0)
    return jnp.sum(columns.reshape(-1, n_genes), axis=0) + jnp.broadcast_to(zeros, (n_genes,))


def by_cell(family: ElementwisePmf, parameters: Parameters, data: CountData) -> Array:
    """Log-likelihood of every cell, (cells,), summed over genes and, in mixtures, over the components it may be of."""
    if parameters.log_weights is not None:
        return jax.nn.logsumexp(by_component(family, parameters, data) + parameters.log_weights, axis=1)
    return _by_cell(family, _of_one_component(parameters.natural), parameters.predictor, data)


def _by_cell(family: ElementwisePmf, natural: Natural, predictor: Predictor, data: CountData) -> Array:
    """Log-likelihood of every cell in one component."""
    flat, non_zeros = spread(natural), _require(data.non_zeros)
    terms, of_cell = _gene_terms(family, flat, data), _cell_totals(family, natural, predictor, data.cells)
    n_cells = data.cells.weight.shape[0]
    if of_cell is None:
        terms = terms + _corrections(family, flat, predictor, non_zeros)
        of_cell = _zeros_by_cell(family, natural, predictor, data.cells)
    if non_zeros.cell.shape[1] == 1:
        return of_cell + _scatter(terms, non_zeros.cell, n_cells)
    lanes = _scatter(terms, _lanes(non_zeros), n_cells * _LANES)
    return of_cell + jnp.sum(lanes.reshape(-1, _LANES), axis=1)


def _gene_terms(family: ElementwisePmf, flat: Natural, data: CountData) -> Array:
    """``gene_term`` of every non-zero, (rows, CHUNK); computed once per pair where the data say which it is."""
    pairs, non_zeros = data.pairs, _require(data.non_zeros)
    if non_zeros.pair is not None:
        table = family.gene_term(pairs.value, take_genes(flat, pairs.gene))
        return table.at[non_zeros.pair].get(mode="promise_in_bounds")
    terms = family.gene_term(non_zeros.value, take_genes(flat, non_zeros.gene))
    return jnp.where(non_zeros.value > 0, terms, 0.0)


def _zeros_by_cell(family: ElementwisePmf, natural: Natural, predictor: Predictor, cells: Cells) -> Array:
    """``cell_term`` of zero counts summed over genes, (cells,)."""

    # the sum over cells is linear in their weights: its gradient holds every cell's term
    def weighted(weight: Array) -> Array:
        some = cells._replace(weight=weight)
        return jnp.sum(_sum_of_zeros(functools.partial(_zeros, family), natural, predictor, some))

    return jax.grad(weighted)(jnp.ones_like(predictor.log_exposure))


def by_component(family: ElementwisePmf, parameters: Parameters, data: CountData) -> Array:
    """Log-likelihood of every cell in every component, (cells, components), in nats."""
    natural = parameters.natural

    def one(here: Natural) -> Array:
        at = here if n_levels(natural, 1) > 1 else single_dataset(here)
        return _by_cell(family, at, parameters.predictor, data)

    return map_components(one, natural).T


def _scatter(terms: Array, ids: Array, n: int) -> Array:
    """Sum terms (rows, CHUNK) by ids that are (rows, 1) or (rows, CHUNK)."""
    if ids.shape[1] == 1:
        return jax.ops.segment_sum(jnp.sum(terms, axis=1), ids[:, 0], n, indices_are_sorted=True)
    return jax.ops.segment_sum(terms.ravel(), ids.ravel(), n)
