"""Hierarchies: the density of the program against one written out by hand, its draws, and its inverse."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import integrate, stats

from scribe import priors
from scribe._dist.log_positive import LogGamma, LogHalfCauchy
from scribe.priors import (
    Beta,
    Context,
    Fixed,
    Gaussian,
    Hierarchical,
    Horseshoe,
    NormalExponentialGamma,
    TransformedNormal,
    from_json,
    over,
)

CONTEXT = Context(jnp.ones(2), jnp.ones(4), jnp.ones(()))
LENGTHS = {"component": 2, "dataset": 3, "gene": 4}
BASE = TransformedNormal(-0.7, 1.3, "sigmoid")
SCATTERS = {
    "gaussian": Gaussian(-0.5, 0.4),
    "horseshoe": Horseshoe(0.6, 3.0, 1.5),
    "neg": NormalExponentialGamma(0.8, 1.2, 0.7),
    "fixed": Fixed(0.3),
}
AXES = [
    ("gene", ("gene",)),
    ("gene", ("component", "gene")),
    ("component", ("component", "gene")),
    ("dataset", ("dataset", "gene")),
    ("dataset", ("component", "dataset", "gene")),
    ("dataset", ("dataset",)),
]


def test_every_deviation_is_tested() -> None:
    assert {name: type(d) for name, d in SCATTERS.items()} == priors.SCATTERS


def model(prior: Hierarchical, axes: tuple[str, ...]) -> Any:
    def run() -> jax.Array:
        def draw(latent: Any, law: Any) -> Any:
            return numpyro.sample(latent.name, law(CONTEXT).expand(tuple(LENGTHS[a] for a in latent.axes)))

        return prior("theta", axes, draw)

    return run


def trace_of(prior: Hierarchical, axes: tuple[str, ...], seed: int = 0) -> tuple[dict[str, Any], Any]:
    seeded = handlers.seed(model(prior, axes), jax.random.key(seed))
    trace = handlers.trace(seeded).get_trace()
    theta = handlers.substitute(model(prior, axes), {n: s["value"] for n, s in trace.items()})()
    return trace, theta


def log_gamma_density(z: Any, shape: float, rate: Any) -> Any:
    return stats.gamma(shape, scale=1 / rate).logpdf(np.exp(z)) + z


def by_hand(kind: str, axis: str, axes: tuple[str, ...], z: dict[str, Any]) -> tuple[float, Any]:
    """Log-density of all latents and the value of the parameter, with scipy."""
    number = axes.index(axis)
    total = stats.norm(-0.7, 1.3).logpdf(z["loc"]).sum()
    loc = np.expand_dims(z["loc"], number)
    wide = [LENGTHS[a] if a in (("gene",) if "gene" in axes else (axis,)) else 1 for a in axes]
    if kind == "gaussian":
        total += stats.norm(-0.5, 0.4).logpdf(z["scale"])
        return total + stats.norm(loc, np.logaddexp(0, z["scale"])).logpdf(z[""]).sum(), z[""]
    if kind == "fixed":
        return total + stats.norm(loc, 0.3).logpdf(z[""]).sum(), z[""]
    total += stats.norm.logpdf(z["raw"]).sum()
    if kind == "horseshoe":
        for name, scale in (("tau", 0.6), ("lambda", 1.0)):
            total += (stats.halfcauchy(scale=scale).logpdf(np.exp(z[name])) + z[name]).sum()
        total += stats.invgamma(1.5, scale=1.5 * 1.5**2).logpdf(np.exp(-z["slab"])) - z["slab"]
        tau, local, c = np.exp(z["tau"]), np.exp(z["lambda"]), np.exp(-0.5 * z["slab"])
        scale = tau * c * local / np.sqrt(c**2 + tau**2 * local**2)
    else:
        total += log_gamma_density(z["zeta"], 1.2, 0.7).sum()
        total += log_gamma_density(z["psi"], 0.8, np.exp(z["zeta"])).sum()
        scale = np.exp(0.5 * z["psi"])
    return total, loc + scale.reshape(wide) * z["raw"]


@pytest.mark.parametrize(("axis", "axes"), AXES)
@pytest.mark.parametrize("kind", SCATTERS)
def test_density_and_value_by_hand(kind: str, axis: str, axes: tuple[str, ...]) -> None:
    with jax.enable_x64(True):
        trace, theta = trace_of(over(axis, BASE, SCATTERS[kind]), axes)
        found = sum(float(np.sum(site["fn"].log_prob(site["value"]))) for site in trace.values())
    values = {
        name.removesuffix("_unconstrained").removeprefix("theta").removeprefix("_"): np.asarray(site["value"])
        for name, site in trace.items()
    }
    assert all(name.startswith("theta") and name.endswith("_unconstrained") for name in trace)
    assert all(site["fn"].support is dist.constraints.real for site in trace.values())
    expected, value = by_hand(kind, axis, axes, values)
    assert theta.shape == tuple(LENGTHS[a] for a in axes)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(theta, value, rtol=1e-9)


@pytest.mark.parametrize(("axis", "axes"), AXES)
@pytest.mark.parametrize("kind", SCATTERS)
def test_start_inverts_the_program(kind: str, axis: str, axes: tuple[str, ...]) -> None:
    """Also for a value far from all others, and for one that lacks some of the axes."""
    prior = over(axis, BASE, SCATTERS[kind])
    shape = tuple(LENGTHS[a] for a in axes)
    value = np.random.default_rng(0).normal(1.0, 0.7, shape).astype(np.float32)
    value[(0,) * len(shape)] += 20.0
    for given in (value, value[..., -1], np.float32(0.3)):
        if np.ndim(given) and given.shape != shape[len(shape) - given.ndim :]:
            continue
        start = prior.start("theta", axes, given)
        wide: dict[str, Any] = {}

        def read(latent: Any, _: Any, start: Any = start, wide: Any = wide) -> Any:
            wide[latent.name] = jnp.broadcast_to(start[latent.name], tuple(LENGTHS[a] for a in latent.axes))
            return wide[latent.name]

        theta = prior("theta", axes, read)
        assert set(wide) == set(start)
        assert all(np.isfinite(v).all() for v in wide.values())
        np.testing.assert_allclose(theta, np.broadcast_to(given, shape), rtol=1e-5, atol=1e-5)
        loc = np.broadcast_to(given, shape).mean(axis=axes.index(axis))
        np.testing.assert_allclose(wide["theta_loc_unconstrained"], loc, rtol=1e-5)


def test_hierarchies_nest() -> None:
    """Genes about a location, data sets about the genes: the axes add up."""
    prior = over("dataset", over("gene", BASE, Gaussian()), Horseshoe())
    assert prior.adds == ("gene", "dataset")
    trace, theta = trace_of(prior, ("dataset", "gene"))
    shapes = {name.removesuffix("_unconstrained"): site["value"].shape for name, site in trace.items()}
    assert theta.shape == (3, 4)
    assert shapes == {
        "theta_loc_loc": (),
        "theta_loc_scale": (),
        "theta_loc": (4,),
        "theta_tau": (),
        "theta_lambda": (4,),
        "theta_slab": (),
        "theta_raw": (3, 4),
    }
    start = prior.start("theta", ("dataset", "gene"), theta)
    np.testing.assert_allclose(prior("theta", ("dataset", "gene"), lambda one, _: start[one.name]), theta, rtol=1e-5)


@pytest.mark.parametrize("kind", SCATTERS)
def test_json_round_trip(kind: str) -> None:
    prior = over("component", over("gene", Beta(1.0, 9.0), Gaussian()), SCATTERS[kind])
    again = from_json(json.loads(json.dumps(prior.to_json())))
    assert again == prior
    assert hash(again) == hash(prior)
    assert again.link == "sigmoid"


def test_neg_is_normal_exponential_gamma() -> None:
    """With u = 1 the variance given its rate is exponential, and the deviation given the rate Laplace."""
    rate = 1.7
    psi = np.linspace(-30.0, 6.0, 4001)
    with jax.enable_x64(True):
        density = np.exp(np.asarray(LogGamma(1.0, rate).log_prob(jnp.asarray(psi))))
    for theta in (0.1, 0.8, 2.5):
        found = integrate.trapezoid(density * stats.norm(0, np.exp(0.5 * psi)).pdf(theta), psi)
        np.testing.assert_allclose(found, stats.laplace(scale=1 / np.sqrt(2 * rate)).pdf(theta), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0.0, 0.0), r"Gaussian\(loc, scale\) needs hyperparameters above 0, got scale=0\.0"),
        (lambda: Fixed(-1.0), r"Fixed\(scale\) needs hyperparameters above 0, got scale=-1\.0"),
        (lambda: Horseshoe(tau0=-1.0), r"Horseshoe\(.*\) needs hyperparameters above 0, got tau0=-1\.0"),
        (lambda: Horseshoe(slab_df=0.0, slab_scale=0.0), "got slab_df=0.0, slab_scale=0.0"),
        (lambda: NormalExponentialGamma(u=float("nan")), r"NormalExponentialGamma\(u, a, tau\) .* got u=nan"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_log_half_cauchy(scale: float) -> None:
    z = np.concatenate([np.linspace(-30, 30, 61), [-300.0, 300.0]])
    with jax.enable_x64(True):
        found = LogHalfCauchy(scale).log_prob(jnp.asarray(z))
    x = z - np.log(scale)
    np.testing.assert_allclose(found, np.log(2 / np.pi) - np.logaddexp(x, -x), rtol=1e-12)
    near = np.abs(z) < 20
    law = stats.halfcauchy(scale=scale)
    np.testing.assert_allclose(np.asarray(found)[near], law.logpdf(np.exp(z[near])) + z[near], rtol=1e-10)
    draws = LogHalfCauchy(scale).expand((3000,)).sample(jax.random.key(1))
    uniform = 2 / np.pi * np.arctan(np.exp(np.asarray(draws, float)) / scale)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
