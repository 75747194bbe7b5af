"""Draws of logarithms of positive numbers follow the laws of scipy; their densities are tested with the priors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from scribe._dist.log_positive import LogGamma, LogHalfCauchy


@pytest.mark.parametrize(
    ("law", "reference"),
    [
        (LogGamma(np.float32([0.3, 4.0]), np.float32([5.0, 0.2])), stats.gamma([0.3, 4.0], scale=[0.2, 5.0])),
        (LogHalfCauchy(np.float32([0.1, 3.0])), stats.halfcauchy(scale=[0.1, 3.0])),
    ],
)
def test_draws(law, reference):
    draws = np.asarray(law.sample(jax.random.key(0), (2000,)), float)
    assert draws.shape == (2000, 2)
    assert min(stats.kstest(u, "uniform").pvalue for u in reference.cdf(np.exp(draws)).T) > 1e-3
