"""Simulated cells among observed ones: what is written, and that the share of neighbours tells good models from bad."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scribe
from scribe.tl.ppc_umap import _axes as axes
from scribe.tl.ppc_umap import mixing

pytestmark = pytest.mark.loose_promotion


def test_mixing_of_the_same_and_of_different_cells():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(400, 3)), rng.normal(size=(600, 3))
    assert mixing(two, one, 15) == pytest.approx(399 / 999, abs=0.02)
    assert mixing(two + 50.0, one, 15) == 1.0
    nearest = np.linalg.norm(one[:, None] - np.concatenate([one, two])[None], axis=2).argsort(axis=1)[:, 1:6]
    assert mixing(two, one, 5) == pytest.approx(np.mean(nearest < 400))
    assert mixing(np.zeros((10, 2)), np.zeros((10, 2)), 4) == pytest.approx(0.5, abs=0.5)


def test_simulated_cells_are_projected_like_observed_ones(small_fit):
    observed, simulated = axes(small_fit.X, small_fit.X[20:40], n_comps=5)
    assert observed.shape == (150, 5)
    np.testing.assert_allclose(simulated, observed[20:40], atol=1e-3)


def test_cells_of_one_law_mix_on_many_axes():
    """On axes fitted to one half of them, the other half would be among itself."""
    rng = np.random.default_rng(2)
    halves = (sp.csr_matrix(rng.poisson(5.0, (300, 80)).astype(np.float32)) for _ in range(2))
    assert mixing(*axes(*halves, n_comps=50), 15) == pytest.approx(299 / 599, abs=0.05)


def test_sets_the_documented_slots_and_nothing_else(small_fit, small_map, through_file):
    assert set(small_map.obsm) - set(small_fit.obsm) == {"scribe_ppc_umap"}
    assert set(small_map.uns) - set(small_fit.uns) == {"scribe_ppc_umap"}
    record = through_file(small_map).uns["scribe_ppc_umap"]
    assert record["simulated"].shape == (100, 2)
    assert record["expected"] == 99 / 249
    assert 0.2 < record["mixing"] < 0.6, "a short fit scatters cells wider than real ones"
    assert record["seed"] == small_fit.uns["scribe"]["seed"]
    assert (small_map.X != small_fit.X).nnz == 0


def test_too_few_cells(small_fit):
    with pytest.raises(ValueError, match="needs more than 15 cells, observed and simulated, and 3 genes: found 150"):
        scribe.tl.ppc_umap(small_fit, n_cells=10)
    with pytest.raises(KeyError, match=r"Run scribe\.tl\.fit"):
        scribe.tl.ppc_umap(ad.AnnData(np.ones((30, 5), np.float32)))


@pytest.mark.slow
def test_cells_of_the_right_model_mix_with_the_data():
    """Data drawn from the model itself, against data of two types; the map is made by UMAP."""
    rng = np.random.default_rng(1)
    mean = np.geomspace(1, 30, 80)
    shares = []
    for effect in (0.0, 1.5):
        types = np.exp(effect * rng.normal(size=(2, 80)))[rng.integers(0, 2, 400)]
        counts = rng.poisson(rng.gamma(4.0, mean * types / 4.0)).astype(np.float32)
        adata = ad.AnnData(counts)
        scribe.tl.fit(adata, parameterization="mean_disp")
        scribe.tl.ppc_umap(adata)
        assert np.isfinite(adata.obsm["scribe_ppc_umap"]).all()
        shares.append(adata.uns["scribe_ppc_umap"]["mixing"])
    assert shares[0] == pytest.approx(0.5, abs=0.05)
    assert shares[1] > 0.8
