"""Calibration by simulation: the band is exact, right samplers pass, wrong ones are found, and the models pass."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe._stats.calibration import JOINT, Study, band, calibrate, deviation, uniformity, uniforms

pytestmark = pytest.mark.loose_promotion

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "calibration.py"


def probability_inside(n: int, low: np.ndarray, high: np.ndarray) -> float:
    """Exact probability that the counts of n uniforms below i/n stay within bounds, from step to step."""
    counts = np.arange(n + 1)
    state = np.zeros(n + 1)
    state[0] = 1.0
    for i in range(n - 1):
        step = stats.binom.pmf(counts[None, :] - counts[:, None], n - counts[:, None], 1.0 / (n - i))
        state = (state @ step) * ((counts >= low[i]) & (counts <= high[i]))
    return float(state.sum())


@pytest.mark.parametrize(("n", "level"), [(20, 0.9), (60, 0.99)])
def test_band_holds_whole_distributions_as_often_as_it_says(n, level):
    at, low, high = band(n, level)
    np.testing.assert_allclose(at, np.arange(1, n) / n)
    # counts are whole numbers: the band is the widest that holds no more than it should, up to a step of their law
    assert probability_inside(n, np.rint(low * n), np.rint(high * n)) == pytest.approx(level, abs=0.3 * (1 - level))


def test_p_values_are_uniform_where_all_is_well():
    p_value = [uniformity(one[:, None]).p_value for one in np.random.default_rng(1).random((400, 60))]
    assert stats.kstest(p_value, "uniform").pvalue > 1e-3
    assert 0 < np.mean(np.asarray(p_value) < 0.05) < 0.1


def test_deviation_is_the_least_binomial_tail():
    values = np.random.default_rng(2).beta(2, 3, 30)
    expected = 1.0
    for i in range(1, 30):
        below = np.sum(values < i / 30)
        law = stats.binom(30, i / 30)
        expected = min(expected, 2 * law.cdf(below), 2 * law.sf(below - 1))
    assert deviation(values) == pytest.approx(expected)


def conjugate(*, n: int = 200, width: float = 1.0, shift: float = 0.0, rho: float = 0.0) -> np.ndarray:
    """Uniforms of a normal mean with a normal prior, whose posterior is known, from a chain with a lag of ``rho``."""
    rng, out = np.random.default_rng(3), []
    for _ in range(n):
        truth = rng.normal(size=2)
        sd = math.sqrt(0.5)
        noise = rng.normal(size=(1, 300, 2))
        for i in range(1, 300 if rho else 0):
            noise[:, i] = rho * noise[:, i - 1] + math.sqrt(1 - rho**2) * noise[:, i]
        draws = (truth + rng.normal(size=2)) / 2 + sd * (shift + width * noise)
        out.append(uniforms(truth, draws, rng))
    return np.asarray(out)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_an_exact_sampler_passes(rho):
    found = uniformity(conjugate(rho=rho))
    assert found.elements == 2
    assert found.p_value > 0.01
    assert abs(found.bias) < 0.1
    assert found.spread == pytest.approx(1.0, abs=0.1)
    assert found.coverage == pytest.approx(0.9, abs=0.04)


def test_a_narrow_and_a_shifted_sampler_are_found():
    narrow, shifted = uniformity(conjugate(width=0.7)), uniformity(conjugate(shift=0.5))
    assert narrow.p_value < 1e-3
    assert narrow.spread == pytest.approx(1 / 0.7, rel=0.1)
    assert narrow.coverage < 0.8
    assert shifted.p_value < 1e-3
    assert shifted.bias == pytest.approx(-0.5, abs=0.15)


def test_ties_are_broken_at_random():
    rng = np.random.default_rng(4)
    found = [uniforms(np.zeros(1), np.zeros((1, 50, 1)), rng)[0] for _ in range(300)]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


PRIOR = {"mu": (1.0, 0.7)}


@pytest.fixture(scope="module")
def poisson() -> Study:
    return Study(resolve_spec("poisson", priors=PRIOR), Counts.from_matrix(np.ones((4, 2), np.float32)))


def by_resampling(spec, counts, design, seed, *, factor=1.0):
    """Exact draws without a sampler: those of the prior, taken anew with probabilities of the likelihood."""
    rng = np.random.default_rng(seed)
    z = rng.normal(*PRIOR["mu"], (5_000, 2))
    log_weight = counts.gene_totals * z - factor * counts.n_cells * np.exp(z)
    weight = np.exp(log_weight - log_weight.max(axis=0))
    columns = [rng.choice(z[:, g], 60, p=weight[:, g] / weight[:, g].sum()) for g in range(2)]
    return {"mu_unconstrained": np.stack(columns, axis=1)[None]}


def ranks_of(study: Study, fitted, n: int) -> dict[str, np.ndarray]:
    rows = list(itertools.islice(calibrate(study, fitted, seed=5), n))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_simulated_counts_fit_an_independent_posterior(poisson):
    found = ranks_of(poisson, by_resampling, 40)
    assert {name: value.shape for name, value in found.items()} == {"mu": (40, 2), JOINT: (40, 1)}
    assert all(uniformity(value).p_value > 0.01 for value in found.values())
    wrong = ranks_of(poisson, partial(by_resampling, factor=1.5), 40)
    assert uniformity(wrong["mu"]).p_value < 1e-3


def test_a_data_set_depends_on_its_number_alone(poisson):
    later = next(calibrate(poisson, by_resampling, seed=5, first=2))
    every = list(itertools.islice(calibrate(poisson, by_resampling, seed=5), 3))
    np.testing.assert_array_equal(later["mu"], every[2]["mu"])


def test_joint_density_is_that_of_scipy(poisson):
    latents, truth = poisson.draw(jax.random.key(0))
    counts = poisson.simulate(truth, jax.random.key(1))
    z = np.asarray(latents["mu_unconstrained"], float)
    dense = counts.to_csr().toarray()
    expected = stats.norm.logpdf(z, *PRIOR["mu"]).sum() + stats.poisson.logpmf(dense, np.exp(z)).sum()
    assert poisson.quantities(counts, latents)[JOINT] == pytest.approx(expected, rel=1e-5)


def test_priors_see_the_reference_and_not_the_data():
    rng = np.random.default_rng(0)
    reference = Counts.from_matrix(rng.poisson(5, (6, 3)).astype(np.float32))
    options = {"parameterization": "mean_odds", "expression_anchor": True}
    spec = resolve_spec("nbvcp", priors={"capture_efficiency": (math.log(100.0), 0.3)}, **options)
    study = Study(spec, reference)
    draws = [study.draw(jax.random.key(i))[0] for i in range(100)]
    log_mean = np.log((reference.gene_totals + 0.5) / 6)
    log_capture = math.log(reference.totals.mean() / 100)
    mu = np.stack([one["mu_unconstrained"] for one in draws])
    np.testing.assert_allclose(mu.mean(axis=0), log_mean - log_capture, atol=5 * 0.3 / 10)
    eta = np.logaddexp(0, np.stack([one["eta_capture_unconstrained"] for one in draws]))
    loc = math.log(100) - np.log(reference.totals)
    np.testing.assert_allclose(eta.mean(axis=0), stats.truncnorm(-loc / 0.3, np.inf, loc, 0.3).mean(), atol=0.1)
    # the density, too: joint less likelihood is one number, whatever the counts
    latents, truth = study.draw(jax.random.key(0))
    priors = []
    for n in (1.0, 9.0):
        dense = np.full((6, 3), n, np.float32)
        likelihood = spec.likelihood.log_pmf(dense, truth).sum()
        priors.append(study.quantities(Counts.from_matrix(dense), latents)[JOINT][0] - float(likelihood))
    assert priors[0] == pytest.approx(priors[1], abs=1e-3)


def load_benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_of_calibration", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES = ("nbdm", "nbvcp", "zinbvcp", "bnb", "two_state", "mixture", "datasets")


def test_every_case_has_a_study():
    cases = load_benchmark().CASES
    assert tuple(cases) == CASES
    assert all(case.study().fixed.latents for case in cases.values())


@pytest.mark.slow(minutes=5)
@pytest.mark.optimized
@pytest.mark.parametrize("name", CASES)
def test_nuts_is_calibrated(name, tmp_path):
    """One chance in a hundred per model that a calibrated one fails, whatever the dependence of its parameters."""
    benchmark = load_benchmark()
    benchmark.run(name, tmp_path, n=200)
    found = {key: uniformity(value) for key, value in benchmark.read(tmp_path / f"{name}.npz").uniforms.items()}
    assert min(one.p_value for one in found.values()) * len(found) > 0.01, found
