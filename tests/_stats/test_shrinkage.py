"""Populations learned from all genes: against the truth of simulations, quadrature and the t test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from scribe._stats.effects import find_threshold
from scribe._stats.laws import NormalMixture
from scribe._stats.shrinkage import grid_of_effects, population, sample_effects, shrink


def single(estimates, errors) -> NormalMixture:
    return NormalMixture(np.ones((len(estimates), 1)), estimates[:, None], np.asarray(errors)[:, None])


def test_weights_are_a_stationary_point_of_the_likelihood() -> None:
    """At the optimum over the simplex the gradient is one along all points with weight, and at most that elsewhere."""
    rng = np.random.default_rng(0)
    log_likelihood = rng.normal(size=(500, 6))
    weights = population(log_likelihood, np.zeros(6), tolerance=1e-15)
    likelihood = np.exp(log_likelihood)
    gradient = np.mean(likelihood / (likelihood @ weights)[:, None], axis=0)
    np.testing.assert_allclose(gradient[weights > 1e-3], 1.0, atol=1e-4)
    assert gradient.max() < 1 + 1e-4


def test_genes_beside_count_as_genes_that_are_seen() -> None:
    log_likelihood = np.random.default_rng(0).normal(size=(300, 4))
    certain = np.repeat(np.log(np.maximum(np.eye(4), 1e-200)), [5, 0, 2, 0], axis=0)
    weights = population(log_likelihood, np.array([5.0, 0.0, 2.0, 0.0]), tolerance=1e-15)
    known = population(np.concatenate([log_likelihood, certain]), np.zeros(4), tolerance=1e-15)
    np.testing.assert_allclose(weights, known, atol=1e-6)


def test_calls_without_effect_are_as_few_as_expected() -> None:
    """A tenth of the genes respond, by several errors; the likelihood alone calls twice as many of the others."""
    rng, n, called, false = np.random.default_rng(3), 1000, 0, 0
    for _ in range(10):
        effects = np.where(rng.random(n) < 0.1, rng.uniform(0.4, 1.0, n) * rng.choice([-1, 1], n), 0.0)
        errors = 0.15 * np.exp(rng.normal(0, 0.4, n))
        law = shrink(single(effects + errors * rng.normal(size=n), errors)).law
        rates = 1 - np.maximum(law.above(0.0), law.below(0.0))
        chosen = rates < find_threshold(rates, 0.05)
        called, false = called + int(chosen.sum()), false + int(np.sum(effects[chosen] == 0))
    assert 0.03 < false / called < 0.08
    assert called > 800


def test_grid_begins_with_zero_and_covers_the_effects() -> None:
    grid = grid_of_effects(np.array([-2.0, 0.1]), np.array([0.3, 0.05]))
    assert grid[0] == 0
    np.testing.assert_allclose(grid[[1, -1]], [0.005, 6.0])
    assert len(grid) == 26


@pytest.mark.parametrize("share", [0.0, 0.6, 0.9])
def test_null_proportion_and_signs(share) -> None:
    rng = np.random.default_rng(1)
    n, errors = 4000, rng.uniform(0.1, 0.4, 4000)
    effects = np.where(rng.random(n) < share, 0.0, rng.normal(0, 1, n))
    shrunk = shrink(single(effects + errors * rng.normal(size=n), errors))
    # effects that no data can tell from none may count as none, or none as such
    near = shrunk.weights[shrunk.sds < 0.05].sum()
    np.testing.assert_allclose(near, share, atol=0.12)
    law = shrunk.law
    rates = 1 - np.maximum(law.above(0.0), law.below(0.0))
    order = np.argsort(rates)[: n // 20]
    wrong = np.sign(law.mean[order]) != np.sign(effects[order])
    np.testing.assert_allclose(wrong.mean(), rates[order].mean(), atol=0.03)
    np.testing.assert_allclose(np.mean((effects - law.mean) ** 2), np.mean(law.sd**2), rtol=0.15)


def test_posterior_against_quadrature() -> None:
    sds = np.array([0.0, 0.5, 2.0])
    rng = np.random.default_rng(2)
    estimates, errors = rng.normal(0, 1, 50), rng.uniform(0.2, 1.0, 50)
    shrunk = shrink(single(estimates, errors), sds=sds)
    x = np.linspace(-15, 15, 60_001)
    for gene in (0, 7):
        seen = stats.norm(estimates[gene], errors[gene]).pdf
        smooth = sum(w * stats.norm(0, s).pdf(x) for w, s in zip(shrunk.weights[1:], sds[1:], strict=True)) * seen(x)
        at_zero = shrunk.weights[0] * seen(0.0)
        total = integrate.trapezoid(smooth, x) + at_zero
        np.testing.assert_allclose(shrunk.law.mean[gene], integrate.trapezoid(x * smooth, x) / total, atol=1e-6)
        np.testing.assert_allclose(
            shrunk.law.above(0.3)[gene], integrate.trapezoid(smooth * (x > 0.3), x) / total, atol=1e-3
        )


def test_a_mixture_seen_is_shrunk_as_what_it_is() -> None:
    """Two equal halves of a normal are that normal."""
    estimates, errors = np.array([0.4, -1.0, 2.0]), np.array([0.3, 0.5, 0.4])
    halves = NormalMixture(np.full((3, 2), 0.5), np.tile(estimates[:, None], 2), np.tile(errors[:, None], 2))
    sds = np.array([0.0, 0.7, 2.0])
    whole, parts = (shrink(seen, sds=sds) for seen in (single(estimates, errors), halves))
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-6)
    np.testing.assert_allclose(parts.law.mean, whole.law.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.law.above(0.1), whole.law.above(0.1), rtol=1e-6)


def designs(n: int) -> np.ndarray:
    return np.kron(np.eye(2), np.ones((n, 1)))


def test_samples_that_are_known_exactly_give_the_t_test_without_a_population() -> None:
    """With a flat prior on the log of the spread, which the grid approximates, the posterior is Student's t."""
    rng, n = np.random.default_rng(3), 4
    means = rng.normal(size=(3, 2 * n)) * 0.5
    law = sample_effects(means, np.full(means.shape, 1e-12), designs(n), np.array([1.0, -1.0]), prior=1e9)
    for gene in range(3):
        test = stats.ttest_ind(means[gene, :n], means[gene, n:])
        expected = stats.t.sf(-test.statistic, 2 * n - 2)
        np.testing.assert_allclose(law.below(0.0)[gene], 1 - expected, atol=0.02)


