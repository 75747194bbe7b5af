"""Which component a cell belongs to."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from scipy.special import entr

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
    """Posterior probability of every component of a mixture in every cell, averaged over draws of the parameters."""
    data, total = posterior.data(counts), np.zeros((counts.n_cells, posterior.spec.lengths["component"]))
    for parameters in posterior.parameter_draws(jax.random.key(0) if key is None else key, n_samples):
        total += np.asarray(posterior.responsibilities(parameters, data), np.float64)
    probabilities = total / total.sum(axis=1, keepdims=True)
    entropy = entr(probabilities).sum(axis=1)
    return Assignment(probabilities, np.argmax(probabilities, axis=1), entropy, probabilities.mean(axis=0))
