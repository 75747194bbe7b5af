"""Effects drawn towards a population: against the truth of simulations and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from scribe._stats.differences import of_moments
from scribe._stats.effects import called_at, find_threshold
from scribe._stats.laws import NormalMixture
from scribe._stats.shrinkage import EffectPopulation, grid_of_effects, posterior_under, shrink


def seen(estimates, errors) -> NormalMixture:
    """Normal estimates on a grid."""
    return of_moments(NormalMixture(np.ones((len(estimates), 1)), estimates[:, None], np.asarray(errors)[:, None]))


def rates_of(law) -> np.ndarray:
    return 1 - np.maximum(law.above(0.0), law.below(0.0))


def test_calls_without_effect_are_as_few_as_expected() -> None:
    """A tenth of the genes respond, by several errors; the likelihood alone calls twice as many of the others."""
    rng, n, called, false = np.random.default_rng(3), 1000, 0, 0
    for _ in range(5):
        effects = np.where(rng.random(n) < 0.1, rng.uniform(0.4, 1.0, n) * rng.choice([-1, 1], n), 0.0)
        errors = 0.15 * np.exp(rng.normal(0, 0.4, n))
        chosen = called_at(rates_of(shrink(seen(effects + errors * rng.normal(size=n), errors)).law), 0.05)
        called, false = called + int(chosen.sum()), false + int(np.sum(effects[chosen] == 0))
    assert 0.02 < false / called < 0.07
    assert called > 350


@pytest.mark.parametrize("signs", [(-1, 1), (1,)])
def test_where_most_genes_respond_calls_keep_their_promise(signs) -> None:
    """Four of five genes respond by 0.5 to 1.2, none by less: the population has humps with a gap about zero."""
    rng, n = np.random.default_rng(0), 1000
    effects = np.where(rng.random(n) < 0.8, rng.uniform(0.5, 1.2, n) * rng.choice(signs, n), 0.0)
    errors = 0.25 * np.exp(rng.normal(0, 0.3, n))
    found = shrink(seen(effects + errors * rng.normal(size=n), errors))
    chosen = called_at(rates_of(found.law), 0.05)
    assert np.mean(effects[chosen] == 0) < 0.06, "one hump about zero: 0.08 to 0.09"
    assert np.mean(chosen[effects != 0]) > 0.8
    np.testing.assert_allclose(found.null_proportion, 0.2, atol=0.06)
    inside = (found.law.quantile(0.05) <= effects) & (effects <= found.law.quantile(0.95))
    assert inside[chosen].mean() > 0.86


def test_grid_begins_with_zero_and_covers_the_effects() -> None:
    means, sds = grid_of_effects(seen(np.array([-2.0, 0.1]), np.array([0.3, 0.05])))
    assert means[0] == sds[0] == 0
    assert means.max() > 2.0
    np.testing.assert_array_equal(np.sort(means), np.sort(-means))
    # side by side: the sum of all normals has no holes beyond the smallest errors
    x = np.linspace(0.15, 2.0, 200)
    density = stats.norm(means[1:], sds[1:]).pdf(x[:, None]) @ sds[1:]
    assert density.max() < 1.6 * density.min()


@pytest.mark.parametrize("share", [0.0, 0.6, 0.9])
def test_null_proportion_and_signs(share) -> None:
    rng = np.random.default_rng(1)
    n, errors = 3000, rng.uniform(0.1, 0.4, 3000)
    effects = np.where(rng.random(n) < share, 0.0, rng.normal(0, 1, n))
    found = shrink(seen(effects + errors * rng.normal(size=n), errors))
    # effects that no data can tell from none may count as none, or none as such
    population = found.population
    near = population.weights[np.abs(population.means) + population.sds < 0.2].sum()
    np.testing.assert_allclose(near, share + (1 - share) * 0.1, atol=0.12)
    law = found.law
    rates = rates_of(law)
    order = np.argsort(rates)[: n // 20]
    wrong = np.sign(law.mean[order]) != np.sign(effects[order])
    np.testing.assert_allclose(wrong.mean(), rates[order].mean(), atol=0.03)
    np.testing.assert_allclose(np.mean((effects - law.mean) ** 2), np.mean(law.sd**2), rtol=0.15)


def test_posterior_against_quadrature() -> None:
    """Normals of a population that are narrower than the errors, wider, apart from zero, and a point."""
    population = EffectPopulation(
        np.array([0.0, 0.0, 1.5, -0.4]), np.array([0.0, 2.0, 0.3, 0.02]), np.array([0.3, 0.3, 0.3, 0.1])
    )
    rng = np.random.default_rng(2)
    estimates, errors = rng.normal(0, 1, 20), rng.uniform(0.1, 1.0, 20)
    law = posterior_under(seen(estimates, errors), population)
    np.testing.assert_allclose(law.weights.sum(axis=1), 1.0)
    x = np.linspace(-15, 15, 120_001)
    for gene in range(8):
        data = stats.norm(estimates[gene], errors[gene])
        parts = zip(population.weights[1:], population.means[1:], population.sds[1:], strict=True)
        smooth = sum(w * stats.norm(m, s).pdf(x) for w, m, s in parts) * data.pdf(x)
        total = integrate.trapezoid(smooth, x) + 0.3 * data.pdf(0.0)
        mean, square = (integrate.trapezoid(f * smooth, x) / total for f in (x, x**2))
        np.testing.assert_allclose(law.mean[gene], mean, atol=3e-3)
        np.testing.assert_allclose(law.sd[gene], np.sqrt(square - mean**2), rtol=5e-3)
        for at in (-1.0, 0.0, 0.3):
            above = integrate.trapezoid(smooth * (x > at), x) + (0.3 * data.pdf(0.0) if at < 0 else 0.0)
            np.testing.assert_allclose(law.above(at)[gene], above / total, atol=3e-3)


def test_products_that_are_added_up_keep_their_moments() -> None:
    """An estimate between two normals of the population, hardly narrower than they are."""
    population = EffectPopulation(np.array([0.0, 1.5]), np.full(2, 0.3), np.full(2, 0.5))
    law = posterior_under(NormalMixture(np.ones((1, 1)), np.full((1, 1), 0.75), np.full((1, 1), 0.29)), population)
    precision = 1 / 0.3**2 + 1 / 0.29**2
    locs = (population.means / 0.3**2 + 0.75 / 0.29**2) / precision
    np.testing.assert_allclose(law.mean[0], 0.75)
    np.testing.assert_allclose(law.sd[0], np.sqrt(1 / precision + np.var(locs)), rtol=1e-6)


def test_grid_of_the_user_is_one_of_normals_about_zero() -> None:
    estimates = np.random.default_rng(0).normal(size=200)
    found = shrink(seen(estimates, np.full(200, 0.5)), sds=np.array([0.0, 0.5, 2.0]))
    np.testing.assert_array_equal(found.population.means, 0.0)
    np.testing.assert_array_equal(found.population.sds, [0.0, 0.5, 2.0])


def test_effects_that_are_taken_for_none_keep_their_order_and_mass() -> None:
    """Estimates that vary less than their errors: no effect anywhere, but the larger stay the larger."""
    estimates = np.random.default_rng(0).normal(0, 0.3, 300)
    found = shrink(seen(estimates, np.ones(300)))
    assert found.null_proportion > 0.95
    assert np.all(found.law.sd > 0)
    np.testing.assert_array_equal(np.argsort(found.law.mean), np.argsort(estimates))
    assert find_threshold(rates_of(found.law), 0.05) == 0
