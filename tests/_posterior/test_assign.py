"""Assignments: what they average, how they are tempered, and whether they are as often right as they say."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.assign import assign
from scribe._posterior.posterior import Posterior
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

SIZE = 4.0


def posterior_of(log_mu, log_sd, n_cells, *, logits=None):
    """Independent normals about the log means (components, genes) of negative binomials of one size."""
    n_components, n_genes = log_mu.shape
    labels = tuple(map(str, range(n_components)))
    spec = resolve_spec("nbdm", parameterization="mean_disp", mixture_params="mean", components=labels)
    values = {
        "mu": (log_mu, log_sd),
        "r": (np.full(n_genes, np.log(SIZE)), -9.0),
        "mixing_weights": (np.zeros(n_components), -9.0),
    }
    params = {}
    for name, (loc, log_scale) in values.items():
        params[f"{name}_unconstrained_loc"] = loc
        params[f"{name}_unconstrained_log_scale"] = np.broadcast_to(log_scale, loc.shape).astype(float)
    return Posterior(spec, MeanField(), params, n_genes=n_genes, n_cells=n_cells, design=Design(logits=logits))


def drawn(rng, log_mu, group):
    return rng.poisson(rng.gamma(SIZE, np.exp(log_mu[group]) / SIZE))


def log_likelihoods(log_mu, counts):
    """By scipy, (cells, components)."""
    rows = [stats.nbinom.logpmf(counts, SIZE, SIZE / (SIZE + np.exp(mean))).sum(axis=1) for mean in log_mu]
    return np.stack(rows, axis=1)


def test_at_fixed_parameters_it_is_bayes_rule():
    rng = np.random.default_rng(0)
    log_mu, logits = rng.normal(1.0, 0.3, (3, 12)), rng.normal(0.0, 1.0, (40, 3))
    counts = drawn(rng, log_mu, rng.integers(0, 3, 40))
    found = assign(posterior_of(log_mu, -9.0, 40, logits=logits), Counts.from_matrix(counts))
    joint = log_likelihoods(log_mu, counts) + logits
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(found.weights, expected.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.entropy, stats.entropy(expected, axis=1), atol=1e-3)
    assert np.all(found.reliability == 1.0)


def test_reliability_against_ratios_by_scipy():
    """One minus the variance over draws by that over the cells of a component, for every pair of components."""
    rng, n = np.random.default_rng(1), 150
    log_mu = np.stack([np.zeros(30), rng.normal(0.0, 0.35, 30), rng.normal(0.0, 1.0, 30)]) + 1.0
    group = rng.integers(0, 3, n)
    counts = Counts.from_matrix(drawn(rng, log_mu, group))
    posterior = posterior_of(log_mu, np.log(0.15), n)
    found = assign(posterior, counts, key=jax.random.key(3), n_samples=20)
    draws = [draw["mu"] for draw in posterior.draw_one_by_one(jax.random.key(3), 20)]
    ratios = np.stack([log_likelihoods(np.asarray(draw, float), counts.rows(slice(None))) for draw in draws])
    at_centre = log_likelihoods(log_mu, counts.rows(slice(None)))
    gamma = np.exp(at_centre - logsumexp(at_centre, axis=1, keepdims=True))
    first = gamma.argmax(axis=1)
    second = np.where(np.arange(3) == first[:, None], -np.inf, ratios.mean(axis=0)).argmax(axis=1)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        ratio = ratios[..., a] - ratios[..., b]
        noise = ratio.var(axis=0, ddof=1)[np.isin(first, (a, b))].mean()
        cells = [np.cov(ratio.mean(axis=0), aweights=gamma[:, k], ddof=0) * gamma[:, k].sum() for k in (a, b)]
        expected = 1 - noise / (sum(cells) / gamma[:, [a, b]].sum())
        mine = ((first == a) & (second == b)) | ((first == b) & (second == a))
        if mine.any():
            np.testing.assert_allclose(found.reliability[mine], expected, rtol=1e-3)
    assert len(np.unique(found.reliability)) > 1
    tempered = np.mean([_tempered(ratio, found.reliability) for ratio in ratios], axis=0)
    np.testing.assert_allclose(found.probabilities, tempered, atol=1e-3)
    plain = assign(posterior, counts, key=jax.random.key(3), n_samples=20, temper=False)
    np.testing.assert_allclose(
        plain.probabilities, np.mean([_tempered(r, np.ones(n)) for r in ratios], axis=0), atol=1e-3
    )


def _tempered(log_likelihood, power):
    joint = power[:, None] * log_likelihood
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def maximised(counts, gamma, n_steps=30):
    """Means of components without labels by expectation maximisation, and the sd of their logarithms, gene by gene."""
    for _ in range(n_steps):
        mean = gamma.T @ counts / gamma.sum(axis=0)[:, None]
        joint = log_likelihoods(np.log(mean), counts)
        gamma = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    score = (counts - mean[:, None]) / (1 + mean[:, None] / SIZE)
    # Louis (1982): the information of complete data less what is missing
    missing = np.einsum("ck,kcg->kg", gamma * (1 - gamma), np.square(score))
    return mean, 1 / np.sqrt(gamma.sum(axis=0)[:, None] * mean / (1 + mean / SIZE) - missing)


def test_tempering_takes_back_some_of_what_is_too_certain():
    """Types that overlap, with means of 60 genes learned without labels or prior from the cells themselves."""
    n_genes, n, gaps = 60, 200, {True: [], False: []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        log_mu = 1.0 + np.array([[0.5], [-0.5]]) * rng.normal(0.0, 0.25, n_genes)
        group = rng.integers(0, 2, n)
        counts = drawn(rng, log_mu, group)
        mean, sd = maximised(counts, np.eye(2)[group])
        posterior = posterior_of(np.log(mean), np.log(sd), n)
        for temper, gap in gaps.items():
            found = assign(posterior, Counts.from_matrix(counts), n_samples=20, temper=temper)
            gap.append(found.probabilities.max(axis=1).mean() - np.mean(found.component == group))
    assert np.mean(gaps[False]) > 0.05
    assert -0.02 < np.mean(gaps[True]) < 0.75 * np.mean(gaps[False])


def test_genes_alone_keep_what_all_genes_said():
    posterior = posterior_of(np.zeros((2, 4)), -9.0, 3)
    known = np.array([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])
    some = Posterior(posterior.spec, posterior.guide, posterior.params, 4, 3, Design(responsibilities=known))
    found = assign(some, Counts.from_matrix(np.ones((3, 4))), n_samples=5)
    np.testing.assert_array_equal(found.probabilities, known)
    assert not found.doublet.any()


def test_doublets_count_for_both_of_their_types():
    """Sums of two cells with half of their molecules lost: certain of one type before, of both after."""
    rng, n = np.random.default_rng(2), 200
    log_mu = 1.0 + rng.normal(0.0, 0.8, (3, 60))
    pairs = np.array([rng.choice(3, 2, replace=False) for _ in range(n)])
    single = drawn(rng, log_mu, pairs[:, 0])
    double = rng.binomial(drawn(rng, log_mu, pairs[:, 0]) + drawn(rng, log_mu, pairs[:, 1]), 0.5)
    posterior, counts = posterior_of(log_mu, -4.0, 2 * n), Counts.from_matrix(np.concatenate([single, double]))
    before = assign(posterior, counts, n_samples=5)
    assert before.probabilities[n:].max(axis=1).mean() > 0.95
    assert not before.doublet.any()
    found = assign(posterior, counts, n_samples=5, doublet_rate=0.1)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert found.doublet[:n].mean() < 0.03
    assert found.doublet[n:].mean() > 0.95
    both = np.take_along_axis(found.probabilities[n:], pairs, axis=1)
    assert np.abs(both.mean(axis=0) - 0.5).max() < 0.05
    assert both.sum(axis=1).mean() > 0.98
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="from 0 to below 1"):
            assign(posterior, counts, doublet_rate=rate)
