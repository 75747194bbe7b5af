"""Which component a cell belongs to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from scribe._counts.container import Counts
from scribe._posterior.posterior import Posterior
from scribe._types import FloatArray, IntArray, Key

__all__ = ["Assignment", "assign"]


class Assignment(NamedTuple):
    """Components of cells.

    ``probabilities`` (cells, components) are the posterior ones, averaged over draws of the parameters, ``component``
    (cells,) is the most probable, ``entropy`` (cells,) that of the probabilities in nats, and ``weights`` (components,)
    the share of each component among the cells, the mean of their probabilities.
    """

    probabilities: FloatArray
    component: IntArray
    entropy: FloatArray
    weights: FloatArray


def assign(posterior: Posterior, counts: Counts, *, key: Key | None = None, n_samples: int = 0) -> Assignment:
    """Posterior probability of every component in every cell.

    Parameters
    ----------
    posterior
        Posterior of the parameters, of a mixture.
    counts
        Counts of the same cells and genes.
    key
        Random key of the draws.
    n_samples
        Draws of the parameters to average over; 0 takes them at their most probable values.
    """
    data = posterior.data(counts)
    if n_samples:
        drawn = posterior.draw_one_by_one(jax.random.key(0) if key is None else key, n_samples)
    else:
        drawn = iter([posterior.centre()])
    total = np.zeros((counts.n_cells, posterior.spec.lengths["component"]))
    for values in drawn:
        total += np.asarray(posterior.responsibilities(posterior.parameters(values), data), np.float64)
    probabilities = total / total.sum(axis=1, keepdims=True)
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return Assignment(
        probabilities,
        np.argmax(probabilities, axis=1),
        -np.sum(probabilities * logs, axis=1),
        probabilities.mean(axis=0),
    )
