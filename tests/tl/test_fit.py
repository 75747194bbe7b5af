"""`tl.fit` as a user calls it: options, seeds, layers, resumption, and the same answer from `scribe.fit`."""

from __future__ import annotations

import math
import warnings
from typing import Any

import anndata as ad
import numpy as np
import pytest

import scribe
from scribe._model.options import options_table

pytestmark = pytest.mark.loose_promotion


@pytest.fixture(scope="module")
def counts():
    return scribe.datasets.simulate(40, 12, params={"mu": 20.0})


@pytest.fixture
def adata(counts):
    return counts.copy()


def quick(data: Any, *args: Any, verb: Any = scribe.tl.fit, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        warnings.filterwarnings("ignore", "X: there is only one cell")
        return verb(data, *args, **{"n_steps": 10, "early_stopping": False} | options)


def params(adata: ad.AnnData, key: str = "scribe") -> dict[str, np.ndarray]:
    return dict(scribe.get.results(adata, key=key).params)


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return set(first) == set(second) and all(np.array_equal(first[name], second[name]) for name in first)


def test_same_seed_same_bits_by_any_name(adata):
    quick(adata, rng=3)
    for number, options in enumerate([{"seed": 3}, {"rng": 3}]):
        quick(adata, key_added=f"fit{number}", **options)
        assert equal(params(adata), params(adata, f"fit{number}"))
        np.testing.assert_array_equal(adata.uns["scribe"]["loss"], adata.uns[f"fit{number}"]["loss"])
    quick(adata, key_added="other", rng=4)
    assert not equal(params(adata), params(adata, "other"))
    assert (adata.uns["scribe"]["seed"], adata.uns["other"]["seed"]) == (3, 4)
    quick(adata, key_added="default")
    assert adata.uns["default"]["seed"] == 42
    with pytest.raises(ValueError, match="rng=1 and seed=2 are two names for one thing"):
        scribe.tl.fit(adata, rng=1, seed=2)


def test_same_answer_from_the_plain_function(adata):
    quick(adata, "zinb", rng=1)
    for data in (adata, adata.X, adata.X.toarray(), adata.to_df()):
        results = quick(data, "zinb", rng=1, verb=scribe.fit)
        assert equal(params(adata), dict(results.params))
    turned = quick(adata.X.T.toarray(), "zinb", rng=1, verb=scribe.fit, cells_axis=1)
    assert equal(params(adata), dict(turned.params))
    named = quick(adata.to_df(), rng=1, verb=scribe.fit)
    assert list(named.gene_names) == list(adata.var_names)


def test_layer_and_its_errors(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)
    quick(adata, layer="counts")
    assert adata.uns["scribe"]["data"]["source"] == "layers['counts']"
    assert scribe.get.results(adata).counts().source == "layers['counts']"
    with pytest.raises(ValueError, match=r"layer 'count' is not in adata.layers: .*Did you mean 'counts'\?"):
        scribe.tl.fit(adata, layer="count")
    with pytest.raises(ValueError, match=r'layer="counts"'):
        scribe.tl.fit(adata, key_added="log")
    assert "log" not in adata.uns


@pytest.mark.parametrize(
    ("options", "family", "coordinates"),
    [
        ({}, ("nb", "with_capture"), "canonical"),
        ({"model": "zip"}, ("poisson", "zero_inflated"), "mean"),
        ({"variable_capture": False, "zero_inflation": True}, ("nb", "zero_inflated"), "canonical"),
        ({"parameterization": "linked"}, ("nb", "with_capture"), "mean_prob"),
        ({"coordinates": "odds_ratio"}, ("nb", "with_capture"), "mean_odds"),
        ({"model": scribe.families.nb}, ("nb",), "canonical"),
    ],
)
def test_models(adata, options, family, coordinates):
    quick(adata, **options)
    spec = scribe.get.results(adata).spec
    assert spec.family.layers == family
    assert spec.coordinates.name == coordinates


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_step": 3}, TypeError, r"fit\(\): unknown keyword 'n_step'. Did you mean 'n_steps'\?"),
        ({"model": "nbvpc"}, ValueError, r"Unknown model 'nbvpc'. Did you mean 'nbvcp'\?"),
        ({"model": "nbdm", "variable_capture": True}, ValueError, "means variable_capture=False, but"),
        ({"parameterization": "mean"}, ValueError, "parameterization='mean' is not defined for the 'nb' family"),
        ({"guide": "meanfield"}, ValueError, r"Unknown guide 'meanfield'. Did you mean 'mean_field'\?"),
        ({"inference_method": "nuts"}, ValueError, "Unknown inference_method 'nuts'"),
        ({"priors": {"mu": (0, 1)}}, ValueError, r"mu is not sampled under parameterization='canonical'"),
        ({"positive_transform": "exp"}, ValueError, "has an effect only with unconstrained=True"),
        ({"coordinates": "linked", "parameterization": "linked"}, ValueError, "was given twice"),
    ],
)
def test_errors_come_before_the_work_and_write_nothing(adata, options, error, message):
    with pytest.raises(error, match=message):
        scribe.tl.fit(adata, **options)
    assert not [name for name in adata.uns if name != "truth"]


