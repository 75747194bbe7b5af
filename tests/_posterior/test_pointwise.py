"""WAIC of single counts against dense matrices of log-probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import scribe
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.assign import assign
from scribe._posterior.pointwise import by_element
from scribe._posterior.posterior import Posterior
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

MODELS = {
    "zinbvcp": {"model": "zinbvcp"},
    "no capture": {"model": "nbdm"},
    "components and datasets": {
        "components": ("a", "b"),
        "datasets": ("x", "y"),
        "dataset_params": "mean",
        "parameterization": "mean_odds",
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_against_dense_matrices(name, monkeypatch):
    shape, n_draws, rng = (110, 20), 12, np.random.default_rng(1)
    monkeypatch.setattr("scribe._posterior.pointwise._BLOCK_ELEMENTS", 900)
    monkeypatch.setattr("scribe._posterior.pointwise._PIECE", 256)
    spec = resolve_spec(unconstrained=True, **MODELS[name])
    lengths = {"cell": shape[0], "gene": shape[1], "component": 2, "dataset": 2}
    params = {}
    for latent in spec.latents:
        size = tuple(lengths[axis] for axis in latent.axes)
        params[latent.name + "_loc"] = rng.normal(0.0, 0.7, size).astype(np.float32)
        params[latent.name + "_log_scale"] = np.full(size, -1.5, np.float32)
    design = Design(rng.integers(0, 2, shape[0])) if "datasets" in MODELS[name] else Design()
    posterior = Posterior(spec, MeanField(), params, n_genes=shape[1], n_cells=shape[0], design=design)
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
    matrix = rng.poisson(rng.gamma(0.5, 2.0, shape))
    counts = results.counts(matrix)
    found = by_element(posterior, counts, posterior.parameter_draws(jax.random.key(0), n_draws))

    centre = posterior.parameters(posterior.centre())
    component = assign(posterior, counts).component if posterior.mixed else None
    each = []
    for parameters in posterior.parameter_draws(jax.random.key(0), n_draws):
        offset = centre.log_exposure + jnp.mean(parameters.log_exposure - centre.log_exposure)
        natural = parameters.wide(None if component is None else jnp.asarray(component))
        each.append(spec.family.log_pmf(jnp.asarray(matrix, jnp.float32), natural, offset[:, None]))
    each = np.asarray(each, np.float64)
    penalty = each.var(axis=0)
    elpd = special.logsumexp(each, axis=0) - np.log(n_draws) - penalty
    seen = 0
    for cells, one, other in found.blocks(counts):
        np.testing.assert_allclose(one, elpd[cells], atol=2e-4)
        np.testing.assert_allclose(other, penalty[cells], atol=2e-4)
        seen += len(one)
    assert seen == shape[0]


def test_no_draws(small_fit):
    results = scribe.get.results(small_fit)
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        by_element(results.posterior, results.counts(), iter(()))
