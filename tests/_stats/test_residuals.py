"""Residuals are uniform where counts come from the model, in every family, and far from it where they do not."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import scribe
from scribe import families
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.initial import start
from scribe._model.names import MODELS
from scribe._model.resolve import resolve_spec
from scribe._posterior import residuals
from scribe._posterior.posterior import Posterior
from scribe._posterior.residuals import residual_blocks
from scribe._stats.residuals import NORMAL, compute_gof_mask, goodness_of_fit, pooled_quantiles
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore:.*are kept:scribe._counts.checks.CountsWarning"),
]

BOTH = ("components", "datasets")
QUICK = {
    "nbdm": (MODELS["nbdm"], ()),
    "zipvcp": (MODELS["zipvcp"], ()),
    "twostatevcp": (MODELS["twostatevcp"], ()),
    "zibnbvcp": (("nb", "with_capture", "beta_mixed", "zero_inflated"), ()),
    "nbvcp datasets": (MODELS["nbvcp"], ("datasets",)),
    "poissonvcp both": (MODELS["poissonvcp"], BOTH),
}
SLOW = {
    **{name: (layers, ()) for name, layers in MODELS.items() if name not in QUICK},
    "bnbvcp": (("nb", "with_capture", "beta_mixed"), ()),
    "bnb of molecules": (("nb", "beta_mixed", "with_capture"), ()),
    **{f"{name} components": (MODELS[name], ("components",)) for name in ("nbdm", "poisson")},
    **{f"{name} both": (MODELS[name], BOTH) for name in ("zinbvcp", "twostate")},
}
ROWS = {**QUICK, **SLOW}
"""Composition of every model, with components and datasets."""

SHAPE = (160, 30)


def made(layers, levels=(), *, shape=SHAPE, seed=0, log_scale=-2.0):
    """Results of a fit that never was, and counts simulated from its most probable parameters."""
    rng, lengths = np.random.default_rng(seed), {"gene": shape[1], "cell": shape[0], "component": 2, "dataset": 2}
    labels = {"components": ("a", "b"), "datasets": ("x", "y")}
    options = {"dataset_params": "all"} if "datasets" in levels else {}
    family = families.from_layers(layers)
    spec = resolve_spec(family, unconstrained=True, **{name: labels[name] for name in levels}, **options)
    params = {}
    for latent in spec.latents:
        size = tuple(lengths[axis] for axis in latent.axes)
        wide = latent.name.startswith(("mu", "r_un"))
        params[latent.name + "_loc"] = rng.normal(1.0 if wide else -0.5, 1.5 if wide else 0.5, size)
        params[latent.name + "_log_scale"] = np.full(size, log_scale)
    design = Design(rng.integers(0, 2, shape[0]) if "datasets" in levels else None)
    posterior = Posterior(spec, MeanField(), params, n_genes=shape[1], n_cells=shape[0], design=design)
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
    matrix = np.zeros(shape, np.float32)
    for block in next(results.simulate(1, at_map=True, rng=seed)):
        matrix[block.cell, block.gene] = block.value
    return results, results.counts(matrix)


def values(results, counts, *, n_samples=0, seed=0):
    """All randomized values, (cells, genes)."""
    blocks = list(residual_blocks(results.posterior, counts, jax.random.key(seed), n_samples=n_samples))
    assert [block.genes.start for block in blocks[1:]] == [block.genes.stop for block in blocks[:-1]]
    return np.concatenate([block.value for block in blocks]).T


def limits(results, counts):
    """P(U < u) and P(U <= u) of every count at the most probable parameters: sums of the pmf, cell by cell."""
    posterior, family = results.posterior, results.spec.family
    parameters = posterior.parameters(posterior.centre())
    u = counts.rows(slice(None))
    gamma = np.ones((1, len(u)))
    if parameters.log_weights is not None:
        gamma = np.asarray(posterior.responsibilities(parameters, posterior.data(counts))).T
    k = jnp.arange(u.max() + 1.0).reshape(-1, 1, 1)
    below, up_to = np.zeros(u.shape), np.zeros(u.shape)
    for number, share in enumerate(gamma):
        natural = parameters.wide(jnp.full(len(u), number))
        pmf = jax.jit(family.log_pmf)(
            k, {n: x[None] if x.ndim else x for n, x in natural.items()}, parameters.log_exposure[None, :, None]
        )
        cumulative = np.cumsum(np.exp(np.asarray(pmf, np.float64)), axis=0)
        cumulative = np.concatenate([np.zeros_like(cumulative[:1]), cumulative])
        below += share[:, None] * np.take_along_axis(cumulative, u[None].astype(int), axis=0)[0]
        up_to += share[:, None] * np.take_along_axis(cumulative, u[None].astype(int) + 1, axis=0)[0]
    return below, up_to


def test_every_family_and_modifier_has_a_row():
    layers = [layers for layers, _ in QUICK.values()]
    assert {ls[0] for ls in layers} == set(families.ALL)
    assert {name for ls in layers for name in ls[1:]} == set(families.MODIFIERS)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_uniform_if_counts_are_from_the_model(name):
    """And every value between the cumulative probabilities of its count, computed one by one."""
    results, counts = made(*ROWS[name])
    found = values(results, counts)
    assert stats.kstest(found.ravel(), "uniform").pvalue > 1e-3
    nonzero = counts.rows(slice(None)) > 0
    assert nonzero.mean() > 0.1
    below, up_to = limits(results, counts)
    edge = 5e-5
    assert np.all((found > below - edge) & (found < up_to + edge))
    rank = (found - below) / np.maximum(up_to - below, 1e-9)
    assert stats.kstest(rank[nonzero & (up_to - below > 1e-2)], "uniform").pvalue > 1e-3


def test_averaged_over_the_posterior():
    """Uniform where every data set has a draw of its own; those of the most probable parameters are not."""
    results, _ = made(MODELS["nbdm"], shape=(20, 20), log_scale=0.0)
    averaged, central = [], []
    for number, blocks in enumerate(results.simulate(16, rng=5)):
        matrix = np.zeros((20, 20), np.float32)
        for block in blocks:
            matrix[block.cell, block.gene] = block.value
        counts = results.counts(matrix)
        averaged.append(values(results, counts, n_samples=50, seed=number))
        central.append(values(results, counts, n_samples=0, seed=number))
    assert stats.kstest(np.ravel(averaged), "uniform").statistic < 0.05
    assert stats.kstest(np.ravel(central), "uniform").statistic > 0.08


def test_a_seed_gives_the_same_and_blocks_do_not_matter(monkeypatch):
    results, counts = made(MODELS["zinbvcp"], BOTH, shape=(50, 12))
    first = values(results, counts, n_samples=3)
    np.testing.assert_array_equal(values(results, counts, n_samples=3), first)
    assert np.abs(values(results, counts, n_samples=3, seed=1) - first).max() > 0.1
    # other blocks have other uniform numbers, but the probabilities they are between stay
    monkeypatch.setattr(residuals, "_BLOCK_ELEMENTS", 50 * 5)
    monkeypatch.setattr(residuals, "_TILE", 16)
    monkeypatch.setattr(residuals, "_PIECES", (16, 32))
    some = values(results, counts)
    below, up_to = limits(results, counts)
    assert np.all((some > below - 5e-5) & (some < up_to + 5e-5))
    with pytest.raises(ValueError, match="n_samples must not be negative"):
        values(results, counts, n_samples=-1)


def test_scores_against_numpy_and_scipy(monkeypatch):
    """Of genes and cells, with genes in several blocks; genes never seen are in no pool."""
    results, counts = made(MODELS["nbvcp"], shape=(80, 23))
    counts = Counts.from_matrix(np.where(np.arange(23) == 4, 0, counts.rows(slice(None))))
    monkeypatch.setattr(residuals, "_BLOCK_ELEMENTS", 80 * 10)
    value = values(results, counts, n_samples=2, seed=7)
    found = goodness_of_fit(results, counts, n_samples=2, rng=7)
    for scores, table, distance in ((found.gene, value.T, 2**-16), (found.cell, value, 1 / 128)):
        normal = special.ndtri(table.astype(float))
        np.testing.assert_allclose(scores["mean"], normal.mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(scores["variance"], normal.var(axis=1, ddof=1), rtol=1e-4)
        beyond = np.mean(np.abs(normal) > 2, axis=1)
        np.testing.assert_allclose(scores["tail_excess"], beyond - 2 * stats.norm.sf(2), atol=1e-12)
        expected = [stats.kstest(row, "uniform").statistic for row in table]
        np.testing.assert_allclose(scores["ks"], expected, atol=distance)
    levels = stats.norm.cdf(NORMAL)
    expected = np.quantile(value, levels, axis=0, method="hazen")
    np.testing.assert_allclose(stats.norm.cdf(found.quantiles), expected.T, atol=2**-16)
    assert found.group[4] == -1
    means = counts.gene_totals / 80
    np.testing.assert_array_equal(np.flatnonzero(found.group == 2), np.flatnonzero(means >= 1))
    pool = np.quantile(value[:, found.group == 1], levels)
    np.testing.assert_allclose(pooled_quantiles(found.pooled[1]), stats.norm.ppf(pool), atol=0.15)


def test_masks():
    results, counts = made(MODELS["nbvcp"], ("components",), shape=(80, 20))
    found = goodness_of_fit(results, counts, n_samples=0, rng=1)
    variance, middle = found.gene["variance"], float(np.median(found.gene["variance"]))
    every = {"min_variance": 0.0, "max_variance": 9.0, "false_positive_rate": None}
    np.testing.assert_array_equal(found.mask(**{**every, "max_variance": middle}), variance <= middle)
    np.testing.assert_array_equal(found.mask(**{**every, "min_variance": middle}), variance >= middle)
    ks, p_value = np.linspace(0.0, 0.5, 20), np.tile([0.005, 0.03, 0.5, 1.0], 5)
    bad = replace(found, gene={**found.gene, "ks": ks, "p_value": p_value})
    np.testing.assert_array_equal(bad.mask(**{**every, "max_ks": 0.3}), ks <= 0.3)
    for rate in (0.01, 0.05):
        tested = {**every, "false_positive_rate": rate}
        np.testing.assert_array_equal(bad.mask(**tested), p_value >= rate)
        far = bad.mask(**{**tested, "max_ks": 0.3})
        np.testing.assert_array_equal(far, (ks <= 0.3) | (p_value >= rate), "a limit on what the test finds")
    for rate in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.01, or None"):
            found.mask(false_positive_rate=rate)
    np.testing.assert_array_equal(compute_gof_mask(counts, results, n_samples=0, rng=1), found.mask())
    one = compute_gof_mask(counts, results, component="a", n_samples=0, rng=1)
    assert one.sum() < found.mask().sum(), "cells of the other component do not follow it"


def flagged(counts, model, **options):
    """Share of genes that fail under a model at the moments of the counts, where a fit would start."""
    spec = resolve_spec(model, parameterization="mean_disp" if model.startswith("nb") else None, **options)
    params = {}
    for latent, value in spec.start(start(spec, counts).values).items():
        params |= {latent + "_loc": np.asarray(value), latent + "_log_scale": np.full(np.shape(value), -9.0)}
    n_cells, n_genes = counts.shape
    posterior = Posterior(spec, MeanField(), params, n_genes=n_genes, n_cells=n_cells)
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
    return 1.0 - compute_gof_mask(counts, results, n_samples=0).mean()


def test_misfits_are_found():
    """Poisson to counts that vary more, no capture to captured ones, one component to two populations."""
    rng, n_cells, n_genes = np.random.default_rng(0), 500, 40
    mean = np.geomspace(3.0, 50.0, n_genes)

    def drawn(mean, size):
        return Counts.from_matrix(rng.poisson(mean * rng.gamma(size, 1 / size, (n_cells, n_genes))))

    varied = drawn(mean, 3.0)
    assert flagged(varied, "poisson") > 0.9
    assert flagged(varied, "nbdm") < 0.05
    captured = drawn(mean * rng.lognormal(0.0, 0.7, (n_cells, 1)), 50.0)
    assert flagged(captured, "poisson") > 0.9
    assert flagged(captured, "nbvcp") < 0.05
    upper = rng.random((n_cells, 1)) < 0.5
    two = drawn(mean * np.where(upper == (np.arange(n_genes) % 2 == 0), 3.0, 0.1), 20.0)
    assert flagged(two, "nbdm") > 0.9
    assert flagged(two, "nbdm", components=("a", "b")) < 0.05
