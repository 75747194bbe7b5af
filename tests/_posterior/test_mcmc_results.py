"""A fit by MCMC through slots, files and every question; keywords and errors around it."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest

import scribe
from scribe._adata.fits import fit_record, write_fit
from scribe._counts.checks import CountsWarning
from scribe.engines import NUTS, diagnostics

pytestmark = pytest.mark.loose_promotion

SHORT = {"inference_method": "mcmc", "n_samples": 30, "n_warmup": 30, "n_chains": 2}
SHAPE = {"mu": ("gene",), "r": ("gene",), "p": (), "phi": (), "p_capture": ("cell",)}


@pytest.fixture(scope="module")
def adata():
    """Counts of 24 cells and 8 genes with a short fit."""
    made = scribe.datasets.simulate(24, 8, rng=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CountsWarning)
        with pytest.warns(scribe.ConvergenceWarning, match="effective sample size"):
            scribe.tl.fit(made, **SHORT)
    return made


@pytest.fixture(scope="module")
def results(adata):
    return scribe.get.results(adata)


def test_samples_by_chain(results):
    assert isinstance(results, scribe.ScribeMCMCResults)
    assert (results.n_chains, results.n_samples, results.params["r_unconstrained_draws"].dtype) == (2, 30, np.float32)
    flat, grouped = results.get_samples(), results.get_samples(group_by_chain=True)
    lengths = {"gene": 8, "cell": 24}
    assert {name: x.shape for name, x in flat.items()} == {
        name: (60, *(lengths[axis] for axis in axes)) for name, axes in SHAPE.items()
    }
    for name, value in flat.items():
        np.testing.assert_array_equal(grouped[name].reshape(value.shape), value)
    latent = results.params["r_unconstrained_draws"]
    np.testing.assert_allclose(flat["r"], np.exp(latent.T), rtol=1e-6)
    assert "dispersion" in results.get_samples(descriptive_names=True)
    fields = results.get_extra_fields()
    assert set(fields) == {"diverging", "num_steps", "accept_prob", "energy", "potential_energy"}
    assert {x.shape for x in fields.values()} == {(60,)}
    assert results.divergences == fields["diverging"].sum()


def test_questions_are_answered_from_all_draws(results):
    flat = results.get_samples()
    for name, summary in results.get_summaries().items():
        np.testing.assert_allclose(summary.mean, flat[name].mean(0), rtol=1e-4)
        np.testing.assert_allclose(summary.sd, flat[name].std(0, ddof=1), rtol=1e-2)
    for name, value in results.get_posterior_quantiles((0.1, 0.9)).items():
        np.testing.assert_allclose(value, np.quantile(flat[name], (0.1, 0.9), axis=0), rtol=1e-5)
    some = np.asarray(results.get_posterior_samples(20, rng=3)["r"])
    numbers = [int(np.flatnonzero((flat["r"] == row).all(axis=1))[0]) for row in some]
    assert 5 <= np.sum(np.asarray(numbers) < 30) <= 15, "of both chains"
    np.testing.assert_allclose(results.get_map()["r"], np.median(flat["r"], axis=0), rtol=2e-2)
    for name, law in results.get_distributions().items():
        np.testing.assert_allclose(law.mean, flat[name].mean(0), rtol=0.02)
    assert results.log_likelihood(n_samples=3).shape == (3, 24)
    assert np.isfinite(results.denoise_counts(n_samples=5)).all()
    assert results.get_ppc_samples(2).shape == (2, 24, 8)


def test_summary_agrees_with_the_diagnostics(results, capsys):
    summary, grouped = results.summary(), results.get_samples(group_by_chain=True)
    for name, row in summary.items():
        expected = diagnostics(grouped[name])
        np.testing.assert_allclose(row.r_hat, expected.r_hat)
        np.testing.assert_allclose(row.ess_bulk, expected.ess_bulk)
        np.testing.assert_allclose(row.median, np.median(grouped[name], axis=(0, 1)), rtol=1e-6)
    results.print_summary(n_rows=2)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("NOT converged: ")
    assert len(printed) == 2 + 2 * 3 + 2
    worst = results.gene_names[np.argmax(summary["mu"].r_hat)]
    assert any(line.startswith(f"mu[{worst}] ") for line in printed)


def test_files_and_subsets(adata, results, through_file):
    back = scribe.get.results(through_file(adata))
    assert (back.verdict, back.seed, back.engine) == (results.verdict, results.seed, "mcmc")
    for name, value in results.params.items():
        np.testing.assert_array_equal(back.params[name], value)
    for name, value in results.statistics.items():
        np.testing.assert_array_equal(back.statistics[name], value)
    genes = list(adata.var_names[[5, 2]])
    part, chosen = scribe.get.results(adata[:10, genes].copy()), results[genes].cells(slice(10))
    for name, value in chosen.get_samples(group_by_chain=True).items():
        np.testing.assert_array_equal(part.get_samples(group_by_chain=True)[name], value)
    np.testing.assert_array_equal(chosen.get_samples()["mu"], results.get_samples()["mu"][:, [5, 2]])


def test_draws_are_thinned_to_what_may_be_stored(adata, results, monkeypatch, caplog):
    size = sum(value.nbytes for value in results.params.values())
    monkeypatch.setattr(scribe.settings, "max_array_gb", size / 2 / 1e9)
    other = adata.copy()
    write_fit(other, fit_record(results, results.counts(), key="thin", genes=other.var_names, layer=None, options={}))
    assert "60 draws take" in caplog.text
    assert "30 of them are kept" in caplog.text
    thin = scribe.get.results(other, key="thin")
    assert (thin.n_chains, thin.n_samples) == (2, 15)
    kept = np.linspace(0, 29, 15).round().astype(int)
    whole = results.get_samples(group_by_chain=True)["r"]
    np.testing.assert_array_equal(thin.get_samples(group_by_chain=True)["r"], whole[:, kept])
    np.testing.assert_array_equal(thin.statistics["energy"], results.statistics["energy"][:, kept])


def test_double_precision_unless_told(adata):
    assert jax.numpy.zeros(()).dtype == np.float32
    with pytest.warns(scribe.ConvergenceWarning):
        single = scribe.fit(adata, engine=NUTS(5, n_warmup=5), enable_x64=False)
    assert single.statistics["energy"].dtype == np.float32
    assert scribe.get.results(adata).statistics["energy"].dtype == np.float64


@pytest.mark.slow  # the recipe of it is in every run
def test_starts_from_a_fit_in_other_coordinates(adata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        earlier = scribe.fit(adata, parameterization="mean_prob", n_steps=300, early_stopping=False)
        found = scribe.fit(adata, parameterization="mean_odds", svi_init=earlier, **SHORT)
    assert "phi_capture_unconstrained_draws" in found.params
    mean, sd = found.get_summaries()["mu"]
    assert np.all(np.abs(np.log(mean) - np.log(earlier.get_map()["mu"])) < 1.0)
    assert np.all(sd > 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_steps": 5}, ValueError, "n_steps belongs to inference_method='svi', not 'mcmc'"),
        ({"guide": scribe.guides.MeanField()}, ValueError, "guide belongs to inference_method='svi', not 'mcmc'"),
        ({"svi_init": 3}, TypeError, "svi_init= takes results of a fit by SVI"),
        ({"guide": "draws", "inference_method": "svi"}, ValueError, "Unknown guide 'draws'"),
        ({"n_chains": 4, "inference_method": "svi"}, ValueError, "n_chains belongs to inference_method='mcmc', not 's"),
        ({"inference_method": NUTS(), "n_chains": 4}, ValueError, r"n_chains and an engine object .* NUTS\(\.\.\.\)"),
    ],
)
def test_keywords_of_the_other_engine(adata, options, error, message):
    with pytest.raises(error, match=message):
        scribe.fit(adata, **{"inference_method": "mcmc", **options})


def test_other_data_and_continuation(adata, results):
    with pytest.raises(ValueError, match=r"svi_init= starts from a fit of 24 cells x 8 genes, but the counts are 24"):
        scribe.fit(adata[:, :5], svi_init=results, **SHORT)
    with pytest.raises(ValueError, match=r"resume= continues a fit by SVI with SVI\. .*svi_init=results"):
        scribe.fit(adata, resume=results)
    with pytest.raises(ValueError, match=r"resume= continues a fit by SVI with SVI"):
        scribe.tl.fit(adata, resume=True)
