"""Populations of data sets by donor, condition and the like: spellings, levels, and errors that name the fix."""

from __future__ import annotations

import pytest

from scribe import ModelConfig
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.priors import Crossed, Effect, Fixed, Gaussian, Horseshoe, NormalExponentialGamma, TransformedNormal, over

DONOR, CONDITION = ("a", "a", "b", "b", "c"), ("x", "y", "x", "y", "x")
PAIR = ("a | x", "a | y", "b | x", "b | y", "c | x")
LEVELS = {
    "datasets": PAIR,
    "factors": {"donor": DONOR, "condition": CONDITION, "donor_id": DONOR, "site": ("s",) * 5, "x:y/z": DONOR},
}
FREE = {**LEVELS, "unconstrained": True}
ASKED = {"donor": "gaussian", "condition": {"type": "fixed", "scale": 0.5}, ("donor", "condition"): "horseshoe"}
EXPECTED = Crossed(
    (
        Effect("donor", DONOR, Gaussian(-2.0, 0.5)),
        Effect("condition", CONDITION, Fixed(0.5)),
        Effect("donor__condition", PAIR, Horseshoe()),
    )
)
R = TransformedNormal(0.0, 3.0, "exp")


@pytest.mark.parametrize(
    "options",
    [
        {"expression_dataset_prior": ASKED},
        {"expression_dataset_prior": {**dict(list(ASKED.items())[:2]), "donor:condition": "horseshoe"}},
        {"expression_dataset_prior": {**ASKED, "donor_id": "none"}},
        {"priors": {"expression": ASKED}, "parameterization": "mean_odds"},
        {"priors": {"r": ASKED}},
        {"priors": {"r": {**ASKED, "base": (0.0, 3.0)}}},
    ],
)
def test_every_spelling(options) -> None:
    spec = resolve_spec(**FREE, **options)
    name = "mu" if "parameterization" in options else "r"
    assert spec.priors[name] == over("dataset", R, EXPECTED)
    assert spec.site(name).axes == ("dataset", "gene")
    assert spec.lengths == {
        "dataset": 5,
        "dataset:donor": 3,
        "dataset:condition": 2,
        "dataset:donor__condition": 5,
    }
    assert spec.level_axes == ("dataset",)
    assert spec.levels["dataset:condition"].labels == ("x", "y")
    for factor in ("donor", "condition", "donor__condition"):
        assert spec.named_axes[f"{name}_{factor}_effect"] == (f"dataset:{factor}", "gene")
    again = ModelSpec.from_json(spec.to_json())
    assert (again, hash(again), again.latents) == (spec, hash(spec), spec.latents)


def test_other_populations_and_bases() -> None:
    spec = resolve_spec(**FREE, priors={"r": {"donor": "gaussian", "base": (1.0, 2.0)}})
    assert spec.priors["r"].base == TransformedNormal(1.0, 2.0, "exp")
    spec = resolve_spec(**FREE, priors={"r": {"dataset": "neg"}})
    assert spec == resolve_spec(**FREE, expression_dataset_prior="neg")
    spec = resolve_spec(
        **FREE,
        components=("0", "1"),
        priors={"expression": {"component": "horseshoe"}, "p": (0, 2)},
        parameterization="linked",
    )
    assert spec.priors["mu"].axis == "component"
    mixture = {"components": ("0", "1"), "unconstrained": True}
    assert resolve_spec(**mixture, priors={"r": "neg"}) == resolve_spec(**mixture, expression_prior="neg")
    assert resolve_spec(**mixture, priors={"p": "neg"}) == resolve_spec(**mixture, prob_prior="neg")
    slash = resolve_spec(**FREE, expression_dataset_prior={"x:y/z": "fixed", "condition": "fixed"})
    assert "r_x:y|z_effect" in slash.effect_axes


def test_the_link_is_exponential_unless_asked_otherwise() -> None:
    """Effects on the logarithm are fold changes."""
    asked = {"expression_dataset_prior": {"donor": "fixed"}, "parameterization": "mean_disp"}
    assert {s.name: s.link.name for s in resolve_spec(**FREE, **asked).sites if s.name in ("mu", "r")} == {
        "mu": "exp",
        "r": "exp",
    }
    assert resolve_spec(**FREE, **asked, positive_transform="softplus").site("mu").link.name == "softplus"


