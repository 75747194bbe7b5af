"""The table of flat keywords: complete, documented, and strict about what it does not know."""

from __future__ import annotations

import inspect
import typing

import numpy as np
import pandas as pd
import pytest

import scribe
from scribe._model.completion import complete
from scribe._model.options import FitOptions, ModelOptions, given_among, options_table
from scribe._model.resolve import resolve_spec

SEEDS = {
    "variable_capture": None,
    "zero_inflation": None,
    "unconstrained": False,
    "priors": None,
    "expression_anchor": False,
    "expression_anchor_sigma": 0.3,
    "overdispersion": "none",
    "overdispersion_prior": "horseshoe",
    "prob_prior": "none",
    "zero_inflation_prior": "none",
    "horseshoe_tau0": 1.0,
    "horseshoe_slab_df": 4,
    "horseshoe_slab_scale": 2.0,
    "neg_u": 1.0,
    "neg_a": 1.0,
    "neg_tau": 1.0,
    "guide_rank": None,
    "joint_params": None,
    "dense_params": None,
    "guide_flow": None,
    "guide_flow_num_layers": 4,
    "guide_flow_hidden_dims": (64, 64),
    "guide_flow_activation": "relu",
    "guide_flow_n_bins": 8,
    "guide_flow_mixture_strategy": "independent",
    "guide_flow_zero_init": True,
    "guide_flow_layer_norm": True,
    "guide_flow_residual": True,
    "guide_flow_soft_clamp": True,
    "guide_flow_loft": True,
    "guide_flow_log_det_f64": False,
    "amortize_capture": False,
    "capture_hidden_dims": (64, 32),
    "capture_activation": "leaky_relu",
    "capture_output_transform": "softplus",
    "capture_clamp_min": 0.1,
    "capture_clamp_max": 50.0,
    "capture_amortization": None,
    "inference_method": "svi",
    "n_steps": 50_000,
    "batch_size": None,
    "optimizer_config": None,
    "stable_update": True,
    "log_progress_lines": False,
    "early_stopping": None,
    "restore_best": False,
    "n_samples": 2_000,
    "n_warmup": 1_000,
    "n_chains": 1,
    "svi_init": None,
    "enable_x64": None,
    "cells_axis": 0,
    "n_components": None,
    "mixture_params": "all",
    "annotation_key": None,
    "annotation_confidence": 3.0,
    "annotation_component_order": None,
    "annotation_min_cells": None,
    "dataset_key": None,
    "n_datasets": None,
    "dataset_params": None,
    "dataset_mixing": None,
    "auto_downgrade_single_dataset_hierarchy": True,
}
"""Keywords of the user's documents that are in scope, with their documented defaults."""

TABLE = options_table()


@pytest.mark.parametrize("name", TABLE)
def test_every_keyword_is_documented(name: str) -> None:
    option = TABLE[name]
    assert option.group in {"model", "mixture", "dataset", "guide", "inference", "svi", "mcmc", "data"}
    assert option.doc[0].isupper()
    assert option.doc.endswith(".")
    assert len(option.doc) > 10
    assert option.alias not in TABLE


def test_the_typed_signature_is_the_table() -> None:
    assert set(FitOptions.__annotations__) | set(ModelOptions.__annotations__) == set(TABLE)
    assert FitOptions.__required_keys__ == frozenset()
    for function in (scribe.fit, scribe.tl.fit):
        last = list(inspect.signature(function, eval_str=True).parameters.values())[-1]
        assert last.kind is inspect.Parameter.VAR_KEYWORD
        assert typing.get_args(last.annotation) == (FitOptions,)


@pytest.mark.parametrize("name", TABLE)
def test_defaults_have_the_declared_type(name: str) -> None:
    declared = typing.get_type_hints(FitOptions)[name]
    if declared is typing.Any:
        return
    allowed = tuple(typing.get_origin(a) or a for a in typing.get_args(declared)) or (declared,)
    assert isinstance(TABLE[name].default, allowed)


