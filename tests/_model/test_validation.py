"""What users may get wrong in priors and populations, beyond the tests of each part: errors that name the fix."""

from __future__ import annotations

from typing import Any

import pytest

from scribe._model.resolve import resolve_spec

TWO: dict[str, Any] = {"datasets": ("a", "b"), "unconstrained": True}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        # a population of genes where there is none, in coordinates that sample the parameter or not
        (
            {"priors": {"expression": "horseshoe"}},
            ValueError,
            "would make genes a population.*expression_prior='horseshoe' with n_components=2 or more or "
            "expression_dataset_prior='horseshoe' with dataset_key",
        ),
        (
            {"priors": {"mu": {"type": "neg"}}, "parameterization": "linked", "unconstrained": True},
            ValueError,
            "expression_prior={'type': 'neg'} with n_components=2 or more",
        ),
        ({"priors": {"mean_expression": "horse"}}, ValueError, "would make genes a population"),
        ({"priors": {"dispersion": "gaussian"}, "unconstrained": True}, ValueError, "expression_prior='gaussian' with"),
        # values of the wrong kind
        ({"priors": ["p"]}, TypeError, r"priors takes a dict of parameter names, .* got \['p'\]"),
        (
            {"priors": {"bnb_concentration": (3.0, 1.0)}, "overdispersion": "bnb", "unconstrained": True},
            ValueError,
            r"unknown key 'bnb_concentration'\. Did you mean 'omega'\?",
        ),
        ({"priors": {3: (1, 1)}}, ValueError, r"unknown key '3'.* Known: organism, p, r"),
        ({"priors": {"p": ("a", "b")}}, ValueError, r"priors\['p'\] must be a pair \(a, b\) or a scribe prior object"),
        (
            {"priors": {"p": {"typ": "neg"}}, "unconstrained": True},
            ValueError,
            "pass dataset_key='typ'.*{'type': 'neg'",
        ),
        (
            {"prob_prior": ("neg",), "unconstrained": True},
            TypeError,
            r"prob_prior takes the name of a family \('none', ",
        ),
        ({**TWO, "expression_dataset_prior": (0, 1)}, TypeError, r"got \(0, 1\)\. A pair of numbers is a prior"),
        # populations of datasets
        (
            {"datasets": ("a", "b"), "expression_dataset_prior": "neg"},
            ValueError,
            "needs unconstrained=True: pass that",
        ),
        ({**TWO, "prob_dataset_prior": "neg", "prob_dataset_mode": "scaler"}, ValueError, "Did you mean 'scalar'"),
        (
            {**TWO, "dataset_params": "mean", "prob_dataset_mode": "scalar"},
            ValueError,
            "no effect without prob_dataset",
        ),
        (
            {**TWO, "prob_dataset_prior": "neg", "prob_dataset_mode": "two_level", "prob_prior": "neg"},
            ValueError,
            "leave prob_prior out",
        ),
        ({**TWO, "zero_inflation_dataset_prior": "neg"}, ValueError, "pass zero_inflation=True"),
        ({**TWO, "overdispersion_dataset_prior": "neg"}, ValueError, "pass overdispersion='bnb'"),
        ({**TWO, "capture_scaling_prior": "neg", "dataset_params": "mean"}, ValueError, "priors={'organism': 'human'}"),
        (
            {"model": "twostate", "overdispersion": "bnb"},
            ValueError,
            "needs a negative binomial model, e.g. model='nbv",
        ),
    ],
)
def test_errors_name_the_fix(options, error, message) -> None:
    with pytest.raises(error, match=message):
        resolve_spec(**options)
