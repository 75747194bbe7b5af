"""Overdispersion that was simulated is found by a fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln, gammaln

import scribe

pytestmark = [pytest.mark.loose_promotion, pytest.mark.slow]

OMEGA = np.array([0.1, 0.5, 1.0, 3.0, 0.1, 0.5, 1.0, 3.0])
ODDS = 0.2


def by_quadrature(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of log omega of every gene under a flat prior, at the observed mean and the true odds."""
    log = np.linspace(np.log(0.01), np.log(10), 400)
    moments = []
    for u in counts.T[:, :, None]:
        mean = u.mean()
        r, kappa = mean * ODDS, 2 + (mean * ODDS + 1) / np.exp(log)
        alpha = mean * (kappa - 1) / r
        pmf = gammaln(r + u) - gammaln(u + 1) - gammaln(r) + betaln(alpha + u, kappa + r) - betaln(alpha, kappa)
        weight = np.exp(pmf.sum(0) - pmf.sum(0).max())
        centre = np.average(log, weights=weight)
        moments.append((centre, np.sqrt(np.average((log - centre) ** 2, weights=weight))))
    return tuple(np.transpose(moments))


def test_overdispersion_is_recovered() -> None:
    """As quadrature has it where the counts tell, and with the truth in the intervals; the odds are given."""
    params = {"mu": np.repeat([20.0, 60.0], 4), "phi": ODDS, "omega": OMEGA}
    model = {"model": "nbdm", "overdispersion": "bnb", "unconstrained": True}
    adata = scribe.datasets.simulate(800, 8, **model, params=params, rng=1)
    prior = {"p": (float(-np.log(ODDS)), 0.01)}
    results = scribe.fit(adata, **model, positive_transform="exp", priors=prior, n_steps=2_500)
    log = np.log(np.asarray(results.get_posterior_samples(300)["omega"]))
    centre, sd = by_quadrature(adata.X.toarray())
    told = sd < 0.3
    assert told.sum() >= 6
    assert np.all(np.abs(log.mean(0) - centre)[told] < sd[told])
    assert np.mean(np.abs(log.mean(0) - np.log(OMEGA)) < 3 * log.std(0)) >= 7 / 8
