"""Mixtures from the first call to the last: recovery of groups and expression, responsibilities, slots, denoising."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

import scribe

pytestmark = pytest.mark.loose_promotion

K, D, C, G = 3, 2, 300, 40


@pytest.fixture(scope="module")
def truth():
    """Three groups of cells in two datasets, of which one doubles the expression of some genes."""
    rng = np.random.default_rng(1)
    mu = 8 * np.exp(rng.normal(0.0, 1.0, (K, 1, G))) * np.where(np.arange(G) < 10, [[1.0], [2.0]], 1.0)[None]
    group, dataset = rng.choice(K, C, p=[0.5, 0.3, 0.2]), rng.integers(0, D, C)
    molecules = rng.poisson(rng.gamma(3.0, mu[group, dataset] / 3.0))
    counts = rng.binomial(molecules, rng.lognormal(np.log(0.25), 0.3, C).clip(0, 0.9)[:, None])
    obs = pd.DataFrame(
        {
            "group": pd.Categorical([f"type/{k}" for k in group]),
            "some": [f"type/{k}" if i % 10 == 0 else None for i, k in enumerate(group)],
            "batch": pd.Categorical([f"b{d}" for d in dataset]),
        },
        index=[f"c{i}" for i in range(C)],
    )
    return AnnData(counts.astype(np.float32), obs=obs), mu


@pytest.fixture(scope="module")
def fitted(truth) -> AnnData:
    adata = truth[0].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(
            adata,
            n_components=K,
            dataset_key="batch",
            dataset_params="mean",
            parameterization="mean_disp",
            n_steps=400,
            early_stopping=False,
        )
    return adata


def test_groups_and_their_expression_are_found(truth, fitted) -> None:
    adata, mu = truth
    scribe.tl.assign(fitted, n_samples=20)
    assert adjusted_rand_score(adata.obs["group"], fitted.obs["scribe_component"]) > 0.97
    results = scribe.get.results(fitted)
    estimate = np.log(np.asarray(results.get_map()["mu"]))
    assert estimate.shape == (K, D, G)
    overlap = pd.crosstab(adata.obs["group"], fitted.obs["scribe_component"]).to_numpy()
    rows, columns = linear_sum_assignment(-overlap)
    for k, component in zip(rows, columns, strict=True):
        assert np.corrcoef(estimate[component].ravel(), np.log(mu[k]).ravel())[0, 1] > 0.97
    shift = (estimate[:, 1] - estimate[:, 0]).mean(axis=0)
    assert np.isclose(shift[:10].mean() - shift[10:].mean(), np.log(2), atol=0.15)


def test_slots_of_assignment(fitted) -> None:
    found = scribe.tl.assign(fitted, n_samples=5, copy=True)
    gamma = found.obsm["scribe_responsibilities"]
    np.testing.assert_allclose(gamma.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found.obs["scribe_component"].cat.codes, gamma.argmax(axis=1))
    assert found.obs["scribe_entropy"].between(0, 1).all()
    table = found.uns["scribe_assign"]["table"]
    assert table["n_cells"].sum() == C
    np.testing.assert_allclose(table["weight"], gamma.mean(axis=0), rtol=1e-4)
    assert (table["mean_responsibility"] > 0.5).all()


def test_a_fit_through_a_file_keeps_its_levels(fitted, through_file) -> None:
    before, after = scribe.get.results(fitted), scribe.get.results(through_file(fitted))
    assert after.spec == before.spec
    np.testing.assert_array_equal(after.posterior.design.dataset, before.posterior.design.dataset)
    for name, value in before.get_posterior_samples(2, rng=0).items():
        np.testing.assert_array_equal(value, after.get_posterior_samples(2, rng=0)[name])
    part = scribe.get.results(fitted[:50, 10:].copy())
    assert part.get_map()["mu"].shape == (K, D, G - 10)
    assert "mu_mean[0, b1]" in fitted.varm["scribe_params"]


def test_one_dataset_or_component(fitted) -> None:
    results = scribe.get.results(fitted)
    one = results.get_dataset("b1")
    assert one.n_cells == (fitted.obs["batch"] == "b1").sum()
    np.testing.assert_array_equal(one.get_map()["mu"], results.get_map()["mu"][:, 1])
    whole = results.log_likelihood(n_samples=0)[0]
    np.testing.assert_allclose(one.log_likelihood(n_samples=0)[0], whole[fitted.obs["batch"] == "b1"], rtol=1e-5)
    component = one.get_component("0")
    assert component.get_summaries(n_samples=10)["mu"].mean.shape == (G,)
    assert component.get_ppc_samples(2).shape == (2, one.n_cells, G)
    with pytest.raises(KeyError, match="There are: b0, b1"):
        results.get_dataset("b2")
    with pytest.raises(ValueError, match="one component only"):
        component.cell_type_assignments()
    for ask in (results.cell_type_assignments, results.log_likelihood, results.denoise_counts):
        with pytest.raises(ValueError, match="n_samples must not be negative, got -1"):
            ask(n_samples=-1)


def test_denoising_averages_components_by_responsibility(fitted) -> None:
    """At fixed parameters, the mean over components weighted with the cell's responsibilities."""
    results = scribe.get.results(fitted)
    gamma = results.cell_type_assignments(n_samples=0).probabilities
    parts = [results.get_component(k).denoise_counts(n_samples=0) for k in range(K)]
    expected = np.einsum("ck,kcg->cg", gamma, parts)
    np.testing.assert_allclose(results.denoise_counts(n_samples=0), expected, rtol=2e-4, atol=1e-4)
    mode = results.denoise_counts(method="mode")
    np.testing.assert_array_equal(mode, np.rint(mode))


def test_some_labels_name_the_components(truth) -> None:
    adata = truth[0].copy()
    with pytest.warns(scribe.ConvergenceWarning):
        scribe.tl.fit(adata, annotation_key="some", n_steps=150, early_stopping=False)
    assert list(adata.obs["scribe_component"].cat.categories) == ["type/0", "type/1", "type/2"]
    unlabelled = adata.obs["some"].isna()
    agree = adata.obs["scribe_component"].astype(str) == adata.obs["group"].astype(str)
    assert agree[unlabelled].mean() > 0.97


def test_replicates_keep_the_groups(fitted) -> None:
    """Drawn from the components of the cells, so that a marker varies between cells as it does in the data."""
    results = scribe.get.results(fitted)
    observed = fitted.X
    marker = int(np.argmax([observed[:, g].var() / observed[:, g].mean() for g in range(G)]))
    replicate = results[[marker]].get_ppc_samples(20)[:, :, 0]
    group = fitted.obs["scribe_component"].cat.codes.to_numpy()
    for k in range(K):
        assert np.isclose(replicate[:, group == k].mean(), observed[group == k, marker].mean(), rtol=0.2, atol=0.2)


def test_without_a_mixture(small_fit) -> None:
    with pytest.raises(ValueError, match="Fit a mixture first"):
        scribe.tl.assign(small_fit)
