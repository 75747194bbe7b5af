"""A specification is a value: it survives JSON, and turns real numbers into parameters, offsets and readable names."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from scribe import coordinates
from scribe._model.names import MODELS
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.families import from_layers
from scribe.priors import Beta, CaptureAnchor, LogNormal, TransformedNormal

if TYPE_CHECKING:
    from collections.abc import Iterator

ANCHORS = {"free": None, "human": {"organism": "human"}, "own": {"capture_efficiency": (math.log(5e4), 0.5)}}

COMBINATIONS = [
    (model, c.name, unconstrained, anchor)
    for model, unconstrained, anchor in itertools.product(MODELS, (False, True), ANCHORS)
    for c in coordinates.ALL
    if c.family == MODELS[model][0] and (anchor == "free" or "vcp" in model)
]


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def make(combination: tuple[str, str, bool, str]) -> ModelSpec:
    model, parameterization, unconstrained, anchor = combination
    return resolve_spec(model, parameterization=parameterization, unconstrained=unconstrained, priors=ANCHORS[anchor])


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_round_trip_and_description(combination: tuple[str, str, bool, str]) -> None:
    model, parameterization, _, anchor = combination
    spec = make(combination)
    text = spec.to_json()
    again = ModelSpec.from_json(text)
    assert again == spec
    assert again.to_json() == text
    assert json.loads(text)["coordinates"] == parameterization
    assert json.loads(text)["layers"] == list(MODELS[model])
    names = [site.name for site in spec.sites]
    assert set(names) == set(spec.priors)
    assert names[: len(spec.coordinates.sampled)] == [p.name for p in spec.coordinates.sampled]
    assert ("gate" in names) == model.startswith("zi")
    free = "phi_capture" if parameterization == "mean_odds" else "p_capture"
    assert spec.capture_site == (None if "vcp" not in model else free if anchor == "free" else "eta_capture")
    assert spec.anchored == ("vcp" not in model or anchor != "free")
    shared = MODELS[model][0] == "poisson" or parameterization in ("canonical", "mean_prob", "mean_odds")
    assert spec.totals_suffice == (shared and not model.startswith("zi"))


def test_axes_of_the_sites() -> None:
    axes = {s.name: s.axes for s in resolve_spec("zinbvcp", parameterization="mean_odds").sites}
    assert axes == {"phi": (), "mu": ("gene",), "gate": ("gene",), "phi_capture": ("cell",)}
    axes = {s.name: s.axes for s in resolve_spec("nbvcp", priors={"organism": "yeast"}).sites}
    assert axes == {"p": (), "r": ("gene",), "eta_capture": ("cell",)}


def test_one_prior_per_parameter() -> None:
    spec = resolve_spec("nbdm")
    with pytest.raises(ValueError, match=r"one prior per sampled parameter; missing \['r'\], superfluous \[\]"):
        ModelSpec(spec.family, spec.coordinates, {"p": Beta(1.0, 1.0)})
    with pytest.raises(ValueError, match=r"missing \[\], superfluous \['gate'\]"):
        ModelSpec(spec.family, spec.coordinates, {**spec.priors, "gate": Beta(1.0, 1.0)})


def test_priors_can_be_replaced() -> None:
    spec = resolve_spec("nbdm")
    other = spec.with_priors({"r": LogNormal(1.0, 2.0)})
    assert dict(other.priors) == {"p": Beta(1.0, 1.0), "r": LogNormal(1.0, 2.0)}
    assert spec == resolve_spec("nbdm")
    assert spec != other
    captured = resolve_spec("nbvcp")
    priors = {"p": captured.priors["p"], "r": captured.priors["r"], "eta_capture": CaptureAnchor(12.0, 0.3)}
    assert ModelSpec(captured.family, captured.coordinates, priors).anchored


def values_of(spec: ModelSpec, rng: np.random.Generator, n_genes: int, n_cells: int) -> dict[str, Any]:
    """Any real number for every element."""
    shapes = {(): (), ("gene",): (n_genes,), ("cell",): (n_cells,)}
    return {site.name: jnp.asarray(rng.normal(0, 2, shapes[site.axes])) for site in spec.sites}


VALUES = {
    "exp": np.exp,
    "softplus": lambda z: np.log1p(np.exp(z)),
    "sigmoid": special.expit,
}
CAPTURE = {
    "p_capture": lambda v: v,
    "phi_capture": lambda v: 1 / (1 + v),
    "eta_capture": lambda v: np.exp(-v),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_parameters_from_real_numbers(combination: tuple[str, str, bool, str]) -> None:
    """The sampled parameters by their links in numpy, the derived ones and capture by the formulas."""
    spec = make(combination)
    z = values_of(spec, np.random.default_rng(0), 3, 4)
    value = {site.name: VALUES[site.link.name](np.asarray(z[site.name])) for site in spec.sites}
    found = {name: np.asarray(v) for name, v in spec.named(z).items()}
    expected = dict(value)
    if spec.family.layers[0] == "nb":
        p = value.get("p", 1 / (1 + value["phi"]) if "phi" in value else None)
        if p is None:
            p = value["mu"] / (value["mu"] + value["r"])
        r = value["r"] if "r" in value else value["mu"] * (1 - p) / p
        expected |= {"p": p, "r": r, "mu": r * p / (1 - p), "phi": (1 - p) / p}
    if spec.capture_site is not None:
        expected["p_capture"] = capture = CAPTURE[spec.capture_site](value[spec.capture_site])
        # also where an anchor has capture sampled in another form
        expected |= {"phi_capture": (1 - capture) / capture} if spec.coordinates.name == "mean_odds" else {}
    if spec.family.layers[0] == "two_state":
        # rates are bounded, and many things follow from them: tests/contracts/test_coordinates.py
        assert {name: found[name].shape for name in value} == {name: np.shape(v) for name, v in value.items()}
        expected = {name: expected[name] for name in ("mu", "p_capture") if name in expected}
    else:
        assert set(found) == set(expected)
    for name, v in expected.items():
        np.testing.assert_allclose(found[name], v, rtol=1e-10, err_msg=name)
    natural = spec.natural(spec.working(z))
    assert set(natural) == set(spec.family.natural)
    np.testing.assert_allclose(natural["log_mean"], np.log(expected["mu"]), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(spec.offset(z, 4), np.log(expected.get("p_capture", np.ones(4))), rtol=1e-9, atol=1e-12)


def test_capture_of_almost_everything_keeps_its_digits() -> None:
    """In float32 a capture of 1 - 1e-9 rounds to one, but its logarithm does not vanish."""
    z = np.float32(-np.log(1e-9))
    odds = resolve_spec("nbvcp", parameterization="mean_odds")
    np.testing.assert_allclose(odds.offset({"phi_capture": jnp.full(1, -z)}, 1), -1e-9, rtol=1e-5)
    probability = resolve_spec("nbvcp", parameterization="mean_prob")
    np.testing.assert_allclose(probability.offset({"p_capture": jnp.full(1, z)}, 1), -1e-9, rtol=1e-5)
    anchored = resolve_spec("nbvcp", priors={"organism": "human"})
    np.testing.assert_allclose(anchored.offset({"eta_capture": jnp.full(1, -z)}, 1), -1e-9, rtol=1e-5)


def test_links_of_prior_objects_are_followed() -> None:
    spec = resolve_spec("nbdm", priors={"r": TransformedNormal(0.0, 1.0, "softplus")})
    z = {"p": jnp.asarray(0.3), "r": jnp.asarray([-1.0, 2.0])}
    np.testing.assert_allclose(spec.named(z)["r"], np.log1p(np.exp([-1.0, 2.0])), rtol=1e-6)
    assert ModelSpec.from_json(spec.to_json()).family == from_layers(["nb"])


def test_equal_specifications_have_equal_hashes():
    spec = resolve_spec("zinbvcp", priors={"organism": "human"})
    same = ModelSpec(spec.family, spec.coordinates, dict(reversed(spec.priors.items())))
    assert same == spec
    assert hash(same) == hash(spec) == hash(ModelSpec.from_json(spec.to_json()))
    others = [resolve_spec("zinbvcp"), resolve_spec("zinb"), resolve_spec("zinbvcp", parameterization="mean_odds")]
    assert len({spec, *others}) == 4
