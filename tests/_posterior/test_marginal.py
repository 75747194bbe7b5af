"""Cells without their capture, against dense quadrature of elementwise log-pmfs."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import scribe
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.marginal import log_likelihood_of_cells
from scribe._posterior.posterior import Posterior
from scribe.engines import Verdict
from scribe.guides import MeanField
from scribe.priors import Context

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore:.*have no counts")]

ANCHOR = {"capture_efficiency": (math.log(150.0), 0.3)}
MODELS = {
    "p_capture": {},
    "phi_capture": {"parameterization": "mean_odds", "zero_inflation": True},
    "eta_capture": {"priors": ANCHOR},
}


def dense(results, counts, *, n_samples=2):
    """Integrals on a grid of the latent that is fine and wide enough for the trapezoidal rule, draw by draw."""
    posterior, spec = results.posterior, results.spec
    site, data = spec.capture_site, posterior.data(counts)
    grid = jnp.linspace(-30.0, 20.0, 801)
    u = jnp.asarray(counts.rows(slice(None)), grid.dtype)
    for values in posterior.draw_one_by_one(jax.random.key(3), n_samples):
        law = spec.site(site).prior.distribution(
            Context(data.cells.totals, *data.means, spec.log_total(values, data.cells.dataset))
        )
        parameters = posterior.parameters(values)
        components = [None] if parameters.log_weights is None else range(parameters.n_components)
        out = []
        for k in components:
            natural = parameters.wide(None if k is None else jnp.full(len(u), k))

            def at(z, natural=natural, law=law):
                offset = spec.offset({site: jnp.full(len(u), z)}, len(u))
                pmf = jnp.sum(spec.family.log_pmf(u, natural, offset[:, None]), axis=1)
                return pmf + law.log_prob(jnp.full(len(u), z))

            joint = jax.nn.logsumexp(jax.lax.map(jax.jit(at), grid), axis=0) + jnp.log(grid[1] - grid[0])
            out.append(joint if k is None else joint + parameters.log_weights[:, k])
        yield jax.nn.logsumexp(jnp.stack(out), axis=0)


def made(shape, levels=(), **options):
    """Results of a fit that never was, with components and datasets that differ in their totals."""
    n_cells, n_genes = shape
    rng = np.random.default_rng(5)
    names = {"components": ("a", "b"), "datasets": ("x", "y")}
    spec = resolve_spec(unconstrained=True, **{name: names[name] for name in levels}, **options)
    lengths = {"gene": n_genes, "cell": n_cells, "component": 2, "dataset": 2}
    params = {}
    for latent in spec.latents:
        size = tuple(lengths[axis] for axis in latent.axes)
        loc = rng.normal(0.0, 0.7, size) + (1.0 if latent.name.startswith(("mu", "r_un")) else -1.0)
        params |= {latent.name + "_loc": loc, latent.name + "_log_scale": np.full(size, -2.0)}
    design = Design(rng.integers(0, 2, n_cells) if "datasets" in levels else None)
    posterior = Posterior(spec, MeanField(), params, n_genes=n_genes, n_cells=n_cells, design=design)
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, loss_history=np.zeros(1), seed=1)
    blocks = next(results.simulate(1))
    matrix = np.zeros(shape)
    for block in blocks:
        matrix[block.cell, block.gene] = block.value
    return results, results.counts(matrix)


LEVELS = {
    "both": {
        "levels": ("components", "datasets"),
        "dataset_params": "mean",
        "priors": ANCHOR,
        "capture_scaling_prior": "gaussian",
        "parameterization": "mean_disp",
    },
}


@pytest.mark.parametrize("name", LEVELS)
def test_components_and_datasets(name):
    """The integral is over the capture of a cell whichever component it is of: each has a mode of its own."""
    with jax.enable_x64():
        results, counts = made((12, 25), **LEVELS[name])
        found = list(log_likelihood_of_cells(results.posterior, counts, jax.random.key(3), 2))
        for one, expected in zip(found, dense(results, counts), strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-3)


def test_many_cells_in_single_precision():
    """Zeros are interpolated between cells, and a few nodes do: against the same in double precision."""
    results, counts = made((300, 400), model="zinbvcp")
    (found,) = log_likelihood_of_cells(results.posterior, counts, jax.random.key(3), 0)
    with jax.enable_x64():
        some = np.arange(8)
        part, rows = results.cells(some), counts.subset(cells=some)
        (expected,) = log_likelihood_of_cells(part.posterior, rows, jax.random.key(3), 0)
    np.testing.assert_allclose(found[some], expected, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_integral_against_dense_quadrature(name, made_fit):
    """Cells of some tens of counts, of one and of none; capture anchored near one and not anchored at all."""
    with jax.enable_x64():
        results = scribe.get.results(made_fit(**MODELS[name], shape=(14, 30)))
        matrix = results.counts().rows(slice(None)).copy()
        matrix[0], matrix[1] = 0, np.eye(30)[3]
        counts = results.counts(matrix)
        found = list(log_likelihood_of_cells(results.posterior, counts, jax.random.key(3), 2))
        for one, expected in zip(found, dense(results, counts), strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-3)
