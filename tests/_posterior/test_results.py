"""Every question one may ask of a fit, against draws, closed forms and dense algebra."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._counts.container import Counts
from scribe._posterior import results as results_module

MODELS = {
    "nbvcp": {},
    "zinbvcp": {"parameterization": "mean_disp"},
    "zinb": {"parameterization": "mean_odds"},
    "poissonvcp": {},
}
NAMES = {
    "nbvcp": {"mu": "gene", "r": "gene", "p": "", "phi": "", "p_capture": "cell"},
    "zinbvcp": {"mu": "gene", "r": "gene", "p": "gene", "phi": "gene", "gate": "gene", "p_capture": "cell"},
    "zinb": {"mu": "gene", "r": "gene", "p": "", "phi": "", "gate": "gene"},
    "poissonvcp": {"mu": "gene", "p_capture": "cell"},
}
SHAPE = {"gene": (12,), "cell": (30,), "": ()}
DESCRIPTIVE = {
    **{"mu": "expression", "r": "dispersion", "p": "prob", "phi": "odds", "gate": "zero_inflation"},
    **{"p_capture": "capture_prob"},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def results(model, made_fit):
    return scribe.get.results(made_fit(model, **MODELS[model]))


@pytest.fixture(scope="module")
def default(made_fit):
    return scribe.get.results(made_fit())


def log_pmf(values: dict[str, np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Dense log-likelihood of the counts at one draw, by scipy, from readable parameters."""
    values = {name: np.asarray(value, np.float64) for name, value in values.items()}
    nu = values["p_capture"][:, None] if "p_capture" in values else np.ones((30, 1))
    mean = nu * values["mu"]
    if "r" in values:
        out = stats.nbinom(values["r"], values["r"] / (values["r"] + mean)).logpmf(counts)
    else:
        out = stats.poisson(mean).logpmf(counts)
    if "gate" in values:
        gate = np.log(values["gate"]) + np.where(counts == 0, 0.0, -np.inf)
        out = np.logaddexp(gate, np.log1p(-values["gate"]) + out)
    return out


def test_samples_have_documented_names_and_shapes(model, results):
    draws = results.get_posterior_samples(5)
    assert {name: value.shape for name, value in draws.items()} == {
        name: (5, *SHAPE[axis]) for name, axis in NAMES[model].items()
    }
    described = results.get_posterior_samples(5, descriptive_names=True)
    assert set(described) == {DESCRIPTIVE[name] for name in NAMES[model]}
    for name, value in draws.items():
        np.testing.assert_array_equal(value, described[DESCRIPTIVE[name]])


