"""Comparisons of models: tables against their parts, verdicts, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import special

import scribe
from scribe._compare.comparison import ModelComparison
from scribe._compare.models import default_criterion
from scribe._posterior.double_use import prior_shares
from scribe._stats.information import Pointwise, psis_loo, waic

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")]

NAMES = ["Poisson", "NB"]


@pytest.fixture(scope="module")
def adata():
    return scribe.datasets.simulate(80, 25, params={"p_capture": 0.5})


@pytest.fixture(scope="module")
def fits(adata):
    """Both long enough to find that genes vary more than Poisson counts."""
    return [scribe.fit(adata, model, n_steps=300, early_stopping=False) for model in ("poissonvcp", "nbvcp")]


@pytest.fixture(scope="module")
def comparison(fits, adata):
    return scribe.compare_models(fits, counts=adata.X, model_names=NAMES, n_samples=120)


def made(elpd: np.ndarray, *, k_hat=None, criterion="psis_loo") -> ModelComparison:
    """A comparison without fits."""
    names = tuple("abcdef"[: elpd.shape[1]])
    penalty = np.ones(len(elpd))
    found = tuple(Pointwise(column, penalty, k_hat if k_hat is not None else np.zeros(len(elpd))) for column in elpd.T)
    rest = {"results": (), "counts": None, "gene_names": None}
    return ModelComparison(names, criterion=criterion, observations="cell", pointwise={criterion: found}, **rest)


def test_the_right_model_is_found_from_draws(comparison):
    assert comparison.criterion == "psis_loo"
    assert comparison.n_observations == 80
    for criterion in ("psis_loo", "waic"):
        assert list(comparison.rank(criterion).index) == ["NB", "Poisson"]
    assert "NB predicts best: the others" in comparison.summary()
    assert str(comparison) == comparison.summary()


@pytest.mark.parametrize(("criterion", "n"), [("thinned", 80), pytest.param("held_out", 24, marks=pytest.mark.slow)])
def test_the_right_model_is_found_by_what_was_held_out(fits, criterion, n):
    other = scribe.compare_models(fits, model_names=NAMES, criterion=criterion, n_samples=50, fraction=0.3)
    table = other.rank()
    assert table.index[0] == "NB"
    assert table["elpd_diff"]["Poisson"] > 2 * table["dse"]["Poisson"]
    assert other.n_observations == n
    with pytest.raises(ValueError, match=rf"compared by {criterion}: run compare_models\(.*psis_loo"):
        other.diagnostics()


def test_tables_are_those_of_the_pointwise_values(comparison):
    loo, info = comparison.psis_loo("NB"), comparison.waic(1)
    assert loo is comparison.psis_loo(1)
    table, other = comparison.rank(), comparison.rank("waic")
    np.testing.assert_allclose(table["elpd"]["NB"], loo.elpd.sum())
    np.testing.assert_allclose(table["p"]["NB"], loo.penalty.sum())
    np.testing.assert_allclose(other["elpd"]["NB"], info.elpd.sum())
    d = loo.elpd - comparison.psis_loo("Poisson").elpd
    np.testing.assert_allclose(table["elpd_diff"], [0.0, d.sum()])
    np.testing.assert_allclose(table["dse"], [0.0, np.sqrt(80 * d.var())])
    pair = comparison.differences().iloc[0]
    assert tuple(pair[["model_A", "model_B", "favors"]]) == ("Poisson", "NB", "NB")
    np.testing.assert_allclose(pair["elpd_diff"], -d.sum())
    assert comparison.diagnostics()[["good", "ok", "bad", "very bad"]].sum(axis=1).tolist() == [80, 80]
    np.testing.assert_allclose(comparison.diagnostics()["largest"]["NB"], loo.k_hat.max())
    for weights in (comparison.stacking_weights(), comparison.pseudo_bma_weights("waic")):
        assert weights["NB"] > 0.99
        np.testing.assert_allclose(weights.sum(), 1.0)


def test_observations_are_genes(fits):
    found = scribe.compare_models(fits, observations="gene", n_samples=60, rng=2)
    matrix = fits[1].log_likelihood(return_by="gene", n_samples=60, rng=2)
    np.testing.assert_allclose(found.waic(1).elpd, waic(matrix).elpd, rtol=1e-4)
    np.testing.assert_allclose(found.psis_loo("model 1").elpd, psis_loo(matrix).elpd, rtol=1e-4)
    assert found.n_observations == 25


def test_genes_against_dense_sums(comparison, fits):
    table = comparison.gene_level_comparison("Poisson", "NB")
    assert list(table.columns) == [
        *("gene", "elpd_A", "elpd_B", "elpd_diff", "elpd_diff_se", "z_score", "p_waic_A", "p_waic_B", "favors")
    ]
    assert list(table["gene"]) == [f"gene{i}" for i in range(25)]
    elpd = []
    for number in range(2):
        blocks = list(comparison._elements(number, lambda: None).blocks(comparison.counts))
        elpd.append(np.concatenate([block[1] for block in blocks]))
    d = elpd[0] - elpd[1]
    np.testing.assert_allclose(table["elpd_A"], elpd[0].sum(axis=0))
    np.testing.assert_allclose(table["elpd_diff"], d.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["elpd_diff_se"], np.sqrt(80 * d.var(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(table["z_score"], table["elpd_diff"] / table["elpd_diff_se"])
    clear = table[table["z_score"].abs() > 2]
    assert (clear["favors"] == "NB").mean() > 0.8
    assert set(table[table["z_score"].abs() <= 2]["favors"]) <= {""}
    back = comparison.gene_level_comparison("NB", "Poisson")
    pd.testing.assert_series_equal(back["elpd_diff"], -table["elpd_diff"])
    pd.testing.assert_series_equal(back["favors"], table["favors"])


def test_verdicts_of_close_and_unreliable_comparisons():
    rng = np.random.default_rng(0)
    base = rng.normal(-100, 5, 200)
    close = made(np.stack([base, base + rng.normal(0, 1.0, 200), base - 10], axis=1))
    best = close.rank().index[0]
    assert best in "ab"
    assert f"{best} predicts best, but cannot be told from" in close.summary()
    assert close.differences()["favors"].tolist()[0] == ""
    assert close.differences()["favors"].tolist()[1:] == ["a", "b"]
    assert "All k are below 0.7" in close.summary()
    tiny = made(np.stack([base, base - 0.01], axis=1))
    assert tiny.differences()["favors"][0] == "", "two nats are nothing, however sure"
    bad = made(np.stack([base, base - 1], axis=1), k_hat=np.r_[np.full(198, 0.1), 0.8, 1.5])
    assert "(a 1.0%, b 1.0%)" in bad.summary()
    assert bad.diagnostics().loc["a"].tolist() == [198, 0, 1, 1, 1.5]
    assert bad.rank()["warning"].all()
    flat = made(np.stack([base, base], axis=1), k_hat=np.full(200, -np.inf))
    assert flat.diagnostics()["good"].tolist() == [200, 200]


def test_weights_of_one_model_are_one_for_all_its_copies():
    base = np.random.default_rng(0).normal(-5, 1, (50, 1))
    np.testing.assert_allclose(made(np.repeat(base, 2, axis=1)).pseudo_bma_weights(), 0.5)


def test_default_criterion(fits, made_chains, made_fit):
    other = scribe.get.results(made_fit())
    chains = scribe.get.results(made_chains)
    assert default_criterion(fits) == "psis_loo"
    assert default_criterion([chains, chains]) == "psis_loo"
    assert default_criterion([fits[0], chains]) == "thinned"
    low_rank = replace(other, posterior=replace(other.posterior, guide=scribe.guides.LowRank()))
    assert default_criterion([other, low_rank]) == "thinned"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"criterion": "psis"}, ValueError, r"Unknown criterion 'psis'. Did you mean 'psis_loo'"),
        ({"observations": "genes"}, ValueError, "Did you mean 'gene'"),
        ({"observations": "gene", "criterion": "thinned"}, ValueError, 'with observations="gene" use "psis_loo"'),
        ({"fraction": 1.0, "criterion": "thinned"}, ValueError, "fraction must be between 0 and 1, got 1.0"),
        ({"fraction": 0.2}, ValueError, "holds nothing out and fits nothing again: leave out fraction and engine"),
        ({"n_samples": 20}, ValueError, "n_samples must be at least 25, got 20"),
        ({"model_names": ["a", "a"]}, ValueError, "a name of its own for each"),
        ({"counts": np.ones((80, 3))}, ValueError, "results are for 80 cells x 25 genes"),
    ],
)
def test_what_is_refused(options, error, match, fits):
    with pytest.raises(error, match=match):
        scribe.compare_models(fits, **options)


def test_fits_of_other_counts_are_refused(fits):
    counts = fits[0].counts().to_csr()
    with pytest.raises(ValueError, match=r"model 0 is a fit of other counts, .* 80 of 80 cells have other totals"):
        scribe.compare_models(fits, counts * 3)
    twice = scribe.fit(counts * 2, n_steps=2, early_stopping=False)
    with pytest.raises(ValueError, match="model 1 is a fit of other counts"):
        scribe.compare_models([fits[0], twice])
    with pytest.raises(TypeError, match=r"compare_models takes results of fits, .* got AnnData"):
        scribe.compare_models([scribe.datasets.simulate(5, 4)] * 2)
    with pytest.raises(ValueError, match="takes two fits or more"):
        scribe.compare_models(fits[0])


def test_fits_of_other_data_are_refused(fits):
    with pytest.raises(ValueError, match="two fits or more"):
        scribe.compare_models(fits[:1])
    with pytest.raises(ValueError, match="model 1 is a fit of 80 cells x 5 genes, but the counts are 80 cells x 25"):
        scribe.compare_models([fits[0], fits[1][:5]])
    with pytest.raises(ValueError, match="model 1 and model 0 are fits of different genes"):
        scribe.compare_models([fits[0], fits[1][::-1]])


def test_unknown_models(comparison):
    with pytest.raises(KeyError, match=r"There is no model 'NBB'. Did you mean 'NB'"):
        comparison.waic("NBB")
    with pytest.raises(KeyError, match="There is no model 2"):
        comparison.gene_level_comparison(0, 2)


def test_no_gene_can_be_left_out_of_an_anchor(anchored):
    fits = [scribe.get.results(anchored)] * 2
    with pytest.raises(ValueError, match=r"centres priors of a, b by the counts .* use observations=\"cell\""):
        scribe.compare_models(fits, model_names=["a", "b"], observations="gene", n_samples=30)


TIGHT = [
    ("psis_loo", 0),
    *(pytest.param(c, s, marks=pytest.mark.slow) for c in ("psis_loo", "held_out") for s in (1, 2)),
]


@pytest.mark.parametrize(("criterion", "seed"), TIGHT)
def test_an_anchor_gains_nothing_by_knowing_the_total_of_a_cell(criterion, seed):
    """Totals spread by half a natural logarithm: how tightly capture is tied to them predicts no cell better."""
    rng, n_cells, mean = np.random.default_rng(seed), 60, np.geomspace(20, 900, 12)
    capture = np.minimum(np.exp(rng.normal(math.log(0.1), 0.5, n_cells)), 0.9)
    counts = rng.poisson(rng.gamma(2.0, capture[:, None] * mean / 2.0)).astype(np.float32)
    about = {"parameterization": "mean_disp", "n_steps": 500, "early_stopping": False}
    anchors = [{"capture_efficiency": (math.log(mean.sum()), sigma)} for sigma in (0.5, 0.05)]
    fits = [scribe.fit(counts, priors=anchor, **about) for anchor in anchors]
    options = {"fraction": 0.4} if criterion == "held_out" else {}
    found = scribe.compare_models(fits, criterion=criterion, n_samples=200, **options)
    loose, tight = found.elpd().sum(axis=0)
    assert tight - loose < 4.0
    if criterion == "psis_loo":
        assert found.waic(1).elpd.sum() - found.waic(0).elpd.sum() < 4.0


def test_the_elpd_is_the_log_of_the_mean_density():
    """Of models without capture, by hand."""
    adata = scribe.datasets.simulate(20, 6, "nbdm")
    two = [scribe.fit(adata, m, n_steps=50, early_stopping=False) for m in ("nbdm", "poisson")]
    found = scribe.compare_models(two, n_samples=30, rng=1, criterion="waic")
    matrix = two[0].log_likelihood(n_samples=30, rng=1)
    expected = special.logsumexp(matrix, axis=0) - np.log(30) - matrix.var(axis=0)
    np.testing.assert_allclose(found.waic(0).elpd, expected, rtol=1e-4)


def test_what_a_centred_prior_knows_of_a_cell_is_taken_back(adata, fits, monkeypatch):
    """Weights of leave-one-out are those of the likelihood and of the share that the cell has in the prior."""
    about = {"priors": {"capture_efficiency": (math.log(500.0), 0.3)}, "expression_anchor": True}
    anchored = scribe.fit(adata, parameterization="mean_disp", n_steps=100, early_stopping=False, **about)
    assert anchored.spec.centred_sites
    given = []

    def spy(log_likelihood, contribution=None, **options):
        given.append((np.array(log_likelihood), contribution, options["r_eff"]))
        return psis_loo(log_likelihood, contribution, **options)

    monkeypatch.setattr("scribe._compare.models.psis_loo", spy)
    scribe.compare_models([fits[1], anchored], counts=adata.X, n_samples=50, rng=3)
    free, owed = given
    assert free[1] is None
    shares = np.stack(list(prior_shares(anchored.posterior, anchored.counts(adata.X), jax.random.key(3), 50)))
    np.testing.assert_allclose(owed[1] - owed[0], shares, rtol=1e-3, atol=1e-4)
    assert np.abs(shares).max() > 1e-3
    assert (free[2], owed[2]) == (1.0, 1.0)


def test_draws_of_a_chain_count_as_many_as_they_are_worth(made_chains, monkeypatch):
    chains, found = scribe.get.results(made_chains), []

    def spy(*of, **options):
        found.append(options["r_eff"])
        return psis_loo(*of, **options)

    monkeypatch.setattr("scribe._compare.models.psis_loo", spy)
    scribe.compare_models([chains, chains], criterion="psis_loo", n_samples=30)
    expected = chains.verdict.ess_bulk / (chains.n_chains * chains.n_samples)
    np.testing.assert_allclose(found, np.clip(expected, 0.01, 1.0))


def test_cells_that_are_held_out_are_drawn_at_random_and_alike_for_all_models(fits, adata, monkeypatch):
    asked = []

    def held_out(results, cells, counts, **options):
        asked.append(cells)
        return np.zeros(len(cells))

    monkeypatch.setattr("scribe._compare.models.held_out_cells", held_out)
    for seed in (0, 0, 1):
        scribe.compare_models(fits, counts=adata.X, criterion="held_out", fraction=0.25, n_samples=2, rng=seed)
    first, second, again, _, other, _ = asked
    assert len(np.unique(first)) == 20
    assert np.all(np.diff(first) > 0)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.max() > 40
