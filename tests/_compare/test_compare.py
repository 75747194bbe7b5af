"""Comparisons of fits, draws and laws: against normal theory, enumeration by hand, and each other; errors."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import scribe
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.posterior import Posterior
from scribe._stats.effects import s_values
from scribe._stats.laws import LowRankNormal
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore:.*errors are those of these cells")]

N_CELLS, N_GENES = 20, 6
NAMES = np.array([f"g{i}" for i in range(N_GENES)], object)
DATASETS = ("a | x", "a | y", "b | x", "b | y", "c | x")
FACTORS = {"donor": ("a", "a", "b", "b", "c"), "condition": ("x", "y", "x", "y", "x")}


def made(
    model: str = "nbdm",
    *,
    components: tuple[str, ...] = (),
    datasets: tuple[str, ...] = ("a", "b"),
    parameterization: str = "mean_disp",
    seed: int = 0,
    sd: tuple[float, float] = (0.1, 0.3),
    **options,
) -> scribe.ScribeSVIResults:
    """Results of a fit that never was; log means are normal and independent."""
    if datasets:
        options = {"dataset_params": "mean", **options}
    spec = resolve_spec(model, parameterization=parameterization, components=components, datasets=datasets, **options)
    rng, arrays = np.random.default_rng(seed), {}
    lengths = {"gene": N_GENES, "cell": N_CELLS, **spec.lengths}
    for latent in spec.latents:
        shape = tuple(lengths[axis] for axis in latent.axes)
        arrays[latent.name + "_loc"] = rng.normal(1, 0.5, shape).astype(np.float32)
        arrays[latent.name + "_log_scale"] = np.log(rng.uniform(*sd, shape)).astype(np.float32)
    design = Design(np.arange(N_CELLS, dtype=np.int32) % max(len(datasets), 1) if datasets else None)
    verdict = Verdict(converged=True, reason="made up", steps=20, loss=90.0, slope=0.0)
    posterior = Posterior(spec, MeanField(), arrays, n_genes=N_GENES, n_cells=N_CELLS, design=design)
    return scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(20)}, engine="svi", seed=7, gene_names=NAMES)


def normal(results, dataset: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the log means in a dataset."""
    loc, log_sd = results.params["mu_unconstrained_loc"], results.params["mu_unconstrained_log_scale"]
    return loc[dataset].astype(float), np.exp(2.0 * log_sd[dataset])


def expected(results, centring: np.ndarray) -> stats.rv_continuous:
    (mean_a, var_a), (mean_b, var_b) = normal(results, 0), normal(results, 1)
    covariance = centring @ np.diag(var_a + var_b) @ centring.T
    return stats.norm(centring @ (mean_a - mean_b), np.sqrt(np.diag(covariance)))


def test_differences_have_the_moments_of_the_posterior() -> None:
    results, n, tau = made(), 20_000, 0.3
    law = expected(results, np.eye(N_GENES) - 1 / N_GENES)
    de = scribe.compare_datasets(results, "a", "b", n_samples=n, method="empirical", reference="clr")
    found = de.gene_level(tau)
    np.testing.assert_allclose(found["delta_mean"], law.mean(), atol=5 * law.std().max() / np.sqrt(n))
    np.testing.assert_allclose(found["delta_sd"], law.std(), rtol=0.03)
    np.testing.assert_allclose(found["prob_positive"], law.sf(0), atol=0.02)
    np.testing.assert_allclose(found["prob_effect"], law.sf(tau) + law.cdf(-tau), atol=0.02)
    np.testing.assert_allclose(found["lfsr"], np.maximum(np.minimum(law.sf(0), law.cdf(0)), 1 / n), atol=0.02)
    sides = np.maximum(law.sf(tau), law.cdf(-tau))
    np.testing.assert_allclose(found["lfsr_tau"], 1 - sides, atol=0.02)
    np.testing.assert_allclose(found["prob_de"], sides, atol=0.02)
    assert list(found["gene_names"]) == list(NAMES)


@pytest.mark.parametrize("reference", ["expressed", "clr", "iqlr", "g2", ["g1", "g4"]])
@pytest.mark.parametrize(
    ("method", "estimand"),
    [
        ("empirical", "mean"),
        ("shrinkage", "mean"),
        ("parametric", "mean"),
        ("empirical", "cell"),
        ("parametric", "cell"),
    ],
)
def test_antisymmetric(reference, method, estimand) -> None:
    """Draws are those of a group, on whichever side it is."""
    results = made()
    about = {"reference": reference, "method": method, "estimand": estimand, "n_samples": 400, "rng": 3}
    forth, back = (scribe.compare_datasets(results, *pair, **about) for pair in (("a", "b"), ("b", "a")))
    opposite(forth, back)


