"""Random minibatches of cells, of fixed shape and never dense."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CHUNK, Cells, CountData, NonZeros, Ragged, cells_on_device, ragged_cells
from scribe._counts.design import NO_DESIGN, Design
from scribe._device import on_device
from scribe._types import AnyArray, Array

__all__ = ["CellBatch", "CellBatches"]


class CellBatch(NamedTuple):
    """The cells of one minibatch and, where totals do not suffice, their non-zeros in rows sorted by cell."""

    cells: Cells
    non_zeros: NonZeros | None
    scale: Array

    def join(self, data: CountData) -> CountData:
        """The whole data set with its cells replaced by those of the batch, which keep their rows."""
        cells = self.cells._replace(rows=data.cells.rows[self.cells.rows])
        return data._replace(cells=cells, non_zeros=self.non_zeros, scale=self.scale)


class CellBatches:
    """Draws minibatches without replacement within a batch; batch number i depends on the seed and i alone.

    ``batch_size`` is the number of cells of each; where ``totals_suffice`` they leave out the non-zeros.
    """

    def __init__(
        self, counts: Counts, batch_size: int, *, totals_suffice: bool, seed: int, design: Design = NO_DESIGN
    ) -> None:
        self._totals = counts.totals
        self._size = batch_size
        self._seed = seed
        self._order = np.random.default_rng(seed).permutation(counts.n_cells)
        # what is known of latents is data of all batches
        self._design = replace(design, known={})
        self._rows: Ragged | None = None
        self._n_rows = 0
        if not totals_suffice:
            self._rows = ragged_cells(counts)
            self._no_pair = len(counts.pairs().n)
            rows_per_cell = np.diff(self._rows.start)
            self._n_rows = max(int(np.sort(rows_per_cell)[-batch_size:].sum()), 1)

    def draw(self, first: int, n: int) -> CellBatch:
        """Batches number ``first`` to ``first + n - 1``, stacked along a leading axis."""
        generators = [np.random.default_rng((self._seed, first + i)) for i in range(n)]
        return self._stack([np.sort(rng.choice(len(self._totals), self._size, replace=False)) for rng in generators])

    @property
    def n_disjoint(self) -> int:
        """Number of whole batches that the cells divide into."""
        return len(self._totals) // self._size

    def disjoint(self, first: int, n: int) -> CellBatch:
        """As `draw`, of batches that divide the cells at random, the same in every call; a rest is left out."""
        starts = self._size * np.arange(first, min(first + n, self.n_disjoint))
        return self._stack([np.sort(self._order[start : start + self._size]) for start in starts])

    def _stack(self, chosen: list[AnyArray]) -> CellBatch:
        dtype = jnp.zeros(()).dtype
        index = np.stack(chosen)
        cells = cells_on_device(self._totals[index], np.ones(index.shape), index, self._design.subset(index))
        scale = jnp.full((len(chosen),), len(self._totals) / self._size, dtype)
        if self._rows is None:
            return CellBatch(cells, None, scale)
        parts = [self._non_zeros(self._rows, cells_of_batch) for cells_of_batch in chosen]
        gene, cell, value, pair = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        owners = on_device(gene, np.int32), on_device(cell, np.int32)
        non_zeros = NonZeros(*owners, on_device(value), on_device(pair, np.int32))
        return CellBatch(cells, non_zeros, scale)

    def _non_zeros(self, rows: Ragged, chosen: AnyArray) -> tuple[AnyArray, ...]:
        """Rows of the chosen cells, padded to the size of the largest possible batch."""
        n = rows.start[chosen + 1] - rows.start[chosen]
        where = np.repeat(rows.start[chosen] - np.concatenate([[0], np.cumsum(n)[:-1]]), n) + np.arange(n.sum())
        gene = np.zeros((self._n_rows, CHUNK), np.int32)
        value = np.zeros((self._n_rows, CHUNK), np.float32)
        cell = np.full((self._n_rows, 1), len(chosen) - 1, np.int32)
        pair = np.full((self._n_rows, CHUNK), self._no_pair, np.int32)
        gene[: len(where)], value[: len(where)] = rows.ids[where], rows.values[where]
        if rows.pair is not None:
            pair[: len(where)] = rows.pair[where]
        cell[: len(where), 0] = np.repeat(np.arange(len(chosen)), n)
        return gene, cell, value, pair
