"""Annotations and datasets out of the columns of an AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scribe._adata.design import read_covariates
from scribe._model.completion import complete

N = 12


@pytest.fixture
def adata() -> AnnData:
    obs = pd.DataFrame(
        {
            "type": ["B", "T", None, "T"] * 3,
            "state": ["x", "x", "y", "y"] * 3,
            "one": "all",
            "batch": pd.Categorical(["late", "early"] * 6),
            "gap": [None] + ["a", "b"] * 5 + ["a"],
        },
        index=[f"c{i}" for i in range(N)],
    )
    return AnnData(np.ones((N, 3), np.float32), obs=obs)


def read(data, **options):
    return read_covariates(data, complete(options), n_cells=N)


def test_nothing_asked_for(adata) -> None:
    found = read(adata)
    assert (found.components, found.datasets, found.design.dataset, found.design.logits) == ((), (), None, None)
    assert read(np.ones((N, 3)), n_components=3).components == ("0", "1", "2")


def test_labels_raise_the_odds_of_their_component(adata) -> None:
    found = read(adata, annotation_key="type", annotation_confidence=2.5)
    assert found.components == ("B", "T")
    np.testing.assert_array_equal(found.design.logits[:4], [[2.5, 0], [0, 2.5], [0, 0], [0, 2.5]])
    more = read(adata, annotation_key="type", n_components=4)
    assert more.components == ("B", "T", "unlabelled 1", "unlabelled 2")
    assert more.design.logits.shape == (N, 4)
    assert read(adata, annotation_key="type", annotation_confidence=0).design.logits is None


def test_order_and_rare_labels(adata) -> None:
    found = read(adata, annotation_key="type", annotation_component_order=["T", "B"])
    assert found.components == ("T", "B")
    np.testing.assert_array_equal(found.design.logits[0], [0, 3])
    both = read(adata, annotation_key=["type", "state"])
    assert both.components == ("B__x", "T__x", "T__y")
    few = read(adata, annotation_key="type", annotation_min_cells=3)
    assert few.components == ("B", "T")
    with pytest.warns(UserWarning, match="1 label.*fitting one component"):
        assert read(adata, annotation_key="type", annotation_min_cells=4).components == ()


def test_given_odds(adata) -> None:
    odds = np.arange(2.0 * N).reshape(N, 2)
    found = read(adata, priors={"annotation_logits": odds})
    assert found.components == ("0", "1")
    np.testing.assert_array_equal(found.design.logits, odds)


def test_datasets(adata) -> None:
    found = read(adata, dataset_key="batch", dataset_params="mean")
    assert found.datasets == ("early", "late")
    np.testing.assert_array_equal(found.design.dataset, [1, 0] * 6)
    assert found.design.subset(slice(0, 2)).dataset.tolist() == [1, 0]
    assert found.factors == {"batch": ("early", "late")}


def test_datasets_of_several_columns_are_the_combinations_that_there_are(adata) -> None:
    adata.obs["donor"] = ["b", "b", "a", "a"] * 3
    found = read(adata, dataset_key=["donor", "state"], dataset_params="mean")
    assert found.datasets == ("a | y", "b | x")
    assert found.factors == {"donor": ("a", "b"), "state": ("y", "x")}
    np.testing.assert_array_equal(found.design.dataset, [1, 1, 0, 0] * 3)
    assert read(adata, dataset_key=["batch", "donor", "state"], n_datasets=4).datasets[0] == "early | a | y"
    assert read(adata, dataset_key=["batch"]).datasets == read(adata, dataset_key="batch").datasets


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 1}, ValueError, "n_components must be a whole number of at least 2, got 1"),
        ({"annotation_key": "typ"}, KeyError, "Did you mean 'type'"),
        ({"annotation_key": "type", "n_components": 1}, ValueError, "at least 2"),
        ({"annotation_key": ["type", "state"], "n_components": 2}, ValueError, "fewer than the 3 labels"),
        ({"annotation_min_cells": 3}, ValueError, "no effect without annotation_key"),
        ({"annotation_key": "type", "annotation_confidence": -1.0}, ValueError, "must not be negative"),
        ({"annotation_key": "type", "annotation_component_order": ["T"]}, ValueError, r"missing \['B'\]"),
        ({"dataset_key": "gap"}, ValueError, "missing in 1 cells"),
        ({"dataset_key": ["batch", "gap"]}, ValueError, r"dataset_key='gap' is missing in 1 cells.*obs\['gap'\]"),
        ({"dataset_key": ["batch", "stat"]}, KeyError, "dataset_key='stat' is not a column.*Did you mean 'state'"),
        ({"dataset_key": []}, ValueError, "names no column"),
        ({"dataset_key": "batch", "n_datasets": 3}, ValueError, "n_datasets=3, but .* has 2: early, late"),
        ({"n_datasets": 2}, ValueError, "no effect without dataset_key"),
        ({"priors": {"annotation_logits": np.ones((3, 2))}}, ValueError, r"shape \(12, components\), got \(3, 2\)"),
        ({"priors": {"annotation_logits": np.full((N, 2), np.nan)}}, ValueError, "not finite"),
        ({"priors": {"annotation_logits": np.ones((N, 2))}, "annotation_key": "type"}, ValueError, "keep one"),
    ],
)
def test_errors_name_the_fix(adata, options, error, message) -> None:
    with pytest.raises(error, match=message):
        read(adata, **options)


def test_columns_need_an_anndata() -> None:
    with pytest.raises(TypeError, match="pass an AnnData"):
        read(np.ones((N, 3)), annotation_key="type")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"annotation_confidence": 1.0}, r"annotation_confidence=1\.0 has no effect without annotation_key"),
        ({"annotation_confidence": 1.0, "n_components": 2}, "no effect without annotation_key"),
        ({"auto_downgrade_single_dataset_hierarchy": False}, "hierarchy=False has no effect without dataset_key"),
    ],
)
def test_keywords_without_effect_are_refused(adata, options, match) -> None:
    with pytest.raises(ValueError, match=match):
        read(adata, **options)


def test_labels_that_read_alike_when_joined_stay_apart(adata) -> None:
    adata.obs["left"] = pd.Categorical(["a | b", "a", "a", "a"] * 3)
    adata.obs["right"] = ["c", "b | c", "d", "d"] * 3
    found = read(adata, dataset_key=["left", "right"], dataset_params="mean")
    assert found.datasets == ("a | b | c", "a | d", "a | b | c (2)")
    assert len(set(found.design.dataset)) == 3
    assert found.factors == {"left": ("a", "a", "a | b"), "right": ("b | c", "d", "c")}
    adata.obs["left"], adata.obs["right"] = ["a__b", "a", None, "a"] * 3, ["c", "b__c", "d", "d"] * 3
    both = read(adata, annotation_key=["left", "right"])
    assert len(both.components) == 3
    np.testing.assert_array_equal(both.design.logits[2], 0)
    assert len({row.tobytes() for row in both.design.logits[:4]}) == 4


def test_no_cell_has_a_label(adata) -> None:
    adata.obs["none"] = None
    for keys in ("none", ["none", "type"]):
        with pytest.warns(UserWarning, match="0 label"):
            assert read(adata, annotation_key=keys).components == ()
        assert read(adata, annotation_key=keys, n_components=2).design.logits is None


def test_two_components_as_a_float(adata) -> None:
    assert read(adata, n_components=2.0).components == ("0", "1")
    with pytest.raises(ValueError, match=r"n_components must be a whole number of at least 2, got 2\.5"):
        read(adata, n_components=2.5)