def opposite(forth, back) -> None:
    np.testing.assert_allclose(forth.law.mean, -back.law.mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(forth.gene_level(0.1)["lfsr_tau"], back.gene_level(0.1)["lfsr_tau"], atol=1e-3)
    assert np.any(forth.law.mean != 0)


@pytest.mark.parametrize("estimand", ["mean", "cell"])
def test_antisymmetric_of_two_fits_and_of_draws(estimand) -> None:
    results = [made(datasets=(), seed=seed) for seed in (0, 1)]
    draws = list(np.random.default_rng(2).lognormal(size=(2, 200, N_GENES)))
    for pair in (results, draws, [results[0], draws[0]]):
        about = {"estimand": estimand, "n_samples": 200, "method": "empirical"}
        opposite(scribe.compare(*pair, **about), scribe.compare(*pair[::-1], **about))
    assert scribe.compare(*results, n_samples=50).law.sd.min() > 0


def test_of_one_fit_what_is_shared_cancels_and_of_two_it_does_not() -> None:
    results, other = made(datasets=(), seed=0), made(datasets=(), seed=1)
    np.testing.assert_array_equal(scribe.compare(results, results, n_samples=30).law.sd, 0.0)
    alone = scribe.compare(results, results, n_samples=4000, paired=False, reference="clr").law.sd
    variance = np.exp(2.0 * results.params["mu_unconstrained_log_scale"])
    centring = np.eye(N_GENES) - 1 / N_GENES
    np.testing.assert_allclose(alone, np.sqrt(2 * np.diag(centring @ np.diag(variance) @ centring)), rtol=0.06)
    assert np.all(scribe.compare(results, other, n_samples=100).law.sd > 0)


def test_a_reference_shifts_all_genes_alike() -> None:
    de = scribe.compare_datasets(made(), "a", "b", n_samples=200, method="empirical", reference="clr")
    centred = de.law.draws.copy()
    for reference in ("iqlr", "g3", ["g0", "g5"], np.arange(N_GENES) < 2):
        shift = de.set_reference(reference).law.draws - centred
        np.testing.assert_allclose(shift, shift[:, :1].repeat(N_GENES, axis=1), atol=1e-5)
    np.testing.assert_allclose(de.set_reference("g3").law.draws[:, 3], 0.0, atol=1e-6)


def test_masked_genes_are_pooled_before_centring() -> None:
    results = made()
    de = scribe.compare_datasets(results, "a", "b", n_samples=50, method="empirical", reference="clr", rng=1)
    whole = [group.parts().draws.astype(float) for group in (de.evidence.group_A, de.evidence.group_B)]
    kept = [0, 2, 3]
    by_hand = []
    for logs in whole:
        pooled = np.c_[logs[:, kept], special.logsumexp(np.delete(logs, kept, axis=1), axis=1)]
        by_hand.append((pooled - pooled.mean(axis=1, keepdims=True))[:, :3])
    de.set_gene_mask(["g0", "g2", "g3"])
    np.testing.assert_allclose(de.law.draws, by_hand[0] - by_hand[1], atol=1e-5)
    table = de.to_dataframe()
    assert list(table["kept"]) == [True, False, True, True, False, False]
    assert table["clr_delta_mean"].isna().tolist() == (~table["kept"]).tolist()
    assert len(de.clear_mask().law.mean) == N_GENES
    with pytest.raises(ValueError, match="two genes or more, but 1 of 6"):
        de.set_gene_mask("g1")
    share = np.maximum(*de.expression)
    assert list(de.set_expression_threshold(np.sort(share)[3]).kept) == list(share >= np.sort(share)[3])
    de.set_composition_coverage(0.5)
    assert all(mine[de.kept].sum() >= 0.5 * mine.sum() for mine in de.expression)
    assert de.kept.sum() < N_GENES


def test_cells_differ_by_what_the_gamma_law_says() -> None:
    """Log rates of one cell: variance trigamma(r) on top of that of the log mean."""
    results = made(sd=(0.01, 0.02), seed=4)
    de = scribe.compare_datasets(results, "a", "b", estimand="cell", method="empirical", reference="g0", n_samples=8000)
    r = np.exp(results.params["r_unconstrained_loc"].astype(float))
    variance = 2 * special.polygamma(1, r)
    expected = np.sqrt(variance + variance[0])[1:]
    np.testing.assert_allclose(de.law.sd[1:], expected, rtol=0.05)
    several = scribe.compare_datasets(results, "a", "b", estimand="cell", n_samples=20, n_samples_dirichlet=5)
    assert several.evidence.group_A.n_draws == 100


def test_shared_odds_make_compositions_dirichlet() -> None:
    """Draws of r alone: log-ratios of cells are those of Dirichlet variables."""
    r = np.tile([2.0, 0.5, 5.0], (60_000, 1))
    de = scribe.compare(r, r, estimand="cell", reference="clr", paired=False, rng=0)
    rho = np.log(np.random.default_rng(0).dirichlet([2.0, 0.5, 5.0], 60_000))
    centred = rho - rho.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(de.law.sd, np.sqrt(2) * centred.std(axis=0), rtol=0.03)


def test_draws_with_a_probability_are_compared_by_their_means() -> None:
    rng = np.random.default_rng(1)
    r, p = rng.lognormal(size=(30, 2, 4)), rng.uniform(0.1, 0.9, (30, 4))
    de = scribe.compare(r, r, component_A=0, component_B=1, p_samples_A=p, p_samples_B=p[:, ::-1], reference="clr")
    logs = [np.log(r[:, k] * q / (1 - q)) for k, q in ((0, p), (1, p[:, ::-1]))]
    clr = [x - x.mean(axis=1, keepdims=True) for x in logs]
    np.testing.assert_allclose(de.law.draws, clr[0] - clr[1], atol=1e-5)
    with pytest.raises(ValueError, match="draws are of 2 components"):
        scribe.compare(r, r)


def test_components_are_compared_one_by_one_or_averaged() -> None:
    results = made(components=("B", "T"), datasets=())
    with pytest.raises(ValueError, match="component_A=, one of B, T or mixture_weighted=True"):
        scribe.compare(results, results)
    de = scribe.compare(results, results, component_A="T", component_B="B", n_samples=60, rng=1, reference="clr")
    draws = np.log(np.asarray(results.cells([0]).get_posterior_samples(60, rng=1)["mu"], np.float64))
    clr = draws - draws.mean(axis=2, keepdims=True)
    assert np.std(de.law.draws, axis=0).min() > 0
    by_level = scribe.compare(
        results.get_component("T"), results.get_component("B"), n_samples=60, rng=1, reference="clr"
    )
    np.testing.assert_allclose(by_level.law.draws, de.law.draws, atol=1e-6)
    np.testing.assert_allclose(de.law.mean, (clr[:, 1] - clr[:, 0]).mean(axis=0), atol=0.3)
    weights = {"mixture_weights_A": [1, 0], "mixture_weights_B": [0, 1]}
    about = {"reference": "clr", "rng": 1, "n_samples": 60}
    whole = scribe.compare(results, results, mixture_weighted=True, **weights, **about)
    np.testing.assert_allclose(whole.law.draws, -de.law.draws, atol=1e-4)
    even = scribe.compare(results, results, mixture_weighted=True, mixture_weights_A=[1, 1], mixture_weights_B=[1, 1])
    np.testing.assert_allclose(even.law.mean, 0.0, atol=1e-6)
    by_model = scribe.compare(results, results, mixture_weighted=True, n_samples=20)
    assert np.isfinite(by_model.law.mean).all()


def test_parametric_is_the_normal_law_of_the_draws() -> None:
    results = made()
    about = {"n_samples": 4000, "reference": "clr"}
    drawn = scribe.compare_datasets(results, "a", "b", method="empirical", **about)
    parametric = scribe.compare_datasets(results, "a", "b", method="parametric", **about)
    np.testing.assert_allclose(parametric.law.mean, drawn.law.mean, atol=1e-5)
    np.testing.assert_allclose(parametric.law.sd, drawn.law.sd, rtol=0.05)
    sets = {"some": ["g0", "g2"], "absent": ["nothing"]}
    tables = [de.test_multiple_gene_sets(sets) for de in (drawn, parametric)]
    np.testing.assert_allclose(tables[0]["balance_mean"], tables[1]["balance_mean"], atol=1e-4)
    np.testing.assert_allclose(tables[0]["balance_sd"], tables[1]["balance_sd"], rtol=0.06)


def test_normality_of_draws_against_the_moments_of_logarithms_of_gamma_variables() -> None:
    shapes, n = np.array([2.0, 5.0, 10.0]), 20_000
    draws = np.random.default_rng(1).gamma(shapes, size=(n, 3))
    both = [np.concatenate([x, np.ones((n, 1))], axis=1) for x in (draws, np.ones_like(draws))]
    de = scribe.compare(*both, gene_names=list("abcd"), reference=["d"], gene_mask=["a", "c", "d"], label_A="x")
    found = de.normality().set_index("gene")
    assert list(found.index) == ["a", "c", "d"]
    variance, third, fourth = (special.polygamma(k, shapes[[0, 2]]) for k in (1, 2, 3))
    np.testing.assert_allclose(found["skewness"][:2], third / variance**1.5, atol=0.06)
    np.testing.assert_allclose(found["excess_kurtosis"][:2], fourth / variance**2, atol=0.2)
    statistic = n / 6 * (found["skewness"] ** 2 + found["excess_kurtosis"] ** 2 / 4)
    np.testing.assert_allclose(found["jarque_bera"][:2], statistic[:2], rtol=1e-5)
    assert found["p_value"]["c"] < 1e-6
    results = made()
    by_method = [
        scribe.compare_datasets(results, "a", "b", method=method, reference="clr").normality()
        for method in ("empirical", "parametric")
    ]
    pd.testing.assert_frame_equal(*by_method)
    assert by_method[0]["p_value"].min() > 1e-3
    law = {"loc": np.zeros(2), "cov_factor": np.ones((2, 1)), "cov_diag": np.ones(2)}
    for other in (law, np.ones((10, 3))):
        with pytest.raises(ValueError, match=r"known by a law \(LowRankNormal\), not by draws"):
            scribe.compare(law, other).normality()


def test_logistic_normal_laws_are_parametric_by_default() -> None:
    law = {"loc": np.array([1.0, -1.0]), "cov_factor": np.array([[0.5], [0.2]]), "cov_diag": np.array([0.1, 0.2])}
    other = {**law, "loc": np.array([0.5, 0.0])}
    de = scribe.compare(law, other, reference="clr", gene_names=["a", "b", "c"])
    assert de.method == "parametric"
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = law["cov_factor"] @ law["cov_factor"].T + np.diag(law["cov_diag"])
    centring = np.eye(3) - 1 / 3
    np.testing.assert_allclose(de.law.mean, centring @ [0.5, -1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(de.law.sd, np.sqrt(np.diag(centring @ (2 * covariance) @ centring.T)), rtol=1e-9)
    law = stats.norm(de.law.mean, de.law.sd)
    np.testing.assert_allclose(de.gene_level(0.2)["prob_effect"], law.sf(0.2) + law.cdf(-0.2))
    weights = np.array([1.0, -2.0, 1.0])
    sums = de.test_contrast(weights)
    np.testing.assert_allclose(sums["mean"], weights @ [0.5, -1.0, 0.0])
    np.testing.assert_allclose(sums["sd"], np.sqrt(weights @ (2 * covariance) @ weights))
    ilr = np.array([[1, 1], [-1, 1], [0, -2]]) / np.sqrt([2.0, 6.0])
    coordinates = de.ilr_level(tau=0.1)
    np.testing.assert_allclose(coordinates["mean"], ilr.T @ [0.5, -1.0, 0.0])
    np.testing.assert_allclose(coordinates["sd"], np.sqrt(np.diag(ilr.T @ (2 * covariance) @ ilr)))
    several = {"up": ["a"], "down": ["b", "c"], "last": [2]}
    at_once = de.test_multiple_gene_sets(several)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scribe._compare.gene_sets._SUMS_AT_ONCE", 1)
        pd.testing.assert_frame_equal(de.test_multiple_gene_sets(several), at_once)
        np.testing.assert_allclose(de.ilr_level(tau=0.1)["mean"], coordinates["mean"])


def test_shrinkage_draws_towards_zero_and_keeps_the_comparison() -> None:
    results = made(sd=(0.4, 0.6))
    plain = scribe.compare_datasets(results, "a", "b", method="empirical", reference="clr")
    shrunk = plain.shrink()
    assert shrunk.method == "shrinkage"
    assert plain.method == "empirical"
    assert np.all(np.abs(shrunk.law.mean) <= np.abs(plain.law.mean) + 1e-12)
    assert 0 <= shrunk.null_proportion <= 1
    assert np.isnan(plain.null_proportion)
    grid = plain.shrink(sds=[0.0, 0.2]).shrunk
    assert list(grid.population.sds) == [0.0, 0.2]
    said = scribe.compare_datasets(results, "a", "b", method="empirical").shrink(sds=[0.0, 0.2]).shrink()
    assert list(said.shrunk.population.sds) == [0.0, 0.2], "what was asked for before holds"
    direct = scribe.compare_datasets(results, "a", "b", reference="clr")
    np.testing.assert_allclose(direct.law.mean, shrunk.law.mean, atol=1e-6)


def test_calls_hold_their_promise() -> None:
    de = scribe.compare_datasets(made(seed=3), "a", "b", method="empirical")
    rates = de.gene_level()["lfsr"]
    np.testing.assert_array_equal(de.call_genes(0.05), rates < 0.05)
    np.testing.assert_array_equal(de.call_genes(), rates < 0.05)
    threshold = de.find_threshold(0.1)
    called = de.call_genes(target_pefp=0.1)
    np.testing.assert_array_equal(called, rates < threshold)
    np.testing.assert_allclose(de.compute_pefp(threshold), rates[called].mean())
    assert list(de.to_dataframe(target_pefp=0.1)["clr_is_de"]) == list(called)
    with pytest.raises(ValueError, match="two ways to call"):
        de.call_genes(0.05, target_pefp=0.05)
    strict = de.call_genes(0.05, tau=1.0)
    assert strict.sum() <= de.call_genes(0.05).sum()
    several = de.to_dataframe([0.0, 0.5])
    np.testing.assert_allclose(several["clr_lfsr_tau_tau0"], rates)
    assert "clr_prob_de_tau0.5" in several
    assert de.summary(top_n=3)["clr_lfsr"].is_monotonic_increasing
    assert "a vs b (positive = higher in a): 6 of 6 genes" in repr(de)


def test_biological_level_against_the_formulas() -> None:
    results = made(parameterization="mean_disp")
    de = scribe.compare_datasets(results, "a", "b", n_samples=500, method="empirical", rng=2)
    mean, variance = (np.exp(x.astype(float)) for x in de.evidence.moments()[0])
    r = mean**2 / (variance - mean)
    loc, log_sd = (results.params[f"r_unconstrained_{what}"] for what in ("loc", "log_scale"))
    np.testing.assert_allclose(np.log(r).mean(axis=0), loc, atol=5 * np.exp(log_sd).max() / np.sqrt(500))
    found = de.biological_level(tau_lfc=0.2)
    (mean_a, var_a), (mean_b, var_b) = normal(results, 0), normal(results, 1)
    law = stats.norm(mean_a - mean_b, np.sqrt(var_a + var_b))
    np.testing.assert_allclose(found["lfc_mean"], law.mean(), atol=0.1)
    np.testing.assert_allclose(found["lfc_sd"], law.std(), rtol=0.15)
    np.testing.assert_allclose(found["lfc_prob_effect"], law.sf(0.2) + law.cdf(-0.2), atol=0.1)
    assert set(de.to_dataframe(metrics="all")) >= {"bio_lvr_mean", "bio_kl_mean", "bio_hellinger_mean", "clr_lfsr"}
    assert "clr_lfsr" not in de.to_dataframe(metrics="bio")
    called = de.to_dataframe(metrics="bio", target_pefp=0.05, tau_lfc=0.2)
    np.testing.assert_array_equal(called["bio_lfc_is_de"], s_values(found["lfc_lfsr"]) <= 0.05)
    np.testing.assert_array_equal(called["bio_kl_is_de"], s_values(1 - called["bio_kl_prob_effect"].to_numpy()) <= 0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scribe._compare.biology._GENES_AT_ONCE", 4)
        for name, value in de.biological_level(tau_lfc=0.2).items():
            np.testing.assert_allclose(value, found[name], rtol=1e-6, err_msg=name)
    with pytest.raises(ValueError, match="not of log-ratios, of averages over samples, or of r alone"):
        scribe.compare(np.ones((3, 2)), np.ones((3, 2))).biological_level()


@pytest.mark.parametrize("estimand", ["mean", "cell"])
def test_biological_level_of_draws_against_scipy(estimand) -> None:
    rng = np.random.default_rng(3)
    r, p = rng.lognormal(0.0, 0.5, (2, 40, 3)), rng.uniform(0.1, 0.9, (2, 40))
    de = scribe.compare(*r, p_samples_A=p[0], p_samples_B=p[1], estimand=estimand)
    found = de.biological_level(tau_lfc=0.2, tau_var=0.1)
    laws = [stats.nbinom(size, 1 - q[:, None]) for size, q in zip(r, p, strict=True)]
    for name, law in zip("AB", laws, strict=True):
        np.testing.assert_allclose(found[f"mu_{name}_mean"], law.mean().mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found[f"var_{name}_mean"], law.var().mean(axis=0), rtol=1e-5)
    for name, tau, ratio in (
        ("lfc", 0.2, laws[0].mean() / laws[1].mean()),
        ("lvr", 0.1, laws[0].var() / laws[1].var()),
    ):
        np.testing.assert_allclose(found[f"{name}_mean"], np.log(ratio).mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[f"{name}_prob_effect"], np.mean(np.abs(np.log(ratio)) > tau, axis=0))
    # gamma rates of size r and mean mu, on a grid of their logarithms
    x, step = np.exp(np.linspace(-200, 12, 7001))[:, None, None], 212 / 7000
    log_f, log_g = (
        stats.gamma(size, scale=(q / (1 - q))[:, None]).logpdf(x) + np.log(x) for size, q in zip(r, p, strict=True)
    )
    jeffreys = np.sum((np.exp(log_f) - np.exp(log_g)) * (log_f - log_g), axis=0) * step
    hellinger = np.sqrt(np.maximum(1 - np.sum(np.exp(0.5 * (log_f + log_g)), axis=0) * step, 0.0))
    np.testing.assert_allclose(found["kl_mean"], jeffreys.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(found["hellinger_mean"], hellinger.mean(axis=0), rtol=1e-3)
    results = made(datasets=())
    n = len(r[0])
    mixed = scribe.compare(results, np.ones((n, N_GENES)), p_samples_B=np.full((n, N_GENES), 0.5))
    np.testing.assert_allclose(mixed.biological_level()["var_B_mean"], 2.0, rtol=1e-5)


@pytest.mark.parametrize("p", [np.full(5, 1.0), np.full(4, 0.5), np.full((5, 2), 0.5)])
def test_wrong_probabilities_are_refused(p) -> None:
    with pytest.raises(ValueError, match=r"Draws of p are between 0 and 1, \(5,\) or \(5, 3\)"):
        scribe.compare(np.ones((5, 3)), np.ones((5, 3)), p_samples_A=p)


def test_variance_of_a_known_law() -> None:
    """Mean 20 and size 5 have the variance 100, that is 20 (1 + 20/5)."""
    results = made(datasets=(), sd=(1e-4, 2e-4))
    arrays = {**results.params}
    arrays["mu_unconstrained_loc"] = np.full(N_GENES, np.log(20.0), np.float32)
    arrays["r_unconstrained_loc"] = np.full(N_GENES, np.log(5.0), np.float32)
    posterior = Posterior(results.spec, MeanField(), arrays, n_genes=N_GENES, n_cells=N_CELLS)
    known = scribe.ScribeSVIResults(
        posterior, results.verdict, {"loss": np.zeros(2)}, engine="svi", seed=1, gene_names=NAMES
    )
    found = scribe.compare(known, known, n_samples=50).biological_level()
    np.testing.assert_allclose(found["var_A_mean"], 100.0, rtol=1e-3)
    np.testing.assert_allclose(found["mu_B_mean"], 20.0, rtol=1e-3)
    np.testing.assert_allclose(found["kl_mean"], 0.0, atol=1e-4)


def crossed(**options) -> scribe.ScribeSVIResults:
    return made(datasets=DATASETS, factors=FACTORS, **options)


def test_paired_groups_average_over_donors() -> None:
    results = crossed()
    with pytest.warns(UserWarning, match=r"1 of 'donor' have one of 'y' and 'x' only and are left out: c"):
        de = scribe.compare_groups(results, "condition", level_A="y", level_B="x", reference="clr", n_samples=8000)
    loc, log_sd = (results.params[f"mu_unconstrained_{what}"].astype(float) for what in ("loc", "log_scale"))
    centring = np.eye(N_GENES) - 1 / N_GENES
    mean = centring @ (loc[1] + loc[3] - loc[0] - loc[2]) / 2
    covariance = centring @ np.diag(np.exp(2 * log_sd[:4]).sum(axis=0) / 4) @ centring
    np.testing.assert_allclose(de.law.mean, mean, atol=0.02)
    np.testing.assert_allclose(de.law.sd, np.sqrt(np.diag(covariance)), rtol=0.05)
    with pytest.raises(ValueError, match="have one of 'y' and 'x' only: c"):
        scribe.compare_groups(results, "condition", level_A="y", level_B="x", incomplete_pairs="error")
    few = pytest.raises(ValueError, match="2 of 'donor' have both 'y' and 'x', and min_complete_pairs=3 are needed")
    with pytest.warns(UserWarning, match="left out"), few:
        scribe.compare_groups(results, "condition", level_A="y", level_B="x", min_complete_pairs=3)
    with pytest.raises(ValueError, match=r"Unknown factor 'conditions'. Did you mean 'condition'"):
        scribe.compare_groups(results, "conditions", level_A="y", level_B="x")
    with pytest.raises(ValueError, match="Pairs need datasets that are combinations of factors"):
        scribe.compare_groups(made(), "condition", level_A="y", level_B="x")


WEIGHTS = {"uniform": (1, 1), "min_cells": (4, 4), "harmonic": (2, 2), "total_cells": (8, 8)}


@pytest.mark.parametrize("weighting", WEIGHTS)
def test_pairs_are_weighted_by_their_cells(weighting) -> None:
    results = crossed()
    with pytest.warns(UserWarning, match="left out"):
        de = scribe.compare_groups(results, "condition", level_A="y", level_B="x", pair_weighting=weighting)
    assert de.evidence.group_A.weights == WEIGHTS[weighting]


def test_effects_of_factors_are_compared_as_such() -> None:
    prior = {"condition": "fixed", "donor": "gaussian"}
    results = crossed(unconstrained=True, expression_dataset_prior=prior, dataset_params=None)
    de = scribe.compare_groups(
        results, "condition", level_A="y", level_B="x", estimand="effect", reference="clr", n_samples=300, rng=5
    )
    name = "mu_condition_effect"
    drawn = np.asarray(results.cells([0]).get_posterior_samples(300, rng=5, sites=[name])[name], float)
    difference = drawn[:, 1] - drawn[:, 0]
    np.testing.assert_allclose(de.law.draws, difference - difference.mean(axis=1, keepdims=True), atol=1e-4)
    with pytest.raises(ValueError, match="no effect of 'condition' on expression"):
        scribe.compare_groups(crossed(), "condition", level_A="y", level_B="x", estimand="effect")


def test_genes_are_matched_by_name() -> None:
    results, other = made(datasets=(), seed=0), made(datasets=(), seed=1)
    turned = other[::-1]
    about = {"n_samples": 2000, "reference": "clr"}
    straight, back = scribe.compare(results, other, **about), scribe.compare(results, turned, **about)
    np.testing.assert_allclose(back.law.mean, straight.law.mean, atol=0.05)
    with pytest.raises(ValueError, match=r"different genes: 1 are in A alone \(\['g0'\]\), 0 in B alone"):
        scribe.compare(results, other[1:])


def test_masks_and_labels() -> None:
    results = made(components=("B", "T"), datasets=())
    mask = scribe.compute_expression_mask(results, results, component_A="B", component_B="T", min_mean_expression=1e3)
    share = np.maximum(*scribe.compare(results, results, component_A="B", component_B="T").expression)
    np.testing.assert_array_equal(mask, share >= 1e3)
    covering = scribe.compute_composition_coverage_mask(
        results, results, component_A="B", component_B="T", coverage=0.6
    )
    assert 0 < covering.sum() < N_GENES
    assert scribe.get_shared_labels(results, results) == ["B", "T"]
    assert scribe.match_components_by_label(results, made(components=("T", "B"), datasets=()), "T") == (1, 0)
    with pytest.raises(ValueError, match="no labels: fit a mixture"):
        scribe.get_shared_labels(results, made())


def test_samples_that_differ_are_warned_of_once_and_components_are_not() -> None:
    two = made(components=("0", "1"), datasets=DATASETS, factors=FACTORS)
    first, second = (made(seed=seed, datasets=()) for seed in (0, 1))
    calls = [
        lambda: scribe.compare(first, second),
        lambda: scribe.compare(two, two, component_A=0, component_B=0, dataset_A=0, dataset_B=1),
        lambda: scribe.compare_datasets(two, 0, 1, component=0),
        lambda: scribe.compare_groups(two, "condition", level_A="x", level_B="y", component=0, incomplete_pairs="drop"),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert call().level == "cell"
        said = [one for one in caught if "level='cell'" in str(one.message)]
        assert [one.filename for one in said] == [__file__]
        assert "sample_key=" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scribe.compare(two, two, component_A=0, component_B=1, dataset_A=0, dataset_B=0)


def test_what_cannot_be_compared() -> None:
    results = made()
    with pytest.raises(KeyError, match=r"no dataset 'c'\. There are: a, b"):
        scribe.compare_datasets(results, "a", "c")
    with pytest.raises(ValueError, match="Expression is the same in all datasets of this model"):
        scribe.compare_datasets(made(dataset_params="r"), "a", "b")
    with pytest.raises(ValueError, match="dataset_A=, one of a, b"):
        scribe.compare(results, results)
    with pytest.raises(TypeError, match=r"unknown keyword 'componentA'. Did you mean 'component_A'"):
        scribe.compare(results, results, componentA=1)
    with pytest.raises(ValueError, match="Unknown method 'bayes'"):
        scribe.compare(results, results, method="bayes")
    with pytest.raises(ValueError, match="draws cells, but estimand='mean'"):
        scribe.compare(results, results, n_samples_dirichlet=3)
    with pytest.raises(ValueError, match="keep one"):
        scribe.compare(results, results, mixture_weighted=True, component_A=1)
    with pytest.raises(TypeError, match=r"results of fits, .* draws .* got str"):
        scribe.compare("a", "b")
    with pytest.raises(TypeError, match=r"scribe\.get\.results\(adata\) .* got AnnData"):
        scribe.compare(*[scribe.datasets.simulate(5, 4)] * 2)
    with pytest.raises(TypeError, match=r"compare_datasets takes results of fits, .* got AnnData"):
        scribe.compare_datasets(scribe.datasets.simulate(5, 4), "a", "b")
    with pytest.raises(TypeError, match=r"compare_groups takes results of fits, .* got AnnData"):
        scribe.compare_groups(scribe.datasets.simulate(5, 4), "condition", level_A="a", level_B="b")


def test_options_that_would_do_nothing_are_refused() -> None:
    results, pairs = made(), crossed()
    for method in ("empirical", "shrinkage"):
        with pytest.raises(ValueError, match=rf"rank=3 is that of the normal law .* not of '{method}'"):
            scribe.compare_datasets(results, "a", "b", method=method, rank=3)
    with pytest.raises(ValueError, match=r"p_samples_B go with draws of r, but model_B is a ScribeSVIResults"):
        scribe.compare(results, results, dataset_A="a", dataset_B="b", p_samples_B=np.ones(3))
    about = {"level_A": "x", "level_B": "y", "estimand": "effect"}
    with pytest.raises(ValueError, match=r"no average of pairs: leave out what is said of pairs"):
        scribe.compare_groups(pairs, "condition", pair_weighting="harmonic", **about)
    with pytest.raises(ValueError, match="Unknown incomplete_pairs 'x'"):
        scribe.compare_groups(pairs, "condition", level_A="x", level_B="y", incomplete_pairs="x")


def test_thresholds_must_be_ones() -> None:
    de = scribe.compare_datasets(made(), "a", "b", n_samples=50)
    for target in (0.0, 5, -1):
        with pytest.raises(ValueError, match="target_pefp must lie between 0 and 1"):
            de.to_dataframe(target_pefp=target)
        with pytest.raises(ValueError, match="target_pefp must lie between 0 and 1"):
            de.test_multiple_gene_sets({"one": ["g0"]}, target_pefp=target)
    with pytest.raises(ValueError, match="Unknown metrics 'foo'"):
        de.to_dataframe(metrics="foo")
    with pytest.raises(TypeError, match="tau_lfc of means and variances goes with metrics='bio'"):
        de.to_dataframe(tau_lfc=0.2)
    with pytest.raises(ValueError, match="tau must not be negative"):
        de.gene_level(-1)
    with pytest.raises(ValueError, match="lfsr_threshold is a probability, above 0 and up to 1; got 5"):
        de.call_genes(lfsr_threshold=5)
    with pytest.raises(TypeError, match=r"Sets are genes by the name of the set, .* got list"):
        de.test_multiple_gene_sets([["g0"]])
    with pytest.warns(UserWarning, match=r"No set has a gene that is kept .* Are their names .* such as g0, g1, g2"):
        found = de.test_multiple_gene_sets({"one": ["ENSG1"]})
    assert found["balance_mean"].isna().all()
    with pytest.raises(
        KeyError, match=r"'CLR' is neither a gene nor one of 'unchanged', 'expressed', 'clr', 'iqlr'. Did you .* 'clr'"
    ):
        scribe.compare_datasets(made(), "a", "b", n_samples=50, reference="CLR").law  # noqa: B018


def test_of_cells_nothing_is_shrunk() -> None:
    results = made()
    assert scribe.compare_datasets(results, "a", "b", estimand="cell").method == "empirical"
    assert scribe.compare_datasets(results, "a", "b").method == "shrinkage"
    for make in (
        lambda: scribe.compare_datasets(results, "a", "b", estimand="cell", method="shrinkage"),
        lambda: scribe.compare_datasets(results, "a", "b", estimand="cell").shrink(),
        lambda: scribe.compare(results, results, dataset_A="a", dataset_B="b", estimand="cell", method="shrinkage"),
    ):
        with pytest.raises(ValueError, match="estimand='cell' varies as cells do"):
            make()


def test_laws_know_what_they_are_of() -> None:
    results = [made(datasets=(), seed=seed) for seed in (0, 1)]
    by_estimand = {
        estimand: [one.fit_logistic_normal(2000, estimand=estimand) for one in results] for estimand in ("mean", "cell")
    }
    default = results[0].fit_logistic_normal(100)
    assert default.estimand == "mean"
    for estimand, laws in by_estimand.items():
        de = scribe.compare(*laws, reference="clr")
        assert de.estimand == estimand
        drawn = scribe.compare(*results, estimand=estimand, reference="clr", n_samples=2000)
        np.testing.assert_allclose(de.law.sd, drawn.law.sd, rtol=0.1)
    de, drawn = scribe.compare(*by_estimand["mean"]), scribe.compare(*results, n_samples=2000)
    np.testing.assert_allclose(de.expression, drawn.expression, rtol=0.1)
    np.testing.assert_allclose(np.sum(scribe.compare(*by_estimand["cell"]).expression, axis=1), 1e4)
    with pytest.raises(ValueError, match="laws are of estimand='mean', and estimand='cell' is asked for"):
        scribe.compare(*by_estimand["mean"], estimand="cell")
    with pytest.raises(ValueError, match="laws are of estimand='cell', 'mean'"):
        scribe.compare(by_estimand["mean"][0], by_estimand["cell"][1])


@pytest.mark.parametrize("method", ["empirical", "shrinkage"])
def test_agreement_of_references_is_that_of_their_calls(method) -> None:
    de = scribe.compare_datasets(made(), "a", "b", n_samples=200, method=method, gene_mask=NAMES[:5])
    references = ("expressed", "clr", ["g1", "g4"])
    found = de.reference_agreement(references, target_pefp=0.2, tau=0.1)
    assert list(found["gene"]) == list(NAMES[:5])
    assert set(found["n_references"]) == {3}
    before, up, down, deltas = de.reference, np.zeros(5, int), np.zeros(5, int), []
    for reference in references:
        de.set_reference(reference)
        called, law = de.call_genes(target_pefp=0.2, tau=0.1), de.law
        up += called & (law.above(0.1) > law.below(-0.1))
        down += called & (law.above(0.1) < law.below(-0.1))
        deltas.append(law.mean)
    np.testing.assert_array_equal(found["n_up"], up)
    np.testing.assert_array_equal(found["n_down"], down)
    np.testing.assert_allclose(found["delta_min"], np.min(deltas, axis=0))
    np.testing.assert_allclose(found["delta_max"], np.max(deltas, axis=0))
    assert (up + down).max() > 0
    assert before == "unchanged"


def test_tables_say_what_is_positive() -> None:
    table = scribe.compare_datasets(made(), "a", "b", n_samples=50).to_dataframe()
    assert table.attrs == {"positive": "higher in a", "unit": "natural logarithm"}


def test_a_mask_by_name_is_put_in_the_order_of_the_genes() -> None:
    mask = pd.Series([True, False, True, False, False, True], index=NAMES)
    results = made()
    for given in (mask, mask[::-1], mask[::-1].astype("boolean"), mask.to_numpy(), mask.to_numpy().astype(object)):
        de = scribe.compare_datasets(results, "a", "b", n_samples=20, gene_mask=given)
        np.testing.assert_array_equal(de.kept, mask)
    more = pd.concat([mask[::-1], pd.Series([True], index=["other"])])
    np.testing.assert_array_equal(scribe.compare_datasets(results, "a", "b", gene_mask=more).kept, mask)
    with pytest.raises(IndexError, match=r"missing are 1, the first: \['g5'\]"):
        scribe.compare_datasets(results, "a", "b", gene_mask=mask[:5])
    with pytest.raises(TypeError, match="by names, whole numbers, a slice or a mask of True and False; got float64"):
        scribe.compare_datasets(results, "a", "b", gene_mask=mask.to_numpy().astype(float))


def test_draws_do_not_depend_on_cells_and_keep_to_those_of_chains(made_chains) -> None:
    results = scribe.get.results(made_chains)
    de = scribe.compare(results, results, n_samples=500)
    assert de.evidence.group_A.n_draws == 100
    jax.block_until_ready(de.law.draws)
    assert de.law.draws.shape == (100, results.n_genes)
    cells = scribe.compare(results, results, n_samples=500, estimand="cell", n_samples_dirichlet=3).law.draws
    assert cells.shape == (300, results.n_genes)
    assert len(np.unique(cells[:, 0])) == 300, "the same draws with other cells"


def test_what_groups_of_one_fit_share_cancels_in_normal_laws_too() -> None:
    one = made().get_dataset("a")
    de = scribe.compare(one, one, method="parametric", n_samples=200)
    np.testing.assert_allclose(de.law.mean, 0.0, atol=1e-6)
    assert de.law.sd.max() < 1e-5
    apart = scribe.compare(one, one, method="parametric", n_samples=4000, paired=False, reference="clr")
    drawn = scribe.compare(one, one, method="empirical", n_samples=4000, paired=False, reference="clr")
    np.testing.assert_allclose(apart.law.sd, drawn.law.sd, rtol=0.05)


def test_fits_draws_and_laws_are_compared_with_each_other() -> None:
    results, rng = made().get_dataset("a"), np.random.default_rng(0)
    r = rng.lognormal(size=(300, N_GENES))
    plain = scribe.compare(results, jax.numpy.asarray(r), reference="clr")
    assert plain.method == "empirical"
    assert plain.law.draws.shape == (300, N_GENES)
    law = results.fit_logistic_normal(n_samples=3000, estimand="mean")
    normal_too = scribe.compare(results, law, n_samples=3000, reference="clr")
    assert normal_too.method == "parametric"
    twice = scribe.compare(results, results, paired=False, n_samples=3000, reference="clr")
    np.testing.assert_allclose(normal_too.law.mean, 0.0, atol=0.05)
    np.testing.assert_allclose(normal_too.law.sd, twice.law.sd, rtol=0.06)
    assert scribe.compare(results, law, method="shrinkage").null_proportion > 0.5
    assert isinstance(scribe.compare(r, r[::-1], method="parametric").law, LowRankNormal)
    with pytest.raises(ValueError, match="'empirical' compares draws, and a logistic-normal law has none"):
        scribe.compare(results, law, method="empirical")
    with pytest.raises(ValueError, match=r"A has 300 draws, B has 299 draws: pass as many of both"):
        scribe.compare(r, r[1:])


def test_tables_say_what_was_compared_with_what() -> None:
    de = scribe.compare_datasets(made(), "a", "b", reference=["g1", "g4"])
    row = de.to_dataframe().loc[0, ["A", "B", "relative_to", "level"]]
    assert row.tolist() == ["a", "b", "g1, g4", "cell"]
    assert de.set_reference(np.arange(N_GENES) < 4).relative_to == "4 genes"
    assert de.set_reference("g3").relative_to == "g3"
    top = de.summary(sort_by="lfsr", top_n=3)
    pd.testing.assert_frame_equal(top, de.summary(top_n=3))
    with pytest.raises(KeyError, match=r"There is no column 'lfdr' to sort by\. There are: gene, kept"):
        de.summary(sort_by="lfdr")
    de.set_gene_mask(["g0", "g1", "g2"]).set_reference(["g1", "g4"])
    assert list(np.flatnonzero(de.gene_mask)) == [0, 1, 2]
    with pytest.raises(ValueError, match="1 of 2 reference genes are not kept by gene_mask"):
        de.to_dataframe()


@pytest.mark.parametrize("component", ["T", 1])
def test_datasets_and_pairs_within_a_component(component) -> None:
    results = made(components=("B", "T"), datasets=DATASETS, factors=FACTORS)
    about = {"n_samples": 60, "rng": 1, "reference": "clr", "method": "empirical"}
    de = scribe.compare_datasets(results, "a | x", "a | y", component=component, **about)
    whole = scribe.compare_datasets(results.get_component("T"), "a | x", "a | y", **about)
    np.testing.assert_allclose(de.law.draws, whole.law.draws, atol=1e-6)
    levels = {"level_A": "x", "level_B": "y", "pairing_factor": "donor"}
    with pytest.warns(UserWarning, match="c"):
        pairs = scribe.compare_groups(results, "condition", component=component, **levels, **about)
    other = scribe.compare_datasets(results, "b | x", "b | y", component="T", **about)
    np.testing.assert_allclose(pairs.law.draws, 0.5 * (de.law.draws + other.law.draws), atol=1e-5)
