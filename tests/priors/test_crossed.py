"""Sums of the effects of factors: against a loop over members, crossed and nested, with and without genes."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from scipy import stats

from scribe.priors import (
    Context,
    Crossed,
    Effect,
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
BASE = TransformedNormal(-0.7, 1.3, "exp")
DONOR, CONDITION = ("c", "a", "b", "a", "c"), ("x", "x", "x", "y", "y")
PAIR = tuple(f"{d} | {c}" for d, c in zip(DONOR, CONDITION, strict=True))
PRIORS = {
    "crossed": Crossed((Effect("donor", DONOR, Gaussian(-1.0, 0.4)), Effect("condition", CONDITION, Fixed(0.8)))),
    "interacting": Crossed(
        (
            Effect("condition", CONDITION, NormalExponentialGamma()),
            Effect("donor", DONOR, Fixed(0.5)),
            Effect("donor__condition", PAIR, Horseshoe(0.6)),
        )
    ),
}
LENGTHS = {"dataset": 5, "gene": 4, "dataset:donor": 3, "dataset:condition": 2, "dataset:donor__condition": 5}
AXES = [("dataset",), ("dataset", "gene")]


def shape(axes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(LENGTHS[axis] for axis in axes)


def traced(prior: Hierarchical, axes: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    def model() -> jax.Array:
        return prior("t", axes, lambda one, law: numpyro.sample(one.name, law(CONTEXT).expand(shape(one.axes))))

    trace = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace()
    return trace, handlers.substitute(model, {name: site["value"] for name, site in trace.items()})()


@pytest.mark.parametrize("axes", AXES, ids="-".join)
@pytest.mark.parametrize("kind", PRIORS)
def test_members_are_sums_of_effects(kind: str, axes: tuple[str, ...]) -> None:
    prior = over("dataset", BASE, PRIORS[kind])
    trace, theta = traced(prior, axes)
    latents = {name: site["value"] for name, site in trace.items()}
    effects = prior.effects("t", axes, lambda one, _: latents[one.name])
    assert {name: axes_ for name, (axes_, _) in effects.items()} == {
        f"t_{part.factor}_effect": (f"dataset:{part.factor}", *axes[1:]) for part in PRIORS[kind].parts
    }
    assert theta.shape == shape(axes)
    for leaf in range(5):
        expected = np.asarray(latents["t_loc_unconstrained"], float)
        for part in PRIORS[kind].parts:
            value = effects[f"t_{part.factor}_effect"][1]
            expected = expected + np.asarray(value)[sorted(set(part.of)).index(part.of[leaf])]
        np.testing.assert_allclose(theta[leaf], expected, rtol=1e-5, atol=1e-6)


def test_density_by_hand() -> None:
    """Effects are normal about zero, with the scale that is learned or the one that is given."""
    trace, _ = traced(over("dataset", BASE, PRIORS["crossed"]), AXES[1])
    z = {name.removeprefix("t_").removesuffix("_unconstrained"): np.asarray(s["value"]) for name, s in trace.items()}
    found = sum(float(np.sum(site["fn"].log_prob(site["value"]))) for site in trace.values())
    expected = stats.norm(-0.7, 1.3).logpdf(z["loc"]).sum() + stats.norm(-1.0, 0.4).logpdf(z["donor_effect_scale"])
    expected += stats.norm(0, np.logaddexp(0, z["donor_effect_scale"])).logpdf(z["donor_effect"]).sum()
    expected += stats.norm(0, 0.8).logpdf(z["condition_effect"]).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("axes", AXES, ids="-".join)
@pytest.mark.parametrize("kind", PRIORS)
def test_start(kind: str, axes: tuple[str, ...]) -> None:
    """Any value is reached where there is an interaction, and one number for all; else the nearest that is a sum."""
    prior = over("dataset", BASE, PRIORS[kind])
    value = np.random.default_rng(0).normal(1.0, 0.7, shape(axes)).astype(np.float32)
    for given in (value, np.float32(0.3)):
        start = prior.start("t", axes, given)
        theta = prior("t", axes, lambda one, _, s=start: np.broadcast_to(s[one.name], shape(one.axes)))
        if kind == "interacting" or np.ndim(given) == 0:
            np.testing.assert_allclose(theta, np.broadcast_to(given, theta.shape), rtol=1e-4, atol=1e-5)
        else:
            left = np.square(theta - value).sum(0)
            assert np.all(left < np.square(value - value.mean(0)).sum(0))


def test_a_nested_factor_is_a_population_about_the_level_it_is_in() -> None:
    """Donors of one condition each: their variance adds to that of the condition, as for random effects."""
    donor, condition = ("a", "b", "c", "d"), ("x", "x", "y", "y")
    nested = Crossed((Effect("condition", condition, Fixed(0.8)), Effect("donor", donor, Fixed(0.5))))
    prior = over("dataset", TransformedNormal(0.0, 1e-6, "exp"), nested)
    lengths = {"dataset": 4, "dataset:condition": 2, "dataset:donor": 4, "gene": 20_000}

    def draw(one: Any, law: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(0), len(one.name))
        return law(CONTEXT).expand(tuple(lengths[axis] for axis in one.axes)).sample(key)

    covariance = np.cov(prior("t", ("dataset", "gene"), draw))
    same = np.equal.outer(condition, condition)
    np.testing.assert_allclose(covariance, 0.8**2 * same + 0.5**2 * np.eye(4), atol=0.03)


@pytest.mark.parametrize("kind", PRIORS)
def test_json_round_trip(kind: str) -> None:
    prior = over("component", over("dataset", BASE, PRIORS[kind]), Gaussian())
    again = from_json(json.loads(json.dumps(prior.to_json())))
    assert again == prior
    assert hash(again) == hash(prior)
    assert set(again.effects("t", ("component", "dataset"), lambda one, _: jnp.zeros(len(one.axes) * (1,)))) == {
        f"t_loc_{part.factor}_effect" for part in PRIORS[kind].parts
    }
