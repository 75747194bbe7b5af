"""`Counts`: a cells x genes count matrix on the host, by its non-zeros."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from scribe._counts import summaries
from scribe._counts.build import Rows, drop_zeros, join_blocks, matrix_blocks
from scribe._counts.checks import (
    Alternatives,
    NonInteger,
    check_non_integer,
    check_structure,
    check_values,
    warn_of_one_depth,
)
from scribe._counts.source import Blocks, InMemory, Source, csr, of_csr
from scribe._counts.summaries import CellGroups, GeneMoments, PairHistogram
from scribe._types import AnyArray

__all__ = ["About", "Counts", "Entries", "Names", "Selector"]

Names = Sequence[str] | AnyArray
"""Names of genes or cells."""

Selector = slice | Sequence[int] | AnyArray
"""Which genes or cells: a slice, indices (negative ones count from the end) or a boolean mask."""


class About(TypedDict, total=False):
    """What is said of a matrix beside its values.

    Names of genes and cells; where it came from (``source``), as named in messages; what to do about count-like values
    that are not whole numbers (``non_integer``): ``"warn"`` once and use them, ``"round"`` them, or ``"raise"`` an
    error. Values that are negative, not finite, normalised or log-transformed always raise. ``alternatives`` is called
    when values are not whole, and returns the calls that would use whole counts instead.
    """

    gene_names: Names | None
    cell_names: Names | None
    source: str
    non_integer: NonInteger
    alternatives: Alternatives


class Entries(NamedTuple):
    """Non-zeros one by one, (non-zeros,) each: numbers of cell and gene, and the count."""

    cell: NDArray[np.integer]
    gene: NDArray[np.integer]
    value: NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Counts:
    """A count matrix as compressed sparse rows (cells), checked once when it is built and read-only from then on.

    Build one with `Counts.from_matrix`, `Counts.from_chunks` or `Counts.from_blocks`; the plain constructor trusts its
    arguments. Arrays are shared with the matrix it was built from where that one already was canonical, so that matrix
    must not be changed while the counts are in use. Whole counts above 2**24 are kept to float32 precision (relative
    error 6e-8).

    Parameters
    ----------
    store
        Where the non-zeros are: rows in memory, or blocks that are read again. Those that are needed all at once are
        loaded then, and kept as long as the counts are.
    gene_names, cell_names
        Names as arrays of strings, shapes (n_genes,) and (n_cells,), or None.
    source
        Where the counts came from, as named in messages: "X", "layers['counts']", "array".
    integer
        Whether every count is a whole number.
    """

    store: Source
    gene_names: NDArray[np.object_] | None = None
    cell_names: NDArray[np.object_] | None = None
    source: str = "array"
    integer: bool = True

    @classmethod
    def from_matrix(cls, matrix: object, *, cells_axis: int = 0, **about: Unpack[About]) -> Counts:
        """Check a matrix in memory and hold its non-zeros.

        It is any scipy sparse matrix or array, or anything `numpy.asarray` reads (NumPy and JAX arrays, nested lists),
        and is never written to; ``cells_axis``, 0 or 1, is the one of its axes that runs over cells.
        """
        return cls.from_chunks(matrix_blocks(matrix, cells_axis=cells_axis), **about)

    @classmethod
    def from_chunks(cls, chunks: Iterable[Any], *, n_genes: int | None = None, **about: Unpack[About]) -> Counts:
        """Check and collect blocks of consecutive cells, holding one block at a time besides the non-zeros.

        Blocks are sparse or dense and have ``n_genes`` genes, or as many as the first one.
        """
        return cls._checked(lambda **how: InMemory(join_blocks(chunks, n_genes=n_genes, **how)), **about)

    @classmethod
    def from_blocks(cls, read: Callable[[], Iterable[Any]], *, n_genes: int, **about: Unpack[About]) -> Counts:
        """Check blocks of consecutive cells that can be read again, and leave them where they are.

        ``read`` is called for every pass. Values that are not whole numbers are read into memory.
        """
        return cls._checked(functools.partial(Blocks, read, n_genes), **about)

    @classmethod
    def _checked(
        cls,
        make: Callable[..., Source],
        *,
        gene_names: Names | None = None,
        cell_names: Names | None = None,
        source: str = "array",
        non_integer: NonInteger = "warn",
        alternatives: Alternatives = tuple,
    ) -> Counts:
        """Check values, and give cells and genes their names."""
        check_non_integer(non_integer)
        store, integer = make(source=source, alternatives=alternatives), True
        if isinstance(store, Blocks) and store.whole:
            warn_of_one_depth(store.totals, source=source, alternatives=alternatives)
        else:
            indptr, indices, data, n_genes = store.load()
            about: dict[str, Any] = {"source": source, "alternatives": alternatives, "non_integer": non_integer}
            integer = check_values(indptr, indices, data, **about)
            rounded = not integer and non_integer == "round"
            rows = Rows(indptr, indices, np.rint(data) if rounded else data, n_genes)
            store, integer = _held(drop_zeros(rows) if rounded else rows), integer or rounded
        shape = (store.lengths.size, store.n_genes)
        genes, cells = _names(gene_names, "gene", shape=shape), _names(cell_names, "cell", shape=shape)
        counts = cls(store=store, gene_names=genes, cell_names=cells, source=source, integer=integer)
        empty, nothing = counts.empty_cells, counts.zero_genes
        check_structure(source, shape, empty_cells=empty, zero_genes=nothing, gene_names=genes, cell_names=cells)
        return counts

    def __repr__(self) -> str:
        kind = "integers" if self.integer else "not all integers"
        return f"Counts({self.n_cells:,} cells x {self.n_genes:,} genes, {self.nnz:,} non-zeros, {kind}, {self.source})"

    @cached_property
    def _rows(self) -> Rows:
        return self.store.load()

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Row starts, (cells + 1,). 64-bit, so that the number of non-zeros may exceed 2**31."""
        return self._rows.indptr

    @property
    def indices(self) -> NDArray[np.int32]:
        """Gene of each non-zero, increasing within each row, (non-zeros,)."""
        return self._rows.indices

    @property
    def data(self) -> NDArray[np.float32]:
        """Value of each non-zero, positive, (non-zeros,)."""
        return self._rows.data

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.store.n_genes

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.store.lengths.size

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""
        return self.n_cells, self.n_genes

    @property
    def nnz(self) -> int:
        """Number of non-zero counts."""
        return int(self.store.lengths.sum())

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Total count of each cell, shape (n_cells,)."""
        return _read_only(self.store.totals)

    @cached_property
    def gene_totals(self) -> NDArray[np.float64]:
        """Total count of each gene, shape (n_genes,)."""
        return _read_only(self.store.gene_totals)

    @cached_property
    def max_count(self) -> float:
        """Largest count, 0 when there is none."""
        return float(self.pairs().count.max(initial=0.0))

    @cached_property
    def empty_cells(self) -> NDArray[np.int64]:
        """Indices of the cells without any count."""
        return np.flatnonzero(self.store.lengths == 0)

    @cached_property
    def zero_genes(self) -> NDArray[np.int64]:
        """Indices of the genes without any count."""
        return np.flatnonzero(self.gene_totals == 0)

    @cached_property
    def log_factorial_sum(self) -> float:
        """Sum of lgamma(u + 1) over all counts u: the constant of every count likelihood, accumulated in float64."""
        return summaries.log_factorial_sum(self.pairs())

    def pairs(self) -> PairHistogram:
        """Return in how many cells each gene shows each distinct non-zero count."""
        return self.store.pairs

    def groups(self) -> CellGroups:
        """Return the cells grouped by equal totals."""
        return self._groups

    @cached_property
    def _groups(self) -> CellGroups:
        return summaries.cell_groups(self.totals)

    def moments(self, weights: AnyArray) -> GeneMoments:
        """Return, for each gene, the sums over cells of u, of u times the cell's weight, and of u squared.

        ``weights`` (n_cells,) are for example captures or totals.
        """
        per_cell = np.asarray(weights, dtype=np.float64)
        if per_cell.shape != (self.n_cells,):
            msg = f"weights has shape {per_cell.shape}: expected one weight for each of the {self.n_cells:,} cells."
            raise ValueError(msg)
        return self.store.moments(per_cell)

    def cells_with(self, group: NDArray[np.integer], n_groups: int) -> NDArray[np.float64]:
        """Return in how many cells of every group each gene is seen, (groups, genes), by their numbers (cells,)."""
        return self.store.cells_with(group, n_groups)

    def rows(self, cells: Selector) -> NDArray[np.float32]:
        """Return the counts of some cells as a dense array, shape (selected cells, n_genes)."""
        chosen = _index(cells, self.n_cells)
        lengths = np.diff(self.indptr)[chosen]
        row = np.repeat(np.arange(chosen.size), lengths)
        entry = np.arange(row.size) + np.repeat(self.indptr[chosen] - (np.cumsum(lengths) - lengths), lengths)
        dense = np.zeros((chosen.size, self.n_genes), dtype=np.float32)
        dense[row, self.indices[entry]] = self.data[entry]
        return dense

    def entries(self, cells: slice = slice(None)) -> Entries:
        """Return the non-zeros of consecutive cells, in the order of cells, then genes."""
        first, last, _ = cells.indices(self.n_cells)
        return _entries(self._rows, first, last)

    def entries_by(self, size: int) -> Iterator[Entries]:
        """Yield the non-zeros of ``size`` cells at a time, or fewer, as `entries` gives them."""
        first = 0
        for rows in self.store.blocks():
            n_cells = rows.indptr.size - 1
            for start in range(0, n_cells, size):
                part = _entries(rows, start, min(start + size, n_cells))
                yield part._replace(cell=part.cell + np.int32(first))
            first += n_cells

    def columns(self, size: int, *, most: int) -> Iterator[tuple[slice, Entries]]:
        """Yield the non-zeros of ``size`` genes at a time, in the order of genes, counted from the first, then cells.

        About ``most`` non-zeros are put in that order at once: the whole matrix is never in memory a second time.
        """
        matrix = self.to_csr()
        step = size * max(int(most / max(self.nnz, 1) * self.n_genes) // size, 1)
        for first in range(0, self.n_genes, step):
            some = matrix[:, first : first + step].tocsc()
            for start in range(0, some.shape[1], size):
                part = some[:, start : start + size]
                gene = np.repeat(np.arange(part.shape[1]), np.diff(part.indptr))
                yield slice(first + start, first + start + part.shape[1]), Entries(part.indices, gene, part.data)

    def times(self, matrix: AnyArray) -> AnyArray:
        """Return the product with a matrix (genes, k), (cells, k)."""
        return self.store.times(matrix)

    def sums(self, weights: AnyArray) -> AnyArray:
        """Return sums over cells with weights (cells, k), (k, genes)."""
        return self.store.sums(weights)

    def digest(self) -> str:
        """Return a number that tells the counts from others."""
        digest = hashlib.sha256()
        for array in (self.indptr, self.indices, self.data):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def subset(self, *, cells: Selector | None = None, genes: Selector | None = None) -> Counts:
        """Return the counts of some cells and genes (None keeps all), in the order asked for; no check is repeated."""
        cell_names, gene_names = self.cell_names, self.gene_names
        if cells is None:
            rows = self._rows
        else:
            chosen = _index(cells, self.n_cells)
            rows, cell_names = self.store.take(chosen), _take(cell_names, chosen)
        if genes is not None:
            chosen = _index(genes, self.n_genes)
            matrix, gene_names = csr(rows)[:, chosen], _take(gene_names, chosen)
            matrix.sort_indices()
            rows = of_csr(matrix)
        return replace(self, store=_held(rows), gene_names=gene_names, cell_names=cell_names)

    def spread(self, dataset: NDArray[np.integer], n_datasets: int) -> Counts:
        """Return the same counts with a column for every gene of every dataset, those of the first dataset first.

        Sums over the columns are then sums over genes and datasets at once. ``dataset`` (n_cells,) is that of each
        cell.
        """
        of_entry = np.repeat(dataset.astype(np.int32), np.diff(self.indptr))
        columns = self.indices + self.n_genes * of_entry
        return replace(
            self, store=_held(Rows(self.indptr, columns, self.data, self.n_genes * n_datasets)), gene_names=None
        )

    def split(self, share: float, rng: np.random.Generator) -> tuple[Counts, Counts]:
        """Return the counts without, and those of, a ``share`` of the molecules taken at random; both of all genes.

        Each molecule is taken by itself, so that every count is split binomially.
        """
        if not self.integer:
            msg = f"{self.source} holds values that are not whole numbers, which are no molecules to split: round them."
            raise ValueError(msg)
        taken = rng.binomial(self.data.astype(np.int64), share).astype(np.float32)

        def of(data: NDArray[np.float32]) -> Counts:
            return replace(self, store=_held(drop_zeros(self._rows._replace(data=data))))

        return of(self.data - taken), of(taken)

    def less(self, other: Counts) -> Counts:
        """Return the same counts without those of others, which are in no element more."""
        matrix = self.to_csr() - other.to_csr()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return replace(self, store=_held(of_csr(matrix)))

    def to_csr(self) -> Any:
        """Return a `scipy.sparse.csr_matrix` that shares the values; they are read-only."""
        return csr(self._rows)


def _entries(rows: Rows, first: int, last: int) -> Entries:
    """Non-zeros of the rows from ``first`` to before ``last``."""
    starts = rows.indptr[first : last + 1]
    part = slice(int(starts[0]), int(starts[-1]))
    cell = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(starts))
    return Entries(cell, rows.indices[part], rows.data[part])


def _held(rows: Rows) -> InMemory:
    """Rows in memory, read-only."""
    return InMemory(Rows(_read_only(rows.indptr), _read_only(rows.indices), _read_only(rows.data), rows.n_genes))


def _read_only(array: AnyArray) -> AnyArray:
    """Return a view that cannot be written to, leaving the array itself as it is."""
    view = array.view()
    view.flags.writeable = False
    return view


def _index(selector: Selector, size: int) -> NDArray[np.int64]:
    return np.atleast_1d(np.arange(size, dtype=np.int64)[selector])


def _take(names: NDArray[np.object_] | None, index: NDArray[np.int64]) -> NDArray[np.object_] | None:
    return None if names is None else names[index]


def _names(names: Names | None, kind: str, *, shape: tuple[int, int]) -> NDArray[np.object_] | None:
    if names is None:
        return None
    array = np.array([str(name) for name in names], dtype=object)
    n_cells, n_genes = shape
    expected, other = (n_genes, n_cells) if kind == "gene" else (n_cells, n_genes)
    if array.size != expected:
        hint = " If its columns are cells, pass cells_axis=1." if array.size == other else ""
        msg = f"found {array.size:,} {kind} names for a matrix of {n_cells:,} cells x {n_genes:,} genes.{hint}"
        raise ValueError(msg)
    return _read_only(array)
