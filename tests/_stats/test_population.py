"""Weights of a population against the conditions of their optimum."""

from __future__ import annotations

import numpy as np

from scribe._stats.population import population_weights


def test_weights_are_a_stationary_point_of_the_likelihood() -> None:
    """At the optimum over the simplex the gradient is one along all points with weight, and at most that elsewhere."""
    rng = np.random.default_rng(0)
    log_likelihood = rng.normal(size=(500, 6))
    weights = population_weights(log_likelihood, np.zeros(6), tolerance=1e-15)
    likelihood = np.exp(log_likelihood)
    gradient = np.mean(likelihood / (likelihood @ weights)[:, None], axis=0)
    np.testing.assert_allclose(gradient[weights > 1e-3], 1.0, atol=1e-4)
    assert gradient.max() < 1 + 1e-4


def test_genes_beside_count_as_genes_that_are_seen() -> None:
    log_likelihood = np.random.default_rng(0).normal(size=(300, 4))
    certain = np.repeat(np.log(np.maximum(np.eye(4), 1e-200)), [5, 0, 2, 0], axis=0)
    weights = population_weights(log_likelihood, np.array([5.0, 0.0, 2.0, 0.0]), tolerance=1e-15)
    known = population_weights(np.concatenate([log_likelihood, certain]), np.zeros(4), tolerance=1e-15)
    np.testing.assert_allclose(weights, known, atol=1e-6)
