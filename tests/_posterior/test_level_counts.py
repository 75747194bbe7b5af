"""Counts of levels against likelihoods summed cell by cell with scipy."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import scribe
from scribe._posterior.level_counts import LevelCounts

pytestmark = pytest.mark.loose_promotion


def sample(seed: int = 0) -> ad.AnnData:
    """Two datasets of 60 cells; a gene is unseen in the first."""
    rng, n, genes = np.random.default_rng(seed), 60, 12
    mean = np.exp(rng.normal(2.0, 1.0, genes))
    counts = rng.poisson(rng.gamma(1.5, np.exp(rng.normal(-1.5, 0.3, (2 * n, 1))) * mean / 1.5)).astype(np.float32)
    counts[:n, 0] = 0
    obs = pd.DataFrame({"d": np.repeat(["a", "b"], n)}, index=[f"c{i}" for i in range(2 * n)])
    return ad.AnnData(counts, obs)


def fitted(adata: ad.AnnData, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scribe.fit(adata, dataset_key="d", n_steps=400, early_stopping=False, **options)


def log_likelihood(counts: LevelCounts, level: int, gene: int, log_mean: np.ndarray) -> np.ndarray:
    n, exposure, size = (float(x[level, gene]) for x in counts)
    return n * log_mean - (n + size) * np.log1p(exposure * np.exp(log_mean) / size)


@pytest.mark.parametrize(
    "options",
    [
        {"parameterization": "mean_disp", "dataset_params": "mean"},
        {"dataset_params": ["r"]},
        {"model": "zinb", "parameterization": "mean_disp", "dataset_params": "mean"},
    ],
    ids=["mean_disp", "canonical", "zero-inflated"],
)
def test_maximum_curvature_and_zeros_are_those_of_the_likelihood(options) -> None:
    adata = sample()
    results = fitted(adata, **options)
    found = results.count_levels([(0, 0), (0, 1)])
    x, names = np.asarray(adata.X, float), results.get_map()
    capture = np.asarray(names.get("p_capture", np.ones(len(x))), float)[:, None]
    r = np.broadcast_to(np.asarray(names["r"], float), (2, 12))
    odds = np.broadcast_to(np.asarray(names["phi"], float), (2, 12))
    gate = np.broadcast_to(np.asarray(names.get("gate", 0.0), float), (12,))
    for level in (0, 1):
        cells = adata.obs["d"] == "ab"[level]
        np.testing.assert_array_equal(found.molecules[level], x[cells].sum(axis=0))
        for gene in range(12):

            def total(log_mean: float, level: int = level, gene: int = gene, cells=cells) -> float:
                # in canonical coordinates a gene with a larger mean has a larger r, in the others r is its own
                size = np.exp(log_mean) * odds[level, gene] if options["dataset_params"] == ["r"] else r[level, gene]
                mean = np.exp(log_mean) * capture[cells, 0]
                u, p = x[cells, gene], size / (size + mean)
                logs = stats.nbinom.logpmf(u, size, p) + np.log1p(-gate[gene])
                return float(np.sum(np.where(u == 0, np.logaddexp(logs, np.log(gate[gene] + 1e-300)), logs)))

            if found.molecules[level, gene] == 0:
                at = np.log(1.0 / found.exposure[level, gene]) + np.array([-4.0, 0.0, 1.5])
                expected = np.array([total(a) - total(-30.0) for a in at])
                fitted_to = log_likelihood(found, level, gene, at)
                np.testing.assert_allclose(fitted_to, expected, rtol=0.12, atol=0.02)
                continue
            best = optimize.minimize_scalar(lambda a: -total(a), bounds=(-8, 8), method="bounded")
            np.testing.assert_allclose(found.log_mean[level, gene], best.x, atol=5e-3)
            h = 0.05
            information = (2 * total(best.x) - total(best.x + h) - total(best.x - h)) / h**2
            here = 1 / found.molecules[level, gene] + 1 / found.size[level, gene]
            np.testing.assert_allclose(here, 1 / information, rtol=0.03)


def test_molecules_of_a_mixture_are_shared_by_responsibilities() -> None:
    adata = sample(1)
    adata.X[::2, 6:] *= 4
    results = fitted(adata, n_components=2, mixture_params="mean", dataset_params="mean", parameterization="mean_disp")
    levels = [(k, d) for k in (0, 1) for d in (0, 1)]
    found = results.count_levels(levels)
    gamma = np.asarray(results.cell_type_assignments(n_samples=0).probabilities)
    assert gamma.sum(axis=0).min() > 20
    for row, (k, d) in enumerate(levels):
        cells = (adata.obs["d"] == "ab"[d]).to_numpy()
        expected = gamma[cells, k] @ adata.X[cells]
        np.testing.assert_allclose(found.molecules[row], np.where(expected < 0.05, 0, expected), rtol=1e-3)
    assert all(np.all(np.isfinite(x)) for x in found)
    assert np.all(found.exposure > 0)


def test_levels_are_pooled_by_weighted_means_and_their_variance() -> None:
    rng = np.random.default_rng(0)
    counts = LevelCounts(rng.poisson(30.0, (3, 4)).astype(float), rng.uniform(5, 20, (3, 4)), np.full((3, 4), 8.0))
    counts.molecules[:, 3] = 0
    weights = np.array([1.0, 2.0, 5.0])
    pooled = counts.pooled(weights)
    share, means = weights / 8.0, counts.molecules / counts.exposure
    np.testing.assert_allclose((pooled.molecules / pooled.exposure)[0, :3], (share @ means)[:3])
    np.testing.assert_array_equal(pooled.molecules[0], counts.molecules.sum(axis=0))
    variance = np.square(share) @ (np.square(means[:, :3]) * (1 / counts.molecules[:, :3] + 1 / 8.0))
    found = 1 / pooled.molecules[0, :3] + 1 / pooled.size[0, :3]
    np.testing.assert_allclose(found, np.maximum(variance / np.square(share @ means)[:3], 1 / pooled.molecules[0, :3]))
    np.testing.assert_allclose(pooled.exposure[0, 3], np.min(counts.exposure[:, 3] / share))


def test_alignment_undoes_depth_and_shares_sum_to_one() -> None:
    rng = np.random.default_rng(1)
    exposure = np.array([[1.0], [4.0], [0.3]]) * np.full(200, 10.0)
    molecules = rng.poisson(exposure * np.exp(rng.normal(1, 1, 200))).astype(float)
    # the exposure is not known to differ
    counts = LevelCounts(molecules, np.full((3, 200), 10.0), np.full((3, 200), 1e8))
    aligned = counts.aligned()
    factors = aligned.exposure[:, 0] / aligned.exposure[0, 0]
    np.testing.assert_allclose(factors, [1.0, 4.0, 0.3], rtol=0.05)
    shares = counts.as_shares()
    np.testing.assert_allclose((shares.molecules / shares.exposure).sum(axis=1), 1.0)