@pytest.mark.parametrize(
    ("options", "site", "axes"),
    [
        ({"prob_dataset_prior": {"donor": "neg"}, "prob_dataset_mode": "scalar"}, "p", ("dataset:donor",)),
        ({"prob_dataset_prior": {"donor": "neg"}}, "p", ("dataset:donor", "gene")),
        ({"zero_inflation_dataset_prior": {"donor": "fixed"}, "model": "zinb"}, "gate", ("dataset:donor", "gene")),
        (
            {"overdispersion_dataset_prior": {"donor": "gaussian"}, "overdispersion": "bnb"},
            "omega",
            ("dataset:donor", "gene"),
        ),
        (
            {"capture_scaling_prior": {"donor": "neg"}, "priors": {"organism": "human"}, "dataset_params": "mean"},
            "mu_eta",
            ("dataset:donor",),
        ),
    ],
)
def test_every_parameter_with_a_population_of_datasets(options, site, axes) -> None:
    spec = resolve_spec(**FREE, **options)
    assert spec.named_axes[f"{site}_donor_effect"] == axes


def test_two_levels_and_mixtures() -> None:
    spec = resolve_spec(**FREE, prob_dataset_prior={"donor": "neg"}, prob_dataset_mode="two_level")
    assert spec.effect_axes == {"p_loc_donor_effect": ("dataset:donor",)}
    spec = resolve_spec(
        **FREE, components=("0", "1"), expression_prior="gaussian", expression_dataset_prior={"donor": "neg"}
    )
    assert spec.site("r").axes == ("component", "dataset", "gene")
    assert spec.effect_axes == {"r_loc_donor_effect": ("dataset:donor", "gene")}


def test_hyperparameters_reach_every_factor() -> None:
    asked = {"expression_dataset_prior": {"donor": "neg", "condition": "horseshoe"}}
    parts = resolve_spec(**FREE, **asked, neg_u=0.5, horseshoe_tau0=0.1).priors["r"].deviation.parts
    assert [part.deviation for part in parts] == [NormalExponentialGamma(0.5), Horseshoe(0.1)]
    with pytest.raises(ValueError, match=r"neg_u=0\.5 has no effect"):
        resolve_spec(**FREE, expression_dataset_prior={"donor": "horseshoe"}, neg_u=0.5)


def test_one_dataset_drops_factors() -> None:
    with pytest.warns(UserWarning, match="prob_dataset_prior is dropped"):
        spec = resolve_spec(
            datasets=("a",), factors={"donor": ("a",)}, unconstrained=True, prob_dataset_prior={"donor": "neg"}
        )
    assert spec == resolve_spec(unconstrained=True)


def test_configurations_are_checked_without_data() -> None:
    config = ModelConfig(
        dataset_key=["donor", "condition"],
        unconstrained=True,
        expression_dataset_prior={"donor": "neg", "donor:condition": "fixed"},
    )
    assert ModelConfig.from_json(config.build().to_json()) == config
    with pytest.raises(ValueError, match="'sample', which is not in dataset_key"):
        config.with_options(expression_dataset_prior={"sample": "neg"}).build()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"donr": "neg"},
            r"names the factor 'donr', which is not in dataset_key\. Did you mean 'donor'\? It has: donor, ",
        ),
        ({"donor": "cauchy"}, "prior of 'r' has the family 'cauchy'.* Choose one of: 'none', 'gaussian'"),
        ({"donor": (0, 1)}, r"has the family \(0, 1\)"),
        ({"donor": {"type": "fixed", "scale": -1}}, "needs hyperparameters above 0, got scale=-1"),
        ({"donor": {"type": "fixed", "tau0": 1}}, r"fixed prior of 'r' has no hyperparameter 'tau0'.* It has: 'scale'"),
        ({"site": "fixed"}, "The factor 'site' of 'r' has one level only, 's': leave it out"),
        (
            {"donor": "neg", "donor_id": "neg"},
            "'donor' and 'donor_id' of 'r' tell the same datasets apart.*leave one out",
        ),
        ({("donor", "donor"): "neg"}, "needs different factors: name each once"),
        ({"donor": "neg", "donor:site": "neg"}, "'donor' and 'donor:site' .* leave one out"),
        ({"donor": "none"}, "the family 'none' for every factor: leave it out"),
        (
            {"type": "neg", "loc": (0, 1)},
            r"'loc' in the prior of 'r' across datasets has no effect.*priors=\{'r': \(0, 1\)\}",
        ),
    ],
)
def test_errors_name_the_fix(asked, message) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(**FREE, expression_dataset_prior=asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression_dataset_prior": {"donor": "neg"}, **LEVELS}, "needs unconstrained=True: pass that as well"),
        ({"expression_dataset_prior": {"donor": "neg"}, "unconstrained": True}, "pass dataset_key='donor'"),
        ({**FREE, "priors": {"r": {"gene": "neg"}}}, r"along 'gene'; it has them along \['component', 'dataset'\]"),
        (
            {**FREE, "priors": {"r": {"donor": "neg"}}, "expression_dataset_prior": "neg"},
            "expression_dataset_prior='neg' and .* set the same prior: keep one",
        ),
    ],
)
def test_other_errors_name_the_fix(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(**options)
