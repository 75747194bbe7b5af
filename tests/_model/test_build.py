"""The numpyro model: one observed site, and the same model for traces, substitution, densities and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer import Predictive
from numpyro.infer.util import log_density
from scipy import special, stats

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import CountData, full_data
from scribe._model.build import CountMatrix, build
from scribe._model.resolve import resolve_spec
from scribe.priors import LATENT_SUFFIX, latent_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scribe._model.build import Model
    from scribe._model.spec import ModelSpec

N_CELLS, N_GENES = 9, 5
MODELS = {
    "nbdm": {"model": "nbdm"},
    "nbvcp-odds": {"model": "nbvcp", "parameterization": "mean_odds"},
    "nbvcp-anchored": {"model": "nbvcp", "priors": {"organism": "ecoli"}},
    "zinbvcp-disp": {"model": "zinbvcp", "parameterization": "mean_disp", "unconstrained": True},
    "zip": {"model": "zip"},
}


class Case(NamedTuple):
    """A model with data for it and one value of every latent site."""

    spec: ModelSpec
    model: Model
    u: NDArray[np.float64]
    data: CountData
    latents: dict[str, Any]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> Case:
    return make(**MODELS[request.param])


def make(**options: Any) -> Case:
    spec, rng = resolve_spec(**options), np.random.default_rng(0)
    u = 1.0 + rng.poisson(2.0, (N_CELLS, N_GENES))
    shapes = {(): (), ("gene",): (N_GENES,), ("cell",): (N_CELLS,)}
    latents = {latent_name(s.name): jnp.asarray(rng.normal(0, 0.7, shapes[s.axes])) for s in spec.sites}
    data = full_data(Counts.from_matrix(u), totals_suffice=spec.totals_suffice)
    return Case(spec, build(spec, n_genes=N_GENES), u, data, latents)


def trace_of(model: Any, data: CountData, *, substituted: dict[str, Any] | None = None) -> dict[str, Any]:
    seeded = handlers.seed(handlers.substitute(model, data=substituted or {}), jax.random.key(0))
    return dict(handlers.trace(seeded).get_trace(data))


def density_of(model: Model, data: CountData, latents: dict[str, Any]) -> float:
    density = jax.jit(lambda data, latents: log_density(model, (data,), {}, latents)[0])
    return float(density(data, latents))


def log_pmf(case: Case, latents: dict[str, Any]) -> NDArray[np.float64]:
    """scipy's log-probability of every count, from the readable parameters."""
    values = {name.removesuffix(LATENT_SUFFIX): z for name, z in latents.items()}
    named = {name: np.asarray(v) for name, v in case.spec.named(values).items()}
    mean = named["mu"] * named.get("p_capture", np.ones(N_CELLS))[:, None]
    law = stats.nbinom(named["r"], named["r"] / (named["r"] + mean)) if "r" in named else stats.poisson(mean)
    gate = named.get("gate", np.zeros(N_GENES))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(gate) + np.where(case.u == 0, 0.0, -np.inf), np.log1p(-gate) + law.logpmf(case.u))


def log_prior(case: Case, latents: dict[str, Any], site: str) -> NDArray[np.float64]:
    """Log-density of every element of a latent, by scipy."""
    z = np.asarray(latents[latent_name(site)])
    prior = case.spec.priors[site]
    if site == "eta_capture":
        eta, loc = np.log1p(np.exp(z)), np.log(3000.0 / case.u.sum(axis=1))
        law = stats.truncnorm(-loc / 0.3, np.inf, loc=loc, scale=0.3)
        return law.logpdf(eta) + np.log(special.expit(z))
    kind, args = prior.to_json()["type"], prior.to_json()["args"]
    if kind in {"lognormal", "normal"}:
        return stats.norm.logpdf(z, args[0], args[1])
    p = special.expit(z if kind == "beta" else -z)
    return stats.beta.logpdf(p, *args) + np.log(p) + np.log1p(-p)


def test_sites(case: Case) -> None:
    """Latents on the real line, every parameter under its own name, and the counts as the one observed site."""
    trace: dict[str, Any] = {}
    jax.eval_shape(lambda data: trace.update(trace_of(case.model, data)), case.data)
    kinds = {name: site["type"] for name, site in trace.items()}
    samples = {name: site["is_observed"] for name, site in trace.items() if site["type"] == "sample"}
    names = [site.name for site in case.spec.sites]
    assert samples == {**{latent_name(name): False for name in names}, "counts": True}
    assert [name for name, kind in kinds.items() if kind == "deterministic"] == names
    plates = {name for name, kind in kinds.items() if kind == "plate"}
    assert plates == {f"{axis}s" for site in case.spec.sites for axis in site.axes}
    for site in case.spec.sites:
        plate = [frame.name for frame in trace[latent_name(site.name)]["cond_indep_stack"]]
        assert plate == [f"{axis}s" for axis in site.axes]


def test_substituted_values_reach_the_parameters(case: Case) -> None:
    trace = trace_of(case.model, case.data, substituted=case.latents)
    values = {name.removesuffix(LATENT_SUFFIX): z for name, z in case.latents.items()}
    readable = case.spec.named(values)
    for site in case.spec.sites:
        np.testing.assert_array_equal(trace[latent_name(site.name)]["value"], case.latents[latent_name(site.name)])
        np.testing.assert_allclose(trace[site.name]["value"], readable[site.name], rtol=1e-14)


