"""Denoised counts against brute force: p(m | u) enumerated for every draw of the parameters, then averaged."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._posterior import denoise as module
from scribe._posterior.denoise import denoise_blocks

TOP = 1500
M = np.arange(TOP)
CASES = {
    "nbvcp": {"parameterization": "canonical"},
    "zinbvcp": {"parameterization": "mean_disp"},
    "zinb": {"parameterization": "mean_odds"},
    "zipvcp": {},
}
DRAWS = 7


@pytest.fixture(scope="module", params=CASES)
def results(request, made_fit):
    """Twelve genes and eight cells, with some larger counts."""
    fit = made_fit(
        request.param,
        shape=(8, 12),
        params={"mu": np.geomspace(0.3, 60, 12), "p_capture": 0.3}
        if "vcp" in request.param
        else {"mu": np.geomspace(0.3, 20, 12)},
        **CASES[request.param],
    )
    return scribe.get.results(fit)


def enumerated(results: scribe.ScribeSVIResults, natural: dict, offset: np.ndarray) -> np.ndarray:
    """p(m | u) by Bayes' rule over m for one draw of the parameters, (m, cells, genes)."""
    counts = results.counts().rows(slice(None)).astype(int)
    mean, nu = np.exp(natural["log_mean"]), np.exp(offset)[:, None]
    if "log_odds" in natural:
        size = mean * np.exp(natural["log_odds"]) + np.zeros_like(mean)
        prior = stats.nbinom(size, size / (size + mean)).pmf(M[:, None])
    else:
        prior = stats.poisson(mean).pmf(M[:, None])
    likelihood = stats.binom(M[:, None, None], nu).pmf(counts)
    if "gate_logit" in natural:
        gate = 1 / (1 + np.exp(-natural["gate_logit"]))
        likelihood = gate * (counts == 0) + (1 - gate) * likelihood
    joint = prior[:, None, :] * likelihood
    return joint / joint.sum(axis=0)


def as_numpy(parameters, draw=None):
    pick = (lambda v: np.asarray(v, np.float64)) if draw is None else (lambda v: np.asarray(v[draw], np.float64))
    return {name: pick(value) for name, value in parameters.natural.items()}, pick(parameters.log_exposure)


def averaged(results: scribe.ScribeSVIResults, key: jax.Array) -> np.ndarray:
    """p(m | u) integrated over draws of the posterior."""
    stacked = jax.vmap(results.posterior.parameters)(results.posterior.draws(key, DRAWS))
    return np.mean([enumerated(results, *as_numpy(stacked, draw)) for draw in range(DRAWS)], axis=0)


