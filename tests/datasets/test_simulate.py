"""Simulated data: the truth is the model's, survives files, and is what a fit finds."""

from __future__ import annotations

import math
import tracemalloc

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import scribe
from scribe._model.names import MODELS
from scribe._model.spec import ModelSpec
from scribe._posterior import simulate as blocks
from scribe.datasets import simulate

CASES = [(model, {}) for model in MODELS]
CASES += [("nbvcp", {"parameterization": name}) for name in ("mean_prob", "mean_odds", "mean_disp")]
CASES += [("zinb", {"parameterization": "mean_disp", "unconstrained": True})]


@pytest.mark.parametrize(
    ("model", "options"),
    CASES,
    ids=lambda value: (
        "-".join(value.values()) if isinstance(value, dict) and "unconstrained" not in value else str(value)
    ),
)
def test_structure_and_truth(model, options):
    adata = simulate(50, 20, model, **options)
    assert sparse.isspmatrix_csr(adata.X)
    assert adata.X.dtype == np.float32
    assert adata.X.has_sorted_indices
    assert (adata.X.data > 0).all()
    np.testing.assert_array_equal(adata.X.data, np.rint(adata.X.data))
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    spec = ModelSpec.from_json(adata.uns["truth"]["spec"])
    truth, scalars = adata.varm["truth"], adata.uns["truth"]["scalars"]
    expected = {"mu"}
    if spec.family.layers[0] == "nb":
        own = options.get("parameterization") == "mean_disp"
        expected |= {"r", "p", "phi"} if own else {"r"}
        assert set(scalars) == (set() if own else {"p", "phi"})
        phi = truth["phi"] if own else scalars["phi"]
        np.testing.assert_allclose(truth["r"], phi * truth["mu"], rtol=1e-5)
    if spec.family.layers[0] == "two_state":
        expected |= {"k_on", "alpha", "k_off", "beta", "r_hat", "burst_size", "switching_ratio"}
        expected |= {"excess_fano", "concentration", "inv_concentration"}
    if "zero_inflated" in spec.family.layers:
        expected |= {"gate"}
    assert set(truth) == expected
    assert ("truth_capture" in adata.obs) == spec.family.captured
    assert truth.index.equals(adata.var_names)


def test_truth_survives_files(through_file):
    adata = simulate(30, 10, "zinbvcp")
    back = through_file(adata)
    pd.testing.assert_frame_equal(back.varm["truth"], adata.varm["truth"], check_names=False, check_index_type=False)
    np.testing.assert_array_equal(back.obs["truth_capture"], adata.obs["truth_capture"])
    assert back.uns["truth"]["spec"] == adata.uns["truth"]["spec"]
    assert dict(back.uns["truth"]["scalars"]) == adata.uns["truth"]["scalars"]
    assert back[:, ["gene3"]].varm["truth"].index == ["gene3"]


def test_seeds():
    one, two, other = simulate(40, 10, rng=1), simulate(40, 10, rng=jax.random.key(1)), simulate(40, 10, rng=2)
    assert (one.X != two.X).nnz == 0
    assert (one.X != other.X).nnz > 0
    again = simulate(40, 10, rng=one.uns["truth"]["seed"])
    assert (one.X != again.X).nnz == 0