def test_density_is_prior_times_likelihood(case: Case) -> None:
    density = density_of(case.model, case.data, case.latents)
    prior = sum(log_prior(case, case.latents, site).sum() for site in case.spec.priors)
    np.testing.assert_allclose(density, prior + log_pmf(case, case.latents).sum(), rtol=1e-10)


@pytest.mark.parametrize("options", [MODELS["nbvcp-odds"], MODELS["nbvcp-anchored"]], ids=["odds", "anchored"])
def test_grouped_cells_count_as_often_as_they_occur(options: dict[str, Any]) -> None:
    """Cells of equal total share one latent: its prior and likelihood count once for each of them."""
    case = make(**options)
    u = np.concatenate([case.u, case.u[:4], case.u[:2]])
    case = case._replace(u=u)
    counts = Counts.from_matrix(u)
    groups = counts.groups()
    assert len(groups.n) < len(u)
    site = latent_name(case.spec.capture_site)
    per_group = jnp.asarray(np.random.default_rng(3).normal(size=len(groups.n)))
    data = full_data(counts, totals_suffice=True, group=True)
    found = density_of(case.model, data, {**case.latents, site: per_group})
    single = {**case.latents, site: per_group[groups.index]}
    expected = density_of(case.model, full_data(counts, totals_suffice=True), single)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_minibatches_scale_what_cells_contribute() -> None:
    """Prior of capture and cell terms times cells / batch size: averaged over all batches, the full density."""
    case = make(**MODELS["nbvcp-odds"])
    counts = Counts.from_matrix(case.u)
    drawn = CellBatches(counts, 8, totals_suffice=True, seed=0).draw(0, 200)
    site = latent_name("phi_capture")
    full = density_of(case.model, case.data, case.latents)

    @jax.jit
    @jax.vmap
    def of_batch(batch: Any) -> jax.Array:
        here = {**case.latents, site: case.latents[site][batch.cells.rows]}
        return log_density(case.model, (batch.join(case.data),), {}, here)[0]

    rows, first = np.unique(np.asarray(drawn.cells.rows), axis=0, return_index=True)
    assert len(rows) == 9, "every batch leaves out one of nine cells"
    values = np.asarray(of_batch(drawn))[first]
    assert np.ptp(values) > 1e-3
    np.testing.assert_allclose(values.mean(), full, rtol=1e-12)


@pytest.mark.parametrize("name", ["nbvcp-odds", "zinbvcp-disp", "zip"])
def test_counts_are_simulated_when_not_observed(name: str) -> None:
    """Predictive draws of an unconditioned model: dense counts with the moments of the family."""
    case = make(**MODELS[name])
    predictive = Predictive(handlers.uncondition(case.model), posterior_samples=stacked(case, 2000))
    draw = jax.jit(lambda key: predictive(key, case.data)["counts"])
    draws = np.asarray(draw(jax.random.key(1)))
    assert draws.shape == (2000, N_CELLS, N_GENES)
    assert np.all((draws >= 0) & (draws == np.floor(draws)))
    trace = trace_of(case.model, case.data, substituted=case.latents)
    matrix: CountMatrix = trace["counts"]["fn"]
    assert matrix.event_shape == (N_CELLS, N_GENES)
    wide = {n: v if v.ndim == 0 else v[None] for n, v in matrix.parameters.natural.items()}
    offset = matrix.parameters.log_exposure[:, None]
    mean, variance = (np.broadcast_to(m, matrix.event_shape) for m in case.spec.family.moments(wide, offset))
    error = np.sqrt(variance / 2000)
    assert np.max(np.abs(draws.mean(axis=0) - mean) / error) < 5


def stacked(case: Case, n: int) -> dict[str, Any]:
    """The same latents for every draw."""
    return {name: jnp.broadcast_to(z, (n, *z.shape)) for name, z in case.latents.items()}


def test_prior_predictive_draws_every_latent(case: Case) -> None:
    predictive = Predictive(case.model, num_samples=3)
    draws = jax.eval_shape(lambda key: predictive(key, case.data), jax.random.key(2))
    for site in case.spec.sites:
        shape = {(): (), ("gene",): (N_GENES,), ("cell",): (N_CELLS,)}[site.axes]
        assert draws[latent_name(site.name)].shape == draws[site.name].shape == (3, *shape)


def test_density_of_a_dense_matrix(case: Case) -> None:
    """The same number by the elementwise log-pmf as by the engine, and scipy's."""
    matrix: CountMatrix = trace_of(case.model, case.data, substituted=case.latents)["counts"]["fn"]
    engine = trace_of(case.model, case.data, substituted=case.latents)["counts"]["value"]
    expected = log_pmf(case, case.latents).sum()
    log_prob = jax.jit(matrix.log_prob)
    np.testing.assert_allclose(log_prob(jnp.asarray(case.u)), expected, rtol=1e-10)
    np.testing.assert_allclose(log_prob(engine), expected, rtol=1e-10)
    repeated = jax.eval_shape(lambda key: matrix.sample(key, (2, 3)), jax.random.key(0))
    assert repeated.shape == (2, 3, N_CELLS, N_GENES)
