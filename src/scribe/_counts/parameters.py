"""What the likelihood of counts reads: parameters of genes, and what is known of every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scribe._counts.levels import at_cells
from scribe._types import Array, Natural

__all__ = ["Parameters"]


class Parameters(NamedTuple):
    """Parameters of a data set at one draw from a posterior, or stacked over draws.

    ``natural`` are the natural parameters of the family, arrays over (genes,) or over the axes of
    `scribe._counts.levels`. ``offset`` (cells,) is log capture. ``dataset`` (cells,) is the number of a cell's dataset
    and ``log_weights`` (cells, components) the log prior probability of components, where the model has them;
    ``component`` (cells,) is the one that a cell has been assigned to.
    """

    natural: Natural
    offset: Array
    dataset: Array | None = None
    log_weights: Array | None = None
    component: Array | None = None

    def map_cells(self, function: Callable[[Array], Array]) -> Parameters:
        """Apply a function to everything that runs over cells."""
        rest = (self.dataset, self.log_weights, self.component)
        return Parameters(self.natural, function(self.offset), *(None if x is None else function(x) for x in rest))

    def wide(self, component: Array | None = None) -> dict[str, Array]:
        """Natural parameters of every cell and gene, (cells or 1, genes or 1), of its component or of given ones."""
        return at_cells(self.natural, self.component if component is None else component, self.dataset)

    @property
    def n_components(self) -> int:
        """Number of components a cell may come from: one where it is known or there are none."""
        return 1 if self.log_weights is None or self.component is not None else self.log_weights.shape[-1]

    def of_component(self, number: Array | int) -> Parameters:
        """Parameters of a model of this component alone."""
        natural = {n: v[number % v.shape[0]][None] if v.ndim == 3 else v for n, v in self.natural.items()}
        return Parameters(natural, self.offset, self.dataset)
