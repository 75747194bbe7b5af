"""Data sets that differ: very unequal sizes, genes that one of them never shows, genes that they share, one alone."""

from __future__ import annotations

import importlib
import re
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import scribe
from scribe._counts.checks import CountsWarning

pytestmark = pytest.mark.loose_promotion

SMALL, LARGE, N_GENES = 20, 2_000, 6
MEAN = np.array([5.0, 5.0, 2.0, 0.5, 10.0, 30.0])
MEANS = {"small": MEAN * [0, 1, 1, 1, 2, 1], "large": MEAN * [1, 0, 1, 1, 1, 1]}


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    """Poisson counts; the small data set lacks the first gene and has twice of the fifth, the large one the second."""
    rng = np.random.default_rng(0)
    counts = [rng.poisson(MEANS[name], (n, N_GENES)) for name, n in (("small", SMALL), ("large", LARGE))]
    obs = pd.DataFrame({"batch": ["small"] * SMALL + ["large"] * LARGE}, index=[f"c{i}" for i in range(SMALL + LARGE)])
    return ad.AnnData(np.concatenate(counts).astype(np.float32), obs=obs)


def fit(adata: ad.AnnData, model: str = "poisson", **options) -> ad.AnnData:
    made = adata.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        warnings.filterwarnings("ignore", "X: genes that should be in")
        scribe.tl.fit(made, model, **{"early_stopping": False, "n_steps": 800, **options})
    return made


@pytest.fixture(scope="module")
def independent(adata):
    return fit(adata, dataset_key="batch", dataset_params="mean")


@pytest.fixture(scope="module")
def population(adata):
    return fit(
        adata, dataset_key="batch", unconstrained=True, expression_dataset_prior="gaussian", positive_transform="exp"
    )


def log_moments(total: float, n: int) -> tuple[float, float]:
    """Posterior mean and sd of log mu under LogNormal(0, 3), by quadrature."""
    z = np.linspace(-25, 8, 20_001)
    log = stats.norm(0, 3).logpdf(z) + total * z - n * np.exp(z)
    weight = np.exp(log - log.max())
    weight /= integrate.trapezoid(weight, z)
    mean = integrate.trapezoid(weight * z, z)
    return mean, np.sqrt(integrate.trapezoid(weight * (z - mean) ** 2, z))


def test_every_dataset_has_the_posterior_of_its_own_cells(adata, independent) -> None:
    """Against quadrature, also where a gene was never seen: its prior holds from above what the counts leave open."""
    draws = np.log(np.asarray(scribe.get.results(independent).get_posterior_samples(300)["mu"]))
    assert draws.shape == (300, 2, N_GENES)
    for number, (name, n) in enumerate((("large", LARGE), ("small", SMALL))):
        totals = np.asarray(adata[adata.obs["batch"] == name].X).sum(0)
        for gene, total in enumerate(totals):
            mean, sd = log_moments(float(total), n)
            found = draws[:, number, gene]
            assert abs(found.mean() - mean) < 0.5 * sd, (name, gene)
            # a normal is narrower than what has a long tail towards nothing
            np.testing.assert_allclose(found.std(), sd, rtol=0.25 if total else 0.5)


def test_a_population_lends_what_a_dataset_does_not_show(adata, independent, population) -> None:
    """Members are near the observed means, those of few cells between theirs and the population's."""
    mu = np.asarray(scribe.get.results(population).get_map()["mu"])
    assert np.isfinite(mu).all()
    observed = np.stack([np.asarray(adata[adata.obs["batch"] == name].X).mean(0) for name in ("large", "small")])
    seen = observed > 0
    np.testing.assert_allclose(mu[seen], observed[seen], rtol=0.2)
    alone = np.asarray(scribe.get.results(independent).get_map()["mu"])
    # the gene that the small data set lacks is drawn towards the large one, where it has 5 molecules
    assert alone[1, 0] < mu[1, 0] < 1.0
    # two thousand cells without a molecule are not to be argued with
    assert mu[0, 1] < 0.01
    # nothing of this reaches genes that are the same in both
    np.testing.assert_allclose(mu[:, 2], 2.0, rtol=0.15)


