"""Configuration objects: the same keywords, checked, combined and written as text."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import scribe
from scribe import ModelConfig
from scribe._model.completion import complete
from scribe._model.config import configured
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.models.config import ModelConfigBuilder

BUILT = (
    ModelConfig()
    .for_model("nbvcp")
    .with_parameterization("mean_odds")
    .unconstrained()
    .as_mixture(n_components=5)
    .with_options(expression_prior="horseshoe")
    .build()
)
KEYWORDS = {
    "parameterization": "mean_odds",
    "unconstrained": True,
    "n_components": 5,
    "expression_prior": "horseshoe",
}


def test_step_by_step_is_all_at_once() -> None:
    assert ModelConfig("nbvcp", **KEYWORDS) == BUILT
    assert hash(BUILT) == hash(ModelConfig("nbvcp", **KEYWORDS))
    model, said = configured(None, {"model_config": BUILT, "n_steps": 7})
    expected = complete({**KEYWORDS, "n_steps": 7}) | {"model_config": BUILT}
    assert (model, said) == ("nbvcp", expected)


def test_steps_leave_the_object_as_it_is() -> None:
    base = ModelConfig("nbdm", priors={"p": (1.0, 1.0)})
    more = base.with_priors(r=(0.0, 1.0)).with_options(coordinates="canonical")
    assert base == ModelConfig("nbdm", priors={"p": (1.0, 1.0)})
    assert more.options == {"priors": {"p": (1.0, 1.0), "r": (0.0, 1.0)}, "parameterization": "canonical"}


def test_text() -> None:
    assert ModelConfig.from_json(BUILT.to_json()) == BUILT
    assert repr(ModelConfig("nbdm", unconstrained=True)) == "ModelConfig('nbdm', unconstrained=True)"


@pytest.mark.parametrize(
    "spec",
    [
        resolve_spec(),
        resolve_spec("zinb", unconstrained=True, prob_prior="neg", zero_inflation_prior="horseshoe"),
        resolve_spec(
            unconstrained=True,
            components=("a", "b"),
            datasets=("x", "y", "z"),
            expression_prior="gaussian",
            expression_dataset_prior="horseshoe",
            prob_dataset_prior="gaussian",
            prob_dataset_mode="two_level",
            priors={"organism": "human", "mixing": (1.0, 2.0)},
        ),
    ],
    ids=["default", "hierarchies", "levels"],
)
def test_specification_through_text(spec) -> None:
    again = ModelSpec.from_json(spec.to_json())
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.latents == spec.latents
    assert again.to_json() == spec.to_json()


def test_engines_as_objects_and_dicts() -> None:
    engine = scribe.engines.SVI(10)
    assert configured(None, {"inference_config": engine})[1]["inference_method"] is engine
    said = configured(None, {"inference_config": {"engine": "mcmc", "n_samples": 5}})[1]
    assert (said["inference_method"], said["n_samples"]) == ("mcmc", 5)


@pytest.mark.parametrize(
    ("model", "options", "message", "expected"),
    [
        ("zinb", {"model_config": BUILT}, "model_config overrides model:", {"model": "nbvcp"}),
        (None, {"model_config": BUILT, "n_components": 4}, "model_config overrides n_components:", {"n_components": 5}),
        (
            "zinb",
            {"model_config": ModelConfig("nbdm"), "unconstrained": True, "guide_rank": 3, "priors": {"p": (2.0, 3.0)}},
            "model_config overrides model, unconstrained, guide_rank, priors:",
            {"model": "nbdm", "unconstrained": False, "guide_rank": None, "priors": None},
        ),
        (
            None,
            {"model_config": ModelConfig(n_components=2), "mixture_params": "mean", "mu_prior": "neg"}
            | {"inference_config": {"n_steps": 5}, "n_steps": 6, "n_chains": 3},
            "model_config overrides mixture_params; inference_config overrides n_steps, n_chains:",
            {"mixture_params": "all", "n_steps": 5, "n_chains": 1, "expression_prior": "neg"},
        ),
        (
            "nbdm",
            {"model_config": resolve_spec(), "unconstrained": True, "prob_prior": "neg", "guide_rank": 4},
            "model_config overrides model, unconstrained, prob_prior:",
            {"model": None, "unconstrained": False, "prob_prior": "none", "guide_rank": 4},
        ),
        (
            None,
            {"inference_config": scribe.engines.SVI(9), "early_stopping": False, "inference_method": "mcmc"},
            "inference_config overrides early_stopping, inference_method:",
            {"inference_method": scribe.engines.SVI(9), "early_stopping": None},
        ),
    ],
)  # fmt: skip
def test_objects_override_keywords(model, options, message, expected) -> None:
    """With one warning that names all that was given and is lost, and nothing else."""
    with pytest.warns(UserWarning, match="overrides") as record:
        found, said = configured(model, options)
    assert len(record) == 1
    assert str(record[0].message).startswith(message)
    assert {name: {**said, "model": found}[name] for name in expected} == expected


def test_keywords_that_agree_are_no_conflict() -> None:
    """Warnings are errors here."""
    config = ModelConfig("nbdm", priors={"p": [1.0, 2.0]}, unconstrained=True)
    model, said = configured("nbdm", {"model_config": config, "priors": {"p": np.array([1.0, 2.0])}, "n_steps": 8})
    assert (model, said["priors"], said["n_steps"]) == ("nbdm", {"p": (1.0, 2.0)}, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_config": "nbvcp"}, r"takes a scribe\.ModelConfig"),
        ({"model_config": ModelConfigBuilder("nbdm")}, r"which ModelConfigBuilder\.build\(\) gives"),
        ({"inference_config": {"guide_rank": 5}}, "'guide_rank' is no part of InferenceConfig"),
        ({"inference_config": {"coordinates": "canonical"}}, "'parameterization' is no part of InferenceConfig"),
    ],
)
def test_what_is_no_configuration(options, message) -> None:
    with pytest.raises(TypeError, match=message):
        configured(None, options)


def test_what_is_no_part_of_a_model() -> None:
    with pytest.raises(TypeError, match="'n_steps' is no part of ModelConfig"):
        ModelConfig(n_steps=5)
    with pytest.raises(TypeError, match="'seed' is no part of InferenceConfig"):
        scribe.InferenceConfig(seed=5)
    with pytest.raises(TypeError, match=r"Did you mean 'unconstrained'"):
        ModelConfig(unconstraind=True)
    with pytest.raises(ValueError, match="needs unconstrained=True"):
        ModelConfig(prob_prior="neg").build()


def test_a_builder_changes_in_place_and_what_it_built_does_not() -> None:
    builder = ModelConfigBuilder()
    assert builder.with_parameterization("mean_odds").unconstrained() is builder
    builder.model = "nbvcp"
    builder.as_mixture(n_components=5)
    builder._expression_prior = "horseshoe"
    built = builder.build()
    assert built == BUILT
    builder.mu_prior = "neg"
    assert (builder._expression_prior, built.options["expression_prior"]) == ("neg", "horseshoe")
    assert pickle.loads(pickle.dumps(builder)).build() == builder.build() == copy.deepcopy(builder).build()
    with pytest.raises(TypeError, match=r"Did you mean 'expression_prior'"):
        builder._expresion_prior = "neg"
    with pytest.raises(AttributeError, match="'_guide_rank' is no step"):
        _ = builder._guide_rank
    builder.with_options(unconstrained=False)
    with pytest.raises(ValueError, match="needs unconstrained=True"):
        builder.build()


def test_a_configuration_of_the_fit_is_a_mapping_of_its_keywords() -> None:
    config = scribe.InferenceConfig(engine="mcmc", n_samples=5)
    assert dict(config) == {"inference_method": "mcmc", "n_samples": 5}
    assert repr(config) == "InferenceConfig(inference_method='mcmc', n_samples=5)"
    said = configured(None, {"inference_config": config, "seed": 3})[1]
    assert said == complete({"inference_method": "mcmc", "n_samples": 5, "seed": 3}) | {"inference_config": config}
    assert {**config, "n_samples": 6} == scribe.InferenceConfig(inference_method="mcmc", n_samples=6)


@pytest.mark.loose_promotion
def test_fit_takes_both(small_counts) -> None:
    config = ModelConfig("nbdm", parameterization="mean_prob")
    engine = scribe.engines.SVI(3, early_stopping=scribe.engines.EarlyStopping(enabled=False))
    with pytest.warns(scribe.ConvergenceWarning):
        first = scribe.fit(small_counts, model_config=config, inference_config=engine)
    assert first.spec == resolve_spec("nbdm", parameterization="mean_prob")
    with pytest.warns(scribe.ConvergenceWarning):
        second = scribe.fit(small_counts, model_config=first.spec, inference_config=engine)
    assert second.spec == first.spec
    with pytest.raises(ValueError, match="model_config has the levels"):
        scribe.fit(small_counts, model_config=first.spec, n_components=2)
