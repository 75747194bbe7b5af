"""What a model may know of cells beside their counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scribe._types import FloatArray, IntArray

__all__ = ["NO_DESIGN", "Design"]


@dataclass(frozen=True, eq=False)
class Design:
    """Covariates of cells; each is None where the model has none of it.

    ``dataset`` (cells,) is the number of the dataset of every cell, ``logits`` (cells, components) the log prior odds
    of the components that come on top of their weights. ``responsibilities`` (cells, components) are their posterior
    probabilities as known from more genes than are at hand. ``level_cells`` (components, datasets) are the expected
    numbers of cells of every component in every dataset, once a mixture has been fitted; they are of all its cells.
    """

    dataset: IntArray | None = None
    logits: FloatArray | None = None
    responsibilities: FloatArray | None = None
    level_cells: FloatArray | None = None

    def subset(self, cells: IntArray | slice) -> Design:
        """The covariates of some cells."""
        return replace(
            self,
            dataset=None if self.dataset is None else self.dataset[cells],
            logits=None if self.logits is None else self.logits[cells],
            responsibilities=None if self.responsibilities is None else self.responsibilities[cells],
        )

    def datasets(self, n_cells: int) -> IntArray:
        """Number of the dataset of every cell, all zero where there are none."""
        return np.zeros(n_cells, np.int32) if self.dataset is None else self.dataset


NO_DESIGN = Design()
"""Nothing is known of cells but their counts."""
