"""Every recipe of the users' documents runs on real counts and makes the model, the guide and the numbers it promises.

`RECIPES` holds the calls as the documents print them, by document: ``fit N`` is section N of the interface of ``fit``,
``recipe`` its common recipes, ``methods`` the inference methods, ``reference`` the parameters, ``welcome`` the first
page, ``script N`` an acceptance script. Only numbers of steps, and of cells in a batch or behind a label, are those of
100 cells. What a recipe asks for is checked for all of them; those that compile the same as another are fitted under
the marker `slow` alone.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from anndata import AnnData

import scribe
from scribe import _fit, guides
from scribe._adata.design import read_covariates
from scribe._model.config import ModelConfig, configured
from scribe._model.resolve import resolve_spec

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*errors are those of these cells"),
    pytest.mark.filterwarnings("ignore:sigma_M=100000 is a standard deviation of logarithms"),
    # 100 cells and a few steps do not fill eight components
    pytest.mark.filterwarnings("ignore:.* components nearly empty"),
]

G, C = 50, 100
SHORT: dict[str, Any] = {"n_steps": 20, "early_stopping": False}

_COARSE = {"CD14+": "monocyte", "Dendritic": "dendritic", "CD19+": "B", "CD56+": "NK"}


@pytest.fixture(scope="module")
def adata() -> AnnData:
    """The 50 most common genes of 100 cells: five cell types, some without label, two treatments and two batches."""
    whole = scribe.datasets.pbmc68k_counts()
    genes = np.sort(np.asarray(whole.X.sum(0)).ravel().argsort()[::-1][:G])
    adata = whole[:C, genes].copy()
    adata.layers["raw_counts"] = adata.X.copy()
    types = [_COARSE.get(str(label).split()[0], "T") for label in adata.obs["bulk_labels"]]
    adata.obs["cell_type"] = [None if i % 10 == 9 else t for i, t in enumerate(types)]
    adata.obs["treatment"] = ["ctrl" if i < 75 else "stim" for i in range(C)]
    adata.obs["batch"] = ["a" if i % 3 else "b" for i in range(C)]
    return adata


@dataclass(frozen=True)
class Recipe:
    """A call, what it must lead to, and whether it is fitted in every run of the tests.

    ``sites`` are axes of sampled parameters by name, ``guide`` the parts of the guide with what they are made for,
    ``says`` parts of the text of the specification.
    """

    options: dict[str, Any]
    sites: dict[str, tuple[str, ...]] = field(default_factory=dict)
    guide: tuple[str, ...] = ("MeanField",)
    says: dict[str, str] = field(default_factory=dict)
    fitted: bool = False


GENE, CELL = ("gene",), ("cell",)
BY_COMPONENT, BY_DATASET = ("component", "gene"), ("dataset", "gene")
VCP: dict[str, Any] = {"variable_capture": True}
FREE: dict[str, Any] = {"unconstrained": True}
NETWORK: dict[str, Any] = {"amortize_capture": True}
STOP = {"patience": 500, "min_delta": 1.0, "smoothing_window": 50, "restore_best": True}
HUMAN = {"organism": "human"}
EFFICIENCY = {"capture_efficiency": (math.log(100_000), 0.5)}
MIXED = {"mixing_weights": ("component",)}
PROMOTERS = {
    "two_state_natural": ("natural", "burst_size", "k_off"),
    "two_state_ratio": ("ratio", "burst_size", "switching_ratio"),
    "two_state_mean_fano": ("fano", "excess_fano", "concentration"),
    "two_state_moment_delta": ("delta", "excess_fano", "inv_concentration"),
}

RECIPES: dict[str, Recipe] = {
    # the tables of sections 1 and 2, where model names are spelled as flags
    "fit 1, script 1: from a layer": Recipe(
        {"layer": "raw_counts"}, {"p": (), "r": GENE, "p_capture": CELL}, says={"r": "LogNormal"}, fitted=True
    ),
    "fit 2: no capture": Recipe({"variable_capture": False}, {"p": (), "r": GENE}),
    "fit 2: zero inflation": Recipe({"zero_inflation": True}, {"p": (), "r": GENE, "gate": GENE, "p_capture": CELL}),
    "fit 3: mean odds": Recipe(
        {**VCP, "parameterization": "mean_odds"},
        {"phi": (), "mu": GENE, "phi_capture": CELL},
        says={"phi": "BetaPrime"},
    ),
    "fit 3: unconstrained": Recipe(
        {"model": "nbdm", **FREE}, {"p": (), "r": GENE}, says={"r": "'exp'", "p": "'sigmoid'"}
    ),
    "fit 4: minibatches and early stopping": Recipe(
        {**VCP, "n_steps": 40, "batch_size": 32, "early_stopping": STOP}, {"p_capture": CELL}
    ),
    "methods: zero inflation, minibatches": Recipe(
        {"zero_inflation": True, "batch_size": 32, "seed": 0}, {"gate": GENE, "p_capture": CELL}
    ),
    "fit 5: low rank": Recipe({"model": "nbdm", "guide_rank": 8}, guide=("LowRank(8)", "MeanField")),
    "script 2: low rank": Recipe({"guide_rank": 64}, guide=("LowRank(64)", "MeanField")),
    "welcome: linked": Recipe(
        {"model": "nbdm", "parameterization": "linked", "guide_rank": 15},
        {"p": (), "mu": GENE},
        ("LowRank(15)", "MeanField"),
    ),
    "fit 5, script 2: joint low rank": Recipe(
        {"model": "nbdm", "parameterization": "mean_odds", **FREE, "guide_rank": 10, "joint_params": ["mu", "phi"]},
        {"phi": (), "mu": GENE},
        ("Joint(mu, phi; LowRank(10))", "MeanField"),
    ),
    "methods: joint low rank": Recipe(
        {"guide_rank": 8, "joint_params": "biological"}, guide=("Joint(p, r; LowRank(8))", "MeanField")
    ),
    "fit 5: flow": Recipe(
        {"model": "nbdm", **FREE, "guide_flow": "affine_coupling", "guide_flow_num_layers": 4},
        guide=("Flow(affine_coupling, 4)", "MeanField"),
    ),
    "methods, script 3: flow": Recipe(
        {**FREE, "guide_flow": "affine_coupling", "restore_best": True},
        guide=("Flow(affine_coupling, 4)", "MeanField"),
    ),
    "fit 5: joint flow": Recipe(
        {
            "model": "nbdm",
            "parameterization": "mean_odds",
            **FREE,
            "guide_flow": "affine_coupling",
            "joint_params": ["mu", "phi"],
        },
        guide=("Joint(mu, phi; Flow(affine_coupling, 4))", "MeanField"),
    ),
    "fit 6, methods: amortised capture": Recipe({**VCP, **NETWORK}, guide=("MeanField(by_total)",)),
    "fit 6: a network of one's own": Recipe(
        {**VCP, **NETWORK, "capture_hidden_dims": [128, 64, 32], "capture_activation": "gelu"},
        guide=("Amortised(128, 64, 32; gelu)", "MeanField"),
    ),
    "fit 6: as an object": Recipe(
        {**VCP, "capture_amortization": scribe.AmortizationConfig([16], activation="tanh")},
        guide=("Amortised(16; tanh)", "MeanField"),
    ),
    "fit 7, script 6: horseshoe of components": Recipe(
        {**VCP, **FREE, "n_components": 5, "expression_prior": "horseshoe"},
        {"r": BY_COMPONENT, **MIXED, "p_capture": CELL},
        says={"r": "Horseshoe(tau0=1.0, slab_df=4.0, slab_scale=2.0"},
    ),
    "fit 7: tighter horseshoe": Recipe(
        {
            **VCP,
            **FREE,
            "n_components": 4,
            "expression_prior": "horseshoe",
            "horseshoe_tau0": 0.5,
            "horseshoe_slab_scale": 1.0,
        },
        {"r": BY_COMPONENT, **MIXED},
        says={"r": "Horseshoe(tau0=0.5, slab_df=4.0, slab_scale=1.0"},
        fitted=True,
    ),
    "fit 7, script 6: gaussian p of genes": Recipe(
        {"model": "nbdm", **FREE, "prob_prior": "gaussian"}, {"p": GENE, "r": GENE}, says={"p": "Gaussian"}
    ),
    "fit 7, script 6: NEG gate": Recipe(
        {"zero_inflation": True, **FREE, "zero_inflation_prior": "neg"},
        {"gate": GENE},
        says={"gate": "NormalExponentialGamma(u=1.0, a=1.0, tau=1.0"},
    ),
    "fit 8: anchor by organism": Recipe(
        {**VCP, "expression_anchor": True, "expression_anchor_sigma": 0.3, "priors": HUMAN, **NETWORK},
        {"mu": GENE, "eta_capture": CELL},
        ("MeanField(by_total)",),
        says={"mu": f"MeanAnchor(sigma=0.3, log_m0={math.log(200_000)}"},
    ),
    "fit 8: anchor by efficiency": Recipe(
        {**VCP, "expression_anchor": True, "priors": {"capture_efficiency": (10.0, 1e5)}},
        {"mu": GENE, "eta_capture": CELL},
        says={"eta_capture": "CaptureAnchor(log_m0=10.0, sigma=100000.0)", "mu": "'exp'"},
    ),
    "fit 8: anchor without capture": Recipe(
        {"model": "zinb", "expression_anchor": True}, {"mu": GENE, "gate": GENE}, says={"mu": "log_m0=None"}
    ),
    "fit 9: beta-negative-binomial": Recipe(
        {**VCP, "overdispersion": "bnb", **FREE, **NETWORK},
        {"omega": GENE},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"omega": "Horseshoe"},
    ),
    "script 5: beta-negative-binomial": Recipe(
        {**FREE, "overdispersion": "bnb", "overdispersion_prior": "horseshoe"},
        {"omega": GENE, "p_capture": CELL},
        says={"omega": "Horseshoe"},
    ),
    "fit 10: five cell types": Recipe(
        {**VCP, "n_components": 5, **NETWORK},
        {"r": BY_COMPONENT, "p": ("component",), **MIXED},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
    ),
    "welcome: zero-inflated mixture": Recipe(
        {"zero_inflation": True, "n_components": 3}, {"gate": BY_COMPONENT, "r": BY_COMPONENT, **MIXED}
    ),
    "fit 10: annotation": Recipe(
        {**VCP, "n_components": 5, "annotation_key": "cell_type", "annotation_confidence": 3.0, **NETWORK},
        {"r": BY_COMPONENT, **MIXED},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"levels": "'B', 'NK', 'T', 'dendritic', 'monocyte'"},
    ),
    "fit 10: composite labels": Recipe(
        {
            **VCP,
            "annotation_key": ["cell_type", "treatment"],
            "annotation_confidence": 5.0,
            "annotation_min_cells": 12,
            **NETWORK,
        },
        {"r": BY_COMPONENT, **MIXED},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"levels": "('T__ctrl', 'dendritic__ctrl')"},
    ),
    "fit 10, script 4: components from labels": Recipe(
        {"annotation_key": "cell_type", "annotation_confidence": 3.0},
        {"r": BY_COMPONENT, **MIXED},
        says={"levels": "'B', 'NK', 'T', 'dendritic', 'monocyte'"},
        fitted=True,
    ),
    "recipe: mixture with annotations": Recipe(
        {
            **VCP,
            "n_components": 8,
            "annotation_key": "cell_type",
            "annotation_confidence": 3.0,
            "annotation_min_cells": 12,
            **NETWORK,
        },
        {"r": BY_COMPONENT, **MIXED},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"levels": "('B', 'T', 'dendritic', 'monocyte', 'unlabelled 1'"},
    ),
    "fit 11, recipe, script 7: two batches": Recipe(
        {
            **VCP,
            **FREE,
            "dataset_key": "batch",
            "expression_dataset_prior": "horseshoe",
            "prob_dataset_prior": "gaussian",
            **NETWORK,
        },
        {"r": BY_DATASET, "p": BY_DATASET, "p_capture": CELL},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"r": "Horseshoe", "p": "Gaussian", "levels": "('a', 'b')"},
        fitted=True,
    ),
    "reference: p of datasets": Recipe(
        {
            **FREE,
            "zero_inflation": True,
            "dataset_key": "batch",
            "n_datasets": 2,
            "prob_dataset_prior": "neg",
            "prob_dataset_mode": "scalar",
            "zero_inflation_dataset_prior": "horseshoe",
        },
        {"p": ("dataset",), "gate": BY_DATASET, "r": GENE},
    ),
    "reference: two levels of p, tails and total mRNA of datasets": Recipe(
        {
            **FREE,
            "overdispersion": "bnb",
            "dataset_key": "batch",
            "prob_dataset_prior": "gaussian",
            "prob_dataset_mode": "two_level",
            "overdispersion_dataset_prior": "neg",
            "capture_scaling_prior": "gaussian",
            "priors": HUMAN,
        },
        {"p": BY_DATASET, "omega": BY_DATASET, "mu_eta": ("dataset",), "r": GENE},
    ),
    "fit 12: priors of p and r": Recipe(
        {"model": "nbdm", "priors": {"p": (1.0, 1.0), "r": (0.0, 1.0)}},
        says={"p": "Beta(a=1.0, b=1.0)", "r": "LogNormal(loc=0.0, scale=1.0)"},
    ),
    "fit 12: Dirichlet": Recipe(
        {**VCP, "n_components": 4, "priors": {"mixing": 5.0}}, MIXED, says={"mixing_weights": "concentration=5.0"}
    ),
    "fit 12, script 8: organism": Recipe(
        {**VCP, "priors": HUMAN},
        {"eta_capture": CELL},
        says={"eta_capture": f"CaptureAnchor(log_m0={math.log(200_000)}"},
    ),
    "script 8: efficiency, amortised": Recipe(
        {"priors": EFFICIENCY, **NETWORK},
        {"eta_capture": CELL},
        ("MeanField(by_total)",),
        says={"eta_capture": f"CaptureAnchor(log_m0={math.log(100_000)}, sigma=0.5)"},
        fitted=True,
    ),
    "methods: source of a cascade": Recipe(
        {"model": "nbvcp", "parameterization": "mean_odds", "priors": EFFICIENCY, "inference_method": "svi"},
        {"phi": (), "mu": GENE, "eta_capture": CELL},
    ),
    "recipe: typical analysis": Recipe(
        {
            **VCP,
            "parameterization": "mean_odds",
            "n_steps": 40,
            "batch_size": 32,
            **NETWORK,
            "early_stopping": {"patience": 500, "restore_best": True},
        },
        {"phi": (), "mu": GENE, "phi_capture": CELL},
        ("MeanField(by_total)",),
        fitted=True,
    ),
    "recipe: everything turned on": Recipe(
        {
            **VCP,
            **FREE,
            "expression_anchor": True,
            "expression_anchor_sigma": 0.3,
            "priors": HUMAN,
            "overdispersion": "bnb",
            "prob_prior": "gaussian",
            **NETWORK,
            "batch_size": 32,
        },
        {"p": GENE, "mu": GENE, "omega": GENE, "eta_capture": CELL},
        ("Amortised(64, 32; leaky_relu)", "MeanField"),
        says={"mu": "MeanAnchor", "p": "Gaussian", "omega": "Horseshoe"},
        fitted=True,
    ),
    **{
        f"reference: {name}": Recipe(
            {"model": "twostate", "parameterization": alias}, {"mu": GENE, second: GENE, third: GENE}
        )
        for name, (alias, second, third) in PROMOTERS.items()
    },
    "reference: promoters of cell types": Recipe(
        {
            "model": "twostatevcp",
            "parameterization": "mean_fano",
            "n_components": 2,
            "mixture_params": ["mu", "excess_fano"],
        },
        {"mu": BY_COMPONENT, "excess_fano": BY_COMPONENT, "concentration": GENE, "p_capture": CELL},
    ),
    "reference: bursts of cell types": Recipe(
        {
            "model": "twostate",
            "parameterization": "ratio",
            **FREE,
            "n_components": 2,
            "mixture_params": ["mu", "burst_size"],
        },
        {"mu": BY_COMPONENT, "burst_size": BY_COMPONENT, "switching_ratio": GENE},
    ),
    "reference: regime of promoters": Recipe(
        {
            "model": "twostate",
            "parameterization": "moment_delta",
            "n_components": 2,
            "mixture_params": "regime",
            "priors": {"regime": (1.0, 50.0)},
        },
        {"mu": GENE, "excess_fano": GENE, "inv_concentration": BY_COMPONENT},
        says={"inv_concentration": "Beta(a=1.0, b=50.0)"},
    ),
}


def planned(adata: AnnData, options: dict[str, Any]) -> SimpleNamespace:
    """What a call would fit: specification and guide."""
    given = {name: value for name, value in options.items() if name not in ("model", "layer")}
    model, said = configured(options.get("model"), given)
    spec = _fit._spec(model, said, read_covariates(adata, said, n_cells=C))
    return SimpleNamespace(spec=spec, guide=guides.choose(said, spec), engine=_fit._engine(said))


def called(guide: guides.Guide) -> tuple[str, ...]:
    """The parts of a guide by name and what they are made for."""
    parts = guide.parts if isinstance(guide, guides.Composed) else (guide,)
    return tuple(_described(part) for part in parts)


def _described(part: guides.Guide) -> str:
    kind = type(part).__name__
    match part:
        case guides.MeanField():
            return f"{kind}(by_total)" if part.by_total else kind
        case guides.LowRank():
            return f"{kind}({part.rank})"
        case guides.Flow():
            return f"{kind}({part.kind}, {part.n_layers})"
        case guides.Amortised():
            return f"{kind}({', '.join(map(str, part.hidden_dims))}; {part.activation})"
        case guides.Joint():
            return f"{kind}({', '.join(part.params)}; {_described(part.family)})"


@pytest.mark.parametrize("name", RECIPES)
def test_it_means_what_it_says(adata: AnnData, name: str) -> None:
    """Parameters with their axes, priors, levels and guide."""
    recipe = RECIPES[name]
    plan = planned(adata, recipe.options)
    axes = {site.name: site.axes for site in plan.spec.sites}
    assert recipe.sites.items() <= axes.items()
    assert called(plan.guide) == recipe.guide
    text = {**{site: repr(prior) for site, prior in plan.spec.priors.items()}, "levels": repr(plan.spec.levels)}
    assert {site: part for site, part in recipe.says.items() if part not in text[site]} == {}


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    """Fits that have been made, by name of the recipe."""
    return {}


def fit(adata: AnnData, name: str, fits: dict[str, Any]) -> Any:
    if name not in fits:
        fits[name] = scribe.fit(adata, **{**SHORT, **RECIPES[name].options})
    return fits[name]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if recipe.fitted else pytest.mark.slow) for n, recipe in RECIPES.items()]
)
def test_it_runs(adata: AnnData, name: str, fits: dict[str, Any]) -> None:
    """Losses are finite, draws of every parameter have its axes and support, and the bound has risen."""
    results, options = fit(adata, name, fits), {**SHORT, **RECIPES[name].options}
    assert isinstance(results, scribe.ScribeSVIResults)
    assert results.spec == planned(adata, options).spec
    losses = results.loss_history
    assert losses.shape == (options["n_steps"],)
    assert np.isfinite(losses).all()
    # networks are thrown out of balance by the first steps
    assert "Amortised" in RECIPES[name].guide[0] or losses[-5:].mean() < losses[:5].mean()
    lengths = {"gene": G, "cell": C, **results.spec.lengths}
    draws = results.get_posterior_samples(3)
    for site, axes in results.spec.named_axes.items():
        value = np.asarray(draws[site])
        assert value.shape == (3, *(lengths[axis] for axis in axes)), site
        assert np.isfinite(value).all(), site
    for site in results.spec.sites:
        value, support = np.asarray(draws[site.name]), site.param.support
        assert support == "real" or value.min() >= 0
        assert support != "unit" or value.max() <= 1


def test_kinds_of_data(adata: AnnData) -> None:
    """Section 1: an array of JAX or NumPy, either axis of cells, and a layer are the same counts and the same fit."""
    dense = adata.layers["raw_counts"].toarray()
    calls = [
        ((jnp.asarray(dense),), {"model": "nbdm"}),
        ((dense.T,), {"model": "nbdm", "cells_axis": 1, "seed": 42}),
        ((adata,), {"variable_capture": False, "layer": "raw_counts"}),
    ]
    first, *others = (scribe.fit(*data, **options, **SHORT) for data, options in calls)
    for other in others:
        for name, value in first.params.items():
            np.testing.assert_array_equal(value, other.params[name], err_msg=name)
    different = scribe.fit(dense, "nbdm", seed=43, **SHORT)
    assert not np.array_equal(different.params["r_unconstrained_loc"], first.params["r_unconstrained_loc"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"model": "nbvcp"}),
        ({"variable_capture": True}, {"model": "nbvcp", "variable_capture": True, "zero_inflation": False}),
        ({"variable_capture": False}, {"model": "nbdm"}),
        ({"zero_inflation": True}, {"model": "zinbvcp"}),
        ({"variable_capture": False, "zero_inflation": True}, {"model": "zinb"}),
        ({"parameterization": "standard"}, {"parameterization": "canonical"}),
        ({"parameterization": "linked"}, {"parameterization": "mean_prob"}),
        ({"parameterization": "odds_ratio"}, {"parameterization": "mean_odds"}),
        *(
            ({"model": "twostate", "parameterization": short}, {"model": "twostate", "parameterization": name})
            for name, (alias, *_) in PROMOTERS.items()
            for short in (alias, name.removeprefix("two_state_"))
        ),
        ({"mu_prior": "neg", "n_components": 2, **FREE}, {"expression_prior": "neg", "n_components": 2, **FREE}),
        ({"p_prior": "neg", **FREE}, {"prob_prior": "neg", **FREE}),
        (
            {"zero_inflation": True, "gate_prior": "neg", **FREE},
            {"zero_inflation": True, "zero_inflation_prior": "neg", **FREE},
        ),
        ({"n_components": 4, "priors": {"mixing": 5.0}}, {"n_components": 4, "priors": {"mixing_weights": 5.0}}),
        *(
            ({"n_components": 2, "mixture_params": short}, {"n_components": 2, "mixture_params": names})
            for short, names in {"all": ["p", "r"], "biological": ["p", "r"], "mean": ["r"], "prob": ["p"]}.items()
        ),
        (
            {"model": "zinb", "n_components": 2, "mixture_params": "gate"},
            {"model": "zinb", "n_components": 2, "mixture_params": ["gate"]},
        ),
        (
            {"model": "twostate", "parameterization": "natural", "n_components": 2, "mixture_params": "biological"},
            {
                "model": "twostate",
                "parameterization": "natural",
                "n_components": 2,
                "mixture_params": ["mu", "burst_size", "k_off"],
            },
        ),
        (
            {"model_config": ModelConfig("nbvcp", guide_rank=5, **FREE)},
            {"model": "nbvcp", "guide_rank": 5, **FREE},
        ),
        ({"inference_config": {"n_steps": 7, "batch_size": 5}}, {"n_steps": 7, "batch_size": 5}),
        ({"early_stopping": scribe.EarlyStoppingConfig(**STOP)}, {"early_stopping": STOP}),
        (
            {"capture_amortization": scribe.AmortizationConfig((128, 64), activation="gelu")},
            {"amortize_capture": True, "capture_hidden_dims": [128, 64], "capture_activation": "gelu"},
        ),
    ],
    ids=lambda options: ", ".join(f"{name}={value}" for name, value in options.items())[:60],
)
def test_two_spellings(adata: AnnData, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Flags and names, aliases, shorthands, objects and keywords mean the same."""
    first, second = planned(adata, one), planned(adata, other)
    assert first == second


