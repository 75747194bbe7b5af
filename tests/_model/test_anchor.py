"""Expression anchored to observed means: where it applies, and that it decides what the counts leave open."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import scribe
from scribe._model.resolve import resolve_spec
from scribe.priors import CaptureAnchor, Gaussian, MeanAnchor, TransformedNormal, over

HUMAN = {"priors": {"organism": "human"}}
LOG_M0 = math.log(200_000)


@pytest.mark.parametrize(
    ("model", "options", "prior"),
    [
        ("nbvcp", {"parameterization": "mean_odds", **HUMAN}, MeanAnchor(0.3, LOG_M0, "exp")),
        (
            "zinbvcp",
            {"parameterization": "mean_disp", "expression_anchor_sigma": 0.1, "positive_transform": "exp", **HUMAN},
            MeanAnchor(0.1, LOG_M0, "exp"),
        ),
        ("poissonvcp", {"priors": {"capture_efficiency": (10.0, 0.5)}}, MeanAnchor(0.3, 10.0, "exp")),
        ("nbdm", {"parameterization": "mean_prob"}, MeanAnchor(0.3, None, "exp")),
    ],
)
def test_anchor(model: str, options: dict[str, Any], prior: MeanAnchor) -> None:
    """It is the prior of mu, and of nothing else, and makes the model unconstrained."""
    spec = resolve_spec(model, expression_anchor=True, **options)
    assert spec.priors["mu"] == prior
    plain = {name: value for name, value in options.items() if name != "expression_anchor_sigma"}
    others = resolve_spec(model, unconstrained=True, **plain).priors
    assert {**others, "mu": prior} == spec.priors


def test_without_coordinates_they_are_the_first_that_sample_mu() -> None:
    assert resolve_spec("nbdm", expression_anchor=True).coordinates.name == "mean_prob"


def test_anchor_of_a_full_model() -> None:
    """Everything at once, as the documentation shows it."""
    options = {"expression_anchor": True, "overdispersion": "bnb", "prob_prior": "gaussian", **HUMAN}
    spec = resolve_spec(parameterization="mean_odds", **options)
    assert spec.priors["phi"] == over("gene", TransformedNormal(0.0, 1.0, "exp"), Gaussian(0.0, 0.5))
    assert set(spec.priors) == {"mu", "phi", "eta_capture", "omega"}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("nbvcp", {"parameterization": "mean_odds"}, r"needs to know the mean capture .* pass priors=.\"organism\""),
        (
            "nbdm",
            {"parameterization": "canonical"},
            r"needs mu to be sampled, but parameterization='canonical' samples \['p', 'r'\]. Pass parameterization="
            "'mean_prob' or 'mean_odds' or 'mean_disp'",
        ),
        ("poisson", {"priors": {"mu": (0, 1)}}, r"expression_anchor=True and priors\['mu'\]=\(0, 1\) set the same"),
        ("poisson", {"expression_anchor_sigma": 0.0}, "needs hyperparameters above 0, got sigma=0.0"),
        (
            "poisson",
            {"expression_anchor": False, "expression_anchor_sigma": 0.1},
            "expression_anchor_sigma=0.1 has no effect without expression_anchor=True",
        ),
    ],
)
def test_errors(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(model, **{"expression_anchor": True, **options})


@pytest.mark.loose_promotion
@pytest.mark.parametrize("batch_size", [None, pytest.param(50, marks=pytest.mark.slow)])
def test_the_anchor_decides_the_scale_that_capture_leaves_open(small_counts: Any, batch_size: int | None) -> None:
    """With capture known to a factor of e^3 the fit itself ends elsewhere; with the anchor mu is where it says."""
    molecules = 2000.0
    options = {
        "parameterization": "mean_odds",
        "priors": {"capture_efficiency": (math.log(molecules), 3.0)},
        # whose prior has more to say of the scale than that of the default link
        "positive_transform": "softplus",
    }
    totals = small_counts.X.sum(axis=1).A1
    expected = small_counts.X.mean(axis=0).A1 * molecules / totals.mean()
    common, ratios = small_counts.X.sum(axis=0).A1 > 50, {}
    for sigma in (0.05, None):
        anchor = {} if sigma is None else {"expression_anchor": True, "expression_anchor_sigma": sigma}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scribe.ConvergenceWarning)
            results = scribe.fit(
                small_counts, **options, **anchor, unconstrained=True, n_steps=1500, batch_size=batch_size, rng=1
            )
        ratios[sigma] = np.median(np.asarray(results.get_map()["mu"])[common] / expected[common])
    np.testing.assert_allclose(ratios[0.05], 1.0, atol=0.1)
    assert abs(np.log(ratios[None])) > 0.3, ratios


@pytest.mark.loose_promotion
def test_the_anchor_is_the_location_of_datasets(small_counts: Any) -> None:
    """Datasets deviate from the mean over all cells, which stays where the anchor is."""
    adata = small_counts.copy()
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    molecules = 2000.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        results = scribe.fit(
            adata,
            parameterization="mean_odds",
            priors={"capture_efficiency": (math.log(molecules), 3.0)},
            expression_anchor=True,
            expression_anchor_sigma=0.05,
            dataset_key="half",
            expression_dataset_prior="gaussian",
            n_steps=1500,
        )
    expected = adata.X.mean(axis=0).A1 * molecules / adata.X.sum(axis=1).A1.mean()
    found = np.asarray(results.get_map()["mu"])
    common = adata.X.sum(axis=0).A1 > 50
    assert found.shape == (2, adata.n_vars)
    np.testing.assert_allclose(np.median(found.mean(axis=0)[common] / expected[common]), 1.0, atol=0.1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"priors": {"capture_efficiency": (10.0, 1e5)}}, "sigma_M=100000"),
        ({"priors": {"eta_capture": (10.0, 5.01)}}, r"sigma_M=5\.01"),
        ({"priors": {"capture_efficiency": CaptureAnchor(10.0, 6.0)}}, "sigma_M=6"),
        ({"expression_anchor": True, "expression_anchor_sigma": 8, **HUMAN}, "expression_anchor_sigma=8"),
    ],
)
def test_anchors_that_hold_nothing_warn_and_run(options: dict[str, Any], name: str) -> None:
    with pytest.warns(UserWarning, match=rf"^{name} is a standard deviation of logarithms") as caught:
        spec = resolve_spec(**options)
    assert [one.filename for one in caught] == [__file__]
    assert spec.anchored
    resolve_spec(priors={"capture_efficiency": (10.0, 5.0)})