def test_results_of_one_dataset(adata, independent, population) -> None:
    for made in (independent, population):
        results = scribe.get.results(made)
        one = results.get_dataset("small")
        assert (one.n_cells, one.n_genes) == (SMALL, N_GENES)
        np.testing.assert_array_equal(one.get_map()["mu"], results.get_map()["mu"][1])
        assert np.isfinite(one.log_likelihood(n_samples=2)).all()
        assert set(made.varm["scribe_params"]) >= {f"mu_{s}[{d}]" for s in ("mean", "sd") for d in ("small", "large")}
        assert np.isfinite(made.varm["scribe_params"].select_dtypes("number")).all().all()
        assert list(made.obs["scribe_dataset"]) == list(adata.obs["batch"])


@pytest.mark.parametrize(
    "options",
    [
        {"model": "nbvcp", "parameterization": "mean_disp"},
        {"model": "zinb", "dataset_params": "all"},
        pytest.param(
            {"model": "nbdm", "unconstrained": True, "prob_dataset_prior": "neg"}, marks=pytest.mark.slow, id="neg"
        ),
    ],
)
def test_genes_without_counts_are_finite_in_every_model(adata, options) -> None:
    rng, some = np.random.default_rng(1), adata[: SMALL + 60].copy()
    some.X = rng.poisson(some.X * rng.gamma(1.5, 1 / 1.5, some.shape)).astype(np.float32)
    made = fit(some, **{"dataset_key": "batch", "dataset_params": "mean", "n_steps": 40, **options})
    results = scribe.get.results(made)
    assert np.isfinite(results.loss_history).all()
    assert all(np.isfinite(summary.mean).all() for summary in results.get_summaries().values())


def test_one_dataset_is_none(adata) -> None:
    alone = adata[:SMALL, 1:].copy()
    with pytest.warns(UserWarning, match="one dataset only, 'small': .* Fitting without dataset levels"):
        made = fit(alone, dataset_key="batch", dataset_params="mean", n_steps=20)
    assert not scribe.get.results(made).spec.levels
    assert "scribe_dataset" not in made.obs
    with pytest.raises(ValueError, match="no datasets to choose from"):
        scribe.get.results(made).get_dataset("small")
    with pytest.raises(ValueError, match="auto_downgrade"):
        fit(alone, dataset_key="batch", dataset_params="mean", auto_downgrade_single_dataset_hierarchy=False)


def test_genes_that_a_dataset_lacks_are_told(adata) -> None:
    """By both ways to fit, for one key and for several, as a warning of the caller's line."""
    options = {"dataset_params": "mean", "n_steps": 2, "early_stopping": False}
    made = adata.copy()
    made.obs["same"] = "x"
    for verb in (scribe.fit, scribe.tl.fit):
        for key, label in (("batch", "small"), (["batch", "same"], r"small \| x")):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                verb(made.copy(), "poisson", dataset_key=key, **options)
            (one,) = [x for x in said if issubclass(x.category, CountsWarning)]
            assert re.search(rf"are in none: 1 in 'large.*', 1 in '{label}'\.", str(one.message))
            assert one.filename == __file__


def test_concatenation_keeps_the_genes_that_are_shared(adata) -> None:
    """The inner join has the shared genes; the outer one of dense matrices fills with NaN, which is refused."""
    first, second = adata[:SMALL, :5].copy(), adata[SMALL : SMALL + 30, 1:].copy()
    shared = ad.concat({"a": first, "b": second}, label="batch")
    made = fit(shared, dataset_key="batch", dataset_params="mean", n_steps=20)
    assert list(made.var_names) == ["1", "2", "3", "4"]
    assert scribe.get.results(made).get_map()["mu"].shape == (2, 4)
    assert np.isnan(np.asarray(ad.concat([first, second], join="outer").X)).any()
    with pytest.raises(ValueError, match=r'not finite \(first nan\), as where .* join="inner" keeps the shared ones'):
        fit(
            ad.concat({"a": first, "b": second}, label="batch", join="outer"),
            dataset_key="batch",
            dataset_params="mean",
        )


