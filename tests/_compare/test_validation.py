"""Predictions of what was held out: against conjugate formulas, by enumeration, and against a second fit."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special, stats

import scribe
from scribe._compare.validation import held_out_cells, predict_molecules, refit
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.posterior import Posterior
from scribe.engines import NUTS, SVI
from scribe.guides import MeanField

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore:.*(have no counts|are zero in every cell)"),
]
SHARE = 0.2


def posterior(shape, *, components=(), **options) -> Posterior:
    """A posterior that never was: all cells have one capture, genes and components differ."""
    spec, rng = resolve_spec(unconstrained=True, components=components, **options), np.random.default_rng(2)
    lengths = {"cell": shape[0], "gene": shape[1], "component": len(components)}
    params = {}
    for latent in spec.latents:
        size = tuple(lengths[axis] for axis in latent.axes)
        loc = np.full(size, -0.5) if "cell" in latent.axes else rng.normal(0.3, 1.0, size)
        params |= {latent.name + "_loc": loc, latent.name + "_log_scale": np.full(size, -3.0)}
    return Posterior(spec, MeanField(), params, n_genes=shape[1], n_cells=shape[0])


def test_unseen_molecules_of_a_negative_binomial():
    """Given u, the rate of a gene is gamma of size r + u, and the molecules held out are negative binomial again."""
    shape, rng = (20, 6), np.random.default_rng(0)
    one = posterior(shape)
    train, test = rng.poisson(3.0, shape), rng.poisson(1.0, shape)
    with jax.enable_x64():
        found = predict_molecules(
            one, Counts.from_matrix(train), Counts.from_matrix(train + test), share=SHARE, n_samples=0, seed=0
        )
        values = {name: np.asarray(x) for name, x in one.named(one.centre()).items()}
    capture, odds = values["p_capture"][:, None], 1 / values["p"] - 1
    rate = odds + capture
    expected = stats.nbinom(values["r"] + train, rate / (rate + capture * SHARE / (1 - SHARE))).logpmf(test)
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-9)


MODELS = {
    "poisson": {"model": "poissonvcp"},
    "zero inflation": {"model": "zinbvcp"},
    "components": {"components": ("a", "b"), "mixture_params": "all"},
    "no capture": {"model": "zinb"},
}
LONG = {"overdispersion": {"overdispersion": "bnb"}, "two states": {"model": "twostatevcp"}}
"""Models that compile for long."""


@pytest.mark.parametrize("name", [*MODELS, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)])
def test_probabilities_of_unseen_molecules_sum_to_one(name):
    """One gene, and for two counts seen a cell for every count that may have been held out."""
    n, seen = 300, np.repeat([0, 3], 300)
    one = posterior((len(seen), 1), **{**MODELS, **LONG}[name])
    train = Counts.from_matrix(seen[:, None])
    every = Counts.from_matrix((np.tile(np.arange(n), 2) + seen)[:, None])
    with jax.enable_x64():
        found = predict_molecules(one, train, every, share=SHARE, n_samples=0, seed=0)
    np.testing.assert_allclose(special.logsumexp(found.reshape(2, n), axis=1), 0.0, atol=2e-4)


def test_draws_are_averaged():
    rng, shape = np.random.default_rng(0), (15, 5)
    one, train = posterior(shape), rng.poisson(3.0, shape)
    counts = [Counts.from_matrix(x) for x in (train, train + rng.poisson(1.0, shape))]
    some = [predict_molecules(one, *counts, share=SHARE, n_samples=n, seed=4) for n in (0, 300)]
    # the posterior is narrow
    np.testing.assert_allclose(*some, atol=0.05)
    assert np.abs(some[0] - some[1]).max() > 1e-4


@pytest.fixture(scope="module")
def fitted():
    adata = scribe.datasets.simulate(60, 12, "nbdm")
    with pytest.warns(scribe.ConvergenceWarning):
        return scribe.fit(adata, "nbdm", n_steps=150, early_stopping=False, rng=3)


@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
def test_held_out_cells_against_a_fit_to_the_others(fitted):
    cells, counts = np.arange(0, 60, 5), fitted.counts()
    found = held_out_cells(fitted, cells, counts, n_samples=50, seed=3, engine=None)
    rest = np.setdiff1d(np.arange(60), cells)
    again = scribe.fit(counts.subset(cells=rest), "nbdm", n_steps=150, early_stopping=False, rng=3)
    draws = again.get_posterior_samples(4000)
    size, p = (np.asarray(draws[name], float) for name in ("r", "p"))
    u = counts.rows(cells)
    each = stats.nbinom(size[:, None], 1 - p[:, None, None]).logpmf(u[None]).sum(axis=2)
    np.testing.assert_allclose(found, special.logsumexp(each, axis=0) - np.log(4000), atol=0.3)


@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
def test_refit_is_the_same_fit(fitted):
    again = refit(fitted, fitted.counts(), Design(), seed=3, engine=None)
    for name, value in fitted.params.items():
        np.testing.assert_allclose(again.params[name], value, rtol=1e-5)
    assert again.posterior.guide == fitted.posterior.guide
    shorter = refit(fitted, fitted.counts(), Design(), seed=3, engine=SVI(20))
    assert len(shorter.loss_history) == 20


@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
def test_a_mixture_is_fitted_again_without_a_smaller_one(monkeypatch):
    counts, calls = scribe.datasets.simulate(60, 12, "nbdm"), []
    monkeypatch.setattr("scribe._fit.fewer_components", lambda *of: calls.append(of))
    results = scribe.fit(counts, "nbdm", n_components=2, n_steps=5, early_stopping=False)
    assert len(calls) == 1
    again = refit(results, results.counts(), results.posterior.design, seed=3, engine=None)
    assert len(calls) == 1
    assert again.spec == results.spec


def test_engines_are_repeated(fitted, made_chains):
    assert fitted.same_engine().n_steps == 150
    assert not fitted.same_engine().early_stopping.enabled
    assert scribe.get.results(made_chains).same_engine() == NUTS(50, n_chains=2)
