"""Cells without their capture, against dense quadrature of elementwise log-pmfs."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.marginal import NewCells, log_likelihood_of_cells
from scribe._posterior.posterior import Posterior
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore:.*have no counts")]

ANCHOR = {"capture_efficiency": (math.log(150.0), 0.3)}
MODELS = {
    "p_capture": {},
    "phi_capture": {"parameterization": "mean_odds", "zero_inflation": True},
    "eta_capture": {"priors": ANCHOR},
}


def of_cells(posterior, counts, n_samples, **about):
    return log_likelihood_of_cells(posterior, counts, posterior.values(jax.random.key(3), n_samples), **about)


def population(x, cell):
    """Law of the log capture of a cell, from those of the others: scipy's normal, cut at full capture."""
    others = np.delete(np.asarray(x, np.float64), cell)
    loc, scale = others.mean(), others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
    return stats.truncnorm(-np.inf, -loc / scale, loc=loc, scale=scale)


def dense(results, counts, *, n_samples=2):
    """Integrals on a grid of log capture that is fine and wide enough for the trapezoidal rule, draw by draw."""
    posterior, spec = results.posterior, results.spec
    # in z the end at full capture is far away: x = -log(1 + exp(z)), dx = -1 / (1 + exp(-z)) dz
    z = np.linspace(-30.0, 20.0, 801)
    grid, slope = -np.logaddexp(0.0, z), 1 / (1 + np.exp(-z))
    u = jnp.asarray(counts.rows(slice(None)), jnp.zeros(()).dtype)
    for values in posterior.draw_one_by_one(jax.random.key(3), n_samples):
        parameters = posterior.parameters(values)
        laws = [population(parameters.log_exposure, cell) for cell in range(len(u))]
        weight = jnp.asarray(
            np.stack([law.logpdf(grid) for law in laws], axis=1) + np.log(slope * (z[1] - z[0]))[:, None]
        )
        components = [None] if parameters.log_weights is None else range(parameters.n_components)
        out = []
        for k in components:
            natural = parameters.wide(None if k is None else jnp.full(len(u), k))

            def at(x, natural=natural):
                return jnp.sum(spec.family.log_pmf(u, natural, x), axis=1)

            joint = jax.nn.logsumexp(jax.lax.map(jax.jit(at), jnp.asarray(grid)) + weight, axis=0)
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
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
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
        found = list(of_cells(results.posterior, counts, 2))
        for one, expected in zip(found, dense(results, counts), strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-3)


def test_many_cells_in_single_precision():
    """Zeros are interpolated between cells, and a few nodes do: against the same in double precision."""
    results, counts = made((300, 400), model="zinbvcp")
    (found,) = of_cells(results.posterior, counts, 0)
    with jax.enable_x64():
        (expected,) = of_cells(results.posterior, counts, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-3)


NEW = {
    **MODELS,
    "learned": {"priors": ANCHOR, "capture_scaling_prior": "gaussian", "unconstrained": True},
    "two_genes": {"priors": ANCHOR, "parameterization": "mean_disp"},
}


@pytest.mark.parametrize("name", NEW)
def test_probabilities_of_what_a_cell_may_contain_sum_to_one(name, made_fit):
    """All counts of one gene, or all pairs of two, each as a new cell, whatever is said of capture."""
    n_genes, top = (2, 40) if name == "two_genes" else (1, 600)
    with jax.enable_x64():
        fit = made_fit(**NEW[name], shape=(14, n_genes), params={"mu": 12.0 if n_genes == 1 else 3.0})
        posterior = scribe.get.results(fit).posterior
        cells = np.stack(np.meshgrid(*[np.arange(float(top))] * n_genes), axis=-1).reshape(-1, n_genes)
        counts, like = Counts.from_matrix(cells), np.zeros(len(cells), int)
        for found in of_cells(posterior, counts, 2, new=NewCells(like, Design())):
            np.testing.assert_allclose(np.exp(found).sum(), 1.0, rtol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_cell_is_judged_by_the_others_alone(name, made_fit):
    """What one cell contains changes nothing for the others, and its own prior capture nothing for itself."""
    results = scribe.get.results(made_fit(**MODELS[name], shape=(14, 30), params={"mu": 9.0}))
    matrix = results.counts().rows(slice(None)).copy()
    (before,) = of_cells(results.posterior, results.counts(), 0)
    matrix[0] *= 3
    (after,) = of_cells(results.posterior, results.counts(matrix), 0)
    assert after[0] < before[0]
    np.testing.assert_allclose(after[1:], before[1:], rtol=1e-5)


def test_two_cells_are_no_population(made_fit):
    results = scribe.get.results(made_fit(shape=(14, 30))).cells([0, 1])
    with pytest.raises(ValueError, match=r"2 cells make none: use criterion=.thinned., or 3 cells or more"):
        next(of_cells(results.posterior, results.counts(), 0))


@pytest.mark.parametrize("name", MODELS)
def test_integral_against_dense_quadrature(name, made_fit):
    """Cells of some tens of counts, of one and of none; capture anchored near one and not anchored at all."""
    with jax.enable_x64():
        results = scribe.get.results(made_fit(**MODELS[name], shape=(14, 30)))
        matrix = results.counts().rows(slice(None)).copy()
        matrix[0], matrix[1] = 0, np.eye(30)[3]
        counts = results.counts(matrix)
        found = list(of_cells(results.posterior, counts, 2))
        for one, expected in zip(found, dense(results, counts), strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-3)
