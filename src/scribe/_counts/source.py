"""Where counts come from: compressed rows in memory, or blocks of cells that are read again whenever they are needed.

What is a sum over cells is made block by block. A model that needs no more than that, as the default one, is fitted to
a file without ever holding its non-zeros; what needs them all at once loads them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from scribe._counts import summaries
from scribe._counts.build import Rows, canonical, join_blocks
from scribe._counts.checks import Alternatives
from scribe._counts.summaries import GeneMoments, PairCounter, PairHistogram
from scribe._types import AnyArray

__all__ = ["Blocks", "InMemory", "Source", "csr", "of_csr"]


class Source(ABC):
    """The non-zeros of a matrix of cells x genes, by blocks of consecutive cells."""

    n_genes: int

    @abstractmethod
    def blocks(self) -> Iterator[Rows]:
        """Yield the cells, one block after the other."""

    @abstractmethod
    def load(self) -> Rows:
        """Return all cells at once."""

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.integer]:
        """Number of non-zeros of every cell, (cells,)."""

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Total count of every cell, (cells,)."""
        return np.concatenate([summaries.row_sums(rows.indptr, rows.data) for rows in self.blocks()])

    @cached_property
    def gene_totals(self) -> NDArray[np.float64]:
        """Total count of every gene, (genes,)."""
        return _sum(summaries.gene_sums(rows.indices, rows.data, n_genes=self.n_genes) for rows in self.blocks())

    @cached_property
    def pairs(self) -> PairHistogram:
        """In how many cells each gene shows each distinct non-zero count."""
        counter = PairCounter(self.n_genes)
        for rows in self.blocks():
            counter.add(rows.indices, rows.data)
        return counter.result()

    def take(self, cells: NDArray[np.integer]) -> Rows:
        """Return some cells by number, in the order asked for."""
        order = np.argsort(cells, kind="stable")
        at, parts = cells[order], []
        for here, rows in self._numbered():
            first, last = np.searchsorted(at, (here.start, here.stop))
            parts.append(csr(rows)[at[first:last] - here.start])
        matrix = sp.vstack(parts, format="csr") if len(parts) > 1 else parts[0]
        return of_csr(matrix if np.array_equal(at, cells) else matrix[np.argsort(order, kind="stable")])

    def moments(self, weights: NDArray[np.float64]) -> GeneMoments:
        """Sums over cells, of a weight (cells,) each: see `scribe._counts.summaries.gene_moments`."""
        parts = [
            summaries.gene_moments(rows.indptr, rows.indices, rows.data, weights=weights[cells], n_genes=self.n_genes)
            for cells, rows in self._numbered()
        ]
        return GeneMoments(*(_sum(terms) for terms in zip(*parts, strict=True)))

    def cells_with(self, group: NDArray[np.integer], n_groups: int) -> NDArray[np.float64]:
        """In how many cells of every group each gene is seen, (groups, genes), by their numbers (cells,)."""

        def here(cells: slice, rows: Rows) -> NDArray[np.integer]:
            of_entry = np.repeat(group[cells].astype(np.int64), np.diff(rows.indptr)) * self.n_genes + rows.indices
            return np.bincount(of_entry, minlength=n_groups * self.n_genes)

        counted = _sum(here(cells, rows) for cells, rows in self._numbered())
        return counted.reshape(n_groups, self.n_genes).astype(np.float64)

    def times(self, matrix: AnyArray) -> AnyArray:
        """Return the product with a matrix (genes, k), (cells, k)."""
        return np.concatenate([np.asarray(csr(rows) @ matrix) for rows in self.blocks()])

    def sums(self, weights: AnyArray) -> AnyArray:
        """Return sums over cells with weights (cells, k), (k, genes)."""
        return _sum(np.asarray((csr(rows).T @ weights[cells]).T) for cells, rows in self._numbered())

    def _numbered(self) -> Iterator[tuple[slice, Rows]]:
        first = 0
        for rows in self.blocks():
            n_cells = rows.indptr.size - 1
            yield slice(first, first + n_cells), rows
            first += n_cells


_STEP = 2**22
"""Most non-zeros per block of rows in memory, so that what is computed of them is small."""