def test_known_spread_gives_least_squares() -> None:
    """All genes vary alike and there are many: the spread is known, and the contrast is that of weighted means."""
    rng, n, n_genes, tau = np.random.default_rng(4), 5, 3000, 0.4
    variances = rng.uniform(0.01, 0.3, (n_genes, 2 * n))
    means = rng.normal(size=(n_genes, 2 * n)) * np.sqrt(variances + tau**2)
    law = sample_effects(means, variances, designs(n), np.array([1.0, -1.0]))
    precision = 1 / (variances + tau**2)
    first, second = precision[:, :n], precision[:, n:]
    sd = np.sqrt(1 / first.sum(axis=1) + 1 / second.sum(axis=1))
    mean = (first * means[:, :n]).sum(1) / first.sum(1) - (second * means[:, n:]).sum(1) / second.sum(1)
    np.testing.assert_allclose(law.mean, mean, atol=0.05)
    np.testing.assert_allclose(np.median(law.sd / sd), 1.0, rtol=0.05)


@pytest.mark.parametrize("n", [2, 5, 10])
@pytest.mark.parametrize("n_genes", [60, 1500])
def test_error_of_the_first_kind_is_nominal(n, n_genes) -> None:
    """Two-sided 5 % over genes whose spread differs, for few and many samples and genes."""
    rng, errors = np.random.default_rng(n), []
    for _ in range(3000 // n_genes):
        tau = np.exp(rng.normal(-1.2, 0.5, (n_genes, 1)))
        variances = np.exp(rng.normal(-4, 1.5, (n_genes, 2 * n)))
        means = rng.normal(size=(n_genes, 1)) + rng.normal(size=(n_genes, 2 * n)) * np.sqrt(tau**2 + variances)
        law = sample_effects(means, variances, designs(n), np.array([1.0, -1.0]))
        errors.append(2 * np.minimum(law.above(0.0), law.below(0.0)) < 0.05)
    assert 0.035 < np.mean(errors) < 0.065


def test_pairs_cancel_what_is_special_to_a_donor() -> None:
    rng, n_donors, n_genes = np.random.default_rng(5), 4, 500
    donor = 3 * rng.normal(size=(n_genes, n_donors))
    means = np.c_[donor + 0.5, donor] + 0.1 * rng.normal(size=(n_genes, 2 * n_donors))
    paired = np.c_[np.r_[np.ones(n_donors), np.zeros(n_donors)], np.tile(np.eye(n_donors), (2, 1))]
    contrast = np.r_[1.0, np.zeros(n_donors)]
    law = sample_effects(means, np.full(means.shape, 1e-3), paired, contrast)
    np.testing.assert_allclose(law.mean.mean(), 0.5, atol=0.02)
    assert np.median(law.sd) < 0.12
    unpaired = sample_effects(means, np.full(means.shape, 1e-3), designs(n_donors), np.array([1.0, -1.0]))
    assert np.median(unpaired.sd) > 1.0


def test_effects_that_are_taken_for_none_keep_their_order_and_mass() -> None:
    """Estimates that vary less than their errors: no effect anywhere, but the larger stay the larger."""
    estimates = np.random.default_rng(0).normal(0, 0.3, 300)
    found = shrink(single(estimates, np.ones(300)))
    assert found.null_proportion > 0.99
    assert np.all(found.law.sd > 0)
    np.testing.assert_array_equal(np.argsort(found.law.mean), np.argsort(estimates))
    np.testing.assert_allclose(found.law.weights.sum(axis=1), 1.0)