def test_options_of_the_model_are_those_of_its_resolution() -> None:
    last = list(inspect.signature(resolve_spec, eval_str=True).parameters.values())[-1]
    assert last.kind is inspect.Parameter.VAR_KEYWORD
    assert typing.get_args(last.annotation) == (ModelOptions,)
    assert resolve_spec(**complete({}, kind=ModelOptions)) == resolve_spec()


@pytest.mark.parametrize("name", SEEDS)
def test_familiar_keywords_keep_their_defaults(name: str) -> None:
    assert TABLE[name].default == SEEDS[name]


def test_missing_keywords_take_defaults() -> None:
    assert complete({}) == {name: option.default for name, option in TABLE.items()}
    assert complete({"n_steps": 7})["n_steps"] == 7
    assert set(complete({}, kind=ModelOptions)) == set(options_table(ModelOptions))


@pytest.mark.parametrize("name", [name for name, option in TABLE.items() if option.alias])
def test_other_names(name: str) -> None:
    alias, value = TABLE[name].alias, object()
    assert complete({alias: value}) == {**complete({}), name: value}
    with pytest.raises(ValueError, match=f"'{name}' was given twice, also as '{alias}': keep one"):
        complete({alias: value, name: value})
    with pytest.raises(ValueError, match=f"'{name}' was given twice, also as '{alias}': keep one"):
        complete({name: value, alias: value})


def test_the_aliases_of_the_interface() -> None:
    assert {name: option.alias for name, option in TABLE.items() if option.alias} == {
        "parameterization": "coordinates",
        "inference_method": "engine",
        "prob_prior": "p_prior",
        "expression_prior": "mu_prior",
        "zero_inflation_prior": "gate_prior",
    }


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("n_step", r"fit\(\): unknown keyword 'n_step'\. Did you mean 'n_steps'\?$"),
        ("coordinate", r"unknown keyword 'coordinate'\. Did you mean 'coordinates'\?"),
        ("variable_captur", r"Did you mean 'variable_capture'\?"),
        ("guide_rnk", r"unknown keyword 'guide_rnk'\. Did you mean 'guide_rank'\?"),
        ("qqq", r"unknown keyword 'qqq'\. It takes: "),
    ],
)
def test_unknown_keywords_get_the_nearest_name(typed: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        complete({typed: 1})
    with pytest.raises(TypeError, match=r"simulate\(\): unknown keyword 'n_steps'"):
        complete({"n_steps": 1}, kind=ModelOptions, verb="simulate")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"guide_flow_hidden_dims": np.array([64, 64])}, {"guide_flow_hidden_dims": (64, 64)}),
        ({"dataset_key": ["donor", "batch"]}, {"dataset_key": ("donor", "batch")}),
        ({"dataset_key": ["donor"]}, {"dataset_key": "donor"}),
        ({"mixture_params": ["all"]}, {"mixture_params": "all"}),
        ({"annotation_component_order": pd.Index(["B"])}, {"annotation_component_order": ("B",)}),
        ({"n_components": 2.0, "n_steps": 1e4}, {"n_components": 2, "n_steps": 10_000}),
        ({"n_components": np.float32(2), "batch_size": np.int64(7)}, {"n_components": 2, "batch_size": 7}),
        ({"n_components": 2.5, "n_chains": True}, {"n_components": 2.5, "n_chains": True}),
        ({"priors": {"mu": [0.0, 1.0]}}, {"priors": {"mu": [0.0, 1.0]}}),
    ],
)
def test_values_are_written_as_defaults_are(given: dict[str, typing.Any], written: dict[str, typing.Any]) -> None:
    found = complete(given)
    assert {name: found[name] for name in written} == written
    assert [type(found[name]) for name in written] == [type(value) for value in written.values()]
    assert set(given_among(found)) == {n for n in written if written[n] != TABLE[n].default}
