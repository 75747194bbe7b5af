"""The likelihood of a difference against closed forms, quadrature, the t test and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats

from scribe._posterior.level_counts import LevelCounts
from scribe._stats.differences import VARIANCES, _log_likelihoods, likelihood_of_difference, of_moments
from scribe._stats.laws import Drawn, NormalMixture
from scribe._stats.shrinkage import WEAK, posterior_under

POISSON = 1e8


def two_levels(molecules, exposure, size=POISSON) -> LevelCounts:
    molecules = np.asarray(molecules, np.float64)
    return LevelCounts(molecules, np.broadcast_to(exposure, molecules.shape).copy(), np.full(molecules.shape, size))


A_B = np.array([True, False])


def moments(x: np.ndarray, log_density: np.ndarray) -> tuple[float, float, float]:
    """Mean, standard deviation and probability above zero of a density on a grid."""
    density = np.exp(log_density - log_density.max())
    density /= integrate.trapezoid(density, x)
    mean = integrate.trapezoid(x * density, x)
    sd = np.sqrt(integrate.trapezoid((x - mean) ** 2 * density, x))
    return mean, sd, integrate.trapezoid(density * (x > 0), x)


def test_two_poisson_counts_against_the_conditional_likelihood() -> None:
    """Given its total a count is binomial: the closed form of the integral over the common level."""
    counts = np.array([[3.0, 20.0, 900.0, 2.0], [5.0, 31.0, 1300.0, 60.0]])
    exposure = np.array([[10.0, 5.0, 7.0, 4.0], [20.0, 6.0, 9.0, 4.0]])
    law = likelihood_of_difference(two_levels(counts, exposure), A_B, np.zeros(2, int), samples=False)
    x = np.linspace(-30, 30, 200_001)
    for gene, ((a, b), (e, f)) in enumerate(zip(counts.T, exposure.T, strict=True)):
        mean, sd, above = moments(x, a * x - (a + b) * np.log(e * np.exp(x) + f))
        np.testing.assert_allclose(law.mean[gene], mean, atol=0.02 * sd)
        np.testing.assert_allclose(law.sd[gene], sd, rtol=0.01)
        np.testing.assert_allclose(law.above(0.0)[gene], above, rtol=0.05, atol=1e-12)


def test_negative_binomial_counts_against_quadrature() -> None:
    counts, sizes = np.array([[4.0], [11.0]]), np.array([[2.0], [5.0]])
    law = likelihood_of_difference(
        LevelCounts(counts, np.array([[3.0], [2.0]]), sizes), A_B, np.zeros(2, int), samples=False
    )
    x, level = np.linspace(-12, 12, 1201), np.linspace(-12, 14, 1301)

    def log_pmf(k: int, log_mean: np.ndarray) -> np.ndarray:
        size = sizes[k, 0]
        return stats.nbinom.logpmf(counts[k, 0], size, size / (size + np.exp(log_mean)))

    joint = log_pmf(0, np.log(3.0) + level + x[:, None]) + log_pmf(1, np.log(2.0) + level)
    mean, sd, above = moments(x, np.log(integrate.trapezoid(np.exp(joint), level, axis=1)))
    np.testing.assert_allclose(law.mean[0], mean, atol=0.05 * sd)
    np.testing.assert_allclose(law.sd[0], sd, rtol=0.05)
    np.testing.assert_allclose(law.above(0.0)[0], above, atol=0.01)


@pytest.mark.parametrize("size", [1e-3, 0.05, 0.3, 2.0])
def test_counts_that_vary_widely_leave_the_difference_to_the_prior(size) -> None:
    counts, exposure = np.array([[0.0, 3, 200, 1, 0], [50, 50, 3000, 1, 3]]), np.array([[10.0], [20.0]])
    seen = likelihood_of_difference(two_levels(counts, exposure, size), A_B, np.zeros(2, int), samples=False)
    found = posterior_under(seen, WEAK)
    x, level = np.linspace(-30, 30, 601)[:, None], np.linspace(-60, 80, 5601)
    for gene, (a, b) in enumerate(counts.T):
        joint = sum(
            u * at - (u + size) * np.logaddexp(np.log(size), at)
            for u, at in ((a, np.log(10.0) + level + x / 2), (b, np.log(20.0) + level - x / 2))
        )
        density = special.logsumexp(joint, axis=1) - np.square(x[:, 0] / WEAK.sds[0]) / 2
        mean, sd, above = moments(x[:, 0], density)
        # below the least size only that next to nothing is known
        atol = 0.02 if size > 0.1 else 0.1
        np.testing.assert_allclose(found.mean[gene], mean, atol=2.5 * atol * sd)
        np.testing.assert_allclose(found.sd[gene], sd, rtol=0.1)
        np.testing.assert_allclose(found.above(0.0)[gene], above, atol=atol)


@pytest.mark.parametrize("pairs", [[(236, 0), (141, 0)], [(5, 1), (9, 0)], [(30, 20), (60, 11), (4, 2)]])
def test_pairs_against_quadrature_at_every_variance_between_samples(pairs) -> None:
    """The level of every pair is integrated out on a grid; common factors of all variances do not matter."""
    molecules, size = np.ravel(pairs).astype(float)[:, None], 20.0
    counts = LevelCounts(molecules, np.ones(molecules.shape), np.full(molecules.shape, size))
    x, level = np.linspace(-3.0, 12.0, 31), np.linspace(-40.0, 60.0, 8001)
    of_A = np.tile([True, False], len(pairs))
    found = _log_likelihoods(counts, of_A, np.repeat(np.arange(len(pairs)), 2), x[:, None], VARIANCES)[..., 0]
    expected = np.zeros(found.shape)
    for i, variance in enumerate(VARIANCES):
        own = 1.0 / (1.0 / size + variance)
        for a, b in pairs:
            joint = [
                stats.nbinom.logpmf(u, own, own / (own + np.exp(level + side * x[:, None])))
                for u, side in ((a, 0.5), (b, -0.5))
            ]
            expected[i] += special.logsumexp(sum(joint), axis=1)
    error = found - expected
    assert np.ptp(error) < 0.25 * len(pairs)


@pytest.mark.parametrize("n", [2, 4])
def test_a_gene_that_no_pair_shows_untreated_is_certain(n) -> None:
    """Whatever samples vary by: hundreds of molecules against none, in every pair, among genes that do not respond."""
    rng, n_genes = np.random.default_rng(n), 300
    log_means = np.log(30.0) + 0.2 * rng.normal(size=(2 * n, n_genes))
    molecules = rng.poisson(np.exp(log_means)).astype(float)
    molecules[:, 0] = np.where(sides(n), rng.poisson(200, 2 * n), 0)
    for block in (np.tile(np.arange(n), 2), np.zeros(2 * n, int)):
        law = likelihood_of_difference(two_levels(molecules, 1.0, 50.0), sides(n), block, samples=True)
        assert law.below(0.0)[0] < 1e-3
        assert law.quantile(0.05)[0] > 2.0


def test_a_gene_unseen_in_one_group_has_a_one_sided_likelihood() -> None:
    """0 against 20 molecules: no lower limit, and the upper one is where e^-20 e^x falls."""
    law = likelihood_of_difference(two_levels([[0.0], [20.0]], 100.0), A_B, np.zeros(2, int), samples=False)
    assert law.above(0.0)[0] < 1e-5
    # a normal law of the same quartiles would be symmetric
    assert law.quantile(0.05)[0] < -10
    assert -3.5 < law.quantile(0.99)[0] < -1.0
    mirrored = likelihood_of_difference(two_levels([[20.0], [0.0]], 100.0), A_B, np.zeros(2, int), samples=False)
    np.testing.assert_allclose(mirrored.quantile(0.3), -law.quantile(0.7), rtol=1e-5)


def sides(n: int) -> np.ndarray:
    return np.arange(2 * n) < n


def samples_of(log_means: np.ndarray, n_molecules: float = 1e6) -> LevelCounts:
    """Samples (samples, genes) whose log means are known to a thousandth."""
    return two_levels(np.round(n_molecules * np.exp(log_means)), n_molecules)


def test_samples_that_are_known_exactly_give_the_t_test_without_a_population(monkeypatch) -> None:
    """With a flat prior on the log of the spread, which the grid approximates, the posterior is Student's t."""
    monkeypatch.setattr("scribe._stats.differences._SPEAKS", 1e9)
    rng, n = np.random.default_rng(3), 4
    log_means = 0.1 * rng.normal(size=(2 * n, 3))
    law = likelihood_of_difference(samples_of(log_means), sides(n), np.zeros(2 * n, int), samples=True)
    for gene in range(3):
        test = stats.ttest_ind(log_means[:n, gene], log_means[n:, gene])
        expected = stats.t.sf(-test.statistic, 2 * n - 2)
        # rates of gamma variables, whose mean is not quite that of logarithms
        np.testing.assert_allclose(law.below(0.0)[gene], 1 - expected, atol=0.06)


