"""Counts out of an AnnData: in memory, as a view, backed by a file, or lazy. Nothing is written to the object."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset

from scribe._adata.slots import computed_layers, refuse_computed_layer
from scribe._counts.build import matrix_blocks, rows_per_block
from scribe._counts.checks import NonInteger, looks_like_counts, other_calls
from scribe._counts.container import About, Counts
from scribe._model.checks import nearest
from scribe._types import FloatArray, IntArray

__all__ = ["GroupCounts", "as_counts", "counts_by_group", "integer_calls", "read_counts"]

LAZY = ("dask", "h5py", "zarr")
"""Packages whose arrays are read by blocks of rows."""

SAMPLE_ROWS = 100

_TOP = 3
"""Most cells that are called extreme."""

logger = logging.getLogger("scribe")


def read_counts(adata: AnnData, *, layer: str | None = None, non_integer: NonInteger = "warn") -> Counts:
    """Read the counts that a fit will use, check them, and say in one log line which they are.

    The AnnData may be a view, backed (`anndata.read_h5ad(..., backed="r")`) or hold dask arrays. ``layer`` is the one
    that holds the counts, None `adata.X`: no other layer and no `.raw` is ever tried. For ``non_integer`` see
    `scribe._counts.checks.check_values`.
    """
    refuse_computed_layer(adata, layer)
    source = "X" if layer is None else f"layers[{layer!r}]"
    about: About = {
        "gene_names": adata.var_names,
        "cell_names": adata.obs_names,
        "source": source,
        "non_integer": non_integer,
        "alternatives": partial(integer_calls, adata, exclude=layer),
    }
    if _by_rows(adata, layer):
        counts = Counts.from_blocks(partial(_blocks, adata, layer), n_genes=adata.n_vars, **about)
    else:
        counts = Counts.from_chunks(_blocks(adata, layer), n_genes=adata.n_vars, **about)
    kind = "integers" if counts.integer else "not all integers"
    logger.info("fitting %s, %s x %s, %s", source, f"{counts.n_cells:,}", f"{counts.n_genes:,}", kind)
    return counts


def as_counts(
    data: object, *, layer: str | None = None, cells_axis: int = 0, non_integer: NonInteger = "warn"
) -> Counts:
    """Read counts from whatever a user passes: AnnData, a DataFrame, an array or sparse matrix, or `Counts` themselves.

    ``layer`` is for an AnnData only, ``cells_axis`` (0 or 1, the axis that runs over cells) for an array or DataFrame.
    For ``non_integer`` see `scribe._counts.checks.check_values`.
    """
    kind = type(data).__name__
    if isinstance(data, Counts | AnnData) and cells_axis != 0:
        msg = f"cells_axis={cells_axis} is for arrays: found {kind}, whose rows are cells. Leave out cells_axis."
        raise ValueError(msg)
    if not isinstance(data, AnnData) and layer is not None:
        msg = f"layer={layer!r} needs an AnnData, found a {kind}: leave out layer, or pass the AnnData that has it."
        raise ValueError(msg)
    if isinstance(data, Counts):
        return data
    if isinstance(data, AnnData):
        return read_counts(data, layer=layer, non_integer=non_integer)
    cells, genes = (data.index, data.columns) if isinstance(data, pd.DataFrame) else (None, None)
    if cells_axis == 1:
        cells, genes = genes, cells
    return Counts.from_matrix(data, cells_axis=cells_axis, gene_names=genes, cell_names=cells, non_integer=non_integer)


class GroupCounts(NamedTuple):
    """Counts of genes in groups of cells.

    ``total`` (groups, genes); ``top`` (groups, 3, genes), the largest counts of single cells; ``n_cells`` (groups,).
    """

    total: FloatArray
    top: FloatArray
    n_cells: IntArray

    def merged(self, groups: Sequence[int]) -> GroupCounts:
        """Some groups as one."""
        mine = list(groups)
        top = -np.sort(-self.top[mine].reshape(-1, self.top.shape[2]), axis=0)[: self.top.shape[1]]
        return GroupCounts(self.total[mine].sum(axis=0)[None], top[None], self.n_cells[mine].sum()[None])

    @property
    def extreme_share(self) -> FloatArray:
        """Share of the counts of a gene that its most extreme cells hold, (groups, genes); 0 without counts.

        They are 2 % of the cells of a group, one at least and three at most.
        """
        n = np.clip(np.ceil(0.02 * self.n_cells), 1, self.top.shape[1])
        held = np.where(np.arange(self.top.shape[1])[:, None] < n[:, None, None], self.top, 0.0).sum(axis=1)
        return held / np.maximum(self.total, 1e-300)


def counts_by_group(adata: AnnData, group: IntArray, n_groups: int, *, layer: str | None = None) -> GroupCounts:
    """Counts of every gene in every group of cells, a block of cells at a time.

    ``group`` (cells,) is that of every cell, -1 for cells of none.
    """
    total, top, first = np.zeros((n_groups, adata.n_vars)), np.zeros((n_groups, _TOP, adata.n_vars)), 0
    for block in _blocks(adata, layer):
        here = group[first : first + block.shape[0]]
        first += len(here)
        rows = sp.csr_matrix(block)
        for number in np.unique(here[here >= 0]):
            mine = rows[here == number].tocoo()
            order = np.lexsort((-mine.data, mine.col))
            gene, value = mine.col[order], mine.data[order]
            rank = np.arange(len(gene)) - np.searchsorted(gene, gene)
            largest = np.zeros_like(top[number])
            largest[rank[rank < _TOP], gene[rank < _TOP]] = value[rank < _TOP]
            top[number] = -np.sort(-np.concatenate([top[number], largest]), axis=0)[:_TOP]
            total[number] += np.bincount(mine.col, mine.data, minlength=adata.n_vars)
    return GroupCounts(total, top, np.bincount(group[group >= 0], minlength=n_groups))


def integer_calls(adata: AnnData, *, exclude: str | None) -> tuple[str, ...]:
    """Return the calls that would fit whole counts found in other places of the object, judged from a sample of each.

    ``exclude`` is the layer already tried; None for `adata.X`.
    """
    calls, computed = [], computed_layers(adata)
    if exclude is not None and None not in computed and _holds_counts(adata.X):
        calls.append("scribe.tl.fit(adata)")
    calls += [
        f'scribe.tl.fit(adata, layer="{name}")'
        for name, matrix in _layers(adata).items()
        if name != exclude and name not in computed and _holds_counts(matrix)
    ]
    if adata.raw is not None and _holds_counts(adata.raw.X):
        calls.append("scribe.tl.fit(adata.raw.to_adata())")
    return tuple(calls)


def _blocks(adata: AnnData, layer: str | None) -> Iterator[Any]:
    """Yield the chosen matrix whole when it is sparse or in memory, else by blocks of rows."""
    if layer is None and adata.isbacked and adata.is_view:
        yield from _backed_view(adata)
        return
    matrix = _matrix(adata, layer)
    if isinstance(matrix, CSCDataset):
        yield matrix.to_memory()
    elif isinstance(matrix, CSRDataset) or _is_from(LAZY, matrix):
        yield from (_load(matrix[rows]) for rows in _row_slices(matrix))
    else:
        yield from matrix_blocks(matrix)


def _by_rows(adata: AnnData, layer: str | None) -> bool:
    """Whether the chosen matrix is on disk, or lazy, and can be read by blocks of rows."""
    if layer is None and adata.isbacked and adata.is_view:
        return not isinstance(adata._adata_ref.X, CSCDataset)
    matrix = _matrix(adata, layer)
    return isinstance(matrix, CSRDataset) or _is_from(LAZY, matrix)


def _backed_view(adata: AnnData) -> Iterator[Any]:
    """Yield the matrix behind a view of a backed object by blocks of rows; the view itself would load it whole.

    Such a view cannot be viewed again, so its rows are taken from the object that it is a view of.
    """
    whole = adata._adata_ref
    if isinstance(whole.X, CSCDataset):
        yield adata.X  # every block would read the whole file again
        return
    rows = np.atleast_1d(np.arange(whole.n_obs)[adata._oidx])
    step = rows_per_block(adata.n_vars)
    yield from (whole[rows[start : start + step], adata._vidx].X for start in range(0, rows.size, step))


def _matrix(adata: AnnData, layer: str | None) -> Any:
    matrix = adata.X if layer is None else adata.layers.get(layer)
    if matrix is not None:
        return matrix
    remedy = other_calls(partial(integer_calls, adata, exclude=layer))
    if layer is None:
        msg = f"adata.X is None: put raw counts in adata.X or name the layer that holds them.{remedy}"
        raise ValueError(msg)
    names = list(_layers(adata))
    found = f"available are {', '.join(map(repr, names))}" if names else "it is empty, leave out layer to use adata.X"
    msg = f"layer {layer!r} is not in adata.layers: {found}.{nearest(layer, names)}{remedy}"
    raise ValueError(msg)


def _layers(adata: AnnData) -> dict[str, Any]:
    """Layers by name; from anndata 0.13 on `.layers` holds `.X` as well, under None."""
    return {name: matrix for name, matrix in adata.layers.items() if name is not None}


def _row_slices(matrix: Any) -> Iterator[slice]:
    """Yield row slices: the chunks of a dask array, else blocks of moderate dense size."""
    n_rows, n_genes = matrix.shape
    if _is_from(("dask",), matrix):
        stops = np.cumsum(matrix.chunks[0]).tolist()
        yield from map(slice, [0, *stops[:-1]], stops)
        return
    step = rows_per_block(n_genes)
    yield from (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _load(block: Any) -> Any:
    return block.compute() if _is_from(("dask",), block) else block


def _is_from(packages: tuple[str, ...], matrix: object) -> bool:
    return any(base.__module__.partition(".")[0] in packages for base in type(matrix).__mro__)


def _holds_counts(matrix: Any) -> bool:
    """Judge a matrix by a few rows (columns of a backed CSC), or by a sample of its stored values when in memory."""
    if matrix is None:
        return False
    if sp.issparse(matrix):
        return looks_like_counts(matrix.data)
    part = matrix[:, :SAMPLE_ROWS] if isinstance(matrix, CSCDataset) else matrix[:SAMPLE_ROWS]
    loaded = _load(part)
    return looks_like_counts(loaded.data if sp.issparse(loaded) else np.asarray(loaded))