def test_every_option_is_accepted(adata):
    """All keywords of the table at their defaults change nothing."""
    defaults = {name: option.default for name, option in options_table().items()}
    quick(adata, **defaults | {"n_steps": 10, "early_stopping": False})
    first = params(adata)
    quick(adata)
    assert equal(first, params(adata))


def test_not_converging_is_said_and_stored(adata):
    with pytest.warns(
        scribe.ConvergenceWarning,
        match=r"NOT converged: all 10 steps used.*resume=True in tl.fit, resume=results in fit\) or raise n_steps",
    ):
        scribe.tl.fit(adata, n_steps=10, early_stopping=False)
    record = adata.uns["scribe"]["convergence"]
    assert record["converged"] is False
    assert record["steps"] == 10
    assert not scribe.get.results(adata).converged
    assert adata.uns["scribe"]["loss"].shape == (10,)


def test_converging_is_said_and_stored(adata):
    scribe.tl.fit(adata)
    verdict = scribe.get.results(adata).verdict
    assert verdict.converged
    assert verdict.steps == len(adata.uns["scribe"]["loss"]) < 50_000


def test_resume_continues_the_stored_fit(adata):
    quick(adata, "zinb")
    first = scribe.get.results(adata)
    quick(adata, resume=True)
    again = scribe.get.results(adata)
    assert again.spec == first.spec
    assert len(again.loss_history) == 20
    np.testing.assert_array_equal(again.loss_history[:10], first.loss_history)
    with pytest.raises(ValueError, match="resume= continues a fit of the same model"):
        scribe.tl.fit(adata, "poisson", resume=True)
    with pytest.raises(KeyError, match=r"No fit under adata.uns\['new'\]"):
        scribe.tl.fit(adata, resume=True, key_added="new")


def test_minibatches_and_double_precision(adata):
    quick(adata, batch_size=16)
    assert scribe.get.results(adata).n_cells == 40
    quick(adata, enable_x64=True)
    assert adata.varm["scribe_r"].dtype == np.float64
    assert scribe.get.results(adata).get_map()["mu"].dtype == np.float32


def test_anchored_capture_is_absolute(adata):
    prior = {"capture_efficiency": (math.log(2000), 0.1)}
    quick(adata, priors=prior)
    assert adata.uns["scribe"]["data"]["capture"] == "absolute"
    np.testing.assert_allclose(adata.obs["scribe_capture"], adata.X.sum(1).A1 / 2000, rtol=0.3)
    assert "scribe_eta_capture" in adata.obsm


def test_nothing_to_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="All 3 x 2 counts in X are zero: there is nothing to fit"):
            scribe.tl.fit(ad.AnnData(np.zeros((3, 2), np.float32)))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_one_cell_or_gene(shape):
    adata = ad.AnnData(np.full(shape, 3, np.float32))
    quick(adata)
    assert np.isfinite(scribe.get.params(adata)["mu_mean"]).all()
    scribe.tl.denoise(adata, n_samples=2)
    assert np.isfinite(adata.layers["scribe_denoised"]).all()


def test_resume_takes_the_layer_of_the_fit(adata):
    adata.layers["counts"], adata.X = adata.X.copy(), adata.X * 3
    quick(adata, layer="counts")
    quick(adata, resume=True)
    assert adata.uns["scribe"]["data"]["source"] == "layers['counts']"
    assert scribe.get.results(adata).counts().source == "layers['counts']"
    adata.layers["other"] = adata.X.copy()
    with pytest.raises(ValueError, match=r"continues a fit of layers\['counts'\], not of layers\['other'\]: leave out"):
        scribe.tl.fit(adata, resume=True, layer="other")
    with pytest.raises(ValueError, match="continues a fit of 40 cells x 12 genes, but adata has 40 x 5"):
        scribe.tl.fit(adata[:, :5].copy(), resume=True)
    adata.layers["counts"] = adata.X.copy()
    with pytest.raises(ValueError, match="no longer holds the counts of the fit"):
        scribe.tl.fit(adata, resume=True)


def test_resume_continues_though_the_first_fit_left_a_checkpoint(adata, tmp_path):
    quick(adata, n_steps=100, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="belongs to another fit: continues differs"):
        quick(adata, n_steps=100, checkpoint_dir=tmp_path, resume=True)
    quick(adata, n_steps=100, checkpoint_dir=tmp_path / "more", resume=True)
    assert len(adata.uns["scribe"]["loss"]) == 200


def test_cells_are_rows_of_an_anndata(adata):
    with pytest.raises(ValueError, match="cells_axis=1 is for arrays: found AnnData, whose rows are cells"):
        scribe.tl.fit(adata, cells_axis=1)


def test_records_of_others_are_left_alone(adata):
    adata.uns["other"] = {"derived_from": "scribe"}
    quick(adata)
    quick(adata)
    assert adata.uns["other"] == {"derived_from": "scribe"}