def test_builder(adata: AnnData) -> None:
    """Section 14: methods, and attributes with an underscore."""
    builder = (
        scribe.ModelConfigBuilder()
        .for_model("nbvcp")
        .with_parameterization("mean_odds")
        .unconstrained()
        .as_mixture(n_components=5)
    )
    builder._expression_prior = "horseshoe"
    config = builder.build()
    assert pickle.loads(pickle.dumps(config)) == config
    expected = {"parameterization": "mean_odds", **FREE, "n_components": 5, "expression_prior": "horseshoe"}
    assert planned(adata, {"model_config": config}) == planned(adata, expected)
    assert {site.name: site.axes for site in planned(adata, expected).spec.sites}["mu"] == BY_COMPONENT


def test_one_dataset_only(adata: AnnData) -> None:
    """Section 11: populations of datasets become those of genes, with a warning, unless that is forbidden."""
    adata = adata.copy()
    adata.obs["batch"] = "a"
    options = {**FREE, "dataset_key": "batch", "prob_dataset_prior": "gaussian", "expression_dataset_prior": "neg"}
    with pytest.warns(UserWarning, match="one dataset only, 'a'"):
        plan = planned(adata, options)
    assert plan.spec == resolve_spec(prob_prior="gaussian", **FREE)
    with pytest.raises(ValueError, match="auto_downgrade_single_dataset_hierarchy=True"):
        planned(adata, {**options, "auto_downgrade_single_dataset_hierarchy": False})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nbdm", "variable_capture": True}, "means variable_capture=False, but variable_capture=True"),
        ({"prob_prior": "gaussian"}, "needs unconstrained=True"),
        ({"n_components": 2, "expression_prior": "neg"}, "needs unconstrained=True"),
        ({"overdispersion": "bnb"}, "needs unconstrained=True"),
        ({"dataset_key": "batch", "expression_dataset_prior": "neg"}, "needs unconstrained=True"),
        ({**FREE, "expression_prior": "neg"}, "needs a mixture"),
        ({**FREE, "zero_inflation_prior": "neg"}, "pass zero_inflation=True"),
        ({"guide_rank": 5, "guide_flow": "maf"}, "two guides for the same parameters"),
        ({"n_components": 1}, "at least 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_documents_refuse(adata: AnnData, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned(adata, options)


def test_questions(adata: AnnData, fits: dict[str, Any]) -> None:
    """Script 1, and names of results: draws, point estimates, replicates, likelihoods, pickle and subsets."""
    results = fit(adata, "fit 1, script 1: from a layer", fits)
    plain, named = results.get_posterior_samples(), results.get_posterior_samples(descriptive_names=True)
    assert plain["r"].shape == (100, G)
    pairs = {"r": "dispersion", "p": "prob", "mu": "expression", "p_capture": "capture_prob"}
    for site, name in pairs.items():
        np.testing.assert_array_equal(plain[site], named[name])
        np.testing.assert_array_equal(results.get_map()[site], results.get_map(descriptive_names=True)[name])
    assert set(results.get_distributions(descriptive_names=True)) == {"dispersion", "prob", "capture_prob"}
    estimate = results.get_map()
    np.testing.assert_allclose(estimate["mu"], estimate["r"] * estimate["p"] / (1 - estimate["p"]), rtol=1e-5)
    replicates = results.get_ppc_samples(4)
    assert replicates.shape == (4, C, G)
    observed = adata.X.toarray().mean(0)
    assert np.corrcoef(np.log(replicates.mean((0, 1))), np.log(observed))[0, 1] > 0.7
    some = pickle.loads(pickle.dumps(results))[[adata.var_names[3], adata.var_names[0]]]
    np.testing.assert_array_equal(some.get_map()["r"], np.asarray(estimate["r"])[[3, 0]])
    np.testing.assert_array_equal(some.counts().to_csr().toarray(), adata.X.toarray()[:, [3, 0]])


def test_components(adata: AnnData, fits: dict[str, Any]) -> None:
    """Section 10: cells find the component of their label, and results of one component are its own."""
    results = fit(adata, "fit 10, script 4: components from labels", fits)
    found = results.cell_type_assignments(counts=adata.X, n_samples=3)
    assert found.probabilities.shape == (C, 5)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-6)
    labels = np.array(["B", "NK", "T", "dendritic", "monocyte"])
    known = adata.obs["cell_type"].notna().to_numpy()
    assert np.mean(labels[found.component[known]] == adata.obs["cell_type"][known]) > 0.8
    every = np.asarray(results.get_map()["r"])
    np.testing.assert_array_equal(results[:7, "T"].get_map()["r"], every[2, :7])
    np.testing.assert_array_equal(results.get_component("T")[:7].get_map()["r"], every[2, :7])
    with pytest.raises(KeyError, match=r"no component 'TT'\. Did you mean 'T'"):
        results[:, "TT"]


