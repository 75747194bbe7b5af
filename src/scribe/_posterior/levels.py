"""How many cells the components of a mixture have in every dataset, and which have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scribe._counts.container import Counts
from scribe._model.axes import LEVEL_AXES
from scribe._posterior.assign import assign
from scribe._posterior.posterior import Posterior

__all__ = ["levels_without_cells", "with_level_cells"]

_NO_CELL = 0.5
"""An expected number of cells below this is none."""


def with_level_cells(posterior: Posterior, counts: Counts) -> Posterior:
    """Note in the design of a mixture how many cells its components have in every dataset."""
    if not posterior.mixed:
        return posterior
    dataset = np.eye(posterior.spec.lengths.get("dataset", 1))[posterior.design.datasets(posterior.n_cells)]
    cells = assign(posterior, counts).probabilities.T @ dataset
    return replace(posterior, design=replace(posterior.design, level_cells=cells))


def levels_without_cells(posterior: Posterior, axes: Sequence[str]) -> set[tuple[int, ...]]:
    """Levels of a quantity with some axes, by number, that no cell is of as far as is known."""
    cells = posterior.design.level_cells
    if cells is None or any(axis.partition(":")[1] for axis in axes):
        return set()
    summed = np.sum(cells, axis=tuple(i for i, axis in enumerate(LEVEL_AXES) if axis not in axes))
    return {tuple(map(int, level)) for level in np.argwhere(summed < _NO_CELL)}
