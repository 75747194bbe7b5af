"""Dispersions that counts determine do not move with the prior, others do."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scribe

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")]


def sample(seed: int) -> ad.AnnData:
    """Genes of 0.02 to 20 molecules per cell, from bursts to nearly Poisson, and one that is never seen."""
    rng, genes, cells = np.random.default_rng(seed), 120, 300
    mean, r = (np.exp(rng.uniform(*np.log(ends), genes)) for ends in ((0.02, 20.0), (0.3, 1000.0)))
    counts = rng.poisson(rng.gamma(r, np.exp(rng.normal(0, 0.3, (cells, 1))) * mean / r))
    counts[:, 0] = 0
    return ad.AnnData(counts.astype(np.float32))


def table(adata: ad.AnnData, scale: float):
    scribe.tl.fit(adata, parameterization="mean_disp", priors={"r": (0.0, scale)}, n_steps=2500)
    found = scribe.get.params(adata)
    log_sd = np.sqrt(np.log1p((found["r_sd"] / found["r_mean"]) ** 2))
    return found, np.log(found["r_mean"]) - log_sd**2 / 2, log_sd


@pytest.mark.filterwarnings("ignore:X. 1 of 120 genes are zero")
def test_what_counts_determine_is_not_moved_by_the_prior() -> None:
    adata = sample(0)
    (found, before, sd), (_, after, _) = table(adata, 3.0), table(adata, 6.0)
    moved = np.abs(after - before) / sd
    known = found["r_identified"]
    assert known.dtype == bool
    assert moved[known].max() < 0.5
    assert 0.2 < known.mean() < 0.8
    assert np.median(moved[~known]) > 1.0
    assert not known.iloc[0]
    assert "mu_identified" not in found


def test_columns_go_with_levels_and_shared_parameters_have_none(made_fit) -> None:
    assert "r_identified" in scribe.get.params(made_fit())
    assert not any("identified" in name for name in scribe.get.params(made_fit("nbdm", parameterization="mean_odds")))