class InMemory(Source):
    """Rows in memory."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.n_genes = rows, rows.n_genes

    def blocks(self) -> Iterator[Rows]:
        """Views of them."""
        indptr, indices, data, n_genes = self.rows
        if data.size <= _STEP:
            yield self.rows
            return
        for cells in summaries.row_blocks(indptr, step=_STEP):
            part = slice(int(indptr[cells.start]), int(indptr[cells.stop]))
            yield Rows(indptr[cells.start : cells.stop + 1] - part.start, indices[part], data[part], n_genes)

    def load(self) -> Rows:
        """The rows."""
        return self.rows

    def take(self, cells: NDArray[np.integer]) -> Rows:
        """Some of the rows."""
        return of_csr(csr(self.rows)[cells])

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Differences of their starts."""
        return np.diff(self.rows.indptr)


class _Summaries(NamedTuple):
    lengths: NDArray[np.int64]
    totals: NDArray[np.float64]
    pairs: PairHistogram


class Blocks(Source):
    """Blocks of cells that are read again: of a file, or of lazy arrays. Their counts are whole numbers.

    Parameters
    ----------
    read
        Called for every pass; yields sparse or dense blocks of consecutive cells.
    n_genes
        Number of genes of all blocks.
    source, alternatives
        For messages about values that are no counts: see `scribe._counts.checks.check_stored`.
    """

    def __init__(
        self, read: Callable[[], Iterable[Any]], n_genes: int, *, source: str, alternatives: Alternatives
    ) -> None:
        self.n_genes = n_genes
        self._read, self._source, self._alternatives = read, source, alternatives

    def __reduce__(self) -> tuple[Any, ...]:
        """What is on a disk does not travel: elsewhere the rows are in memory."""
        return InMemory, (self.load(),)

    def blocks(self) -> Iterator[Rows]:
        """Read them once more."""
        for block in self._read():
            yield canonical(block, source=self._source, alternatives=self._alternatives)

    def load(self) -> Rows:
        """Read them, into arrays of the size that is known from the first pass."""
        return join_blocks(
            self._read(),
            n_genes=self.n_genes,
            source=self._source,
            alternatives=self._alternatives,
            n_stored=int(self.lengths.sum()) if self.whole else None,
        )

    @cached_property
    def whole(self) -> bool:
        """Whether there are cells and genes, and all counts are whole numbers; otherwise there are no summaries."""
        return self._summaries is not None

    @cached_property
    def _summaries(self) -> _Summaries | None:
        """What a first pass finds; it ends where a count is not whole."""
        lengths, totals, counter = [np.zeros(0, np.int64)], [np.zeros(0)], PairCounter(self.n_genes)
        for rows in self.blocks():
            if rows.n_genes != self.n_genes or np.any(rows.data != np.rint(rows.data)):
                return None
            lengths.append(np.diff(rows.indptr))
            totals.append(summaries.row_sums(rows.indptr, rows.data))
            counter.add(rows.indices, rows.data)
        found = _Summaries(np.concatenate(lengths), np.concatenate(totals), counter.result())
        return found if found.lengths.size and self.n_genes else None

    @property
    def _known(self) -> _Summaries:
        if self._summaries is None:
            msg = "These blocks hold values that are not whole numbers: read them into memory."
            raise ValueError(msg)
        return self._summaries

    @property
    def lengths(self) -> NDArray[np.integer]:
        """From the first pass."""
        return self._known.lengths

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """From the first pass."""
        return self._known.totals

    @cached_property
    def pairs(self) -> PairHistogram:
        """From the first pass."""
        return self._known.pairs

    @cached_property
    def gene_totals(self) -> NDArray[np.float64]:
        """From the pairs: sums of whole numbers, in whatever order."""
        totals = np.bincount(self.pairs.gene, self.pairs.n * self.pairs.count, minlength=self.n_genes)
        return totals.astype(np.float64)


def csr(rows: Rows) -> Any:
    """Return a `scipy.sparse.csr_matrix` that shares the values."""
    shape = (rows.indptr.size - 1, rows.n_genes)
    matrix = sp.csr_matrix((rows.data, rows.indices, rows.indptr), shape=shape, copy=False)
    matrix.has_canonical_format = True
    return matrix


def of_csr(matrix: Any) -> Rows:
    """Return the rows of a canonical `scipy.sparse.csr_matrix`."""
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False)
    return Rows(indptr, indices, matrix.data, matrix.shape[1])


def _sum(parts: Iterable[AnyArray]) -> AnyArray:
    """Sum of arrays of one shape; of a lone one, itself."""
    iterator = iter(parts)
    total = next(iterator)
    for part in iterator:
        total = total + part
    return total
