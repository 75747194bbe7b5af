"""What the likelihood of counts reads: parameters of genes, and what is known of every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scribe._counts.levels import at_cells, take_level
from scribe._counts.predictors import Predictor
from scribe._types import Array, Natural

__all__ = ["Parameters"]


class Parameters(NamedTuple):
    """Parameters of a data set at one draw from a posterior, or stacked over draws.

    ``natural`` are the natural parameters of the family, arrays over (genes,) or over the axes of
    `scribe._counts.levels`. ``predictor`` is what cells add to the log rates. ``dataset`` (cells,) is the number of a
    cell's dataset and ``log_weights`` (cells, components) the log prior probability of components, where the model has
    them; ``component`` (cells,) is the one that a cell has been assigned to.
    """

    natural: Natural
    predictor: Predictor
    dataset: Array | None = None
    log_weights: Array | None = None
    component: Array | None = None

    def map_cells(self, function: Callable[[Array], Array]) -> Parameters:
        """Apply a function to everything that runs over cells."""
        rest = (self.dataset, self.log_weights, self.component)
        rest_there = (None if x is None else function(x) for x in rest)
        return Parameters(self.natural, self.predictor.map_cells(function), *rest_there)

    def at_exposure(self, log_exposure: Array) -> Parameters:
        """The same at other captures of the cells."""
        return self._replace(predictor=self.predictor._replace(log_exposure=log_exposure))

    @property
    def log_exposure(self) -> Array:
        """Log capture, (cells,)."""
        return self.predictor.log_exposure

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.log_exposure.shape[-1]

    def wide(self, component: Array | None = None) -> dict[str, Array]:
        """Natural parameters of every cell and gene, (cells or 1, genes or 1), of its component or of given ones."""
        return at_cells(self.natural, self.component if component is None else component, self.dataset)

    @property
    def n_components(self) -> int:
        """Number of components a cell may come from: one where it is known or there are none."""
        return 1 if self.log_weights is None or self.component is not None else self.log_weights.shape[-1]

    def of_component(self, number: Array | int) -> Parameters:
        """Parameters of a model of this component alone."""
        return Parameters(take_level(self.natural, 0, number), self.predictor, self.dataset)
