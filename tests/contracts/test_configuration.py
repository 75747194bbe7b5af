"""Every model that the parts compose, and every guide for it, is a value: it survives text, also as keywords."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from scribe import coordinates, families, guides, priors
from scribe._model.completion import complete
from scribe._model.config import ModelConfig, configured
from scribe._model.hierarchies import FLAT, PROB_DATASET_MODES, find_population
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.families import Family, from_layers

LEVELS: dict[str, dict[str, tuple[str, ...]]] = {
    "none": {},
    "mixture": {"components": ("0", "1")},
    "datasets": {"datasets": ("a", "b", "c")},
    "both": {"components": ("B", "T"), "datasets": ("a", "b")},
}
NEEDS = {"component": "components", "dataset": "datasets"}


def composed() -> list[Family]:
    """Every order of modifiers that a family allows."""
    found = []
    for base, n in itertools.product(families.ALL, range(len(families.MODIFIERS) + 1)):
        for modifiers in itertools.permutations(families.MODIFIERS, n):
            try:
                found.append(from_layers((base, *modifiers)))
            except (TypeError, ValueError):
                continue
    return found


MODELS = [
    pytest.param(family, system.name, id=f"{'-'.join(family.layers)} {system.name}")
    for family in composed()
    for system in coordinates.ALL
    if system.family == family.layers[0]
]


def hierarchical(family: Family, parameterization: str, deviation: str, levels: str) -> dict[str, Any]:
    """Keywords that make every parameter that can be one a population, of genes and of all levels there are."""
    system = coordinates.find(parameterization, family=family.layers[0])
    params = {param.name: param for param in (*system.sampled, *family.params)}
    options: dict[str, Any] = {"unconstrained": True}
    for keyword, (targets, axis) in FLAT.items():
        site = next((name for name in targets if name in params), None)
        if (
            site is not None
            and find_population(params[site], axis) is not None
            and NEEDS.get(axis, axis) in {"gene", *LEVELS[levels]}
        ):
            options[keyword] = deviation
    return options


def variants(family: Family, parameterization: str, levels: str) -> list[dict[str, Any]]:
    """Keywords for priors of every kind."""
    somewhere: dict[str, Any] = {"dataset_params": "mean"} if "datasets" in LEVELS[levels] else {}
    if "beta_mixed" in family.layers:
        # a population by default
        somewhere["overdispersion_prior"] = "none"
    found: list[dict[str, Any]] = [{**somewhere, "unconstrained": free} for free in (False, True)]
    found += [somewhere | hierarchical(family, parameterization, deviation, levels) for deviation in priors.SCATTERS]
    if "prob_dataset_prior" in found[-1] and "datasets" in LEVELS[levels]:
        plain = {name: value for name, value in found[-1].items() if name != "prob_prior"}
        found += [plain | {"prob_dataset_mode": mode} for mode in PROB_DATASET_MODES]
    if family.captured:
        anchored = {**somewhere, "priors": {"organism": "mouse"}, "capture_scaling_prior": "horseshoe"}
        found += [anchored, {**somewhere, "priors": {"capture_efficiency": (11.0, 0.5)}}]
        if "mu" in {p.name for p in coordinates.find(parameterization, family=family.layers[0]).sampled}:
            found.append(anchored | {"expression_anchor": True})
    if "components" in LEVELS[levels]:
        found += [{**somewhere, "priors": {"mixing": value}} for value in (2.0, (1.0, 3.0))]
    return found


def test_the_product_is_complete() -> None:
    """Capture, zero inflation and their pair over every base, and the beta mixture in every place among them."""
    layers = {family.layers for family in composed()}
    assert {base for base, *_ in layers} == set(families.ALL)
    assert {name for _, *modifiers in layers for name in modifiers} == set(families.MODIFIERS)
    used = {type(prior) for spec in _some() for prior in spec.priors.values()}
    assert {cls for cls in priors.ALL.values() if isinstance(cls, type)} <= used


def _some() -> list[ModelSpec]:
    nb = from_layers(("nb", "with_capture", "zero_inflated"))
    found = [
        resolve_spec(nb, parameterization=name, **options, **LEVELS["both"])
        for name in ("canonical", "mean_odds")
        for options in variants(nb, name, "both")
    ]
    return [*found, informed(found[0])]


def informed(spec: ModelSpec) -> ModelSpec:
    """The model as an earlier fit leaves it, with every other parameter frozen."""
    return spec.with_priors({name: priors.Informed(x, bool(i % 2)) for i, (name, x) in enumerate(spec.priors.items())})


@pytest.mark.parametrize(("family", "parameterization"), MODELS)
def test_specification_through_text(family: Family, parameterization: str) -> None:
    for levels, labels in LEVELS.items():
        for options in variants(family, parameterization, levels):
            made = resolve_spec(family, parameterization=parameterization, **options, **labels)
            for spec in (made, informed(made)):
                text = spec.to_json()
                again = ModelSpec.from_json(text)
                assert again == spec, options
                assert hash(again) == hash(spec), options
                assert again.to_json() == text, options
            assert informed(made).uninformed == made, options


GUIDES: dict[str, dict[str, Any]] = {
    "mean_field": {},
    "low_rank": {"guide_rank": 5},
    "joint": {"joint_params": "all"},
    "joint low_rank": {"guide_rank": 5, "joint_params": "biological", "dense_params": "mean"},
    **{kind: {"guide_flow": kind, "guide_flow_hidden_dims": [8, 8]} for kind in ("affine_coupling", "maf", "iaf")},
    "joint flow": {"guide_flow": "spline_coupling", "joint_params": "biological", "guide_flow_n_bins": 4},
    "table": {"amortize_capture": True},
    "network": {"amortize_capture": True, "capture_hidden_dims": [8], "guide_rank": 2},
}


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("guide", GUIDES)
def test_guide_and_keywords_through_text(guide: str, levels: str) -> None:
    """A guide is rebuilt from its record, and a configuration from its keywords, to the same model and guide."""
    for model, free in itertools.product(("nbvcp", "zinbvcp", "twostatevcp"), (False, True)):
        options = {"unconstrained": free, **GUIDES[guide], "priors": {"mu" if "two" in model else "r": (0.5, 1.5)}}
        spec = resolve_spec(model, unconstrained=free, priors=options["priors"], **_with_levels(levels))
        chosen = guides.choose(complete(options), spec)
        assert guides.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
        config = ModelConfig(model, **options, **_keywords(levels)).build()
        again = ModelConfig.from_json(config.to_json())
        assert again == config
        assert hash(again) == hash(config)
        first, second = (configured(None, {"model_config": one})[1] for one in (config, again))
        assert guides.choose(second, spec) == guides.choose(first, spec) == chosen


def _with_levels(levels: str) -> dict[str, Any]:
    return LEVELS[levels] | ({"dataset_params": "mean"} if "datasets" in LEVELS[levels] else {})


def _keywords(levels: str) -> dict[str, Any]:
    found = {"components": {"n_components": 2}, "datasets": {"dataset_key": "batch", "dataset_params": "mean"}}
    return {name: value for axis in LEVELS[levels] for name, value in found[axis].items()}


def test_priors_as_objects_through_text() -> None:
    given = {
        "r": priors.LogNormal(1.0, 2.0),
        "p": priors.over("gene", priors.TransformedNormal(0.0, 1.0, "sigmoid"), priors.Horseshoe()),
    }
    config = ModelConfig("nbdm", priors=given)
    again = ModelConfig.from_json(config.to_json())
    assert again == config
    assert resolve_spec("nbdm", priors=again.options["priors"]) == resolve_spec("nbdm", priors=given)
    with pytest.raises(TypeError, match="LowRank"):
        ModelConfig(guide=guides.LowRank(3)).to_json()