def test_known_spread_gives_least_squares() -> None:
    """All genes vary alike and there are many: the spread is known, and so are the weights of samples."""
    rng, n, n_genes, spread = np.random.default_rng(4), 5, 1000, 0.3
    exposure = np.exp(rng.normal(3.5, 0.7, (2 * n, n_genes)))
    molecules = rng.poisson(exposure * np.exp(spread * rng.normal(size=exposure.shape)))
    law = likelihood_of_difference(two_levels(molecules, exposure), sides(n), np.zeros(2 * n, int), samples=True)
    seen = np.maximum(molecules, 0.5)
    precision, means = 1 / (1 / seen + spread**2), np.log(seen / exposure)
    first, second = precision[:n], precision[n:]
    sd = np.sqrt(1 / first.sum(axis=0) + 1 / second.sum(axis=0))
    mean = (first * means[:n]).sum(0) / first.sum(0) - (second * means[n:]).sum(0) / second.sum(0)
    assert np.corrcoef(law.mean, mean)[0, 1] > 0.99
    np.testing.assert_allclose(np.median(law.sd / sd), 1.0, rtol=0.06)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("n", [2, 5])
def test_error_of_the_first_kind_is_nominal(n, paired) -> None:
    """Two-sided 5 % over genes with few and many molecules whose spread between samples differs."""
    rng, n_genes = np.random.default_rng(n), 2000
    spread = 0.25 * np.exp(rng.normal(0, 0.4, n_genes))
    level, size = np.exp(rng.normal(3.0, 1.3, n_genes)), 50 * np.exp(rng.normal(0, 0.7, n_genes))
    exposure = np.exp(rng.normal(0, 0.3, (2 * n, 1))) * np.ones(n_genes)
    of_pair = np.tile(rng.normal(size=(n, n_genes)), (2, 1)) if paired else 0.0
    log_means = np.log(level) + spread * rng.normal(size=(2 * n, n_genes)) + of_pair
    molecules = rng.poisson(rng.gamma(size, exposure * np.exp(log_means) / size)).astype(float)
    counts = LevelCounts(molecules, exposure, np.broadcast_to(size, exposure.shape).copy())
    counts = counts.genes(molecules.sum(axis=0) >= 10)
    block = np.tile(np.arange(n), 2) if paired else np.zeros(2 * n, int)
    law = likelihood_of_difference(counts, sides(n), block, samples=True)
    errors = 2 * np.minimum(law.above(0.0), law.below(0.0)) < 0.05
    assert 0.03 < errors.mean() < 0.07


