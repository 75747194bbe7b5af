"""Compositions against the Dirichlet and normal laws they are known to have."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma

import scribe
from scribe._posterior.composition import fit_dirichlet
from scribe._posterior.logistic_normal import LogisticNormal, fit_logistic_normal

pytestmark = pytest.mark.loose_promotion


@pytest.fixture(scope="module")
def results(made_fit) -> scribe.ScribeSVIResults:
    return scribe.get.results(made_fit("nbvcp"))


def test_shared_odds_make_cells_dirichlet(results) -> None:
    """Given r the shares of a cell have the moments of Dirichlet(r): the law of total variance over draws of r."""
    n = 20_000
    shares = results.get_compositional_samples(n, rng=1)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    r = np.asarray(results.get_posterior_samples(4000, rng=2, sites=["r"])["r"], np.float64)
    total = r.sum(axis=1, keepdims=True)
    mean = r / total
    within = mean * (1 - mean) / (total + 1)
    sd = np.sqrt(within.mean(axis=0) + mean.var(axis=0))
    np.testing.assert_allclose(shares.mean(axis=0), mean.mean(axis=0), atol=5 * sd.max() / np.sqrt(n))
    np.testing.assert_allclose(shares.std(axis=0), sd, rtol=0.05)
    means = results.get_compositional_samples(4000, rng=1, estimand="mean")
    np.testing.assert_allclose(means.std(axis=0), mean.std(axis=0), rtol=0.15)


def test_dirichlet_is_the_most_likely() -> None:
    """At the optimum the expected logarithms are those of the draws, and truth is near."""
    alpha = np.array([0.5, 3.0, 10.0, 1.2])
    draws = np.random.default_rng(0).dirichlet(alpha, 20_000)
    found = fit_dirichlet(np.log(draws))
    np.testing.assert_allclose(digamma(found) - digamma(found.sum()), np.log(draws).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found, alpha, rtol=0.03)
    better = stats.dirichlet.logpdf(draws[:500].T, found).sum()
    assert better > stats.dirichlet.logpdf(draws[:500].T, alpha * 1.1).sum()


def test_normalized_counts(results) -> None:
    found = results.normalize_counts(500, rng=3, store_samples=True)
    assert found.samples.shape == (500, results.n_genes)
    np.testing.assert_allclose(found.mean_probabilities, found.samples.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.concentrations, fit_dirichlet(np.log(found.samples)), rtol=1e-3)
    plain = results.normalize_counts(50, fit_distribution=False)
    assert plain.samples is None
    assert plain.concentrations is None
    with pytest.raises(ValueError, match="no components to choose from"):
        results.normalize_counts(10, component="T")


def test_logistic_normal_keeps_moments_and_density() -> None:
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(5, 2))
    logs = rng.normal(size=(5,)) + rng.normal(size=(4000, 2)) @ factors.T + 0.1 * rng.normal(size=(4000, 5))
    law = fit_logistic_normal(logs, rank=2, reference=4)
    ratios = logs[:, :4] - logs[:, 4:]
    np.testing.assert_allclose(law.loc, ratios.mean(axis=0), atol=1e-9)
    covariance = law.factors @ law.factors.T + np.diag(law.noise)
    np.testing.assert_allclose(np.diag(covariance), ratios.var(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(ratios.T), atol=0.05)
    rho = np.array([[0.1, 0.2, 0.3, 0.15, 0.25], [0.6, 0.1, 0.1, 0.1, 0.1]])
    expected = stats.multivariate_normal(law.loc, covariance).logpdf(np.log(rho[:, :4] / rho[:, 4:]))
    np.testing.assert_allclose(law.log_prob(rho), expected - np.log(rho).sum(axis=1), rtol=1e-4)
    draws = law.sample(jax.random.key(0), 20_000)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0)
    np.testing.assert_allclose(np.log(draws[:, :4] / draws[:, 4:]).mean(axis=0), law.loc, atol=0.05)


def test_full_rank_is_the_sample_covariance() -> None:
    logs = np.random.default_rng(2).normal(size=(200, 4)) @ np.random.default_rng(3).normal(size=(4, 4))
    law = fit_logistic_normal(logs, rank=3)
    ratios = np.delete(logs, law.reference, axis=1) - logs[:, law.reference, None]
    np.testing.assert_allclose(law.factors @ law.factors.T, np.cov(ratios.T), rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="rank must be between 1 and 3 with 200 draws of 4 parts: 9"):
        fit_logistic_normal(logs, rank=9)


def test_laws_by_name() -> None:
    law = LogisticNormal.from_mapping({"loc": [0.0, 1.0], "cov_factor": [[1.0], [2.0]], "cov_diag": [0.1, 0.1]})
    assert law.reference == 2
    with pytest.raises(ValueError, match=r"\['cov_diag'\] is missing"):
        LogisticNormal.from_mapping({"loc": [0.0], "cov_factor": [[1.0]]})
    with pytest.raises(ValueError, match="do not belong together"):
        LogisticNormal.from_mapping({"loc": [0.0, 1.0], "cov_factor": [[1.0]], "cov_diag": [0.1]})


def test_fits_make_laws_to_compare(results) -> None:
    law = results.fit_logistic_normal(800, rank=5, estimand="mean", rng=0)
    other = results.fit_logistic_normal(800, rank=5, estimand="mean", rng=1)
    de = scribe.compare(law, other)
    assert de.method == "parametric"
    assert np.all(np.abs(de.law.mean) < 4 * de.law.sd)
