"""From any matrix to the three arrays of a canonical sparse matrix, never writing to the matrix given.

Canonical means: compressed rows, gene indices increasing within each row, no repeats, no stored zeros, float32 values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from scribe._counts.checks import Alternatives, check_stored

__all__ = ["Rows", "canonical", "drop_zeros", "join_blocks", "matrix_blocks", "rows_per_block"]

DENSE_BLOCK = 2**24
"""Dense values per block of rows."""

Scalar = TypeVar("Scalar", bound=np.generic)


class Rows(NamedTuple):
    """Canonical compressed sparse rows, rows being cells.

    ``indptr`` (rows + 1,) are the starts of rows, ``indices`` and ``data`` (nnz,) gene and value of each non-zero.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    n_genes: int


def matrix_blocks(matrix: object, *, cells_axis: int = 0) -> Iterator[Any]:
    """Yield a matrix with cells as rows: a sparse one whole, a dense one by blocks of rows.

    It is a scipy sparse matrix or array of any format, or anything `numpy.asarray` reads (NumPy or JAX arrays, lists);
    ``cells_axis``, 0 or 1, is the one of its axes that runs over cells.
    """
    if cells_axis not in (0, 1):
        msg = f"cells_axis={cells_axis!r} is unknown: expected 0 (rows are cells) or 1 (columns are cells)."
        raise ValueError(msg)
    whole: Any = matrix if sp.issparse(matrix) else np.asarray(matrix)
    _check_numeric(whole, given=matrix)
    whole = whole.T if cells_axis == 1 else whole
    if sp.issparse(whole) or 0 in whole.shape:
        yield whole
        return
    step = rows_per_block(whole.shape[1])
    for start in range(0, whole.shape[0], step):
        yield whole[start : start + step]


def rows_per_block(n_genes: int) -> int:
    """Return how many dense rows of `n_genes` values make a block of moderate size (16 million values)."""
    return max(1, DENSE_BLOCK // max(1, n_genes))


def join_blocks(
    blocks: Iterable[Any], *, n_genes: int | None, source: str, alternatives: Alternatives, n_stored: int | None = None
) -> Rows:
    """Stack blocks of cells into one canonical matrix, refusing negative and non-finite values as they are met.

    Blocks are sparse or dense, each of consecutive cells and all genes: ``n_genes``, or as many as the first one has.
    ``source`` and ``alternatives`` are for messages; see `check_stored`. Where it is known that there are no more than
    ``n_stored`` values, each is written where it stays.
    """
    lengths: list[NDArray[np.int64]] = []
    indices, data = _Joined(np.dtype(np.int32), n_stored), _Joined(np.dtype(np.float32), n_stored)
    for block in blocks:
        _check_numeric(block, given=block)
        n_genes = block.shape[1] if n_genes is None else n_genes
        if block.shape[1] != n_genes:
            msg = f"{source}: found a block with {block.shape[1]:,} genes, expected {n_genes:,} as in the first one."
            raise ValueError(msg)
        rows = canonical(block, source=source, alternatives=alternatives)
        lengths.append(np.diff(rows.indptr))
        indices.add(rows.indices)
        data.add(rows.data)
    n_cells = sum(part.size for part in lengths)
    if not n_cells or not n_genes:
        msg = f"{source} has {n_cells} cells and {n_genes or 0} genes: expected at least one of each."
        raise ValueError(msg)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    return Rows(indptr, indices.joined(), data.joined(), n_genes)


class _Joined:
    """An array that comes in parts, written into one of the size known beforehand, or joined at the end."""

    def __init__(self, dtype: np.dtype[Any], size: int | None) -> None:
        self._whole = None if size is None else np.empty(size, dtype)
        self._parts: list[NDArray[Any]] = []
        self._n = 0

    def add(self, part: NDArray[Any]) -> None:
        """Take in the next part."""
        if self._whole is None:
            self._parts.append(part)
        else:
            self._whole[self._n : self._n + part.size] = part
        self._n += part.size

    def joined(self) -> NDArray[Any]:
        """The array; a lone part is not copied."""
        return _concatenate(self._parts) if self._whole is None else self._whole[: self._n]


def canonical(block: Any, *, source: str, alternatives: Alternatives = tuple) -> Rows:
    """Turn a sparse or dense block of cells into canonical rows; arrays are shared where nothing has to change.

    ``source`` and ``alternatives`` are for messages; see `check_stored`.
    """
    # What float32 cannot hold becomes infinite and is refused below.
    with np.errstate(over="ignore"):
        given = block.tocsr() if sp.issparse(block) else sp.csr_matrix(np.asarray(block, dtype=np.float32))
        data = given.data.astype(np.float32, copy=False)
    rows = sp.csr_matrix((data, given.indices, given.indptr), shape=given.shape)
    check_stored(rows.data, source=source, alternatives=alternatives)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    indices = rows.indices.astype(np.int32, copy=False)
    return drop_zeros(Rows(rows.indptr.astype(np.int64), indices, rows.data, rows.shape[1]))


def drop_zeros(rows: Rows) -> Rows:
    """Remove stored zeros, returning the same arrays when there are none."""
    keep = rows.data != 0
    if keep.all():
        return rows
    before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    return Rows(before[rows.indptr], rows.indices[keep], rows.data[keep], rows.n_genes)


def _check_numeric(matrix: Any, *, given: object) -> None:
    if matrix.dtype.kind not in "buif":
        msg = (
            f"expected a numeric matrix, found dtype {matrix.dtype} in a {type(given).__name__}: "
            "pass an AnnData, a NumPy or JAX array or a SciPy sparse matrix of counts."
        )
        raise ValueError(msg)
    if matrix.ndim != 2:
        msg = f"expected a matrix with two axes (cells x genes), found {matrix.ndim} in a {type(given).__name__}."
        raise ValueError(msg)


def _concatenate(parts: list[NDArray[Scalar]]) -> NDArray[Scalar]:
    """Join arrays, emptying `parts` on the way so that the peak is the result plus one; a lone part is not copied."""
    if len(parts) == 1:
        return parts.pop()
    joined = np.empty(sum(part.size for part in parts), dtype=parts[0].dtype)
    stop = joined.size
    while parts:
        part = parts.pop()
        joined[stop - part.size : stop] = part
        stop -= part.size
    return joined
