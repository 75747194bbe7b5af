"""Every keyword of the table changes the model, the guide, the engine or what is read of the data."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scribe import _fit, guides
from scribe._adata.design import read_covariates
from scribe._model.config import ModelConfig, configured
from scribe._model.options import options_table
from scribe.engines import SVI

N = 8
ADATA = AnnData(
    np.ones((N, 3), np.float32),
    obs=pd.DataFrame(
        {"type": ["B", "T", "T", "B"] * 2, "rare": ["a", "b", "b", "c"] * 2, "batch": ["x", "y"] * 4, "one": ["x"] * N},
        index=[f"c{i}" for i in range(N)],
    ),
)

FREE: dict[str, Any] = {"unconstrained": True}
HUMAN: dict[str, Any] = {"priors": {"organism": "human"}}
MIXTURE: dict[str, Any] = {"n_components": 3}
DATASETS: dict[str, Any] = {"dataset_key": "batch", "dataset_params": "mean"}
FLOW: dict[str, Any] = {"guide_flow": "affine_coupling"}
SPLINE: dict[str, Any] = {"guide_flow": "spline_coupling"}
NETWORK: dict[str, Any] = {"amortize_capture": True}
MCMC: dict[str, Any] = {"inference_method": "mcmc"}

CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "variable_capture": ({}, False),
    "zero_inflation": ({}, True),
    "parameterization": ({}, "mean_odds"),
    "unconstrained": ({}, True),
    "positive_transform": (FREE, "softplus"),
    "priors": ({}, {"r": (0.0, 1.0)}),
    "overdispersion": (FREE, "bnb"),
    "overdispersion_prior": ({**FREE, "overdispersion": "bnb"}, "neg"),
    "expression_anchor": ({**HUMAN, "parameterization": "mean_odds", **FREE}, True),
    "expression_anchor_sigma": ({**HUMAN, "parameterization": "mean_odds", "expression_anchor": True}, 0.1),
    "prob_prior": (FREE, "gaussian"),
    "zero_inflation_prior": ({**FREE, "zero_inflation": True}, "neg"),
    "horseshoe_tau0": ({**FREE, "prob_prior": "horseshoe"}, 0.5),
    "horseshoe_slab_df": ({**FREE, "prob_prior": "horseshoe"}, 8.0),
    "horseshoe_slab_scale": ({**FREE, "prob_prior": "horseshoe"}, 1.0),
    "neg_u": ({**FREE, "prob_prior": "neg"}, 0.5),
    "neg_a": ({**FREE, "prob_prior": "neg"}, 2.0),
    "neg_tau": ({**FREE, "prob_prior": "neg"}, 2.0),
    "n_components": (MIXTURE, 4),
    "mixture_params": (MIXTURE, "mean"),
    "expression_prior": ({**FREE, **MIXTURE}, "horseshoe"),
    "annotation_key": (MIXTURE, "type"),
    "annotation_confidence": ({"annotation_key": "type"}, 1.0),
    "annotation_component_order": ({"annotation_key": "type"}, ["T", "B"]),
    "annotation_min_cells": ({"annotation_key": "rare"}, 3),
    "dataset_key": ({}, "batch"),
    "n_datasets": (DATASETS, 3),
    "dataset_params": (DATASETS, "all"),
    "dataset_mixing": ({**DATASETS, **MIXTURE}, False),
    "auto_downgrade_single_dataset_hierarchy": ({"dataset_key": "one", "dataset_params": "mean"}, False),
    "expression_dataset_prior": ({**FREE, **DATASETS}, "gaussian"),
    "prob_dataset_prior": ({**FREE, **DATASETS}, "neg"),
    "prob_dataset_mode": ({**FREE, **DATASETS, "prob_dataset_prior": "gaussian"}, "two_level"),
    "zero_inflation_dataset_prior": ({**FREE, **DATASETS, "zero_inflation": True}, "gaussian"),
    "overdispersion_dataset_prior": ({**FREE, **DATASETS, "overdispersion": "bnb"}, "gaussian"),
    "capture_scaling_prior": (HUMAN, "gaussian"),
    "model_config": ({}, ModelConfig("zinb")),
    "inference_config": ({}, {"n_steps": 5}),
    "guide": ({}, "low_rank"),
    "guide_rank": ({}, 3),
    "joint_params": ({"guide_rank": 3}, "biological"),
    "dense_params": ({"guide_rank": 3, "joint_params": "biological"}, "mean"),
    "guide_flow": ({}, "maf"),
    "guide_flow_num_layers": (FLOW, 2),
    "guide_flow_hidden_dims": (FLOW, [8]),
    "guide_flow_activation": (FLOW, "gelu"),
    "guide_flow_n_bins": (SPLINE, 4),
    "guide_flow_mixture_strategy": ({**FLOW, **MIXTURE}, "shared"),
    "guide_flow_zero_init": (FLOW, False),
    "guide_flow_layer_norm": (FLOW, False),
    "guide_flow_residual": (FLOW, False),
    "guide_flow_soft_clamp": (FLOW, False),
    "guide_flow_loft": (FLOW, False),
    "guide_flow_log_det_f64": (FLOW, True),
    "amortize_capture": ({}, True),
    "capture_hidden_dims": (NETWORK, [8]),
    "capture_activation": (NETWORK, "gelu"),
    "capture_output_transform": (NETWORK, "exp"),
    "capture_clamp_min": (NETWORK, 0.2),
    "capture_clamp_max": (NETWORK, 20.0),
    "capture_amortization": (NETWORK, {"hidden_dims": [8]}),
    "inference_method": ({}, "mcmc"),
    "n_steps": ({}, 7),
    "batch_size": ({}, 7),
    "optimizer_config": ({}, {"name": "adam", "step_size": 1e-3}),
    "stable_update": ({}, False),
    "restore_best": ({"early_stopping": False}, True),
    "early_stopping": ({}, {"patience": 7}),
    "log_progress_lines": ({}, True),
    "checkpoint_dir": ({}, "somewhere"),
    "n_restarts": ({}, 2),
    "n_samples": (MCMC, 7),
    "n_warmup": (MCMC, 7),
    "n_chains": (MCMC, 2),
}

ELSEWHERE = {"svi_init", "enable_x64", "check_components", "seed", "cells_axis", "non_integer"}
"""Keywords that act on data, random numbers or precision: in tests/test_fit.py, tests/engines and tests/_adata."""
ELSEWHERE |= {f"informative_priors_{name}" for name in ("from", "tau", "n_samples", "freeze")}
"""What these do is tested in tests/_posterior/test_inform.py."""


def built(options: dict[str, Any]) -> str:
    """Everything that options lead to, as text."""
    model, said = configured(None, options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        known = read_covariates(ADATA, said, n_cells=N)
        spec = _fit._spec(model, said, known)
    engine = _fit._engine(said)
    guide = guides.choose(said, spec).to_json() if isinstance(engine, SVI) else None
    logits = None if known.design.logits is None else known.design.logits.tolist()
    return json.dumps([spec.to_json(), guide, repr(engine), known.components, known.datasets, logits])


def test_every_keyword_has_a_case() -> None:
    assert set(CASES) | ELSEWHERE == set(options_table())


REFUSED = {
    "auto_downgrade_single_dataset_hierarchy": "one dataset only",
    "dataset_key": "no parameter differs between them",
    "n_datasets": "n_datasets=3, but",
}
"""Keywords whose effect is what they forbid."""


@pytest.mark.parametrize("name", CASES)
def test_it_changes_something(name: str) -> None:
    base, value = CASES[name]
    before = built(base)
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            built({**base, name: value})
        return
    assert built({**base, name: value}) != before
