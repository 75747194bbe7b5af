"""Differences between datasets: summaries against the normal law, draws against what they are said to be, errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe._posterior.posterior import Posterior
from scribe.engines import Verdict
from scribe.guides import MeanField

N_CELLS, N_GENES = 20, 6


def made(*, components: tuple[str, ...] = (), dataset_params: str = "mean") -> scribe.ScribeSVIResults:
    """Results of a fit that never was, with two datasets that differ."""
    spec = resolve_spec(
        "nbdm",
        parameterization="mean_prob",
        components=components,
        datasets=("a", "b"),
        dataset_params=dataset_params,
    )
    rng = np.random.default_rng(0)
    counts = Counts.from_matrix(rng.poisson(5.0, (N_CELLS, N_GENES)).astype(np.float32))
    arrays = {}
    for latent, start in spec.start(start_of(spec, counts).values).items():
        arrays[latent + "_loc"] = rng.normal(1, 0.5, np.shape(start)).astype(np.float32)
        arrays[latent + "_log_scale"] = rng.uniform(-2, -1, np.shape(start)).astype(np.float32)
    design = Design(np.arange(N_CELLS, dtype=np.int32) % 2)
    verdict = Verdict(converged=True, reason="made up", steps=20, loss=90.0, slope=0.0)
    posterior = Posterior(spec, MeanField(), arrays, n_genes=N_GENES, n_cells=N_CELLS, design=design)
    return scribe.ScribeSVIResults(posterior, verdict, loss_history=np.zeros(20), seed=7)


def test_differences_have_the_moments_of_the_posterior() -> None:
    """Log means are normal and independent here, so that the differences of their centred values are normal, too."""
    results = made()
    loc, sd = results.params["mu_unconstrained_loc"], np.exp(results.params["mu_unconstrained_log_scale"])
    centring = np.eye(N_GENES) - 1 / N_GENES
    mean = centring @ (loc[0] - loc[1])
    scale = np.sqrt(np.diag(centring @ np.diag(sd[0] ** 2 + sd[1] ** 2) @ centring))
    n, tau = 20_000, 0.3
    found = scribe.compare_datasets(results, "a", "b", n_samples=n).gene_level(tau)
    law = stats.norm(mean, scale)
    np.testing.assert_allclose(found["delta_mean"], mean, atol=5 * scale.max() / np.sqrt(n))
    np.testing.assert_allclose(found["delta_sd"], scale, rtol=0.03)
    np.testing.assert_allclose(found["prob_positive"], law.sf(0), atol=0.02)
    np.testing.assert_allclose(found["prob_effect"], law.sf(tau) + law.cdf(-tau), atol=0.02)
    np.testing.assert_allclose(found["lfsr"], np.maximum(np.minimum(law.sf(0), law.cdf(0)), 1 / n), atol=0.02)


def test_the_sign_is_that_of_the_first() -> None:
    results = made()
    forth, back = (scribe.compare_datasets(results, *pair, n_samples=30, rng=3) for pair in (("a", "b"), (1, 0)))
    np.testing.assert_allclose(forth.draws, -back.draws, rtol=1e-12)
    assert np.any(forth.draws != 0)
    np.testing.assert_array_equal(scribe.compare_datasets(results, "a", "a", n_samples=30).draws, 0.0)


def test_few_draws_do_not_make_certain() -> None:
    assert scribe.Contrast(np.full((50, 2), 3.0)).gene_level()["lfsr"].tolist() == [0.02, 0.02]


def test_components_are_compared_one_by_one() -> None:
    results = made(components=("B", "T"))
    with pytest.raises(ValueError, match="pass component=, one of B, T"):
        scribe.compare_datasets(results, "a", "b")
    one = scribe.compare_datasets(results, "a", "b", component="T", n_samples=20, rng=1)
    draws = np.log(np.asarray(results.cells([0]).get_posterior_samples(20, rng=1)["mu"], np.float64))[:, 1]
    centred = draws - draws.mean(-1, keepdims=True)
    np.testing.assert_allclose(one.draws, centred[:, 0] - centred[:, 1], rtol=1e-6, atol=1e-6)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(KeyError, match=r"no dataset 'c'\. There are: a, b"):
        scribe.compare_datasets(made(), "a", "c")
    with pytest.raises(ValueError, match="Expression is the same in all datasets of this model"):
        scribe.compare_datasets(made(dataset_params="prob"), "a", "b")
