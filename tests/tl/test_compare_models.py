"""Comparison of fits in an AnnData: slots, files, what a new fit removes; molecules split in two."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scribe
from scribe.engines import EarlyStopping

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")]

NAMES = ["poisson", "nb"]


def test_slots_are_those_of_the_comparison(compared):
    record = compared.uns["scribe_compare"]
    fits = [scribe.get.results(compared, key=name) for name in NAMES]
    expected = scribe.compare_models(fits, model_names=NAMES, n_samples=40)
    assert record["summary"] == expected.summary()
    assert (record["criterion"], record["n_samples"], record["seed"]) == ("psis_loo", 40, 42)
    table = scribe.get.model_comparison(compared)
    pd.testing.assert_frame_equal(table.drop(columns="pseudo_bma"), expected.rank())
    pd.testing.assert_frame_equal(scribe.get.model_comparison(compared, table="differences"), expected.differences())
    diagnostics = scribe.get.model_comparison(compared, table="diagnostics")
    pd.testing.assert_frame_equal(diagnostics, expected.diagnostics())
    np.testing.assert_array_equal(compared.obsm["scribe_compare_elpd"], expected.elpd())
    np.testing.assert_array_equal(compared.obsm["scribe_compare_k_hat"]["nb"], expected.psis_loo("nb").k_hat)
    np.testing.assert_array_equal(table["pseudo_bma"], expected.pseudo_bma_weights()[table.index])
    table = expected.gene_level_comparison("nb", "poisson")
    genes = compared.varm["scribe_compare_genes"]
    for slot, column in {
        "elpd_nb": "elpd_A",
        "elpd_poisson": "elpd_B",
        "elpd_diff_poisson": "elpd_diff",
        "elpd_diff_se_poisson": "elpd_diff_se",
    }.items():
        np.testing.assert_allclose(genes[slot], table[column], rtol=1e-6)
    np.testing.assert_allclose(genes["mean"], np.asarray(compared.X.mean(axis=0)).ravel(), rtol=1e-6)
    favors = compared.var["scribe_compare_favors"].astype(object)
    np.testing.assert_array_equal(favors.where(favors.notna(), ""), table["favors"])


def test_genes_may_be_what_is_left_out(compared):
    made = scribe.tl.compare_models(compared, NAMES, observations="gene", n_samples=30, genes=False, copy=True)
    fits = [scribe.get.results(compared, key=name) for name in NAMES]
    expected = scribe.compare_models(fits, model_names=NAMES, observations="gene", n_samples=30)
    np.testing.assert_array_equal(made.varm["scribe_compare_elpd"], expected.elpd())
    np.testing.assert_array_equal(made.varm["scribe_compare_k_hat"]["poisson"], expected.psis_loo("poisson").k_hat)
    assert "scribe_compare_elpd" not in made.obsm
    assert scribe.pl.model_comparison(made, show=False).get_title(loc="left") == "leave-one-gene-out"
    with pytest.raises(TypeError, match=r"unknown keyword 'observation'\. Did you mean 'observations'"):
        scribe.tl.compare_models(compared, NAMES, observation="gene")


def test_a_comparison_survives_files(compared, through_file):
    back = through_file(compared)
    pd.testing.assert_frame_equal(scribe.get.model_comparison(back), scribe.get.model_comparison(compared))
    assert back.uns["scribe_compare"]["summary"] == compared.uns["scribe_compare"]["summary"]


def test_a_new_fit_removes_comparisons_with_the_old_one(compared):
    adata = compared.copy()
    scribe.tl.fit(adata, "nbdm", key_added="other", n_steps=2, early_stopping=False)
    assert "scribe_compare" in adata.uns
    scribe.tl.fit(adata, "nbdm", key_added="nb", n_steps=2, early_stopping=False)
    assert "scribe_compare" not in adata.uns
    assert "scribe_compare_elpd" not in adata.obsm
    assert "scribe_compare_genes" not in adata.varm
    assert "scribe_compare_favors" not in adata.var
    assert "poisson" in adata.uns


def test_a_comparison_replaces_another_and_nothing_else(compared):
    adata = compared.copy()
    options = {"criterion": "held_out", "n_samples": 5, "fraction": 0.2, "genes": False}
    made = scribe.tl.compare_models(adata, NAMES[::-1], copy=True, **options)
    assert adata.uns["scribe_compare"]["criterion"] == "psis_loo"
    assert made.uns["scribe_compare"]["criterion"] == "held_out"
    assert "scribe_compare_genes" not in made.varm
    assert made.obsm["scribe_compare_elpd"].notna().sum().tolist() == [10, 10]
    engine = scribe.engines.SVI(3, early_stopping=EarlyStopping(enabled=False, restore_best=False))
    short = scribe.tl.compare_models(adata, NAMES[::-1], copy=True, engine=engine, **options)
    difference = short.obsm["scribe_compare_elpd"]["nb"].sum() - made.obsm["scribe_compare_elpd"]["nb"].sum()
    assert abs(difference) > 0.5, "the models are fitted again by the given engine"
    assert "p" not in scribe.get.model_comparison(made)
    with pytest.raises(KeyError, match="compared by held_out, which has no table"):
        scribe.get.model_comparison(made, table="diagnostics")
    with pytest.raises(ValueError, match=r"adata.uns\['nb'\] is taken by something else"):
        scribe.tl.compare_models(adata, NAMES, key_added="nb")
    with pytest.raises(ValueError, match="two fits or more"):
        scribe.tl.compare_models(adata, ["nb"])
    with pytest.raises(KeyError, match=r"No fit under adata.uns\['nbb'\]. Did you mean 'nb'"):
        scribe.tl.compare_models(adata, ["nb", "nbb"])
    with pytest.raises(KeyError, match=r"Did you mean 'scribe_compare'\? Run scribe.tl.compare_models\(adata, keys="):
        scribe.get.model_comparison(adata, key="scribe_compar")


def test_fits_of_two_layers_are_not_compared(small_counts):
    adata = small_counts.copy()
    adata.layers["twice"] = adata.X * 2
    for name, layer in (("once", None), ("twice", "twice")):
        scribe.tl.fit(adata, layer=layer, key_added=name, n_steps=2, early_stopping=False)
    with pytest.raises(ValueError, match=r"twice is a fit of other counts, layers\['twice'\], than .*, X: "):
        scribe.tl.compare_models(adata, ["once", "twice"])
    with pytest.raises(ValueError, match="key_added='a/b' must be a name without '/'"):
        scribe.tl.compare_models(adata, ["once", "twice"], key_added="a/b")
    assert "scribe_compare" not in adata.uns


def test_split_molecules_add_up(small_counts):
    adata = small_counts.copy()
    before = adata.X.copy()
    scribe.tl.split_counts(adata, fraction=0.3, rng=1)
    train, test = (adata.layers[f"counts_{part}"].toarray() for part in ("train", "test"))
    np.testing.assert_array_equal(train + test, before.toarray())
    total = before.sum()
    assert abs(test.sum() / total - 0.3) < 4 * np.sqrt(0.21 / total)
    again = scribe.tl.split_counts(small_counts, fraction=0.3, rng=1, key_added="part", copy=True)
    np.testing.assert_array_equal(again.layers["part_test"].toarray(), test)
    assert "part_test" not in small_counts.layers
    from_layer = scribe.tl.split_counts(adata, layer="counts_train", key_added="half", copy=True)
    np.testing.assert_array_equal((from_layer.layers["half_train"] + from_layer.layers["half_test"]).toarray(), train)


def test_what_cannot_be_split(small_counts):
    with pytest.raises(ValueError, match=r"fraction must be between 0 and 1, got 1.5: 0.5 splits"):
        scribe.tl.split_counts(small_counts, fraction=1.5)
    halves = small_counts.copy()
    halves.X = halves.X * 1.5
    with pytest.raises(ValueError, match="not whole numbers"):
        scribe.tl.split_counts(halves)
