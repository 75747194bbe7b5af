"""The check as users call it: calibrated where the model holds, alarmed where it does not, tidy in its slots."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import scribe
from scribe import ConvergenceWarning

pytestmark = pytest.mark.loose_promotion

STATISTICS = {
    "scribe_ppc_mean_p",
    "scribe_ppc_variance_p",
    "scribe_ppc_zero_fraction_p",
    "scribe_ppc_coverage_50",
    "scribe_ppc_coverage_68",
    "scribe_ppc_coverage_95",
}


def fit(adata, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scribe.tl.fit(adata, **{"n_steps": 300, "early_stopping": False, **options})


@pytest.fixture
def fitted(small_fit):
    return small_fit


@pytest.fixture
def checked(small_check):
    return small_check


def test_sets_the_documented_slots_and_nothing_else(fitted):
    adata = fitted.copy()
    assert scribe.tl.ppc(adata, n_samples=3, n_genes=4) is None
    assert set(adata.var) - set(fitted.var) == STATISTICS
    assert set(adata.obs) - set(fitted.obs) == {"scribe_ppc_total_p", "scribe_ppc_detected_p"}
    assert set(adata.varm) - set(fitted.varm) == {"scribe_ppc"}
    assert set(adata.uns) - set(fitted.uns) == {"scribe_ppc"}
    pd.testing.assert_frame_equal(adata.var[list(fitted.var)], fitted.var)
    pd.testing.assert_frame_equal(adata.obs[list(fitted.obs)], fitted.obs)
    assert (adata.X != fitted.X).nnz == 0
    assert adata.uns["scribe"]["config"] == fitted.uns["scribe"]["config"]
    assert set(adata.obsm) == set(fitted.obsm)
    assert set(adata.layers) == set(fitted.layers)


def test_the_tables(checked):
    record = checked.uns["scribe_ppc"]
    assert list(record["table"]) == ["statistic", "level", "observed", "expected", "lower", "upper", "p_value"]
    assert {"gene", "count", "count_to", "observed", "median", "lower_95", "upper_50"} <= set(record["bands"])
    assert record["bands"]["gene"].nunique() == 6
    assert set(record["bands"]["gene"]) <= set(checked.var_names)
    assert record["n_samples"] == 12
    assert record["seed"] == checked.uns["scribe"]["seed"]
    dense = checked.X.toarray()
    sizes = checked.varm["scribe_ppc"]
    np.testing.assert_allclose(sizes["mean"], dense.mean(0), rtol=1e-6)
    np.testing.assert_allclose(sizes["variance"], dense.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(sizes["zero_fraction"], (dense == 0).mean(0), rtol=1e-6)
    for gene, rows in record["bands"].groupby("gene"):
        assert rows["observed"].sum() == checked.n_obs
        zeros = (dense[:, checked.var_names.get_loc(gene)] == 0).sum()
        assert rows.loc[rows["count"] == 0, "observed"].item() == zeros


def test_same_seed_same_scores(fitted, checked):
    again = scribe.tl.ppc(fitted, n_samples=12, n_genes=6, copy=True)
    pd.testing.assert_frame_equal(again.var, checked.var)
    other = scribe.tl.ppc(fitted, n_samples=12, n_genes=6, rng=1, copy=True)
    assert not other.var.equals(checked.var)


def test_survives_a_file(checked, tmp_path):
    checked.write_h5ad(tmp_path / "a.h5ad")
    read = ad.read_h5ad(tmp_path / "a.h5ad")
    for table in ("table", "bands"):
        pd.testing.assert_frame_equal(
            read.uns["scribe_ppc"][table], checked.uns["scribe_ppc"][table], check_index_type=False, check_dtype=False
        )
    scribe.tl.ppc(read, n_samples=2, n_genes=2)
    assert read.uns["scribe_ppc"]["n_samples"] == 2


def test_a_second_check_replaces_the_first(checked):
    adata = checked.copy()
    names = list(adata.var_names[[3, 1]])
    scribe.tl.ppc(adata, n_samples=2, genes=names)
    assert list(dict.fromkeys(adata.uns["scribe_ppc"]["bands"]["gene"])) == names
    assert set(adata.var) == set(checked.var)


def test_a_new_fit_removes_what_was_computed_from_the_old_one(checked):
    adata = checked.copy()
    fit(adata, key_added="other", n_steps=100)
    scribe.tl.ppc(adata, key="other", n_samples=2)
    fit(adata, n_steps=100)
    assert [name for name in (*adata.var, *adata.obs, *adata.varm, *adata.uns) if name.startswith("scribe_ppc")] == []
    assert "other_ppc" in adata.uns
    assert "other_ppc_total_p" in adata.obs


def test_subsets_and_views(checked):
    view = checked[:40, :20]
    scribe.tl.ppc(view, n_samples=2, n_genes=3)
    assert view.varm["scribe_ppc"].shape == (20, 6)
    np.testing.assert_allclose(view.varm["scribe_ppc"]["mean"], checked.X[:40, :20].toarray().mean(0), rtol=1e-6)
    assert checked.uns["scribe_ppc"]["n_samples"] == 12


def test_errors_name_the_remedy(fitted, small_counts):
    with pytest.raises(KeyError, match=r"Run scribe\.tl\.fit"):
        scribe.tl.ppc(small_counts)
    with pytest.raises(KeyError, match="not in the results"):
        scribe.tl.ppc(fitted, genes=["no such gene"])
    with pytest.raises(ValueError, match="n_samples must be at least 1"):
        scribe.tl.ppc(fitted, n_samples=0)
    taken = fitted.copy()
    taken.uns["scribe_ppc"] = {"mine": 1}
    with pytest.raises(ValueError, match="is taken by something else"):
        scribe.tl.ppc(taken, n_samples=1)
    assert set(taken.var) == set(fitted.var), "nothing is written before everything can be"


def test_p_values_are_uniform_for_data_drawn_from_the_posterior(fitted):
    """A replicate put in the place of the data, without a new fit, is one more draw from the same distribution."""
    adata = fitted.copy()
    adata.X = sparse.csr_matrix(scribe.get.results(fitted).get_ppc_samples(1, rng=7)[0])
    adata.obs["scribe_total"] = np.asarray(adata.X.sum(axis=1)).ravel()
    scribe.tl.ppc(adata, n_samples=40, rng=8)
    record = adata.uns["scribe_ppc"]
    for level in (50, 68, 95):
        assert record["coverage"][str(level)] == pytest.approx(level / 100, abs=0.06)
    for scores in (adata.var["scribe_ppc_variance_p"], adata.obs["scribe_ppc_detected_p"]):
        assert stats.kstest(scores, "uniform").pvalue > 1e-3
    assert record["flagged"]["zero_fraction"] < 0.2
    assert record["table"]["p_value"].between(1 / 82, 1 - 1 / 82).all()


def gated_counts():
    """Counts of a capture model of which every other gene is silent in four cells of ten."""
    rng = np.random.default_rng(5)
    n_cells, n_genes = 300, 40
    mean = rng.uniform(5.0, 12.0, n_genes) * rng.uniform(0.5, 1.0, (n_cells, 1))
    counts = rng.negative_binomial(6.0, 6.0 / (6.0 + mean))
    gated = np.arange(n_genes) % 2 == 0
    counts[(rng.uniform(size=counts.shape) < 0.4) & gated] = 0
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32))), gated


def test_zero_inflation_is_seen_by_a_model_without():
    adata, gated = gated_counts()
    fit(adata, model="nbvcp")
    scribe.tl.ppc(adata, n_samples=30, n_genes=2)
    assert (adata.var["scribe_ppc_zero_fraction_p"][gated] < 0.05).mean() > 0.8, "more zeros than the model makes"
    assert adata.uns["scribe_ppc"]["coverage"]["95"] < 0.7
    assert adata.uns["scribe_ppc"]["flagged"]["zero_fraction"] > 0.4


@pytest.mark.slow
def test_zero_inflation_is_described_by_a_model_with_it():
    adata, _ = gated_counts()
    fit(adata, model="zinbvcp", n_steps=1000)
    scribe.tl.ppc(adata, n_samples=30, n_genes=2)
    assert (adata.var["scribe_ppc_zero_fraction_p"] < 0.05).mean() < 0.15
    assert adata.uns["scribe_ppc"]["coverage"]["95"] > 0.85


def test_histograms_of_groups_of_cells(fitted, checked):
    adata = fitted.copy()
    adata.obs["side"] = pd.Categorical(np.where(np.arange(150) < 90, "left", "right"))
    adata.obs.loc[adata.obs_names[:30], "side"] = None
    names = list(adata.var_names[[2, 0]])
    scribe.tl.ppc(adata, n_samples=12, genes=names, groupby="side")
    record = adata.uns["scribe_ppc"]
    assert record["groupby"] == "side"
    for (gene, group), rows in record["bands"].groupby(["gene", "group"]):
        counts = adata[(adata.obs["side"] == group).to_numpy(), gene].X.toarray()
        assert rows["observed"].sum() == 60
        assert rows.loc[rows["count"] == 0, "observed"].item() == (counts == 0).sum()
        assert rows["upper_95"].max() <= 60
    pd.testing.assert_frame_equal(adata.var, checked.var)
    scribe.tl.ppc(adata, n_samples=2, groupby="side")
    assert adata.uns["scribe_ppc"]["bands"]["gene"].nunique() == 12, "25 histograms or less"
    with pytest.raises(KeyError, match=r"groupby='sid'.*Did you mean 'side'\?"):
        scribe.tl.ppc(adata, groupby="sid")


def test_genes_that_tell_groups_apart_come_first(fitted):
    adata = fitted.copy()
    most = adata.var_names[3]
    adata.obs["high"] = (adata[:, most].X.toarray().ravel() > np.median(adata[:, most].X.toarray())).astype(str)
    scribe.tl.ppc(adata, n_samples=1, n_genes=1, groupby="high")
    assert set(adata.uns["scribe_ppc"]["bands"]["gene"]) == {most}
    assert set(adata.uns["scribe_ppc"]["bands"]["group"]) == {"True", "False"}
