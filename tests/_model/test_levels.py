"""Which parameters differ between components and datasets: names, shorthands, axes, and what contradicts itself."""

from __future__ import annotations

import pytest

from scribe._model.resolve import resolve_spec

TWO, THREE = ("a", "b"), ("x", "y", "z")


def axes(**options) -> dict[str, tuple[str, ...]]:
    return {site.name: site.axes for site in resolve_spec(**options).sites}


@pytest.mark.parametrize(
    ("asked", "model", "expected"),
    [
        ("all", "zinb", {"p", "r", "gate"}),
        ("biological", "zinb", {"p", "r"}),
        ("mean", "zinb", {"r"}),
        ("prob", "zinb", {"p"}),
        ("gate", "zinb", {"gate"}),
        (["dispersion", "zero_inflation"], "zinb", {"r", "gate"}),
    ],
)
def test_parameters_of_components(asked, model, expected) -> None:
    found = axes(model=model, components=TWO, mixture_params=asked)
    assert {name for name, own in found.items() if "component" in own and name != "mixing_weights"} == expected
    assert found["mixing_weights"] == ("component",)


def test_axes_come_components_first_genes_last() -> None:
    found = axes(components=TWO, datasets=THREE, dataset_params="mean", parameterization="mean_disp")
    assert found["mu"] == ("component", "dataset", "gene")
    assert found["r"] == ("component", "gene")
    assert found["mixing_weights"] == ("dataset", "component")
    assert found["p_capture"] == ("cell",)
    assert axes(components=TWO, datasets=THREE, dataset_params="mean", dataset_mixing=False)["mixing_weights"] == (
        "component",
    )


@pytest.mark.parametrize(
    ("mode", "expected", "population"),
    [
        ("scalar", ("dataset",), ("dataset",)),
        ("gene_specific", ("dataset", "gene"), ("gene", "dataset")),
        ("two_level", ("dataset", "gene"), ("dataset", "gene")),
    ],
)
def test_ways_of_odds_to_differ_between_datasets(mode, expected, population) -> None:
    spec = resolve_spec(datasets=THREE, unconstrained=True, prob_dataset_prior="gaussian", prob_dataset_mode=mode)
    assert spec.site("p").axes == expected
    assert spec.priors["p"].adds == population
    scales = {latent.axes for latent in spec.latents if latent.name == "p_scale_unconstrained"}
    assert scales == {("dataset",) if mode == "two_level" else ()}


def test_populations_nest() -> None:
    spec = resolve_spec(
        components=TWO,
        datasets=THREE,
        unconstrained=True,
        expression_prior="horseshoe",
        expression_dataset_prior="gaussian",
    )
    assert spec.site("r").axes == ("component", "dataset", "gene")
    assert spec.priors["r"].adds == ("dataset", "component")
    assert {latent.name: latent.axes for latent in spec.latents}["r_loc_loc_unconstrained"] == ("gene",)


def test_one_dataset_only() -> None:
    with pytest.warns(UserWarning, match="one dataset only, 'x'.*prob_dataset_prior becomes prob_prior"):
        spec = resolve_spec(
            datasets=("x",), unconstrained=True, prob_dataset_prior="neg", expression_dataset_prior="gaussian"
        )
    assert spec == resolve_spec(unconstrained=True, prob_prior="neg")
    with pytest.raises(ValueError, match="Leave it out, or pass auto_downgrade"):
        resolve_spec(datasets=("x",), dataset_params="mean", auto_downgrade_single_dataset_hierarchy=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": TWO, "mixture_params": ["mu"]}, "'mu', which this model does not sample"),
        ({"mixture_params": "mean"}, "needs a mixture"),
        ({"expression_prior": "neg", "unconstrained": True}, "expression_prior='neg' needs a mixture"),
        ({"components": TWO, "expression_prior": "neg"}, "needs unconstrained=True"),
        (
            {"components": TWO, "expression_prior": "neg", "unconstrained": True, "mixture_params": "prob"},
            r"makes r differ between components, but mixture_params names \['p'\]",
        ),
        ({"datasets": TWO}, "no parameter differs between them"),
        ({"datasets": TWO, "dataset_mixing": True}, "dataset_mixing=True needs a mixture"),
        ({"datasets": TWO, "dataset_params": "mean", "dataset_mixing": False}, "dataset_mixing=False needs a mixture"),
        ({"prob_dataset_prior": "neg", "unconstrained": True}, "needs dataset_key"),
        ({"priors": {"mixing": 2.0}}, "needs a mixture"),
        ({"components": TWO, "priors": {"mixing": (1.0, 2.0, 3.0)}}, "one for each of 2 components"),
    ],
)
def test_errors_name_the_fix(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(**options)
