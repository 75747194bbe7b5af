"""The tree that ArviZ reads: its groups, at the same draws, and leave-one-out from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import scribe

pytest.importorskip("xarray")

EVERY = ("posterior", "log_likelihood", "posterior_predictive", "observed_data")


@pytest.fixture(scope="module", params=["svi", "mcmc"])
def adata(request, made_fit, made_chains):
    return made_chains if request.param == "mcmc" else made_fit("nbvcp", shape=(12, 6))


@pytest.fixture(scope="module")
def tree(adata):
    return scribe.get.datatree(adata, n_samples=5, groups=EVERY, rng=3)


def test_groups_dimensions_and_labels(adata, tree):
    sampled = isinstance(scribe.get.results(adata), scribe.ScribeMCMCResults)
    draws = {"chain": 2, "draw": 50} if sampled else {"chain": 1, "draw": 5}
    assert set(tree.children) == {*EVERY, *(["sample_stats"] if sampled else [])}
    assert dict(tree["posterior"].sizes) == {**draws, "gene": 6, "cell": 12}
    assert tree["posterior"]["r"].dims == ("chain", "draw", "gene")
    assert dict(tree["log_likelihood"].sizes) == {**draws, "cell": 12}
    assert dict(tree["posterior_predictive"].sizes) == {**draws, "gene": 6, "cell": 12}
    assert tree["observed_data"]["counts"].dims == ("cell", "gene")
    for group in EVERY:
        assert list(tree[group]["cell"].values) == list(adata.obs_names)
    assert list(tree["posterior"]["gene"].values) == list(adata.var_names)
    if sampled:
        names = {"diverging", "n_steps", "acceptance_rate", "energy", "lp", "tree_depth"}
        assert set(tree["sample_stats"]) == names


def test_all_groups_are_at_the_same_draws(adata, tree):
    """Likelihoods against scipy at the draws beside them; those of SVI are the draws of every other method."""
    results, counts = scribe.get.results(adata), adata.X.toarray()
    np.testing.assert_array_equal(tree["observed_data"]["counts"], counts)
    draws = {name: np.asarray(x, np.float64) for name, x in tree["posterior"].data_vars.items()}
    mean = draws["mu"][:, :, None] * draws["p_capture"][..., None]
    size = draws["r"][:, :, None]
    expected = stats.nbinom(size, size / (size + mean)).logpmf(counts).sum(axis=-1)
    np.testing.assert_allclose(tree["log_likelihood"]["counts"], expected, rtol=1e-4)
    replicates = np.asarray(tree["posterior_predictive"]["counts"])
    if isinstance(results, scribe.ScribeMCMCResults):
        np.testing.assert_array_equal(draws["r"], results.get_samples(group_by_chain=True)["r"])
        z = (replicates - mean) / np.sqrt(mean + mean**2 / size)
        assert abs(z.mean()) < 5 / np.sqrt(z.size)
        return
    for name, value in results.get_posterior_samples(5, rng=3).items():
        np.testing.assert_allclose(draws[name][0], value, rtol=1e-6)
    np.testing.assert_allclose(
        tree["log_likelihood"]["counts"][0], results.log_likelihood(n_samples=5, rng=3), rtol=1e-6
    )
    np.testing.assert_array_equal(replicates[0], results.get_ppc_samples(5, rng=3))


def test_a_generator_is_one_seed(made_fit):
    tree = scribe.get.datatree(made_fit("nbdm"), n_samples=3, rng=np.random.default_rng(0))
    results = scribe.get.results(made_fit("nbdm"))
    seed = scribe._rng.as_seed(np.random.default_rng(0))
    np.testing.assert_allclose(tree["log_likelihood"]["counts"][0], results.log_likelihood(n_samples=3, rng=seed))


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")
@pytest.mark.parametrize("model", ["nbdm", "nbvcp"])
def test_leave_one_out_is_that_of_compare_models(model, made_fit):
    """Without capture at once, with it where it is integrated out of the cell that is left out."""
    arviz_stats = pytest.importorskip("arviz_stats")
    one = made_fit(model, parameterization="mean_disp", shape=(12, 6))
    results = scribe.get.results(one)
    expected = scribe.compare_models([results, results], n_samples=100, rng=5, criterion="psis_loo").psis_loo(0)
    tree = scribe.get.datatree(one, n_samples=100, rng=5, integrate_capture=model == "nbvcp")
    found = arviz_stats.loo(tree, pointwise=True)
    np.testing.assert_allclose(found.elpd_i, expected.elpd, rtol=1e-5)
    np.testing.assert_allclose(found.pareto_k, expected.k_hat, atol=1e-3)
    assert (found.n_data_points, found.n_samples) == (12, 100)


def test_what_is_refused(made_fit):
    adata = made_fit()
    with pytest.raises(ValueError, match=r"Unknown group 'prior'.* 'posterior', 'log_likelihood'"):
        scribe.get.datatree(adata, groups=["prior"])
    with (
        scribe.settings.override(max_array_gb=1e-6),
        pytest.raises(ValueError, match=r"5 x 30 cells x 12 genes .* Pass adata\[cells, genes\] or fewer n_samples"),
    ):
        scribe.get.datatree(adata, groups=["posterior_predictive"], n_samples=5)