def test_given_parameters_leave_the_other_draws_as_they_are():
    plain = simulate(40, 10, "zinbvcp", parameterization="mean_disp")
    given = simulate(40, 10, "zinbvcp", parameterization="mean_disp", params={"gate": 0.3})
    for name in ("mu", "r"):
        np.testing.assert_array_equal(plain.varm["truth"][name], given.varm["truth"][name])
    np.testing.assert_array_equal(plain.obs["truth_capture"], given.obs["truth_capture"])
    np.testing.assert_allclose(given.varm["truth"]["gate"], 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "params", "expected"),
    [
        ({}, {"mu": 5.0}, {"mu": 5.0, "phi": 0.25}),
        ({}, {"expression": 5.0, "dispersion": 2.0}, {"mu": 5.0, "r": 2.0, "phi": 0.4}),
        ({}, {"r": 2.0, "p": 0.5}, {"mu": 2.0, "r": 2.0, "phi": 1.0}),
        ({"parameterization": "mean_odds"}, {"odds": 2.0, "mu": 3.0}, {"mu": 3.0, "r": 6.0, "phi": 2.0}),
        ({"parameterization": "mean_odds"}, {"prob": 0.2}, {"phi": 4.0}),
        ({"parameterization": "mean_disp"}, {"mu": 3.0, "phi": 2.0}, {"mu": 3.0, "r": 6.0, "phi": 2.0}),
        ({"parameterization": "mean_disp"}, {"r": [1.0, 2.0, 3.0], "mu": 1.0}, {"r": [1, 2, 3], "phi": [1, 2, 3]}),
        ({"zero_inflation": True}, {"zero_inflation": [0.1, 0.2, 0.3]}, {"gate": [0.1, 0.2, 0.3]}),
        ({}, {"capture_prob": [0.1, 0.2, 0.3, 0.4]}, {"capture": [0.1, 0.2, 0.3, 0.4]}),
        ({}, {"phi_capture": 4.0}, {"capture": 0.2}),
        ({"parameterization": "mean_disp"}, {"capture_efficiency": 1.0}, {"capture": math.exp(-1)}),
    ],
)
def test_given_parameters_by_any_name(options, params, expected):
    adata = simulate(4, 3, params=params, **options)
    found = {**adata.varm["truth"], **adata.uns["truth"]["scalars"], "capture": adata.obs["truth_capture"]}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], np.broadcast_to(value, np.shape(found[name])), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "params", "message"),
    [
        ({}, {"muu": 1.0}, r"params has 'muu', which with_capture\(nb\) does not have. Did you mean 'mu'\?"),
        ({}, {"gate": 0.1}, "params has 'gate'"),
        ({"variable_capture": False}, {"p_capture": 0.1}, "params has 'p_capture', which nb does not have"),
        ({"model": "poisson"}, {"r": 1.0}, "params has 'r', which poisson does not have"),
        ({}, {"mu": -1.0}, r"params\['mu'\] must be above 0, got values from -1 to -1"),
        ({}, {"mu": np.nan}, r"params\['mu'\] must be above 0"),
        ({}, {"p_capture": 1.5}, r"params\['p_capture'\] must be between 0 and 1"),
        ({}, {"mu": [1.0, 2.0]}, r"params\['mu'\] has shape \(2,\): expected one number or one for each of 3 genes"),
        ({}, {"p_capture": [0.1]}, r"has shape \(1,\): expected one number or one for each of 4 cells"),
        ({}, {"mu": 1.0, "expression": 2.0}, "params gives 'expression' twice"),
        ({}, {"p_capture": 0.1, "eta_capture": 2.0}, "params gives 'capture_efficiency' twice"),
        ({}, {"mu": 1.0, "r": [1.0, 2.0, 3.0]}, "gives all genes the same ratio of r to mu.*mean_disp"),
        ({"parameterization": "mean_disp"}, {"mu": 1.0, "r": 1.0, "p": 0.5}, "do not determine the model together"),
    ],
)
def test_bad_parameters(options, params, message):
    with pytest.raises(ValueError, match=message):
        simulate(4, 3, params=params, **options)


def test_bad_calls():
    with pytest.raises(TypeError, match=r"simulate\(\): unknown keyword 'prior'. Did you mean 'priors'\?"):
        simulate(4, 3, prior={})
    with pytest.raises(TypeError, match="unknown keyword 'n_steps'"):
        simulate(4, 3, n_steps=3)
    with pytest.raises(ValueError, match=r"Unknown model 'nbvpc'. Did you mean 'nbvcp'\?"):
        simulate(4, 3, "nbvpc")
    with pytest.raises(ValueError, match="n_genes must be at least 1, got 0"):
        simulate(4, 0)


def test_typical_values():
    adata = simulate(500, 2000)
    log_mu = np.log(adata.varm["truth"]["mu"])
    assert stats.kstest(log_mu, stats.norm(np.log(3), 1.6).cdf).pvalue > 1e-3
    assert 3 < (log_mu.max() - log_mu.min()) / np.log(10) < 6
    capture = adata.obs["truth_capture"]
    assert 0.35 < capture.std() / capture.mean() < 0.45
    totals = adata.X.sum(1).A1
    assert 0.35 < totals.std() / totals.mean() < 0.45
    own = simulate(10, 2000, parameterization="mean_disp").varm["truth"]
    assert stats.kstest(np.log(own["r"]), stats.norm(0, 0.5).cdf).pvalue > 1e-3
    gate = simulate(10, 2000, "zinb").varm["truth"]["gate"]
    assert stats.kstest(gate, stats.beta(1, 9).cdf).pvalue > 1e-3
    plain = simulate(10, 2000, "nbdm")
    np.testing.assert_allclose(plain.varm["truth"]["mu"], adata.varm["truth"]["mu"] * 0.1, rtol=1e-4)
    np.testing.assert_allclose(plain.uns["truth"]["scalars"]["phi"], 2.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "name", "reference"),
    [
        ({"priors": {"r": (1.0, 0.5)}}, "r", stats.lognorm(0.5, scale=np.e)),
        ({"priors": {"mu": (0.5, 1.0)}, "parameterization": "mean_odds"}, "mu", stats.lognorm(1.0, scale=np.exp(0.5))),
        ({"priors": {"gate": (2, 5)}, "zero_inflation": True}, "gate", stats.beta(2, 5)),
        ({"priors": {"capture_prob": (3, 7)}}, "capture", stats.beta(3, 7)),
        ({"priors": {"phi_capture": (3, 7)}, "parameterization": "mean_odds"}, "capture", stats.beta(3, 7)),
        (
            {
                "priors": {"mu": (0.5, 1.0)},
                "parameterization": "mean_odds",
                "unconstrained": True,
                "positive_transform": "softplus",
            },
            "mu",
            "softplus",
        ),
    ],
)
def test_given_priors_are_drawn_from(options, name, reference):
    adata = simulate(*((2000, 2) if name == "capture" else (2, 2000)), **options)
    found = np.asarray(adata.obs["truth_capture"] if name == "capture" else adata.varm["truth"][name], np.float64)
    if reference == "softplus":
        found, reference = np.log(np.expm1(found)), stats.norm(0.5, 1.0)
    assert stats.kstest(found, reference.cdf).pvalue > 1e-3


