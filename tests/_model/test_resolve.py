"""From what users say of a model to its specification: defaults, both vocabularies, and errors that name the fix."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scribe._model.names import MODELS
from scribe._model.resolve import resolve_spec
from scribe.coordinates import find
from scribe.families import nb, poisson, with_capture, zero_inflated
from scribe.priors import Beta, BetaPrime, CaptureAnchor, LogNormal, Prior, TransformedNormal

HUMAN = CaptureAnchor(math.log(200_000), 0.3)

DEFAULTS: dict[str, tuple[Prior, Prior]] = {
    "p": (Beta(1.0, 1.0), TransformedNormal(0.0, 1.0, "sigmoid")),
    "phi": (BetaPrime(1.0, 1.0), TransformedNormal(0.0, 1.0, "exp")),
    "r": (LogNormal(0.0, 3.0), TransformedNormal(0.0, 3.0, "exp")),
    "mu": (LogNormal(0.0, 3.0), TransformedNormal(0.0, 3.0, "exp")),
    "gate": (Beta(1.0, 9.0), TransformedNormal(-2.0, 1.0, "sigmoid")),
    "p_capture": (Beta(1.0, 1.0), TransformedNormal(0.0, 1.0, "sigmoid")),
    "phi_capture": (BetaPrime(1.0, 1.0), TransformedNormal(0.0, 1.0, "exp")),
}
"""Priors by default, with unconstrained=False and True."""

SITES = {
    None: ("p", "r", "p_capture"),
    "canonical": ("p", "r", "p_capture"),
    "standard": ("p", "r", "p_capture"),
    "mean_prob": ("p", "mu", "p_capture"),
    "linked": ("p", "mu", "p_capture"),
    "mean_odds": ("phi", "mu", "phi_capture"),
    "odds_ratio": ("phi", "mu", "phi_capture"),
    "mean_disp": ("mu", "r", "p_capture"),
}
"""Sampled sites of the negative binomial by parameterization; the last one with capture only."""


def test_nothing_said_is_the_default_model() -> None:
    spec = resolve_spec()
    assert spec.family == with_capture(nb)
    assert spec.coordinates.name == "canonical"
    assert dict(spec.priors) == {site: DEFAULTS[site][0] for site in ("p", "r", "p_capture")}


@pytest.mark.parametrize("unconstrained", [False, True])
@pytest.mark.parametrize("parameterization", SITES)
@pytest.mark.parametrize("model", [m for m, layers in MODELS.items() if layers[0] == "nb"])
def test_sites_and_default_priors(model: str, parameterization: str | None, unconstrained: bool) -> None:
    spec = resolve_spec(model, parameterization=parameterization, unconstrained=unconstrained)
    *core, capture = SITES[parameterization]
    expected = {*core}
    expected |= {capture} if "vcp" in model else set()
    expected |= {"gate"} if model.startswith("zi") else set()
    assert set(spec.priors) == expected
    assert dict(spec.priors) == {site: DEFAULTS[site][unconstrained] for site in expected}


def test_poisson_has_a_mean_only() -> None:
    assert dict(resolve_spec("zipvcp").priors) == {s: DEFAULTS[s][0] for s in ("mu", "gate", "p_capture")}


def test_objects_instead_of_names() -> None:
    family, coordinates = zero_inflated(nb), find("mean_disp", family="nb")
    spec = resolve_spec(family, parameterization=coordinates)
    assert (spec.family, spec.coordinates) == (family, coordinates)
    with pytest.raises(ValueError, match="parameterization='mean_disp' is not defined for the 'poisson' family"):
        resolve_spec(poisson, parameterization=coordinates)
    with pytest.raises(ValueError, match="parameterization='mean_od' is not defined for the 'nb' family"):
        resolve_spec("nbvcp", parameterization="mean_od")


@pytest.mark.parametrize(
    ("parameterization", "names", "site", "expected"),
    [
        ("canonical", ("p", "prob", "probability"), "p", Beta(2.0, 5.0)),
        ("canonical", ("r", "dispersion"), "r", LogNormal(2.0, 5.0)),
        ("mean_odds", ("mu", "expression", "mean_expression"), "mu", LogNormal(2.0, 5.0)),
        ("mean_odds", ("phi", "odds", "odds_ratio"), "phi", BetaPrime(2.0, 5.0)),
        ("canonical", ("gate", "zero_inflation"), "gate", Beta(2.0, 5.0)),
        ("canonical", ("p_capture", "capture_prob", "capture_probability"), "p_capture", Beta(2.0, 5.0)),
        ("mean_odds", ("phi_capture", "capture_odds", "capture_odds_ratio"), "phi_capture", BetaPrime(2.0, 5.0)),
    ],
)
def test_hyperparameters_under_every_name(
    parameterization: str, names: tuple[str, ...], site: str, expected: Prior
) -> None:
    for name in names:
        for pair in ((2.0, 5.0), [2, 5]):
            spec = resolve_spec("zinbvcp", parameterization=parameterization, priors={name: pair})
            assert spec.priors[site] == expected
        spec = resolve_spec("zinbvcp", parameterization=parameterization, unconstrained=True, priors={name: (2.0, 5.0)})
        assert spec.priors[site] == TransformedNormal(2.0, 5.0, expected.link)
        untouched = {s: p for s, p in spec.priors.items() if s != site}
        assert untouched == {s: DEFAULTS[s][1] for s in untouched}


def test_prior_objects_stand_for_themselves() -> None:
    mine = TransformedNormal(0.1, 0.2, "exp")
    assert resolve_spec("nbdm", priors={"r": mine}).priors["r"] is mine
    assert resolve_spec("nbdm", unconstrained=True, priors={"p": Beta(2.0, 2.0)}).priors["p"] == Beta(2.0, 2.0)
    with pytest.raises(ValueError, match=r"priors\['p'\] has LogNormal.*does not fit a unit parameter"):
        resolve_spec("nbdm", priors={"p": LogNormal(0.0, 1.0)})
    with pytest.raises(ValueError, match=r"priors\['r'\] has Beta.*does not fit a positive parameter"):
        resolve_spec("nbdm", priors={"dispersion": Beta(1.0, 1.0)})


@pytest.mark.parametrize(
    "priors",
    [
        {"organism": "human"},
        {"organism": "Mus musculus"},
        {"capture_efficiency": (math.log(200_000), 0.3)},
        {"eta_capture": [math.log(200_000), 0.3]},
        {"capture_efficiency": HUMAN},
    ],
)
@pytest.mark.parametrize("parameterization", ["canonical", "mean_odds", "mean_disp"])
@pytest.mark.parametrize("unconstrained", [False, True])
def test_anchored_capture(priors: dict[str, Any], parameterization: str, unconstrained: bool) -> None:
    """The anchor replaces the capture site of the coordinates, whichever they are, and nothing else."""
    spec = resolve_spec("nbvcp", parameterization=parameterization, unconstrained=unconstrained, priors=priors)
    assert spec.capture_site == "eta_capture"
    assert spec.anchored
    assert spec.priors["eta_capture"] == HUMAN
    assert set(spec.priors) == {*SITES[parameterization][:2], "eta_capture"}


@pytest.mark.parametrize(
    ("transform", "links"),
    [
        (None, {"mu": "exp", "phi": "exp", "phi_capture": "exp"}),
        ("exp", {"mu": "exp", "phi": "exp", "phi_capture": "exp"}),
        ("softplus", {"mu": "softplus", "phi": "softplus", "phi_capture": "softplus"}),
        ({"mean_expression": "softplus"}, {"mu": "softplus", "phi": "exp", "phi_capture": "exp"}),
        ({"mu": "exp", "odds": "softplus"}, {"mu": "exp", "phi": "softplus", "phi_capture": "exp"}),
    ],
)
def test_positive_transform(transform: Any, links: dict[str, str]) -> None:
    spec = resolve_spec("zinbvcp", parameterization="mean_odds", unconstrained=True, positive_transform=transform)
    assert {site.name: site.link.name for site in spec.sites} == {**links, "gate": "sigmoid"}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        # the wrong key
        ("nbvcp", {"priors": {"expresion": (0, 1)}}, r"unknown key 'expresion'\. Did you mean 'expression'\?"),
        ("nbvcp", {"priors": {"organsim": "human"}}, r"unknown key 'organsim'\. Did you mean 'organism'\?"),
        ("nbdm", {"priors": {"p": (1, 1), "prob": (1, 1)}}, r"priors gives 'p' twice, under its internal and its desc"),
        # no place for it in the model
        (
            "nbdm",
            {"priors": {"organism": "human"}},
            r"priors\['organism'\] needs a model with capture, e",
        ),
        ("zinb", {"priors": {"capture_prob": (1, 1)}}, r"priors\['p_capture'\] needs a model with capture"),
        ("nbvcp", {"priors": {"gate": (1, 9)}}, r"priors\['gate'\] needs zero_inflation=True; this model is with_cap"),
        # derived, not sampled
        (
            "nbdm",
            {"priors": {"mu": (0, 1)}},
            r"mu is not sampled under parameterization='canonical', which samples \['p', 'r'\]\. "
            r"Use parameterization='mean_prob' or 'mean_odds' or 'mean_disp', or give priors on the sampled",
        ),
        (
            "nbdm",
            {"parameterization": "linked", "priors": {"dispersion": (0, 1)}},
            r"priors\['r'\] \(dispersion\): r is not sampled.*Use parameterization='canonical' or 'mean_disp'",
        ),
        (
            "nbdm",
            {"parameterization": "mean_disp", "priors": {"odds": (1, 1)}},
            r"priors\['phi'\] \(odds\).*Use parameterization='mean_odds'",
        ),
        (
            "poisson",
            {"priors": {"r": (0, 1)}},
            r"r is not sampled under parameterization='mean', which samples \['mu'\]\. Give priors on the sampled",
        ),
        # the other form of capture
        (
            "nbvcp",
            {"parameterization": "mean_odds", "priors": {"p_capture": (1, 1)}},
            r"priors\['p_capture'\] does not apply: .* capture is sampled as 'phi_capture'",
        ),
        ("nbvcp", {"priors": {"capture_odds": (1, 1)}}, r"capture is sampled as 'p_capture'"),
        ("nbvcp", {"priors": {"organism": "human", "p_capture": (1, 1)}}, r"sampled as 'eta_capture'"),
        (
            "nbvcp",
            {"priors": {"organism": "human", "capture_efficiency": (12.0, 0.3)}},
            r"priors gives both 'organism' and 'capture_efficiency'; they set the same prior: keep one",
        ),
        # the wrong value
        ("nbvcp", {"priors": {"organism": "martian"}}, "No total mRNA is known for organism 'martian'"),
        ("nbvcp", {"priors": {"capture_efficiency": (200_000, 0.3)}}, r"Did you mean math\.log\(200000\.0\)"),
        ("nbvcp", {"priors": {"capture_efficiency": 12.0}}, r"must be a pair \(log_M0, sigma_M\)"),
        (
            "nbvcp",
            {"priors": {"capture_efficiency": LogNormal(0.0, 1.0)}},
            r"must be a pair \(log_M0, sigma_M\) or a CaptureAnchor, got LogNormal",
        ),
        ("nbdm", {"priors": {"p": (1, 1, 1)}}, r"priors\['p'\] must be a pair \(a, b\) or a scribe prior object"),
        ("nbdm", {"priors": {"r": "ab"}}, r"priors\['r'\]='ab' would make .* Give a pair of numbers or a scribe prior"),
        ("nbdm", {"priors": {"p": 0.5}, "unconstrained": True}, r"priors\['p'\] must be a pair \(loc, scale\)"),
        ("nbdm", {"priors": {"r": (0, -1)}}, r"needs a scale above 0, got -1\.0"),
        ("nbdm", {"priors": {"r": (math.nan, 1)}}, r"must be a pair \(loc, scale\).*, got \(nan, 1\)"),
        ("nbdm", {"unconstrained": True, "priors": {"r": (0, math.inf)}}, r"must be a pair .*, got \(0, inf\)"),
        ("nbdm", {"priors": {"p": (0, 1)}}, r"Beta\(a, b\) needs two shapes above 0"),
        # transforms
        ("nbdm", {"positive_transform": "exp"}, "has an effect only with unconstrained=True: pass that as well"),
        (
            "nbdm",
            {"unconstrained": True, "positive_transform": "log"},
            r"positive_transform must be one of \('softplus', 'exp'\), got 'log'",
        ),
        (
            "nbdm",
            {"unconstrained": True, "positive_transform": {"mu": "exp"}},
            r"positive_transform has 'mu', but the positive sampled parameters are \['r'\]",
        ),
        ("nbdm", {"unconstrained": True, "positive_transform": {"prob": "exp"}}, r"has 'prob', but the positive"),
        (
            "nbvcp",
            {"unconstrained": True, "positive_transform": {"eta_capture": "exp"}, "priors": {"organism": "human"}},
            r"has 'eta_capture', but the positive sampled parameters are \['r'\]",
        ),
        # flags
        ("nbdm", {"variable_capture": True}, "model='nbdm' means variable_capture=False, but variable_capture=True"),
    ],
)
def test_contradictions_are_errors_that_name_the_fix(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(model, **options)
