"""Parts that live in one file of the tests pass what every part does: adding to scribe needs no more than that."""

from __future__ import annotations

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe import engines, families
from scribe._model.spec import ModelSpec
from scribe._posterior.residuals import residual_blocks
from scribe.families import nb, with_capture
from toys.low_rank import LOADINGS, SCORES, Factors
from toys.mode import Mode

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning"),
]

C, G, RANK = 120, 16, 2


@pytest.fixture(autouse=True, scope="module")
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.MODIFIERS, Factors.kind, Factors)
        patch.setitem(engines.ALL, Mode.name, Mode)
        yield


@pytest.fixture(scope="module")
def model():
    return Factors(with_capture(nb), rank=RANK)


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(0)
    field = rng.normal(size=(C, RANK)) @ (0.8 * rng.normal(size=(RANK, G)))
    rate = np.exp(rng.normal(2.0, 0.7, G) + rng.normal(-0.7, 0.2, (C, 1)) + field)
    u = rng.poisson(rate * rng.gamma(4.0, 0.25, (C, G))).astype(np.float32)
    u[:, 0] += 1
    adata = ad.AnnData(u)
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(C)], [f"g{i}" for i in range(G)]
    return adata, field


@pytest.fixture(scope="module")
def fitted(simulated, model, registered):
    adata = simulated[0].copy()
    scribe.tl.fit(adata, model, n_steps=1200, early_stopping=False)
    return adata


@pytest.fixture(scope="module")
def results(fitted):
    return scribe.get.results(fitted)


def dense(results, values, u=None):
    """Log-probability of every count, written out: (cells, genes)."""
    spec = results.spec
    x = results.posterior.parameters(values).log_exposure[:, None] + values[SCORES.name] @ values[LOADINGS.name]
    natural = {n: v if v.ndim == 0 else v[None] for n, v in spec.natural(spec.working(values)).items()}
    return nb.log_pmf(jnp.asarray(np.asarray(results.counts().rows(slice(None)) if u is None else u)), natural, x)


def test_recovers_the_field(results, simulated):
    centre = results.posterior.centre()
    found = np.asarray(centre[SCORES.name] @ centre[LOADINGS.name])
    assert np.corrcoef(found.ravel(), simulated[1].ravel())[0, 1] > 0.8