@pytest.fixture(scope="module")
def lacking():
    """Three cell types, of which the second batch has two."""
    rng = np.random.default_rng(3)
    types, batches = np.repeat(["T", "B", "NK", "T", "B"], 20), np.repeat(["b1", "b1", "b1", "b2", "b2"], 20)
    mean = {"T": [9, 1, 1, 4, 4, 2], "B": [1, 9, 1, 4, 4, 2], "NK": [1, 1, 9, 4, 4, 2]}
    counts = rng.poisson([mean[name] for name in types])
    obs = pd.DataFrame({"type": types, "batch": batches}, index=[f"c{i}" for i in range(100)])
    about = {"annotation_key": "type", "dataset_key": "batch", "dataset_params": "mean"}
    return fit(ad.AnnData(counts.astype(np.float32), obs=obs), n_steps=60, **about)


def test_a_type_that_a_dataset_lacks_has_no_mean_there(lacking, through_file) -> None:
    for adata in (lacking, through_file(lacking)):
        table = scribe.get.params(adata)
        absent = ["mu_mean[NK, b2]", "mu_sd[NK, b2]"]
        assert table[absent].isna().all(axis=None)
        assert (table["status[NK, b2]"] == "no cells").all()
        assert list(table.filter(like="status")) == ["status", "status[NK, b2]"]
        rest = table.drop(columns=absent).select_dtypes("number")
        assert np.isfinite(rest).all(axis=None)
        observed = np.asarray(adata[(adata.obs["type"] == "NK") & (adata.obs["batch"] == "b1")].X).mean(0)
        np.testing.assert_allclose(table["mu_mean[NK, b1]"], observed, rtol=0.2)


def test_a_type_that_a_dataset_lacks_is_not_compared(lacking) -> None:
    results = scribe.get.results(lacking)
    for compare in (
        lambda: scribe.compare_datasets(results, "b1", "b2", component="NK"),
        lambda: scribe.compare(results, results, component_A="T", dataset_A="b1", component_B="NK", dataset_B="b2"),
        lambda: results.get_compositional_samples(10, component="NK", dataset="b2"),
    ):
        with pytest.raises(ValueError, match="No cell is of component 'NK' in dataset 'b2'"):
            compare()
    with pytest.raises(ValueError, match="b2: there is no cell to compare"):
        scribe.tl.de(lacking, "batch", group="b1", reference="b2", component="NK")
    with pytest.warns(UserWarning, match="errors are those of these cells"):
        found = scribe.compare_datasets(results, "b1", "b2", component="T", n_samples=50)
    assert np.isfinite(found.law.mean).all()


def test_readers_of_means_leave_out_what_has_no_cells(lacking) -> None:
    assert scribe.pl.mean_calibration(lacking).get_xlabel()
    frame = importlib.import_module("scribe.pl.mean_calibration").frame(lacking)
    np.testing.assert_allclose(frame["predicted"], frame["observed"], rtol=0.15)
    pairs = importlib.import_module("scribe.pl.mu_pairwise").frame(lacking)
    assert "NK, b2" not in {*pairs["level"], *pairs["other"]}
    scribe.tl.normalize(lacking, n_samples=10, layer=False)
    shares = lacking.varm["scribe_composition"]
    assert shares.columns[shares.isna().all()].str.endswith("[NK, b2]").all()
    np.testing.assert_allclose(shares.filter(like="share_mean").sum().drop("share_mean[NK, b2]"), 1e4, rtol=1e-5)


def test_incomplete_pairs_are_those_without_cells_of_the_component(lacking) -> None:
    adata = lacking.copy()
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
    made = fit(adata, annotation_key="type", dataset_key=["half", "batch"], dataset_params="mean", n_steps=20)
    about = {"level_A": "b1", "level_B": "b2", "n_samples": 20}
    results = scribe.get.results(made)
    with pytest.warns(UserWarning, match="errors are those of these cells"):
        scribe.compare_groups(results, "batch", component="T", **about)
    with (
        pytest.warns(UserWarning, match="2 of 'half' have one of 'b1' and 'b2' only and are left out"),
        pytest.raises(ValueError, match="0 of 'half' have both"),
    ):
        scribe.compare_groups(results, "batch", component="NK", **about)
