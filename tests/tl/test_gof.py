"""Goodness of fit as users ask for it: slots, masks, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scribe
from scribe._stats.residuals import GENE_SCORES, GROUPS, NORMAL, SCORES, goodness_of_fit

pytestmark = pytest.mark.loose_promotion

VAR = {"scribe_gof", *(f"scribe_gof_{score}" for score in GENE_SCORES)}
OBS = {f"scribe_gof_{score}" for score in SCORES}


def test_sets_the_documented_slots_and_nothing_else(small_fit, small_residuals):
    assert set(small_residuals.var) - set(small_fit.var) == VAR
    assert set(small_residuals.obs) - set(small_fit.obs) == OBS
    assert set(small_residuals.varm) - set(small_fit.varm) == {"scribe_gof"}
    assert set(small_residuals.uns) - set(small_fit.uns) == {"scribe_gof"}
    pd.testing.assert_frame_equal(small_residuals.var[list(small_fit.var)], small_fit.var)
    assert (small_residuals.X != small_fit.X).nnz == 0
    assert small_residuals.varm["scribe_gof"].shape == (small_fit.n_vars, len(NORMAL))
    assert small_residuals.var["scribe_gof"].dtype == bool
    record = small_residuals.uns["scribe_gof"]
    assert set(record["table"]["expression"]) <= set(GROUPS)
    assert sum(record["n_genes"].values()) == small_fit.n_vars
    assert sum(record["failing"].values()) == (~small_residuals.var["scribe_gof"]).sum()
    assert (record["min_variance"], record["max_variance"], record["n_cells"]) == (0.5, 1.5, small_fit.n_obs)


def test_is_that_of_the_results_and_survives_a_file(small_fit, small_residuals, through_file):
    found = goodness_of_fit(scribe.get.results(small_fit), n_samples=3)
    read = through_file(small_residuals)
    np.testing.assert_allclose(read.var["scribe_gof_p_value"], found.gene["p_value"])
    for score in SCORES:
        np.testing.assert_allclose(read.var[f"scribe_gof_{score}"], found.gene[score])
        np.testing.assert_allclose(read.obs[f"scribe_gof_{score}"], found.cell[score])
    assert read.uns["scribe_gof"]["seed"] == small_fit.uns["scribe"]["seed"]
    np.testing.assert_array_equal(read.var["scribe_gof"], found.mask())


def test_limits_and_another_seed(small_check, small_residuals):
    adata = small_check.copy()
    limits = {"max_variance": 1.05, "max_ks": 0.2, "false_positive_rate": None}
    scribe.tl.gof(adata, n_samples=3, max_calibration_failure=0.1, **limits)
    variance, ks = adata.var["scribe_gof_variance"], adata.var["scribe_gof_ks"]
    np.testing.assert_array_equal(ks, small_residuals.var["scribe_gof_ks"], "the same seed")
    expected = (variance >= 0.5) & (variance <= 1.05) & (ks <= 0.2) & ~(adata.var["scribe_ppc_coverage_95"] < 0.9)
    np.testing.assert_array_equal(adata.var["scribe_gof"], expected)
    assert 0 < expected.sum() < adata.n_vars
    assert adata.uns["scribe_gof"]["max_calibration_failure"] == 0.1
    record, p_value = adata.uns["scribe_gof"], adata.var["scribe_gof_p_value"].copy()
    assert (record["max_ks"], "false_positive_rate" in record) == (0.2, False)
    scribe.tl.gof(adata, n_samples=3, rng=1)
    record = adata.uns["scribe_gof"]
    assert ("max_ks" in record, record["false_positive_rate"]) == (False, 0.01)
    np.testing.assert_array_equal(adata.var["scribe_gof_p_value"], p_value, "which does not depend on the seed")
    assert np.abs(adata.var["scribe_gof_ks"] - ks).max() > 1e-3


def test_what_is_missing(small_fit):
    adata = small_fit.copy()
    with pytest.raises(KeyError, match=r"scribe\.tl\.ppc\(adata\)"):
        scribe.tl.gof(adata, max_calibration_failure=0.5)
    with pytest.raises(KeyError, match="Did you mean 'scribe'"):
        scribe.tl.gof(adata, key="scrib")
    with pytest.raises(ValueError, match="n_samples must not be negative"):
        scribe.tl.gof(adata, n_samples=-1)
    with pytest.raises(ValueError, match=r"false_positive_rate is a share of genes .* got 5"):
        scribe.tl.gof(adata, false_positive_rate=5)
    assert "scribe_gof" not in adata.uns
    with pytest.raises(ValueError, match="scores must be some of mean, variance"):
        scribe.pl.gof_scores(scribe.tl.gof(adata, n_samples=0, copy=True), scores="deviance")