def moments(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m = M[:, None, None]
    mean = (m * p).sum(axis=0)
    return mean, np.sqrt(((m - mean) ** 2 * p).sum(axis=0))


def collect(results: scribe.ScribeSVIResults, key: jax.Array, **options):
    blocks = list(denoise_blocks(results.posterior, results.counts(), key, **options))
    sd = None if blocks[0].sd is None else np.concatenate([block.sd for block in blocks])
    return np.concatenate([block.value for block in blocks]), sd


def test_mean_and_sd_over_draws(results):
    key = jax.random.key(3)
    value, sd = collect(results, key, n_samples=DRAWS)
    p = averaged(results, key)
    assert p[-1].max() < 1e-10, "the enumeration must reach far enough"
    mean, expected_sd = moments(p)
    np.testing.assert_allclose(value, mean, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(sd, expected_sd, rtol=1e-3, atol=1e-3)
    assert (value >= results.counts().rows(slice(None)) - 1e-4).all()


def test_at_the_most_probable_parameters(results):
    p = enumerated(results, *as_numpy(results.posterior.parameters(results.posterior.centre())))
    value, sd = collect(results, jax.random.key(0), n_samples=0)
    mean, expected_sd = moments(p)
    np.testing.assert_allclose(value, mean, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(sd, expected_sd, rtol=1e-3, atol=1e-3)


def test_mode_is_at_the_most_probable_parameters_whatever_the_draws(results):
    one, _ = collect(results, jax.random.key(0), method="mode", n_samples=0)
    two, sd = collect(results, jax.random.key(1), method="mode", n_samples=DRAWS)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, np.rint(one))
    np.testing.assert_allclose(sd, moments(averaged(results, jax.random.key(1)))[1], rtol=1e-3, atol=1e-3)
    p = enumerated(results, *as_numpy(results.posterior.parameters(results.posterior.centre())))
    at_mode = np.take_along_axis(p, one.astype(int)[None], axis=0)[0]
    np.testing.assert_allclose(at_mode, p.max(axis=0), rtol=1e-3)


def test_samples_follow_the_enumeration(results):
    """At fixed parameters; means above and below the switch between the two samplers both occur."""
    p = enumerated(results, *as_numpy(results.posterior.parameters(results.posterior.centre())))
    n = 150
    draws = np.stack(
        [collect(results, jax.random.key(i), method="sample", n_samples=0, with_sd=False)[0] for i in range(n)]
    )
    np.testing.assert_array_equal(draws, np.rint(draws))
    mean, sd = moments(p)
    z = (draws.mean(axis=0) - mean) / np.maximum(sd, 1e-6) * np.sqrt(n)
    assert np.all(np.abs(z) < 5)
    cumulative = np.cumsum(p, axis=0)
    uniform = np.random.default_rng(0).uniform(size=draws.shape)
    at = np.clip(draws.astype(int), 0, TOP - 1)
    upper = np.take_along_axis(cumulative[:, None], at[None], axis=0)[0]
    mass = np.take_along_axis(p[:, None], at[None], axis=0)[0]
    assert stats.kstest((upper - uniform * mass).ravel(), "uniform").pvalue > 1e-4


def test_one_sample_uses_one_draw_of_the_parameters(results):
    """Elements of a sample share their parameters, so that a sample is one data set the posterior holds possible."""
    value, sd = collect(results, jax.random.key(5), method="sample", n_samples=DRAWS)
    np.testing.assert_allclose(sd, moments(averaged(results, jax.random.key(5)))[1], rtol=1e-3, atol=1e-3)
    assert value.shape == sd.shape == (8, 12)


def test_blocks_do_not_matter(results, monkeypatch):
    whole = collect(results, jax.random.key(6), n_samples=DRAWS)
    sampled = collect(results, jax.random.key(6), method="sample", n_samples=DRAWS)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 36)
    blocks = list(denoise_blocks(results.posterior, results.counts(), jax.random.key(6), n_samples=DRAWS))
    assert [(b.cells.start, b.cells.stop) for b in blocks] == [(0, 3), (3, 6), (6, 8)]
    np.testing.assert_allclose(np.concatenate([b.value for b in blocks]), whole[0], rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([b.sd for b in blocks]), whole[1], rtol=1e-4, atol=1e-5)
    again = collect(results, jax.random.key(6), method="sample", n_samples=DRAWS)
    np.testing.assert_array_equal(again[0], sampled[0])


@pytest.mark.parametrize("method", ["mean", "sample"])
def test_the_order_of_cells_and_genes_does_not_matter(results, method):
    cells, genes = (np.random.default_rng(2).permutation(n) for n in (results.n_cells, results.n_genes))
    value, sd = collect(results, jax.random.key(6), method=method, n_samples=DRAWS)
    other, other_sd = collect(results.cells(cells)[genes], jax.random.key(6), method=method, n_samples=DRAWS)
    np.testing.assert_allclose(other, value[cells][:, genes], rtol=1e-5)
    np.testing.assert_allclose(other_sd, sd[cells][:, genes], rtol=1e-4, atol=1e-5)


def test_without_capture_and_gate_nothing_is_unseen(made_fit):
    results = scribe.get.results(made_fit("nbdm"))
    observed = results.counts().rows(slice(None))
    for method in ("mean", "mode", "sample"):
        value, sd = collect(results, jax.random.key(0), method=method, n_samples=3)
        np.testing.assert_array_equal(value, observed)
        np.testing.assert_array_equal(sd, 0.0)


def test_large_unseen_counts_are_sampled(made_fit):
    adata = made_fit("nbvcp", shape=(60, 4), params={"mu": 4000.0, "p_capture": 0.1, "phi": 0.5})
    results = scribe.get.results(adata)
    sample, _ = collect(results, jax.random.key(0), method="sample", n_samples=0)
    mean, sd = collect(results, jax.random.key(0), n_samples=0)
    z = (sample - mean) / sd
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert 0.7 < z.std() < 1.3


def test_unknown_method(results):
    with pytest.raises(ValueError, match="method must be one of 'mean', 'mode', 'sample', got 'median'"):
        list(denoise_blocks(results.posterior, results.counts(), jax.random.key(0), method="median"))


@pytest.mark.parametrize("method", [("mean", "sample"), ("mode", "mean"), ("sample", "mode")])
def test_a_pair_of_methods_is_for_counts_and_for_zeros(results, method):
    key = jax.random.key(2)
    both, sd = collect(results, key, method=method, n_samples=DRAWS)
    positive, zero = (collect(results, key, method=m, n_samples=DRAWS) for m in method)
    observed = results.counts().rows(slice(None))
    assert 0 < (observed > 0).mean() < 1
    np.testing.assert_array_equal(both, np.where(observed > 0, positive[0], zero[0]))
    np.testing.assert_array_equal(sd, positive[1])


@pytest.mark.parametrize("method", [("mean", "median"), ("mean",), ("mean", "mean", "mean")])
def test_what_is_no_pair_of_methods(results, method):
    with pytest.raises(ValueError, match=r"got .* A pair of them is for counts above zero and for zeros"):
        list(denoise_blocks(results.posterior, results.counts(), jax.random.key(0), method=method))
