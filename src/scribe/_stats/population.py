r"""What all genes tell together of one: a population learned from their likelihoods.

A population is a mixture over a grid whose weights maximise the likelihood of all genes together, by EM,

.. math:: \pi_k \propto a_k + \sum_g \frac{\pi_k L_{gk}}{\sum_j \pi_j L_{gj}},

with :math:`L_{gk}` the likelihood of gene :math:`g` at point :math:`k` of the grid and :math:`a_k` genes beside that
speak for this point alone.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from scribe._types import FloatArray

__all__ = ["population_weights"]


def population_weights(
    log_likelihood: FloatArray, prior: FloatArray, *, max_iterations: int = 2000, tolerance: float = 1e-8
) -> FloatArray:
    """Weights of the points of a grid, (points,), from log-likelihoods (genes, points).

    ``prior`` (points,) are numbers of genes beside, of which each speaks for one point.
    """
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    n_genes, n_points = likelihood.shape
    weights, last = np.full(n_points, 1.0 / n_points), -np.inf
    for _ in range(max_iterations):
        total = likelihood @ weights
        now = float(np.sum(np.log(total)) + np.sum(xlogy(prior, weights)))
        weights = (weights * (likelihood.T @ (1.0 / total)) + prior) / (n_genes + prior.sum())
        if now - last < tolerance * abs(now) + 1e-12:
            break
        last = now
    return weights