def test_pairs_cancel_what_is_special_to_a_donor() -> None:
    rng, n, n_genes = np.random.default_rng(5), 4, 200
    donor = 2 * rng.normal(size=(n, n_genes))
    log_means = np.concatenate([donor + 0.5, donor]) + 0.1 * rng.normal(size=(2 * n, n_genes))
    counts = samples_of(log_means, 1e4)
    paired = likelihood_of_difference(counts, sides(n), np.tile(np.arange(n), 2), samples=True)
    np.testing.assert_allclose(paired.mean.mean(), 0.5, atol=0.02)
    assert np.median(paired.sd) < 0.12
    unpaired = likelihood_of_difference(counts, sides(n), np.zeros(2 * n, int), samples=True)
    assert np.median(unpaired.sd) > 0.5


def test_law_of_moments_has_them() -> None:
    """Mean, spread and skewness of draws, and the tails of a normal law where there is no skewness."""
    rng = np.random.default_rng(0)
    draws = np.stack([np.log(rng.gamma(2.0, size=20_000)), -np.log(rng.gamma(2.0, size=20_000))], axis=1)
    law = of_moments(Drawn(draws))
    np.testing.assert_allclose(law.mean, draws.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(law.sd, draws.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(law.quantile(0.02), np.quantile(draws, 0.02, axis=0), atol=0.15)
    np.testing.assert_allclose(law.quantile(0.98), np.quantile(draws, 0.98, axis=0), atol=0.15)
    normal = of_moments(NormalMixture(np.ones((1, 1)), np.full((1, 1), 2.0), np.full((1, 1), 0.4)))
    np.testing.assert_allclose(normal.below(0.0), stats.norm.sf(5.0), rtol=1.0)