def test_datasets(adata: AnnData, fits: dict[str, Any]) -> None:
    """Script 7: results of one dataset, and the difference of two as compositions of the same draws."""
    results = fit(adata, "fit 11, recipe, script 7: two batches", fits)
    np.testing.assert_array_equal(results.get_dataset("b").get_map()["mu"], results.get_map()["mu"][1])
    assert results.get_dataset("b").n_cells == (adata.obs["batch"] == "b").sum()
    de = scribe.compare_datasets(results, "a", "b", method="empirical", reference="clr", n_samples=400)
    logs = np.log(np.asarray(results.cells([0]).get_posterior_samples(400)["mu"], np.float64))
    shares = logs - logs.mean(-1, keepdims=True)
    difference = shares[:, 0] - shares[:, 1]
    error = difference.std(axis=0) / np.sqrt(200)
    np.testing.assert_array_less(np.abs(de.law.mean - difference.mean(axis=0)), 5 * error)
    np.testing.assert_allclose(de.law.sd, difference.std(axis=0), rtol=0.25)


def test_chains_from_svi_in_other_coordinates(adata: AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    """Section 4, recipe and script 9: MCMC starts where SVI in another parameterisation ended."""
    svi = scribe.fit(adata, model="nbdm", parameterization="mean_prob", n_steps=150, early_stopping=False)
    results = scribe.fit(
        adata,
        model="nbdm",
        parameterization="mean_odds",
        inference_method="mcmc",
        svi_init=svi,
        n_samples=20,
        n_warmup=10,
        n_chains=2,
    )
    assert isinstance(results, scribe.ScribeMCMCResults)
    chains = results.get_samples(group_by_chain=True)
    assert chains["mu"].shape == (2, 20, G)
    assert {"phi", "mu", "p", "r"} == set(chains)
    start, chain = (np.log(np.asarray(found.get_map()["mu"])) for found in (svi, results))
    assert np.corrcoef(start, chain)[0, 1] > 0.95
    np.testing.assert_allclose(chain, start, atol=0.5)
    results.print_summary(n_rows=2)
    printed = capsys.readouterr().out
    assert "r_hat" in printed
    assert "phi" in printed
    assert set(results.get_posterior_quantiles()) == set(chains)
    assert results.get_ppc_samples(2).shape == (2, C, G)


@pytest.mark.filterwarnings("ignore::scribe._counts.checks.CountsWarning")
def test_differential_expression_of_components(adata: AnnData) -> None:
    """Welcome and script 12: two conditions, a mixture each, compared in one component; the calls as printed."""
    parts = [adata[adata.obs["batch"] == name].copy() for name in "ab"]
    results_treat, results_ctrl = (scribe.fit(part, n_components=3, **SHORT) for part in parts)
    de = scribe.compare(results_treat, results_ctrl, method="empirical", component_A=0, component_B=0)
    gene_results = de.gene_level(tau=jnp.log(1.1))
    assert gene_results["lfsr_tau"].shape == (G,)
    is_de = de.call_genes(lfsr_threshold=0.05)
    assert is_de.dtype == bool
    shrunk = de.shrink()
    assert 0 <= shrunk.null_proportion <= 1
    assert np.isfinite(de.biological_level()["lfc_mean"]).all()
    de.set_expression_threshold(min_mean_expression=50.0)
    table = de.to_dataframe(target_pefp=0.05, metrics="all")
    assert len(table) == G
    assert table["kept"].sum() < G
    genes = list(adata.var_names[de.kept][:5])
    assert 0 <= de.test_gene_set(genes)["lfsr"] <= 1
    assert 0 < de.test_pathway_perturbation(genes, n_permutations=19).p_value <= 1
    assert list(de.test_multiple_gene_sets({"first": genes})["gene_set"]) == ["first"]


def test_model_comparison_and_mask(adata: AnnData, fits: dict[str, Any]) -> None:
    """Welcome and script 13: models are compared, and the genes that the better one describes are compared in turn."""
    counts, gene_names = adata.X, list(adata.var_names)
    results_nb = fit(adata, "fit 1, script 1: from a layer", fits)
    results_own = scribe.fit(adata, parameterization="mean_disp", **SHORT)
    mc = scribe.compare_models(
        [results_nb, results_own],
        counts=counts,
        model_names=["NB", "Own"],
        gene_names=gene_names,
        n_samples=50,
    )
    assert "NB" in str(mc.summary())
    gene_df = mc.gene_level_comparison("NB", "Own")
    assert list(gene_df["gene"]) == gene_names
    assert set(mc.rank().index) == {"NB", "Own"}
    mask = scribe.compute_gof_mask(counts, results_own, min_variance=0.8, max_variance=1.2, n_samples=3)
    assert 2 <= mask.sum() <= G
    de = scribe.compare(results_own, results_own, gene_mask=mask, paired=False, n_samples=50)
    np.testing.assert_array_equal(de.kept, mask)
