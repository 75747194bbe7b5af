"""Normalised expression: shares of denoised molecules, tables by level, what is written and refused."""

from __future__ import annotations

import numpy as np
import pytest

import scribe

pytestmark = pytest.mark.loose_promotion


@pytest.fixture(scope="module")
def adata(made_fit):
    return made_fit("nbvcp", parameterization="mean_disp")


def test_layer_is_the_share_of_denoised_molecules(adata, through_file) -> None:
    made = scribe.tl.normalize(adata, n_samples=5, target_sum=100, copy=True)
    assert "scribe_normalized" not in adata.layers
    molecules = scribe.get.results(adata).denoise_counts(n_samples=5)
    expected = 100 * molecules / molecules.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.layers["scribe_normalized"], expected, rtol=1e-4)
    table = through_file(made).varm["scribe_composition"]
    np.testing.assert_allclose(table["share_mean"].sum(), 100, rtol=1e-4)
    np.testing.assert_allclose(table["clr_mean"].sum(), 0, atol=1e-4)
    mu = np.asarray(scribe.get.results(adata).get_map()["mu"])
    np.testing.assert_allclose(table["share_mean"], 100 * mu / mu.sum(), rtol=0.3)
    with pytest.raises(ValueError, match="was computed from the fit"):
        scribe.tl.fit(made, layer="scribe_normalized")


def test_genes_alone(adata) -> None:
    made = scribe.tl.normalize(adata, n_samples=5, layer=False, key_added="shares", copy=True)
    assert not made.layers
    assert made.uns["shares"]["target_sum"] == 1e4
    assert "shares_composition" in made.varm


def test_a_table_for_every_level(small_mixture) -> None:
    made = scribe.tl.normalize(small_mixture, n_samples=3, layer=False, copy=True)
    table = made.varm["scribe_composition"]
    assert {f"{what}_{part}[{k}]" for what in ("share", "clr") for part in ("mean", "sd") for k in "01"} == set(table)
    np.testing.assert_allclose(table["share_mean[1]"].sum(), 1e4, rtol=1e-3)


def test_refusals(adata) -> None:
    with pytest.raises(ValueError, match="target_sum must be positive, got 0"):
        scribe.tl.normalize(adata, target_sum=0)
    taken = adata.copy()
    taken.layers["mine"] = taken.X.copy()
    with pytest.raises(ValueError, match=r"adata\.layers\['mine'\] is taken by something else"):
        scribe.tl.normalize(taken, key_added="mine")
    small = scribe.settings.override(max_array_gb=1e-6)
    with small, pytest.raises(ValueError, match=r"more than settings\.max_array_gb"):
        scribe.tl.normalize(adata)
