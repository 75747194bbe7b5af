"""What centred priors know of a cell, against the ratio of their densities with and without it, by scipy."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._posterior.double_use import prior_shares

SIGMA, LOG_M0 = 0.4, math.log(400.0)
CAPTURE = {"capture_efficiency": (LOG_M0, 0.3)}
MODELS = {
    "alone": {"parameterization": "mean_disp", "priors": CAPTURE},
    "softplus": {"priors": CAPTURE, "unconstrained": True, "positive_transform": "softplus"},
    "without_capture": {"model": "nbdm"},
    "of_datasets": {"model": "nbdm", "unconstrained": True, "expression_dataset_prior": "gaussian"},
}


def log_prior(counts, log_mean, *, captured):
    """Log density of MeanAnchor for draws (draws, genes) of the logarithm of the mean."""
    means = (counts.sum(axis=0) + 0.5) / len(counts)
    log_capture = min(math.log(counts.sum() / len(counts)) - LOG_M0, 0.0) if captured else 0.0
    return stats.norm(np.log(means) - log_capture, SIGMA).logpdf(log_mean).sum(axis=1)


@pytest.mark.loose_promotion
@pytest.mark.filterwarnings("ignore:.*have no counts", "ignore:.*zero in every cell")
@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
@pytest.mark.parametrize("name", MODELS)
def test_shares_are_those_of_the_densities(name):
    options = {"model": None, **MODELS[name]}
    adata = scribe.datasets.simulate(12, 5, params={"mu": 3.0}, rng=2)
    if name == "of_datasets":
        adata.obs["batch"] = ["a", "b"] * 6
        options["dataset_key"] = "batch"
    results = scribe.fit(
        adata, expression_anchor=True, expression_anchor_sigma=SIGMA, n_steps=3, early_stopping=False, **options
    )
    posterior, key = results.posterior, jax.random.key(1)
    assert [site.name for site in posterior.spec.centred_sites] == ["mu"]
    (latents,) = posterior.latent_blocks(key, 4)
    matrix = results.counts().rows(slice(None)).astype(float)
    where = "mu_loc_unconstrained" if name == "of_datasets" else "mu_unconstrained"
    z = np.asarray(latents[where], np.float64)
    log_mean = np.log(np.logaddexp(0, z)) if name == "softplus" else z
    captured = "priors" in options
    found = np.stack(list(prior_shares(posterior, results.counts(), key, 4)))
    assert found.shape == (4, 12)
    whole = log_prior(matrix, log_mean, captured=captured)
    for cell in range(12):
        ratio = whole - log_prior(np.delete(matrix, cell, axis=0), log_mean, captured=captured)
        np.testing.assert_allclose(found[:, cell] - found[0, cell], ratio - ratio[0], rtol=1e-3, atol=1e-3)
    assert np.ptp(found, axis=0).max() > 0.1