def test_scalar_priors_are_drawn_from():
    drawn = [simulate(2, 2, priors={"p": (8, 2)}, rng=seed).uns["truth"]["scalars"]["p"] for seed in range(25)]
    assert stats.kstest(drawn, stats.beta(8, 2).cdf).pvalue > 1e-3


def test_anchored_expression_adds_up_to_the_anchor():
    for options in ({}, {"parameterization": "mean_disp"}):
        adata = simulate(300, 50, priors={"capture_efficiency": (math.log(5000), 0.3)}, **options)
        np.testing.assert_allclose(adata.varm["truth"]["mu"].sum(), 5000, rtol=1e-4)
        np.testing.assert_allclose(adata.X.sum(1).mean(), 5000 * adata.obs["truth_capture"].mean(), rtol=0.1)
    own = simulate(30, 50, priors={"organism": "ecoli"}, params={"mu": 2.0})
    np.testing.assert_allclose(own.varm["truth"]["mu"], 2.0, rtol=1e-5)


@pytest.mark.parametrize("model", ["nbvcp", "zinb", "zipvcp"])
def test_moments_agree_with_the_model(model):
    n, genes = 4000, 8
    params = {"mu": np.geomspace(0.5, 300, genes)} | ({"p_capture": 0.3} if "vcp" in model else {})
    params |= {"gate": 0.25} if model.startswith("z") else {}
    adata = simulate(n, genes, model, params=params)
    truth, counts = adata.varm["truth"].astype(float), adata.X.toarray().astype(float)
    nu = 0.3 if "vcp" in model else 1.0
    gate = truth["gate"].to_numpy() if "gate" in truth else np.zeros(genes)
    mean = nu * truth["mu"].to_numpy()
    variance = mean + mean**2 / truth["r"].to_numpy() if "r" in truth else mean
    expected, spread = (1 - gate) * mean, (1 - gate) * (variance + gate * mean**2)
    assert np.all(np.abs(counts.mean(0) - expected) < 5 * np.sqrt(spread / n))
    fourth = ((counts - counts.mean(0)) ** 4).mean(0)
    assert np.all(np.abs(counts.var(0) - spread) < 5 * np.sqrt((fourth - spread**2) / n))


def test_memory_follows_the_non_zeros(monkeypatch):
    """The whole matrix would take 24 MB dense; a block takes 0.4."""
    monkeypatch.setattr(blocks, "_BLOCK_ELEMENTS", 100_000)
    tracemalloc.start()
    adata = simulate(3_000, 2_000, params={"mu": 0.05})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert adata.X.nnz < 1e5
    assert peak < 6e6


@pytest.mark.slow
@pytest.mark.loose_promotion
def test_a_fit_finds_the_truth_up_to_the_common_factor():
    adata = simulate(600, 80, params={"mu": np.geomspace(1, 300, 80)})
    scribe.tl.fit(adata)
    table, scalars, truth = scribe.get.params(adata), adata.uns["scribe"]["scalars"], adata.uns["truth"]["scalars"]
    ratio = np.log(table["mu_mean"] / adata.varm["truth"]["mu"])
    assert np.corrcoef(np.log(table["mu_mean"]), np.log(adata.varm["truth"]["mu"]))[0, 1] > 0.99
    assert ratio.std() < 0.1
    found, true = adata.obs["scribe_capture"], adata.obs["truth_capture"]
    assert stats.spearmanr(found, true).statistic > 0.95
    factor = np.median(found / true)
    np.testing.assert_allclose(np.exp(-ratio.mean()), factor, rtol=0.05)
    np.testing.assert_allclose(scalars["phi_mean"] / factor, truth["phi"], rtol=0.2)


@pytest.mark.slow
@pytest.mark.loose_promotion
def test_an_anchored_fit_finds_the_truth():
    prior = {"capture_efficiency": (math.log(10_000), 0.1)}
    adata = simulate(400, 60, priors=prior, parameterization="mean_odds")
    scribe.tl.fit(adata, priors=prior, parameterization="mean_odds")
    table, truth = scribe.get.params(adata), adata.varm["truth"]
    assert np.corrcoef(np.log(table["mu_mean"]), np.log(truth["mu"]))[0, 1] > 0.99
    assert abs(np.median(np.log(table["mu_mean"] / truth["mu"]))) < 0.1
    np.testing.assert_allclose(adata.uns["scribe"]["scalars"]["phi_mean"], 0.25, rtol=0.2)
    assert abs(np.median(np.log(adata.obs["scribe_capture"] / adata.obs["truth_capture"]))) < 0.1
