"""What the likelihood engine reads on the device: sufficient statistics, and non-zeros where they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.design import NO_DESIGN, Design
from scribe._counts.summaries import sort_keys
from scribe._device import on_device
from scribe._types import AnyArray, Array, FloatArray, IntArray

__all__ = [
    "CHUNK",
    "Cells",
    "CountData",
    "Known",
    "Means",
    "NonZeros",
    "Pairs",
    "Ragged",
    "cells_on_device",
    "full_data",
    "means_of",
    "padded_length",
    "pairs_on_device",
    "ragged",
    "ragged_cells",
]

CHUNK = 32
"""Non-zeros per row of `NonZeros`: wide enough to vectorise, narrow enough to waste little on padding."""


_FEWEST_PAIRS = 256
"""Room in the smallest data sets, where it takes no time: any number of them then share compiled code."""

_NOTHING = 1e-20
"""Weight of padding where it is used as a scale, which numpyro wants to be positive."""


class Pairs(NamedTuple):
    """Distinct pairs of gene and positive count, and in how many cells each occurs; all (pairs,), sorted by gene."""

    gene: Array
    value: Array
    n: Array


class Cells(NamedTuple):
    """The cells (or groups of cells with equal totals) a sum runs over.

    ``totals`` (cells,) are summed counts, ``weight`` (cells,) the number of cells an entry stands for, ``rows``
    (cells,) its row in per-cell parameters. Groups are padded with ones of negligible weight. ``dataset`` (cells,) and
    ``logits`` (cells, components) are those of `Design`, where the model reads them.
    """

    totals: Array
    weight: Array
    rows: Array
    dataset: Array | None = None
    logits: Array | None = None


class NonZeros(NamedTuple):
    """Positive counts in rows of equal length, padded with zeros.

    ``value`` is (rows, CHUNK). All entries of a row share either their gene, ``gene`` (rows, 1), or their cell,
    ``cell`` (rows, 1), the other id being (rows, CHUNK): one gather and one scatter per row instead of per entry. Rows
    are sorted by the shared id. ``pair`` (rows, CHUNK) is the position of an entry among the pairs of the data, where
    rows share their cell; padding points to a pair that occurs in no cell.
    """

    gene: Array
    cell: Array
    value: Array
    pair: Array | None = None


class Means(NamedTuple):
    """Mean counts over all cells: of genes (genes,), half a count added to the total of each, and of totals ()."""

    genes: Array
    total: Array


class Known(NamedTuple):
    """Mean and standard deviation of a latent, over its axes: `scribe._counts.design.Moments` on the device."""

    loc: Array
    scale: Array


class CountData(NamedTuple):
    """Everything a model reads of the data.

    ``scale`` () multiplies what the cells contribute: cells / batch size in a minibatch, else 1. ``pairs`` always
    and ``means`` always cover the whole data set. ``non_zeros`` is None where totals suffice. ``known`` is what an
    earlier fit says of latents, by name; along cells it has their rows.
    """

    pairs: Pairs
    cells: Cells
    non_zeros: NonZeros | None
    scale: Array
    means: Means
    known: Mapping[str, Known]


class Ragged(NamedTuple):
    """Compressed rows cut into rows of equal length, on the host.

    ``owner`` (rows,) is the original row, ``ids`` and ``values`` are (rows, CHUNK), ``start`` (owners + 1,) the first
    row of every owner.
    """

    owner: IntArray
    ids: IntArray
    values: FloatArray
    start: IntArray
    pair: IntArray | None = None


def padded_length(n: int, *, least: int = 1) -> int:
    """Length at or above ``n`` and ``least`` with four significant bits.

    Data of similar size then share compiled code, and what XLA compiles for an odd length is up to twice as slow.
    """
    n = max(n, least)
    step = 1 << max(n.bit_length() - 4, 0)
    return -(-n // step) * step


def _pad(array: AnyArray, length: int, fill: float = 0) -> AnyArray:
    width = ((0, length - len(array)),) + ((0, 0),) * (array.ndim - 1)
    return np.pad(array, width, constant_values=fill)


def ragged(indptr: IntArray, ids: IntArray, values: FloatArray) -> Ragged:
    """Cut compressed rows into rows of `CHUNK` entries, padded with id 0 and value 0."""
    lengths = np.diff(indptr)
    rows = -(-lengths // CHUNK)
    start = np.concatenate([[0], np.cumsum(rows)])
    position = np.repeat(start[:-1] * CHUNK - indptr[:-1], lengths) + np.arange(len(values))
    out_ids = np.zeros(start[-1] * CHUNK, np.int32)
    out_values = np.zeros(start[-1] * CHUNK, np.float32)
    out_ids[position] = ids
    out_values[position] = values
    owner = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    return Ragged(owner, out_ids.reshape(-1, CHUNK), out_values.reshape(-1, CHUNK), start)


def ragged_cells(counts: Counts) -> Ragged:
    """Cut the rows of a matrix, with the position of every entry among the pairs."""
    cut = ragged(counts.indptr, counts.indices, counts.data)
    pairs = counts.pairs()
    sought = sort_keys(cut.ids.ravel(), cut.values.ravel())
    position = np.searchsorted(sort_keys(pairs.gene, pairs.count), sought)
    position = np.where(cut.values.ravel() > 0, position, len(pairs.n)).astype(np.int32)
    return cut._replace(pair=position.reshape(-1, CHUNK))


def pairs_on_device(counts: Counts) -> Pairs:
    """Put the histogram of pairs of gene and count on the device, padded with pairs that occur in no cell."""
    pairs = counts.pairs()
    length = padded_length(len(pairs.n) + 1, least=_FEWEST_PAIRS)
    gene = _pad(pairs.gene, length, counts.n_genes - 1)
    return Pairs(on_device(gene, np.int32), on_device(_pad(pairs.count, length)), on_device(_pad(pairs.n, length)))


def full_data(
    counts: Counts,
    *,
    totals_suffice: bool,
    group: bool = False,
    by_cell: bool = False,
    design: Design = NO_DESIGN,
    means: Means | None = None,
) -> CountData:
    """Put a whole data set on the device, in JAX's current floating type.

    Parameters
    ----------
    counts
        The counts; with datasets, spread over them (`Counts.spread`).
    totals_suffice
        Whether the model needs nothing of a cell but its total; the non-zeros then stay on the host.
    group
        Whether cells with equal totals are held once, with their number as weight. Valid where the total is all that
        the model knows of a cell and per-cell posteriors may be shared.
    by_cell
        Whether rows of non-zeros share their cell rather than their gene, for sums that are kept cell by cell.
    design, means
        Covariates of the cells with what is known of latents, and mean counts of genes where the columns of the counts
        are not genes.
    """
    if group:
        groups = counts.groups()
        length = padded_length(len(groups.totals))
        totals, weight = _pad(groups.totals, length), _pad(groups.n, length, _NOTHING)
    else:
        totals, weight = counts.totals, np.ones(counts.n_cells)
    non_zeros = None if totals_suffice else _non_zeros(counts, by_cell=by_cell)
    cells = cells_on_device(totals, weight, np.arange(len(totals)), design)
    known_means = means_of(counts) if means is None else means
    known = {name: Known(on_device(x.loc), on_device(x.scale)) for name, x in design.known.items()}
    return CountData(pairs_on_device(counts), cells, non_zeros, jnp.ones(()), known_means, known)


def cells_on_device(totals: FloatArray, weight: FloatArray, rows: IntArray, design: Design) -> Cells:
    """Put cells with their covariates on the device, in JAX's current floating type."""
    return Cells(
        on_device(totals),
        on_device(weight),
        on_device(rows, np.int32),
        None if design.dataset is None else on_device(design.dataset, np.int32),
        None if design.logits is None else on_device(design.logits),
    )


def means_of(counts: Counts) -> Means:
    """Mean counts over all cells, on the device."""
    return Means(on_device((counts.gene_totals + 0.5) / counts.n_cells), on_device(counts.totals.mean()))


def _non_zeros(counts: Counts, *, by_cell: bool) -> NonZeros:
    if by_cell:
        cut, n_owners = ragged_cells(counts), counts.n_cells
    else:
        column = counts.to_csr().tocsc()
        cut, n_owners = ragged(column.indptr, column.indices, column.data), counts.n_genes
    length = padded_length(len(cut.owner))
    owner = on_device(_pad(cut.owner[:, None], length, n_owners - 1), np.int32)
    ids, values = on_device(_pad(cut.ids, length), np.int32), on_device(_pad(cut.values, length))
    pair = None if cut.pair is None else on_device(_pad(cut.pair, length, len(counts.pairs().n)), np.int32)
    return NonZeros(ids, owner, values, pair) if by_cell else NonZeros(owner, ids, values)
