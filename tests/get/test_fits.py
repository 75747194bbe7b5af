"""Readers of what a fit left behind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scribe


def test_params_is_the_table_and_a_copy(made_fit):
    adata = made_fit("zinbvcp", parameterization="mean_disp")
    table = scribe.get.params(adata)
    assert isinstance(table, pd.DataFrame)
    pd.testing.assert_frame_equal(table, adata.varm["scribe_params"])
    table["mu_mean"] = 0.0
    assert (adata.varm["scribe_params"]["mu_mean"] > 0).all()


def test_params_agree_with_the_posterior(made_fit):
    adata = made_fit("zinbvcp", parameterization="mean_disp")
    table, draws = scribe.get.params(adata), scribe.get.results(adata).get_posterior_samples(3000, rng=1)
    for name in ("mu", "r", "gate"):
        values = np.asarray(draws[name], np.float64)
        error = values.std(axis=0) / np.sqrt(1000)
        assert np.all(np.abs(table[f"{name}_mean"] - values.mean(axis=0)) < 6 * error)
        np.testing.assert_allclose(table[f"{name}_sd"], values.std(axis=0), rtol=0.2)


def test_results_of_each_key(made_fit):
    adata = made_fit("nbvcp", key="first")
    other = made_fit("nbvcp", key="second", params={"mu": 3.0})
    assert scribe.get.results(adata, key="first").capture_identified == "relative"
    assert scribe.get.params(other, key="second").shape == (12, 7)
    for reader in (scribe.get.results, scribe.get.params):
        with pytest.raises(
            KeyError, match=r"No fit under adata.uns\['scribe'\]. Fits found: 'first'.*key_added='scribe'"
        ):
            reader(adata)


def test_params_follow_the_genes(made_fit):
    adata = made_fit()
    part = scribe.get.params(adata[:, ["gene5", "gene1"]])
    whole = scribe.get.params(adata).loc[["gene5", "gene1"]]
    pd.testing.assert_frame_equal(part, whole, check_categorical=False)