def test_likelihood_is_the_dense_one(results):
    values = results.posterior.centre()
    matrix = np.asarray(dense(results, values), float)
    np.testing.assert_allclose(results.log_likelihood(n_samples=0)[0], matrix.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(results.log_likelihood(n_samples=0, return_by="gene")[0], matrix.sum(axis=0), rtol=1e-4)


def test_draws_are_a_function_of_seed_and_number(results):
    many, few = results.get_posterior_samples(5, rng=1), results.get_posterior_samples(2, rng=1)
    assert many[SCORES.name].shape == (5, C, RANK)
    assert many[LOADINGS.name].shape == (5, RANK, G)
    for name, value in few.items():
        np.testing.assert_array_equal(np.asarray(many[name])[:2], np.asarray(value), err_msg=name)
    part = results[["g3", "g1"]].cells(["c7"]).get_posterior_samples(2, rng=1)
    np.testing.assert_array_equal(part[LOADINGS.name], np.asarray(few[LOADINGS.name])[:, :, [3, 1]])
    np.testing.assert_array_equal(part[SCORES.name], np.asarray(few[SCORES.name])[:, [7]])


def test_slots_survive_the_file(fitted, results, tmp_path):
    assert fitted.obsm["scribe_scores"].shape[0] == C
    assert fitted.varm["scribe_loadings"].shape[0] == G
    assert {"loadings_mean[1]", "loadings_mean[2]"} <= set(fitted.varm["scribe_params"])
    assert not {name for name, value in fitted.obsm.items() if np.shape(value)[1:] == (G,)}, "no (cells, genes) latent"
    fitted.write_h5ad(tmp_path / "fit.h5ad")
    again = scribe.get.results(ad.read_h5ad(tmp_path / "fit.h5ad"))
    assert again.spec == results.spec
    assert ModelSpec.from_json(results.spec.to_json()).family.rank == RANK
    for name, value in results.params.items():
        np.testing.assert_array_equal(again.params[name], value)


def test_some_genes_and_cells_are_those_of_the_whole(fitted, results):
    genes, cells = ["g2", "g9", "g4"], ["c3", "c50"]
    some = scribe.get.results(fitted[cells, genes].copy())
    every = np.asarray(dense(results, results.posterior.centre()))
    found = np.asarray(dense(some, some.posterior.centre(), u=fitted[cells, genes].X))
    np.testing.assert_allclose(found, every[np.ix_([3, 50], [2, 9, 4])], rtol=1e-5)
    by_gene = results.log_likelihood(n_samples=2, rng=0, return_by="gene")
    np.testing.assert_allclose(
        results[genes].log_likelihood(n_samples=2, rng=0, return_by="gene"), by_gene[:, [2, 9, 4]], rtol=1e-5
    )


def test_replicates_and_residuals(results):
    draws = results.get_map_ppc_samples(300, rng=2)
    mean, variance = results.spec.likelihood.moments(results.posterior.parameters(results.posterior.centre()))
    z = (draws.mean(axis=0) - mean) / np.sqrt(variance / 300)
    assert np.abs(z).max() < 6
    blocks = list(residual_blocks(results.posterior, results.counts(), jax.random.key(0), n_samples=4))
    value = np.concatenate([block.value for block in blocks])
    assert value.shape == (G, C)
    # scores are of the same counts, which lie closer to the middle than new ones
    assert stats.kstest(value.ravel(), "uniform").statistic < 0.08
    # at the centre a residual is between the probabilities below and up to the count
    centre = np.concatenate(
        [b.value for b in residual_blocks(results.posterior, results.counts(), jax.random.key(0), n_samples=0)]
    )
    u = results.counts().rows(slice(None))
    at = results.posterior.parameters(results.posterior.centre())
    wide, x = results.spec.likelihood.elementwise(at)
    low, high = (np.asarray(results.spec.family.cdf(jnp.asarray(u + d), wide, x)) for d in (-1.0, 0.0))
    assert np.all((low - 1e-3 < centre.T) & (high + 1e-3 > centre.T))


def test_verbs(fitted):
    """Of counts from the model: denoised means above counts, nothing suspicious in the checks."""
    adata = fitted.copy()
    scribe.tl.denoise(adata, n_samples=5)
    assert np.all(adata.layers["scribe_denoised"] >= adata.X - 1e-3)
    scribe.tl.gof(adata, n_samples=5)
    assert adata.var["scribe_gof_p_smooth"].min() > 1e-4 if "scribe_gof_p_smooth" in adata.var else True
    scribe.tl.ppc(adata, n_samples=5, n_genes=3)
    scribe.tl.normalize(adata, n_samples=20)


def test_models_are_compared_by_molecules_held_out(fitted, simulated):
    adata = fitted.copy()
    scribe.tl.fit(adata, key_added="one", n_steps=600, early_stopping=False)
    with pytest.raises(ValueError, match="thinned"):
        scribe.tl.compare_models(adata, ["scribe", "one"], n_samples=25)
    scribe.tl.compare_models(adata, ["scribe", "one"], criterion="thinned", n_samples=25, genes=False)
    assert scribe.get.model_comparison(adata).index[0] == "scribe"


def test_means_and_variances_are_those_of_the_population(results):
    """Of cells drawn from the population, at one draw of the parameters."""
    one = results.posterior.centre()
    one[LOADINGS.name] = 0.4 * one[LOADINGS.name]
    rng = np.random.default_rng(1)
    w, natural = np.asarray(one[LOADINGS.name], float), results.spec.natural(results.spec.working(one))
    mean, odds = np.exp(np.asarray(natural["log_mean"], float)), np.exp(np.asarray(natural["log_odds"], float))
    rate = mean * np.exp(rng.standard_normal((400_000, RANK)) @ w)
    counts_mean, counts_variance = rate.mean(axis=0), (rate + rate**2 / (mean * odds)).mean(axis=0) + rate.var(axis=0)
    from scribe._posterior.expression import _at_levels

    levels = jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
    values = {name: jnp.asarray(x)[None] for name, x in one.items()}
    found, _ = _at_levels(
        results.spec,
        ("mean", "variance", "cell"),
        levels,
        values,
        key=jax.random.key(0),
        number=np.uint32(0),
        n_genes=G,
    )
    np.testing.assert_allclose(np.exp(found["mean"][0, 0]), counts_mean, rtol=0.05)
    np.testing.assert_allclose(np.exp(found["variance"][0, 0]), counts_variance, rtol=0.1)
    assert found["cell"].shape == (1, 1, G)


def test_minibatches_and_checkpoints(simulated, model, tmp_path):
    short = {"n_steps": 150, "early_stopping": False, "batch_size": 40}
    whole = scribe.fit(simulated[0], model, **short)
    assert whole.losses[-20:].mean() < whole.losses[:20].mean()
    scribe.fit(simulated[0], model, checkpoint_dir=tmp_path, **short)
    again = scribe.fit(simulated[0], model, checkpoint_dir=tmp_path, **short)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(again.params[name], value, err_msg=name)


@pytest.fixture(scope="module")
def by_mode(simulated, registered):
    adata = simulated[0].copy()
    scribe.tl.fit(adata, inference_method="mode")
    return adata


def test_a_new_engine_by_its_name(by_mode, tmp_path):
    results = scribe.get.results(by_mode)
    assert type(results) is scribe.Results
    assert results.engine == "mode"
    assert results.converged, results.verdict
    assert results.history["loss"][-1] < results.history["loss"][0]
    reference = scribe.fit(by_mode)
    found, wanted = (np.asarray(one.get_map()["mu"]) for one in (results, reference))
    assert np.corrcoef(np.log(found), np.log(wanted))[0, 1] > 0.98
    by_mode.write_h5ad(tmp_path / "fit.h5ad")
    again = scribe.get.results(ad.read_h5ad(tmp_path / "fit.h5ad"))
    assert again.verdict == results.verdict
    np.testing.assert_array_equal(again.history["loss"], results.history["loss"])
    draws = [one.get_posterior_samples(3, rng=0)["mu"] for one in (results, again, results[["g4", "g2"]])]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(np.asarray(draws[0])[:, [4, 2]], draws[2])
    assert scribe.get.datatree(by_mode)["posterior"]["mu"].sizes["gene"] == G


def test_a_new_engine_as_an_object(simulated, tmp_path):
    short = scribe.fit(simulated[0], inference_method=Mode(100, checkpoint_dir=tmp_path))
    longer = scribe.fit(simulated[0], inference_method=Mode(200, checkpoint_dir=tmp_path))
    whole = scribe.fit(simulated[0], inference_method=Mode(200))
    assert len(short.history["loss"]) == 100
    for name, value in whole.params.items():
        np.testing.assert_array_equal(longer.params[name], value, err_msg=name)
    further = scribe.fit(simulated[0], inference_method=Mode(50), resume=short)
    assert len(further.history["loss"]) == 150
    with pytest.raises(ValueError, match="n_chains belongs to inference_method='mcmc', not 'mode'"):
        scribe.fit(simulated[0], inference_method="mode", n_chains=2)
