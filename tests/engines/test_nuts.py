"""NUTS against posteriors known without sampling, and what it promises of seeds, chains and errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import integrate, stats

from scribe._counts.container import Counts
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe._progress import progress
from scribe.engines import NUTS, NonFiniteError, Task, nuts
from scribe.guides.draws import DRAWS

pytestmark = pytest.mark.loose_promotion

ENGINE = NUTS(1000, n_warmup=300, n_chains=2)


def sample(counts, engine=ENGINE, *, seed=0, near=None, **options):
    with jax.enable_x64(True):
        return engine.fit(Task(resolve_spec(**options), Counts.from_matrix(counts), near=near), seed=seed)


@pytest.fixture(scope="module")
def poisson():
    counts = np.random.default_rng(0).poisson([0.2, 3.0, 40.0], (20, 3)).astype(float)
    return counts, sample(counts, model="poisson")


def test_poisson_is_the_posterior_by_quadrature(poisson):
    """Three genes, independent given the log-normal prior: one integral each."""
    counts, fitted = poisson
    assert fitted.verdict.converged
    for draws, total in zip(fitted.params["mu_unconstrained" + DRAWS], counts.sum(0), strict=True):
        at = np.log(total / 20) + np.linspace(-4, 4, 8001) / np.sqrt(max(total, 1))
        log_density = total * at - 20 * np.exp(at) + stats.norm(0, 3).logpdf(at)
        cdf = integrate.cumulative_trapezoid(np.exp(log_density - log_density.max()), at, initial=0)
        levels = np.interp(draws, at, cdf / cdf[-1])
        for level in (0.05, 0.25, 0.5, 0.75, 0.95):
            error = np.sqrt(level * (1 - level) / min(fitted.verdict.ess_tail, fitted.verdict.ess_bulk))
            assert abs(np.mean(levels < level) - level) < 5 * error


@pytest.mark.parametrize(
    "parameterization",
    ["canonical", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mean_odds", "mean_disp"))],
)
def test_negative_binomial_is_the_posterior_on_a_grid(parameterization):
    """One gene in 15 cells: two parameters under the default priors, correlated in all but the last coordinates."""
    counts = np.random.default_rng(1).negative_binomial(2.0, 0.3, (15, 1)).astype(float)
    fitted = sample(counts, model="nbdm", parameterization=parameterization)
    axis = np.linspace(-7, 9, 501)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    normal, logistic = stats.norm(0, 3).logpdf, stats.logistic.logpdf
    names, log_size, log_odds, prior = {
        "canonical": (("p", "r"), b, -a, logistic(a) + normal(b)),
        "mean_odds": (("phi", "mu"), a + b, a, logistic(a) + normal(b)),
        "mean_disp": (("mu", "r"), b, b - a, normal(a) + normal(b)),
    }[parameterization]
    prob = 1 / (1 + np.exp(-log_odds))
    log_density = prior + sum(stats.nbinom.logpmf(u, np.exp(log_size), prob) for u in counts.ravel())
    weights = np.exp(log_density - log_density.max()) / np.exp(log_density - log_density.max()).sum()
    means = np.asarray([(weights * x).sum() for x in (a, b)])
    centred = np.stack([x - mean for x, mean in zip((a, b), means, strict=True)])
    covariance = np.einsum("iab,jab,ab->ij", centred, centred, weights)
    sds = np.sqrt(np.diag(covariance))
    draws = np.stack([fitted.params[f"{name}_unconstrained{DRAWS}"].reshape(-1) for name in names])
    error = 5 / np.sqrt(min(fitted.verdict.ess_bulk, fitted.verdict.ess_tail))
    assert error < 0.4
    np.testing.assert_array_less(np.abs(draws.mean(1) - means) / sds, error)
    np.testing.assert_array_less(np.abs(np.cov(draws) - covariance) / np.outer(sds, sds), 2 * error)


def test_same_seed_same_bits_and_chains_differ(poisson):
    counts, fitted = poisson
    for name, value in sample(counts, model="poisson").params.items():
        np.testing.assert_array_equal(value, fitted.params[name])
    draws = fitted.params["mu_unconstrained" + DRAWS].reshape(3, 2, 1000)
    assert not np.any(draws[:, 0] == draws[:, 1])
    other = sample(counts, model="poisson", seed=1).params["mu_unconstrained" + DRAWS]
    assert not np.array_equal(other, fitted.params["mu_unconstrained" + DRAWS])


def test_chains_in_one_computation_are_those_in_threads(poisson, monkeypatch):
    """As accelerators run them; rounding differs, so that only the first draws are compared."""
    counts, _ = poisson
    short = NUTS(3, n_warmup=0, n_chains=2)
    apart = sample(counts, short, model="poisson")
    monkeypatch.setattr(nuts, "_together", lambda setting: True)
    together = sample(counts, short, model="poisson")
    for name, value in apart.params.items():
        np.testing.assert_allclose(together.params[name], value, rtol=1e-5)
    for name, value in apart.history["mcmc"].items():
        np.testing.assert_allclose(together.history["mcmc"][name], value, rtol=1e-6)


def test_statistics_and_layout(poisson):
    _, fitted = poisson
    assert fitted.params["mu_unconstrained" + DRAWS].shape == (3, 2000)
    assert {value.shape for value in fitted.history["mcmc"].values()} == {(2, 1000)}
    assert 0.6 < fitted.verdict.acceptance <= 1
    energy = fitted.history["mcmc"]["energy"] - fitted.history["mcmc"]["potential_energy"]
    # the kinetic energy of three standard normals has mean 3/2, at draws slightly less
    assert 1.0 < energy.mean() < 2.0


def test_chains_start_near_what_they_are_given(poisson):
    counts, _ = poisson
    with jax.enable_x64(True):
        values = start_of(resolve_spec("poisson"), Counts.from_matrix(counts)).values
    near = [{"mu": values["mu"] + 1e-3 * shift} for shift in range(20)]
    fitted = sample(counts, NUTS(1, n_warmup=0, n_chains=2), near=near, model="poisson")
    # steps as long as these points are apart lead nowhere
    assert np.all(np.abs(fitted.params["mu_unconstrained" + DRAWS] - values["mu"][:, None]) < 1.0)
    bad = [{"mu": np.full(3, 1e4)}] * 20
    with pytest.raises(NonFiniteError, match=r"not finite where a chain starts, sites 'mu'.*svi_init=results"):
        sample(counts, NUTS(1, n_warmup=0, n_chains=2), near=bad, model="poisson")


def test_an_interrupted_chain_stops_the_others(poisson, monkeypatch):
    """What fails in one thread is raised, and does not wait for the others to end."""
    counts, _ = poisson
    made = []

    def tell(self, n, divergences):
        made.append(n)
        raise KeyboardInterrupt

    monkeypatch.setattr(nuts._Monitor, "tell", tell)
    with pytest.raises(KeyboardInterrupt):
        sample(counts, NUTS(10_000, n_warmup=300, n_chains=3), model="poisson")
    assert len(made) <= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a whole number of at least 1, got 0"),
        ({"n_chains": 1.5}, "n_chains must be a whole number of at least 1, got 1.5"),
        ({"n_warmup": -1}, "n_warmup must be a whole number of at least 0, got -1"),
        ({"target_accept": 1.0}, "target_accept must be between 0 and 1, got 1.0"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        NUTS(**settings)


def test_progress_counts_the_draws_of_all_chains():
    with progress(10, desc="NUTS", unit="draw", enabled=True) as bar:
        monitor = nuts._Monitor(bar, nuts.threading.Lock(), nuts.threading.Event())
        monitor.tell(4, 1)
        monitor.tell(3, 2)
        assert (bar._bar.n, monitor.divergences) == (7, 3)
