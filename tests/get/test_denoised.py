"""`get.denoised`: the values of `tl.denoise` as data sets of their own, which know that they are no counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scribe
from scribe._adata.read import integer_calls


@pytest.fixture
def adata(made_fit):
    made = made_fit()
    made.obsm["X_pca"] = np.arange(60.0).reshape(30, 2)
    return made


def test_values_are_those_of_the_verb_and_annotations_are_kept(adata):
    made = scribe.get.denoised(adata, method="mean", n_samples=5)
    scribe.tl.denoise(adata, n_samples=5)
    np.testing.assert_array_equal(made.X, adata.layers["scribe_denoised"])
    pd.testing.assert_frame_equal(made.obs, adata.obs)
    pd.testing.assert_frame_equal(made.var, adata.var)
    np.testing.assert_array_equal(made.obsm["X_pca"], adata.obsm["X_pca"])
    record = made.uns["scribe_denoised"]
    same = {"quantity", "unit", "formula", "method", "n_samples", "seed", "model", "derived_from"}
    assert {name: record[name] for name in same} == {name: adata.uns["scribe_denoised"][name] for name in same}
    made.obs["more"] = 1
    assert "more" not in adata.obs


def test_means_of_what_was_counted_and_samples_of_zeros(adata):
    first, second = scribe.get.denoised(adata, n_datasets=2, n_samples=200)
    zero = adata.X.toarray() == 0
    assert first.uns["scribe_denoised"]["method"] == "mean for observed counts and sample for zeros"
    np.testing.assert_array_equal(first.X[zero], np.rint(first.X[zero]))
    assert not np.array_equal(first.X[zero], second.X[zero])
    np.testing.assert_allclose(first.X[~zero], second.X[~zero], rtol=0.2)
    assert (first.X[~zero] % 1 > 0).any()
    assert [part.uns["scribe_denoised"]["dataset"] for part in (first, second)] == [0, 1]
    again = scribe.get.denoised(adata, n_samples=200, rng=second.uns["scribe_denoised"]["seed"])
    np.testing.assert_array_equal(again.X, second.X)


def test_some_genes_in_their_order(adata):
    made = scribe.get.denoised(adata, method="mean", n_samples=0, genes=["gene7", "gene2"])
    assert list(made.var_names) == ["gene7", "gene2"]
    whole = scribe.get.denoised(adata, method="mean", n_samples=0)
    np.testing.assert_allclose(made.X, whole[:, ["gene7", "gene2"]].X, rtol=1e-5)
    assert scribe.get.denoised(adata, n_samples=0, genes="gene1").shape == (30, 1)


def test_they_are_not_counts(adata, through_file):
    made = through_file(scribe.get.denoised(adata, method="sample"))
    made.layers["counts"] = adata.X.copy()
    for part in (made, made[:20].copy(), made[:, :5]):
        for verb in (scribe.tl.fit, scribe.fit):
            with pytest.raises(ValueError, match=r"X was computed from the fit 'scribe' by scribe\.get\.denoised"):
                verb(part)
    assert integer_calls(made, exclude="other") == ('scribe.tl.fit(adata, layer="counts")',)


@pytest.mark.loose_promotion
def test_a_fit_of_counts_beside_them_does_not_change_what_they_are(adata):
    made = scribe.get.denoised(adata, method="sample")
    made.layers["counts"] = adata.X.copy()
    with pytest.warns(scribe.ConvergenceWarning):
        scribe.tl.fit(made, layer="counts", key_added="again", n_steps=5, early_stopping=False)
    with pytest.raises(ValueError, match="X was computed from the fit"):
        scribe.tl.fit(made)
    with pytest.raises(ValueError, match=r"adata.uns\['scribe_denoised'\] is taken by something else"):
        scribe.tl.denoise(made, key="again", key_added="scribe_denoised", n_samples=0)


def test_bad_arguments(adata):
    with pytest.raises(ValueError, match="n_datasets must be at least 1, got 0"):
        scribe.get.denoised(adata, n_datasets=0)
    with pytest.raises(KeyError, match=r"1 gene\(s\) are not in the results"):
        scribe.get.denoised(adata, genes=["gene99"])
    with (
        scribe.settings.override(max_array_gb=3 * 30 * 12 * 4 / 2e9),
        pytest.raises(ValueError, match="2 x 30 cells x 12 genes take"),
    ):
        scribe.get.denoised(adata, n_datasets=2)
