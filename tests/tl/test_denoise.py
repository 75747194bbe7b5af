"""`tl.denoise`: what it writes, what it refuses, and that it creates no signal."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scribe
from scribe._adata.read import integer_calls


@pytest.fixture
def adata(made_fit):
    return made_fit()


def test_layer_sd_and_record(adata):
    assert scribe.tl.denoise(adata, sd=True, n_samples=20) is None
    results = scribe.get.results(adata)
    blocks = list(results.denoise_blocks(n_samples=20))
    value, sd = adata.layers["scribe_denoised"], adata.layers["scribe_denoised_sd"]
    assert value.dtype == sd.dtype == np.float32
    np.testing.assert_array_equal(value, np.concatenate([block.value for block in blocks]))
    np.testing.assert_array_equal(sd, np.concatenate([block.sd for block in blocks]))
    assert (value >= adata.X.toarray() - 1e-4).all()
    record = adata.uns["scribe_denoised"]
    assert record["quantity"] == "mean of the posterior of the count before capture, given the observed count"
    assert record["unit"] == "molecules before capture, up to one unknown factor common to all cells and genes"
    assert "NB(size r + u" in record["formula"]
    assert (record["method"], record["n_samples"], record["seed"]) == ("mean", 20, 7)
    assert record["derived_from"] == "scribe"
    assert json.loads(record["slots"])["layers"] == ["scribe_denoised", "scribe_denoised_sd"]


@pytest.mark.parametrize("method", ["mode", "sample"])
def test_whole_numbers(adata, method):
    scribe.tl.denoise(adata, method=method, n_samples=3)
    value = adata.layers["scribe_denoised"]
    np.testing.assert_array_equal(value, np.rint(value))
    assert (value >= adata.X.toarray()).all()
    assert "scribe_denoised_sd" not in adata.layers


def test_unit_names_what_is_known_of_capture(made_fit):
    anchored = made_fit("nbvcp", priors={"organism": "human"})
    scribe.tl.denoise(anchored, n_samples=0)
    assert anchored.uns["scribe_denoised"]["unit"] == "molecules before capture"
    inflated = made_fit("zinb", parameterization="mean_odds")
    scribe.tl.denoise(inflated, n_samples=0)
    assert inflated.uns["scribe_denoised"]["unit"] == "counts without dropout"


def test_some_genes_go_to_obsm(adata):
    scribe.tl.denoise(adata, genes=["gene7", "gene2"], n_samples=0, sd=True)
    assert not adata.layers
    table, sd = adata.obsm["scribe_denoised"], adata.obsm["scribe_denoised_sd"]
    assert isinstance(table, pd.DataFrame)
    assert list(table) == list(sd) == ["gene7", "gene2"]
    assert table.index.equals(adata.obs_names)
    whole = scribe.tl.denoise(adata, n_samples=0, copy=True)
    np.testing.assert_allclose(table, whole[:, ["gene7", "gene2"]].layers["scribe_denoised"], rtol=1e-5)
    mask = pd.Series([name == "gene3" for name in adata.var_names], adata.var_names)
    for genes in (3, ("gene3",), mask, mask[::-1]):
        scribe.tl.denoise(adata, genes=genes, n_samples=0)
        assert list(adata.obsm["scribe_denoised"]) == ["gene3"]
    scribe.tl.denoise(adata, genes="gene3", n_samples=0)
    assert list(adata.obsm["scribe_denoised"]) == ["gene3"]
    assert "scribe_denoised_sd" not in adata.obsm


def test_seed_is_enough_to_repeat(adata):
    scribe.tl.denoise(adata, n_samples=3, rng=np.random.default_rng(4))
    first = adata.layers["scribe_denoised"].copy()
    scribe.tl.denoise(adata, n_samples=3, rng=adata.uns["scribe_denoised"]["seed"])
    np.testing.assert_array_equal(adata.layers["scribe_denoised"], first)
    scribe.tl.denoise(adata, n_samples=3)
    assert not np.array_equal(adata.layers["scribe_denoised"], first)


def test_copy_leaves_the_object_alone(adata):
    other = scribe.tl.denoise(adata, n_samples=0, copy=True)
    assert "scribe_denoised" in other.layers
    assert "scribe_denoised" not in adata.layers
    assert "scribe_denoised" not in adata.uns


def test_file_round_trip(adata, through_file):
    scribe.tl.denoise(adata, n_samples=0)
    scribe.tl.denoise(adata, n_samples=0, genes=["gene1"], key_added="one", sd=True)
    back = through_file(adata)
    np.testing.assert_array_equal(back.layers["scribe_denoised"], adata.layers["scribe_denoised"])
    pd.testing.assert_frame_equal(back.obsm["one"], adata.obsm["one"], check_names=False, check_index_type=False)
    assert dict(back.uns["one"]) == adata.uns["one"]
    scribe.tl.denoise(back, n_samples=0, key_added="one")
    assert "one" not in back.obsm
    assert "one_sd" not in back.obsm


def test_results_under_other_names(adata):
    scribe.tl.denoise(adata, n_samples=0, key_added="mine")
    scribe.tl.denoise(adata, n_samples=0, method="mode")
    # anndata 0.13 lists X among them, under None
    assert set(adata.layers) - {None} == {"mine", "scribe_denoised"}
    adata.layers["counts"] = adata.X.copy()
    for options in ({"key_added": "counts"}, {"key_added": "scribe"}):
        with pytest.raises(ValueError, match=rf"\['{options['key_added']}'\] is taken by something else"):
            scribe.tl.denoise(adata, n_samples=0, **options)
    assert sparse.issparse(adata.layers["counts"])
    adata.layers["other_sd"] = adata.X.copy()
    with pytest.raises(ValueError, match=r"adata.layers\['other_sd'\] is taken by something else"):
        scribe.tl.denoise(adata, n_samples=2, sd=True, key_added="other")
    scribe.tl.ppc(adata, n_samples=2)
    with pytest.raises(ValueError, match=r"adata.uns\['scribe_ppc'\] is taken by another result of the fit 'scribe'"):
        scribe.tl.denoise(adata, n_samples=0, key_added="scribe_ppc")
    for name in ("a/b", ""):
        with pytest.raises(ValueError, match=rf"key_added='{name}' must be a name without '/'"):
            scribe.tl.denoise(adata, n_samples=0, key_added=name)
    adata.uns["scribe_denoised"] = "mine"
    with pytest.raises(ValueError, match=r"adata.uns\['scribe_denoised'\] is taken by something else"):
        scribe.tl.denoise(adata, n_samples=0)


def test_identity_is_announced(made_fit):
    adata = made_fit("nbdm")
    with pytest.warns(
        UserWarning, match=r"\(nb\) has neither capture nor zero inflation: .* denoising returns the counts"
    ):
        scribe.tl.denoise(adata, n_samples=0)
    np.testing.assert_array_equal(adata.layers["scribe_denoised"], adata.X.toarray())


def test_too_large_a_result_is_refused_before_the_work(adata):
    with scribe.settings.override(max_array_gb=3 * 30 * 12 * 4 / 2e9):
        with pytest.raises(ValueError, match=r"2 x 30 cells x 12 genes take .* Name the genes you need"):
            scribe.tl.denoise(adata, sd=True)
        scribe.tl.denoise(adata, n_samples=0)
        scribe.tl.denoise(adata, n_samples=0, sd=True, genes=["gene1"])


def test_bad_arguments(adata):
    with pytest.raises(ValueError, match="method must be one of 'mean', 'mode', 'sample', got 'median'"):
        scribe.tl.denoise(adata, method="median")
    with pytest.raises(ValueError, match="n_samples must not be negative, got -1"):
        scribe.tl.denoise(adata, n_samples=-1)
    with pytest.raises(KeyError, match=r"1 gene\(s\) are not in the results.*Did you mean 'gene"):
        scribe.tl.denoise(adata, genes=["gene99"])
    with pytest.raises(KeyError, match=r"No fit under adata.uns\['scribe'\].*Run scribe.tl.fit"):
        scribe.tl.denoise(ad.AnnData(np.ones((3, 3), np.float32)))
    assert not adata.layers


@pytest.mark.parametrize("method", ["mean", "sample"])
def test_denoised_layers_are_not_counts(adata, method):
    scribe.tl.denoise(adata, n_samples=2, method=method, sd=True)
    for layer in ("scribe_denoised", "scribe_denoised_sd"):
        for verb in (scribe.tl.fit, scribe.fit):
            with pytest.raises(
                ValueError, match=rf"layers\['{layer}'\] was computed from the fit 'scribe'.*not counts"
            ):
                verb(adata, layer=layer)
    assert integer_calls(adata, exclude="other") == ("scribe.tl.fit(adata)",)


def test_denoised_values_follow_the_genes_and_cells(adata):
    scribe.tl.denoise(adata, n_samples=0)
    part = adata[:10, ["gene4", "gene0"]].copy()
    assert part.layers["scribe_denoised"].shape == (10, 2)
    scribe.tl.denoise(part, n_samples=0, key_added="again")
    np.testing.assert_allclose(part.layers["again"], part.layers["scribe_denoised"], rtol=1e-5)


@pytest.mark.loose_promotion
def test_no_correlation_is_made():
    """Genes that are independent given capture stay so after denoising: correlations are those of noise."""
    adata = scribe.datasets.simulate(400, 60, params={"mu": np.geomspace(2, 200, 60)}, rng=1)
    scribe.tl.fit(adata)
    scribe.tl.denoise(adata, n_samples=10)
    upper = np.triu_indices(60, 1)
    noise = 0.6745 / np.sqrt(400)
    raw = np.abs(np.corrcoef(adata.X.toarray(), rowvar=False)[upper])
    denoised = np.abs(np.corrcoef(adata.layers["scribe_denoised"], rowvar=False)[upper])
    assert np.median(raw) > 1.5 * noise, "capture alone correlates raw counts"
    assert np.median(denoised) < 1.2 * noise
    assert np.quantile(denoised, 0.99) < 4 / np.sqrt(400)
    scale = adata.layers["scribe_denoised"].mean(0) / adata.varm["truth"]["mu"]
    assert scale.std() / scale.mean() < 0.1


@pytest.mark.loose_promotion
@pytest.mark.parametrize("method", ["mean", "sample"])
def test_shuffled_genes_stay_uncorrelated(method):
    """Two cell types, then every gene permuted over cells of like totals: denoising must not bring signal back."""
    rng = np.random.default_rng(4)
    types = np.exp(rng.normal(size=(2, 50)))[rng.integers(0, 2, 300)]
    capture = rng.uniform(0.05, 0.2, (300, 1))
    counts = rng.poisson(rng.gamma(5.0, np.geomspace(5, 200, 50) * types / 5.0) * capture)
    upper = np.triu_indices(50, 1)

    def correlation(values):
        return np.median(np.abs(np.corrcoef(values, rowvar=False)[upper]))

    shuffled = counts.copy()
    for cells in np.array_split(np.argsort(counts.sum(axis=1)), 4):
        shuffled[cells] = rng.permuted(counts[cells], axis=0)
    raw = correlation(shuffled)
    assert correlation(counts) > 1.5 * raw, "there was signal to lose"
    adata = ad.AnnData(sparse.csr_matrix(shuffled.astype(np.float32)))
    scribe.tl.fit(adata)
    scribe.tl.denoise(adata, method=method, n_samples=10)
    assert correlation(adata.layers["scribe_denoised"]) < 1.1 * raw


@pytest.mark.loose_promotion
@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
def test_a_fit_that_does_not_know_cell_types_is_told():
    rng = np.random.default_rng(0)
    of, fold = np.arange(300) % 3, np.ones((3, 60))
    for kind in range(3):
        fold[kind, 15 * kind : 15 * kind + 15] = 20.0
    mean = np.exp(rng.normal(0.5, 0.5, 60)) * fold[of] * np.exp(rng.normal(-0.5, 0.3, (300, 1)))
    adata = ad.AnnData(rng.poisson(rng.gamma(5.0, mean / 5.0)).astype(np.float32))
    adata.obs["type"] = [f"t{kind}" for kind in of]
    options = {"n_steps": 800, "early_stopping": False}
    scribe.tl.fit(adata, **options)
    said = r'times as predicted \(.*\) and counts of .* parameterization="mean_disp" .* annotation_key=\.\.\. and'
    with pytest.warns(UserWarning, match=said) as caught:
        scribe.tl.denoise(adata, n_samples=0)
    assert caught[0].filename == __file__
    scribe.tl.fit(adata, parameterization="mean_disp", annotation_key="type", mixture_params="mean", **options)
    scribe.tl.denoise(adata, n_samples=0)
    value, off = adata.layers["scribe_denoised"], of != 0
    marker = value[:, :15]
    assert marker[off].mean() < 0.1 * marker[~off].mean()
