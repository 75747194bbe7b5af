"""What a cell adds to the log rate of every gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

import jax.numpy as jnp

from scribe._counts.interpolation import matmul
from scribe._types import Array, IntArray

__all__ = ["LowRank", "Predictor", "Scalar"]


class Predictor(Protocol):
    """Log rates of cells and genes less what is the genes' own: a named tuple of arrays.

    ``log_exposure`` (cells,) is the log capture of cells. Arrays may be stacked over draws along the first axis.
    """

    @property
    def separable(self) -> bool:
        """Whether a cell adds the same to all genes, so that sums over cells are functions of one number."""

    @property
    def log_exposure(self) -> Array:
        """Log capture, (cells,)."""

    def _replace(self, *, log_exposure: Array) -> Self:
        """The same at other captures."""

    def dense(self) -> Array:
        """What every cell adds, (cells, genes), or (cells, 1) where that is the same for all genes."""

    def at(self, cell: Array | IntArray, gene: Array | IntArray) -> Array:
        """What cells add to single genes, by their numbers; genes of further datasets follow those of the first."""

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to everything that runs over cells."""

    def take_genes(self, index: IntArray) -> Self:
        """The same of some genes."""


class Scalar(NamedTuple):
    """One number for each cell: its log capture."""

    log_exposure: Array

    @property
    def separable(self) -> bool:
        """Always."""
        return True

    def dense(self) -> Array:
        """The log captures, (cells, 1)."""
        return self.log_exposure[..., None]

    def at(self, cell: Array | IntArray, gene: Array | IntArray) -> Array:
        """The log captures of cells."""
        return self.log_exposure[cell]

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to the log captures."""
        return self._replace(log_exposure=function(self.log_exposure))

    def take_genes(self, index: IntArray) -> Self:
        """The same: genes are all alike."""
        return self


class LowRank(NamedTuple):
    r"""A factor model of log rates: :math:`x_{cg} = \log\nu_c + \sum_k s_{ck} w_{gk}`.

    ``scores`` are (cells, factors), ``loadings`` (genes, factors).
    """

    log_exposure: Array
    scores: Array
    loadings: Array

    @property
    def separable(self) -> bool:
        """Never."""
        return False

    def dense(self) -> Array:
        """Of every cell and gene, (cells, genes)."""
        return self.log_exposure[..., None] + matmul(self.scores, jnp.swapaxes(self.loadings, -1, -2))

    def at(self, cell: Array | IntArray, gene: Array | IntArray) -> Array:
        """Of single elements, without the matrix."""
        loadings = self.loadings[gene % self.loadings.shape[-2]]
        return self.log_exposure[cell] + (self.scores[cell] * loadings).sum(-1)

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to log captures and scores."""
        return self._replace(log_exposure=function(self.log_exposure), scores=function(self.scores))

    def take_genes(self, index: IntArray) -> Self:
        """The loadings of some genes."""
        return self._replace(loadings=self.loadings[..., index, :])
