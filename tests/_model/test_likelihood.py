"""The likelihood of a family: what is summed over genes or cells agrees with what is said of every count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.design import Design
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.likelihood import Likelihood
from scribe.families import from_layers

C, G, D = 40, 12, 2


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def case(layers):
    """Counts, parameters that differ between data sets, and the data as the engine reads them."""
    rng = np.random.default_rng(4)
    dataset = rng.integers(0, D, C)
    natural = {"log_mean": rng.normal(0.5, 1.0, (1, D, G)), "log_odds": rng.normal(0.0, 0.5, (1, D, G))}
    natural |= {"gate_logit": rng.normal(-1.0, 0.5, (1, 1, G))} if "zero_inflated" in layers else {}
    x = jnp.asarray(rng.normal(-1.0, 0.3, C))
    parameters = Parameters({n: jnp.asarray(v) for n, v in natural.items()}, Scalar(x), jnp.asarray(dataset))
    likelihood = Likelihood(from_layers(layers))
    u = np.asarray(likelihood.sample(jax.random.key(0), parameters))
    counts = Counts.from_matrix(u).spread(dataset, D)
    data = full_data(counts, totals_suffice=False, by_cell=True, design=Design(dataset.astype(np.int32)))
    return likelihood, parameters, jnp.asarray(u), data


@pytest.mark.parametrize("layers", [("nb", "with_capture"), ("nb", "with_capture", "zero_inflated")])
def test_sums_and_single_counts_agree(layers):
    likelihood, parameters, u, data = case(layers)
    log_pmf = likelihood.log_pmf(u, parameters)
    np.testing.assert_allclose(likelihood.by_cell(parameters, data), log_pmf.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(likelihood.by_gene(parameters, data, n_genes=G), log_pmf.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(likelihood.log_prob(parameters, data), log_pmf.sum(), rtol=1e-9)


@pytest.mark.parametrize("layers", [("nb", "with_capture"), ("nb", "with_capture", "zero_inflated")])
def test_curvature_is_that_of_the_sum_over_genes_in_the_capture_of_a_cell(layers):
    likelihood, parameters, u, data = case(layers)

    def of_cells(x):
        return likelihood.by_cell(parameters.at_exposure(x), data)

    gradient, curvature = likelihood.curvature(u, parameters)
    assert gradient.shape == curvature.shape == (C, G)
    slopes = jax.grad(lambda x: of_cells(x).sum())(parameters.log_exposure)
    np.testing.assert_allclose(gradient.sum(axis=1), slopes, rtol=1e-7)
    step = 1e-4
    slopes = [jax.grad(lambda x: of_cells(x).sum())(parameters.log_exposure + d) for d in (step, -step)]
    np.testing.assert_allclose(curvature.sum(axis=1), (slopes[0] - slopes[1]) / (2 * step), rtol=1e-5, atol=1e-5)


def test_molecules_before_capture_add_up():
    likelihood, parameters, _, _ = case(("nb", "with_capture"))
    mean, variance = likelihood.moments(parameters)
    assert np.all(np.asarray(variance) >= np.asarray(mean))
    # of counts drawn from the model, the mean of what was there is the mean without capture
    before = likelihood.moments(parameters.at_exposure(jnp.zeros(C))).mean
    draws = jax.vmap(lambda key: likelihood.sample(key, parameters))(jax.random.split(jax.random.key(1), 4000))
    there = jnp.mean(jax.vmap(lambda u: likelihood.thinned(u, parameters).moments().mean)(draws), axis=0)
    np.testing.assert_allclose(there, before, rtol=0.1)