def test_same_rng_same_draws(results):
    one, two, other = (results.get_posterior_samples(3, rng=rng)["mu"] for rng in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    generator = results.get_posterior_samples(3, rng=np.random.default_rng(0))["mu"]
    key = results.get_posterior_samples(3, rng=jax.random.key(1))["mu"]
    np.testing.assert_array_equal(key, one)
    assert generator.shape == one.shape
    np.testing.assert_array_equal(results.get_posterior_samples(3)["mu"], results.get_posterior_samples(3, rng=7)["mu"])


def test_some_sites_by_either_name(results):
    some = results.get_posterior_samples(3, sites=["expression"])
    assert set(some) == {"mu"}
    np.testing.assert_array_equal(some["mu"], results.get_posterior_samples(3)["mu"])
    with pytest.raises(ValueError, match=r"No parameter 'muu' in this fit. Did you mean 'mu'\?"):
        results.get_posterior_samples(3, sites=["muu"])


def test_map_is_the_median_of_transformed_normals(model, results):
    point = results.get_map()
    assert set(point) == set(NAMES[model])
    draws = results.get_posterior_samples(3000, rng=0)
    sampled = {site.name for site in results.spec.sites} & set(point)
    for name in sampled:
        np.testing.assert_allclose(point[name], np.median(draws[name], axis=0), rtol=0.05)
    means = results.get_map(use_mean=True)
    for name, value in means.items():
        error = np.std(draws[name], axis=0) / np.sqrt(1000)
        assert np.all(np.abs(value - np.mean(draws[name], axis=0)) < 7 * error + 1e-6), name
    assert set(results.get_map(descriptive_names=True)) == {DESCRIPTIVE[name] for name in NAMES[model]}


def test_quantiles_agree_with_draws_and_distributions(model, results):
    q = (0.05, 0.5, 0.95)
    found = results.get_posterior_quantiles(q, n_samples=4000)
    draws = {name: np.asarray(value) for name, value in results.get_posterior_samples(4000, rng=3).items()}
    assert set(found) == set(NAMES[model])
    for name, value in found.items():
        assert value.shape == (3, *SHAPE[NAMES[model][name]])
        assert (np.diff(value, axis=0) >= 0).all()
        spread = np.std(draws[name], axis=0)
        assert np.all(np.abs(value - np.quantile(draws[name], q, axis=0)) < 0.25 * spread + 1e-6), name
    for name, distribution in results.get_distributions().items():
        upper, middle = found[name][2], found[name][1]
        assert np.all(np.abs(np.asarray(distribution.icdf(np.float32(0.5))) - middle) < 0.15 * (upper - middle) + 1e-6)
    assert "expression" in results.get_distributions(descriptive_names=True) or "mu" not in results.get_distributions()


def test_log_likelihood_is_at_the_draws_of_get_posterior_samples(results):
    """Against scipy, draw by draw; fewer draws are the first of more."""
    counts, n = results.counts().rows(slice(None)).astype(int), 3
    draws = results.get_posterior_samples(5, rng=1)
    expected = np.stack([log_pmf({k: v[i] for k, v in draws.items()}, counts) for i in range(n)])
    by_cell = results.log_likelihood(return_by="cell", n_samples=n, rng=1)
    by_gene = results.log_likelihood(return_by="gene", n_samples=n, rng=1)
    np.testing.assert_allclose(by_cell, expected.sum(axis=2), rtol=1e-4)
    np.testing.assert_allclose(by_gene, expected.sum(axis=1), rtol=1e-4)
    at_map = results.log_likelihood(n_samples=0)
    assert at_map.shape == (1, 30)
    np.testing.assert_allclose(at_map[0], log_pmf(results.get_map(), counts).sum(axis=1), rtol=1e-4)


def test_every_verb_has_the_same_draws(default, monkeypatch):
    """Replicates, denoised counts and summaries are made from the draws of `get_posterior_samples`."""
    draws = {name: np.asarray(value, np.float64) for name, value in default.get_posterior_samples(4, rng=1).items()}
    np.testing.assert_allclose(default.get_summaries(n_samples=4, rng=1)["mu"].mean, draws["mu"].mean(0), rtol=1e-5)
    observed, nu = default.counts().rows(slice(None)), draws["p_capture"][:, :, None]
    # the posterior mean of the molecules of a negative binomial, at every draw
    unseen = (draws["r"][:, None] + observed) * (1 - nu) / (draws["phi"][:, None, None] + nu)
    np.testing.assert_allclose(default.denoise_counts(n_samples=4, rng=1), observed + unseen.mean(axis=0), rtol=1e-4)
    made = []

    def seen(family, parameters, key, **_):
        made.append(parameters)
        return iter(())

    monkeypatch.setattr(results_module, "simulate_blocks", seen)
    list(default.simulate(4, rng=1))
    np.testing.assert_allclose([np.exp(one.log_exposure) for one in made], draws["p_capture"], rtol=1e-5)
    np.testing.assert_allclose([np.exp(one.natural["log_mean"]) for one in made], draws["mu"], rtol=1e-5)


@pytest.mark.parametrize("group", ["one", "mixture"])
def test_what_is_drawn_of_a_cell_does_not_depend_on_the_order_of_cells(group, default, small_mixture):
    results = default if group == "one" else scribe.get.results(small_mixture).cells(slice(0, 30))
    order = np.random.default_rng(0).permutation(results.n_cells)
    moved = results.cells(order)
    for name, value in results.get_posterior_samples(2, rng=3).items():
        at = value[:, order] if results.posterior.named_axes[name] == ("cell",) else value
        np.testing.assert_allclose(moved.get_posterior_samples(2, rng=3)[name], at, rtol=1e-6)
    np.testing.assert_array_equal(moved.get_ppc_samples(2, rng=3), results.get_ppc_samples(2, rng=3)[:, order])
    for method in ("mean", "sample"):
        value = results.denoise_counts(method=method, n_samples=3, rng=3)
        np.testing.assert_allclose(moved.denoise_counts(method=method, n_samples=3, rng=3), value[order], rtol=1e-4)


def test_log_likelihood_of_other_counts(default):
    other = np.random.default_rng(0).poisson(2.0, (30, 12)).astype(float)
    found = default.log_likelihood(other, n_samples=0)[0]
    np.testing.assert_allclose(found, log_pmf(default.get_map(), other).sum(axis=1), rtol=1e-4)
    with pytest.raises(ValueError, match=r"results are for 30 cells x 12 genes, but counts are \(30, 5\)"):
        default.log_likelihood(other[:, :5])
    with pytest.raises(ValueError, match="return_by must be 'cell' or 'gene', got 'both'"):
        default.log_likelihood(return_by="both")


def test_replicates_have_the_moments_of_the_model(results):
    """At fixed parameters: mean, variance and zero fraction of every gene in closed form."""
    n = 300
    values = {name: np.asarray(value, np.float64) for name, value in results.get_map().items()}
    replicates = results.get_map_ppc_samples(n, rng=1).astype(np.float64)
    assert replicates.shape == (n, 30, 12)
    nu = values["p_capture"][:, None] if "p_capture" in values else np.ones((30, 1))
    mean = nu * values["mu"]
    variance = mean + mean**2 / values["r"] if "r" in values else mean
    gate = values.get("gate", np.zeros(12))
    expected = (1 - gate) * mean
    spread = (1 - gate) * (variance + gate * mean**2)
    z = (replicates.mean(axis=0) - expected) / np.sqrt(spread / n)
    assert np.abs(z.mean()) < 5 / np.sqrt(z.size)
    assert 0.8 < z.std() < 1.2
    scale = replicates.var(axis=0).sum(axis=0) / spread.sum(axis=0)
    assert np.all(np.abs(scale - 1) < 0.35)
    zeros = np.exp(log_pmf(values, np.zeros((30, 12))))
    z = ((replicates == 0).mean(axis=0) - zeros) / np.sqrt(zeros * (1 - zeros) / n + 1e-12)
    assert np.abs(z.mean()) < 5 / np.sqrt(z.size)


def test_biological_replicates_have_neither_capture_nor_gate(results):
    n = 300
    values = {name: np.asarray(value, np.float64) for name, value in results.get_map().items()}
    replicates = results.get_map_ppc_samples_biological(n, rng=2).astype(np.float64)
    mean = values["mu"]
    variance = mean + mean**2 / values["r"] if "r" in values else mean
    z = (replicates.mean(axis=(0, 1)) - mean) / np.sqrt(variance / (n * 30))
    assert np.abs(z).max() < 5
    assert results.get_ppc_samples_biological(2, rng=3).shape == (2, 30, 12)


def test_predictive_replicates_add_the_spread_of_the_parameters(default):
    """Law of total variance over draws of the parameters, against fixed ones."""
    fixed = default.get_map_ppc_samples(300, rng=4).sum(axis=(1, 2))
    drawn = default.get_ppc_samples(300, rng=4).sum(axis=(1, 2))
    readable = jax.vmap(default.posterior.named)(default.posterior.draws(jax.random.key(8), 2000))
    totals = np.asarray(readable["p_capture"]).sum(axis=1) * np.asarray(readable["mu"]).sum(axis=1)
    np.testing.assert_allclose(drawn.mean(), np.mean(totals), rtol=0.03)
    np.testing.assert_allclose(drawn.var(), fixed.var() + np.var(totals), rtol=0.35)
    assert drawn.var() > 1.5 * fixed.var()


def test_replicates_stream_and_repeat(default):
    dense = default.get_ppc_samples(3, rng=5)
    for number, blocks in enumerate(default.simulate(3, rng=5)):
        for block in blocks:
            assert (dense[number, block.cell, block.gene] == block.value).all()
            assert np.count_nonzero(dense[number]) == len(block.value)
    assert len({data_set.tobytes() for data_set in dense}) == 3
    first = default.get_ppc_samples(1, rng=5)
    np.testing.assert_array_equal(first[0], dense[0])


def test_memory_bound(default):
    with scribe.settings.override(max_array_gb=1e-6):
        with pytest.raises(
            ValueError, match=r"100 x 30 cells x 12 genes take .* GB, more than settings.max_array_gb=1e-06"
        ):
            default.get_ppc_samples(100)
        with pytest.raises(ValueError, match=r"Ask for some genes or cells, .* results.denoise_blocks"):
            default.denoise_counts()
        assert default[:2].cells([0, 1]).get_ppc_samples(3).shape == (3, 2, 2)


def test_denoised_counts(default):
    value = default.denoise_counts(n_samples=5)
    blocks = list(default.denoise_blocks(n_samples=5))
    np.testing.assert_array_equal(value, np.concatenate([block.value for block in blocks]))
    assert value.dtype == np.float32
    assert (value >= default.counts().rows(slice(None)) - 1e-4).all()


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("gene3", [3]),
        (["gene5", "gene1"], [5, 1]),
        (np.array(["gene5", "gene1"]), [5, 1]),
        (slice(2, 8, 3), [2, 5]),
        (4, [4]),
        (-1, [11]),
        ([0, -2], [0, 10]),
        (np.arange(12) % 5 == 0, [0, 5, 10]),
        (slice(None), list(range(12))),
    ],
)
def test_genes_by_name_number_slice_and_mask(default, selector, expected):
    part = default[selector]
    assert list(part.gene_names) == [f"gene{i}" for i in expected]
    assert (part.n_genes, part.n_cells) == (len(expected), 30)
    np.testing.assert_array_equal(part.get_map()["mu"], default.get_map()["mu"][np.array(expected)])
    np.testing.assert_array_equal(part.get_map()["p_capture"], default.get_map()["p_capture"])
    np.testing.assert_array_equal(part.counts().rows(slice(None)), default.counts().rows(slice(None))[:, expected])
    np.testing.assert_allclose(
        part.log_likelihood(return_by="gene", n_samples=0),
        default.log_likelihood(return_by="gene", n_samples=0)[:, expected],
        rtol=1e-4,
        atol=1e-3,
    )


