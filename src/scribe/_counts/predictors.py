"""What a cell adds to the log rate of every gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp

from scribe._counts.interpolation import matmul
from scribe._types import Array, IntArray, Key

__all__ = ["LowRank", "Predictor", "Scalar", "offsets", "offsets_at"]


class Predictor(Protocol):
    """Log rates of cells and genes less what is the genes' own: a named tuple of arrays.

    They are the sum of ``log_exposure`` (cells,), the log capture of cells, and a *field*, what cells add to the
    expression of every gene. Arrays may be stacked over draws along the first axis.
    """

    @property
    def log_exposure(self) -> Array:
        """Log capture, (cells,)."""

    def _replace(self, *, log_exposure: Array) -> Self:
        """The same at other captures."""

    @property
    def separable(self) -> bool:
        """Whether there is no field, so that sums over cells are functions of one number."""

    def field(self) -> Array | None:
        """The field of every cell and gene, (cells, genes)."""

    def field_at(self, cell: Array | IntArray, gene: Array | IntArray) -> Array | None:
        """The field of single elements, by their numbers; genes of further datasets follow those of the first."""

    def field_sd(self) -> Array | None:
        """Standard deviation of the field in the population of cells, where it is normal about zero, (genes,)."""

    def sample_field(self, key: Key, n_cells: int) -> Array | None:
        """The field of cells drawn from the population, (cells, genes)."""

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to everything that runs over cells."""

    def take_genes(self, index: IntArray) -> Self:
        """The same of some genes."""


def offsets(predictor: Predictor) -> Array:
    """What cells add to log rates, (cells, genes), or (cells, 1) where that is the same for all genes."""
    exposure, field = predictor.log_exposure[..., None], predictor.field()
    return exposure if field is None else exposure + field


def offsets_at(predictor: Predictor, cell: Array | IntArray, gene: Array | IntArray) -> Array:
    """What cells add to the log rates of single elements."""
    exposure, field = predictor.log_exposure[cell], predictor.field_at(cell, gene)
    return exposure if field is None else exposure + field


class Scalar(NamedTuple):
    """One number for each cell: its log capture."""

    log_exposure: Array

    @property
    def separable(self) -> bool:
        """Always."""
        return True

    def field(self) -> None:
        """None."""

    def field_at(self, cell: Array | IntArray, gene: Array | IntArray) -> None:
        """None."""

    def field_sd(self) -> None:
        """None."""

    def sample_field(self, key: Key, n_cells: int) -> None:
        """None."""

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to the log captures."""
        return self._replace(log_exposure=function(self.log_exposure))

    def take_genes(self, index: IntArray) -> Self:
        """The same: genes are all alike."""
        return self


class LowRank(NamedTuple):
    r"""A factor model of log rates: :math:`x_{cg} = \log\nu_c + \sum_k s_{ck} w_{gk}`.

    ``scores`` are (cells, factors), standard normal in the population of cells, ``loadings`` (genes, factors).
    """

    log_exposure: Array
    scores: Array
    loadings: Array

    @property
    def separable(self) -> bool:
        """Never."""
        return False

    def field(self) -> Array:
        """The product of scores and loadings."""
        return matmul(self.scores, jnp.swapaxes(self.loadings, -1, -2))

    def field_at(self, cell: Array | IntArray, gene: Array | IntArray) -> Array:
        """Single elements, without the matrix."""
        return (self.scores[cell] * self.loadings[gene % self.loadings.shape[-2]]).sum(-1)

    def field_sd(self) -> Array:
        """Norms of the loadings."""
        return jnp.sqrt(jnp.sum(jnp.square(self.loadings), axis=-1))

    def sample_field(self, key: Key, n_cells: int) -> Array:
        """Of standard normal scores."""
        scores = jax.random.normal(key, (n_cells, self.loadings.shape[-1]), self.loadings.dtype)
        return matmul(scores, self.loadings.T)

    def map_cells(self, function: Callable[[Array], Array]) -> Self:
        """Apply a function to log captures and scores."""
        return self._replace(log_exposure=function(self.log_exposure), scores=function(self.scores))

    def take_genes(self, index: IntArray) -> Self:
        """The loadings of some genes."""
        return self._replace(loadings=self.loadings[..., index, :])
