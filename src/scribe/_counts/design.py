"""What a model may know of cells beside their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scribe._types import FloatArray, IntArray

__all__ = ["NO_DESIGN", "Design", "Moments"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of a latent on the real line, as an earlier fit left them, over its ``axes``."""

    axes: tuple[str, ...]
    loc: FloatArray
    scale: FloatArray

    def subset(self, index: Mapping[str, IntArray | slice | None]) -> Moments:
        """Those of some genes and cells, by axis; None is all."""
        at = tuple(slice(None) if index.get(axis) is None else index[axis] for axis in self.axes)
        return replace(self, loc=self.loc[at], scale=self.scale[at])


@dataclass(frozen=True, eq=False)
class Design:
    """Covariates of cells, each None where the model has none of it, and what is known of its parameters.

    ``dataset`` (cells,) is the number of the dataset of every cell, ``logits`` (cells, components) the log prior odds
    of the components that come on top of their weights. ``responsibilities`` (cells, components) are their posterior
    probabilities as known from more genes than are at hand. ``level_cells`` (components, datasets) are the expected
    numbers of cells of every component in every dataset, once a mixture has been fitted; they are of all its cells.
    ``known`` are moments by the name of a latent, for priors that come from an earlier fit.
    """

    dataset: IntArray | None = None
    logits: FloatArray | None = None
    responsibilities: FloatArray | None = None
    level_cells: FloatArray | None = None
    known: Mapping[str, Moments] = field(default_factory=dict)

    def subset(self, cells: IntArray | slice | None = None, *, genes: IntArray | None = None) -> Design:
        """What is known of some cells and genes; None is all."""
        known = {name: moments.subset({"cell": cells, "gene": genes}) for name, moments in self.known.items()}
        if cells is None:
            return replace(self, known=known)
        return replace(
            self,
            dataset=None if self.dataset is None else self.dataset[cells],
            logits=None if self.logits is None else self.logits[cells],
            responsibilities=None if self.responsibilities is None else self.responsibilities[cells],
            known=known,
        )

    def datasets(self, n_cells: int) -> IntArray:
        """Number of the dataset of every cell, all zero where there are none."""
        return np.zeros(n_cells, np.int32) if self.dataset is None else self.dataset


NO_DESIGN = Design()
"""Nothing is known of cells but their counts."""