def test_cells_by_name_and_mask(default):
    part = default.cells(["cell4", "cell2"])[["gene1"]]
    assert list(part.cell_names) == ["cell4", "cell2"]
    np.testing.assert_array_equal(part.get_map()["p_capture"], default.get_map()["p_capture"][np.array([4, 2])])
    np.testing.assert_array_equal(part.counts().rows(slice(None)), default.counts().rows([4, 2])[:, [1]])
    assert default.cells(np.arange(30) < 3).n_cells == 3


def test_bad_selectors(default):
    with pytest.raises(
        KeyError, match=r"1 gene\(s\) are not in the results, the first: \['gene99'\]. Did you mean 'gene9'"
    ):
        default["gene99"]
    with pytest.raises(KeyError, match=r"2 cell\(s\) are not in the results"):
        default.cells(["a", "b", "cell1"])
    with pytest.raises(IndexError, match="The mask has 3 entries for 12 genes"):
        default[np.array([True, False, True])]
    with pytest.raises(IndexError, match="out of bounds"):
        default[40]


def test_results_without_names_or_counts(default):
    bare = scribe.ScribeSVIResults(default.posterior, default.verdict, default.history, engine="svi", seed=1)
    assert bare[:3].n_genes == 3
    with pytest.raises(KeyError, match="hold no gene names; index with integers, a slice or a mask"):
        bare["gene1"]
    with pytest.raises(ValueError, match="do not hold the counts they were fitted to: pass counts="):
        bare.denoise_counts()
    counts = Counts.from_matrix(np.ones((30, 12)))
    assert bare.denoise_counts(counts, n_samples=0).shape == (30, 12)


def test_what_is_known_of_capture(made_fit):
    assert scribe.get.results(made_fit("nbvcp")).capture_identified == "relative"
    anchored = scribe.get.results(made_fit("nbvcp", priors={"organism": "human"}))
    assert anchored.capture_identified == "absolute"
    assert scribe.get.results(made_fit("zinb")).capture_identified == "none"
    assert set(anchored.get_map()) == {"mu", "r", "p", "phi", "p_capture", "eta_capture"}
    values = anchored.get_posterior_samples(2, descriptive_names=True)
    np.testing.assert_allclose(values["capture_prob"], np.exp(-values["capture_efficiency"]), rtol=1e-5)


def test_convergence_is_reported(default):
    assert default.converged
    np.testing.assert_array_equal(default.losses, default.loss_history)
    assert str(default.verdict) == "converged: made up"
