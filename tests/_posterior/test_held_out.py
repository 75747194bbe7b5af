"""Prediction of held-out molecules: against enumeration at every draw, and its coverage on data of known truth."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._adata.read import read_counts
from scribe._posterior import held_out as module
from scribe._posterior.held_out import held_out_blocks

SHARE = 0.2
DRAWS = 3


def whole(*args, **options) -> list[np.ndarray]:
    blocks = list(held_out_blocks(*args, **options))
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in ("mean", "below", "at")]


def closed_form(parameters, u: np.ndarray, component: np.ndarray | None = None):
    """The unseen counts of a negative binomial are one of size r + u."""
    wide = {name: np.asarray(value, float) for name, value in parameters.wide(component).items()}
    nu = np.exp(np.asarray(parameters.log_exposure, float))[:, None]
    odds = np.exp(wide["log_odds"])
    size = np.exp(wide["log_mean"]) * odds + u
    mean = size * nu * SHARE / (1 - SHARE) / (odds + nu)
    return mean, stats.nbinom(size, size / (size + mean))


@pytest.fixture(params=[pytest.param("one", marks=pytest.mark.slow), "two"])
def results(request, made_fit, small_mixture):
    """A model of one component, and one of two."""
    if request.param == "two":
        return scribe.get.results(small_mixture).cells(slice(0, 12))
    params = {"mu": np.geomspace(0.3, 90, 12), "p_capture": 0.3}
    return scribe.get.results(made_fit("nbvcp", shape=(12, 12), params=params))


@pytest.mark.loose_promotion
def test_against_the_closed_form(results, monkeypatch):
    key = jax.random.key(1)
    seen, held_out = results.counts().split(SHARE, np.random.default_rng(0))
    u, y = seen.rows(slice(None)), held_out.rows(slice(None))
    mean, below, at = whole(results.posterior, seen, held_out, key, share=SHARE, n_samples=DRAWS)
    expected = np.zeros((3, *u.shape))
    draws = jax.vmap(results.posterior.parameters)(results.posterior.draws(key, DRAWS))
    for i in range(DRAWS):
        parameters = jax.tree.map(lambda x, i=i: x[i], draws)
        of = [(None, np.ones((12, 1)))]
        if results.posterior.mixed:
            gamma = np.asarray(results.posterior.responsibilities(parameters, results.posterior.data(seen)))
            of = [(np.full(12, k), gamma[:, k, None]) for k in range(2)]
        for component, weight in of:
            m, law = closed_form(parameters, u, component)
            expected += weight / DRAWS * np.stack([m, law.cdf(y - 1), law.pmf(y)])
    for found, wanted in zip((mean, below, at), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 48)
    parts = whole(results.posterior, seen, held_out, key, share=SHARE, n_samples=DRAWS)
    np.testing.assert_allclose(parts, [mean, below, at], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.loose_promotion
def test_intervals_cover_as_they_should():
    """Molecules held out of a fit fall into its intervals as often as these say, for rare genes and for others."""
    adata = scribe.datasets.simulate(300, 60, params={"mu": np.geomspace(0.5, 1000, 60), "phi": 0.02}, rng=3)
    seen, held_out = read_counts(adata).split(SHARE, np.random.default_rng(0))
    results = scribe.fit(seen)
    mean, below, at = whole(results.posterior, seen, held_out, jax.random.key(0), share=SHARE, n_samples=20)
    assert mean.sum() == pytest.approx(held_out.totals.sum(), rel=0.02)
    uniform = np.random.default_rng(0).uniform(size=at.shape)
    value = below + uniform * at
    for genes in (slice(0, 20), slice(20, 40), slice(40, 60)):
        for level in (0.5, 0.8, 0.95):
            covered = np.mean(np.abs(value[:, genes] - 0.5) < level / 2)
            assert covered == pytest.approx(level, abs=0.02)
    # given the counts of another cell the prediction is as wide, but in the wrong place
    other = seen.subset(cells=np.roll(np.arange(300), 1))
    _, below, at = whole(results.posterior, other, held_out, jax.random.key(0), share=SHARE, n_samples=2)
    assert np.mean(np.abs(below + uniform * at - 0.5)[:, 40:] < 0.25) < 0.4
