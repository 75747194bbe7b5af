"""Observed over predicted dispersion against dense sums, and variation in common against laws of random matrices."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest

import scribe
from scribe._posterior.misfit import misfit

pytestmark = pytest.mark.loose_promotion

N, GENES = 300, 60


def cells(*, n_types: int = 1, seed: int = 0, size: float | None = None) -> ad.AnnData:
    """Cells of types with fifteen markers each, by a negative binomial; ``size`` is r over the mean, if shared."""
    rng = np.random.default_rng(seed)
    of, mean = np.arange(N) % n_types, np.exp(rng.normal(0.5, 0.8, GENES))
    fold = np.ones((n_types, GENES))
    for t in range(1, n_types):
        fold[t, 15 * t : 15 * t + 15] = 15.0
    r = np.exp(rng.normal(1.0, 0.4, GENES)) if size is None else size * mean
    rates = rng.gamma(r, mean * fold[of] * np.exp(rng.normal(-0.5, 0.3, (N, 1))) / r)
    adata = ad.AnnData(rng.poisson(rates).astype(np.float32))
    adata.obs["type"] = [f"t{t}" for t in of]
    return adata


def fitted(adata: ad.AnnData, model: str = "nbvcp", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scribe.fit(adata, model, n_steps=600, early_stopping=False, **options)


@pytest.mark.parametrize(
    ("model", "options"),
    [("nbvcp", {}), ("zinb", {"parameterization": "mean_disp"}), ("nbvcp", {"annotation_key": "type"})],
    ids=["capture", "zero-inflated", "mixture"],
)
def test_dispersion_is_the_mean_of_squared_residuals(model, options) -> None:
    adata = cells(n_types=2)
    results = fitted(adata, model, **options)
    found, at = misfit(results.posterior, results.counts()), results.get_map()
    x, capture = adata.X, np.asarray(at.get("p_capture", np.ones(N)))[:, None]
    gate = np.asarray(at.get("gate", 0.0))
    gamma = results.cell_type_assignments(n_samples=0).probabilities if results.posterior.mixed else np.ones((N, 1))
    expected = np.zeros(GENES)
    for k in range(gamma.shape[1]):
        mu, r = (np.atleast_2d(np.asarray(at[name]))[min(k, np.ndim(at[name]) - 1)] for name in ("mu", "r"))
        mean = mu * capture
        seen = mean + mean**2 / r
        variance = (1 - gate) * seen + gate * (1 - gate) * mean**2
        expected += np.mean(gamma[:, [k]] * (x - (1 - gate) * mean) ** 2 / variance, axis=0)
    np.testing.assert_allclose(found.dispersion, expected, rtol=2e-3)


@pytest.mark.parametrize(
    ("size", "options"), [(1.5, {}), (None, {"parameterization": "mean_disp"})], ids=["shared", "own"]
)
def test_counts_of_the_model_show_nothing(size, options) -> None:
    results = fitted(cells(size=size), **options)
    found = misfit(results.posterior, results.counts())
    assert found.common == pytest.approx(1.0, abs=0.2)
    assert not found.wide.any()
    # a gene with a dispersion of its own comes nearer
    spread = np.std((found.dispersion - 1) / found.error)
    assert 0.7 < spread < 1.3 if size else spread < 1.0


def test_types_that_a_fit_does_not_know_go_together_and_are_wide() -> None:
    adata = cells(n_types=4)
    shared, known = (fitted(adata, **options) for options in ({}, {"annotation_key": "type"}))
    (blind, seeing) = (misfit(results.posterior, results.counts()) for results in (shared, known))
    assert blind.common > 5
    assert seeing.common < 2
    assert blind.wide.sum() > 5


def test_one_extreme_cell_is_no_common_variation() -> None:
    adata = cells()
    results = fitted(adata, parameterization="mean_disp")
    adata.X[7, :3] = 20_000.0
    assert misfit(results.posterior, results.counts(adata.X)).common == pytest.approx(1.0, abs=0.3)
