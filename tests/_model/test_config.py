"""Configuration objects: the same keywords, checked, combined and written as text."""

from __future__ import annotations

import pytest

import scribe
from scribe import ModelConfig
from scribe._model.config import configured
from scribe._model.options import complete
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec

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
    ("model", "options", "error", "message"),
    [
        (None, {"model_config": BUILT, "n_components": 4}, ValueError, "n_components was given, which model_config"),
        ("nbdm", {"model_config": BUILT}, ValueError, "model was given, which model_config sets"),
        (None, {"model_config": "nbvcp"}, TypeError, "takes scribe.ModelConfig"),
        (
            None,
            {"inference_config": {"n_steps": 5}, "n_steps": 6},
            ValueError,
            "n_steps was given, which inference_config",
        ),
        (None, {"inference_config": {"guide_rank": 5}}, TypeError, "guide_rank, which says nothing of the engine"),
        (None, {"inference_config": {"coordinates": "canonical"}}, TypeError, "parameterization, which says nothing"),
        (None, {"model_config": resolve_spec(), "unconstrained": True}, ValueError, "a whole specification"),
    ],
)
def test_contradictions(model, options, error, message) -> None:
    with pytest.raises(error, match=message):
        configured(model, options)


def test_what_is_no_part_of_a_model() -> None:
    with pytest.raises(TypeError, match="'n_steps', which is no part of the model"):
        ModelConfig(n_steps=5)
    with pytest.raises(TypeError, match=r"Did you mean 'unconstrained'"):
        ModelConfig(unconstraind=True)
    with pytest.raises(ValueError, match="needs unconstrained=True"):
        ModelConfig(prob_prior="neg").build()


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
