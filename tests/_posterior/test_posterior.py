"""The posterior against its own closed forms: log-normals and logit-normals."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe._posterior import posterior as posteriors

MODELS = [
    ("nbvcp", {"parameterization": "mean_odds"}),
    ("zinbvcp", {"parameterization": "mean_disp"}),
    ("nbvcp", {"unconstrained": True, "priors": {"organism": "human"}}),
    ("poisson", {}),
]


@pytest.fixture(scope="module")
def posterior(made_fit):
    return scribe.get.results(made_fit("zinbvcp", parameterization="mean_odds")).posterior


def test_arrays_know_their_axis(posterior):
    axes = {name: role.axes for name, role in posterior.roles.items()}
    for suffix in ("_loc", "_log_scale"):
        assert axes[f"phi_unconstrained{suffix}"] == ()
        assert axes[f"phi_capture_unconstrained{suffix}"] == ("cell",)
        assert axes[f"gate_unconstrained{suffix}"] == axes[f"mu_unconstrained{suffix}"] == ("gene",)
    assert {role.kind for role in posterior.roles.values()} == {"_loc", "_log_scale"}


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_readable_quantities_are_consistent(made_fit, model, options):
    posterior = scribe.get.results(made_fit(model, **options)).posterior
    values = {n: np.asarray(v, np.float64) for n, v in posterior.named(posterior.draws(jax.random.key(0), 5)).items()}
    assert values["mu"].shape == (5, 12)
    if "r" in values:
        odds = values["phi"] if values["phi"].ndim == 2 else values["phi"][:, None]
        np.testing.assert_allclose(values["r"], odds * values["mu"], rtol=1e-5)
        np.testing.assert_allclose(values["p"], 1 / (1 + values["phi"]), rtol=1e-5)
    if "phi_capture" in values:
        np.testing.assert_allclose(values["p_capture"], 1 / (1 + values["phi_capture"]), rtol=1e-5)
    if "eta_capture" in values:
        np.testing.assert_allclose(values["p_capture"], np.exp(-values["eta_capture"]), rtol=1e-5)


def test_draws_follow_the_normals(posterior):
    draws = posterior.draws(jax.random.key(1), 4000)
    for name in ("mu", "gate", "phi", "phi_capture"):
        loc, scale = (
            posterior.params[f"{name}_unconstrained_loc"],
            np.exp(posterior.params[f"{name}_unconstrained_log_scale"]),
        )
        z = (np.asarray(draws[name]) - loc) / scale
        assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3, name
        assert np.abs(np.corrcoef(z.reshape(4000, -1), rowvar=False) - np.eye(z.reshape(4000, -1).shape[1])).max() < 0.1


def test_draws_do_not_depend_on_how_many_in_which_blocks_or_with_what(posterior):
    key, whole = jax.random.key(2), posterior.draws(jax.random.key(2), 7)
    singly = list(posterior.draw_one_by_one(key, 3))
    blocks = list(posterior.draw_blocks(key, 7, block=3))
    genes, cells = np.array([5, 0]), np.array([2, 9])
    part = posterior.subset(genes=genes, cells=cells).draws(key, 7)
    again = posterior.subset(genes=np.arange(1, 12)).subset(genes=np.array([4])).draws(key, 7)
    for name, value in whole.items():
        axes = posterior.spec.site(name).axes
        np.testing.assert_allclose(posterior.draws(key, 3)[name], value[:3], rtol=1e-6)
        np.testing.assert_allclose(np.stack([one[name] for one in singly]), value[:3], rtol=1e-6)
        np.testing.assert_allclose(np.concatenate([one[name] for one in blocks]), value, rtol=1e-6)
        kept = {"gene": genes, "cell": cells}.get(axes[0]) if axes else None
        np.testing.assert_allclose(part[name], value if kept is None else value[:, kept], rtol=1e-6)
        if axes == ("gene",):
            np.testing.assert_allclose(again[name], value[:, [5]], rtol=1e-6)
    assert not posterior.draws(key, 0)["mu"].size


def test_distributions_agree_with_scipy(posterior):
    found = posterior.distributions()
    assert set(found) == {"phi", "mu", "gate", "phi_capture"}
    loc, scale = (posterior.params[f"mu_unconstrained{s}"] for s in ("_loc", "_log_scale"))
    reference = stats.lognorm(np.exp(scale), scale=np.exp(loc))
    at = np.exp(loc + 0.1)
    np.testing.assert_allclose(found["mu"].log_prob(at), reference.logpdf(at), rtol=1e-4)
    np.testing.assert_allclose(found["mu"].mean, reference.mean(), rtol=1e-5)
    loc, scale = (posterior.params[f"gate_unconstrained{s}"] for s in ("_loc", "_log_scale"))
    gate = np.full(12, 0.2, np.float32)
    expected = stats.norm(loc, np.exp(scale)).logpdf(np.log(0.25)) - np.log(0.2 * 0.8)
    np.testing.assert_allclose(found["gate"].log_prob(gate), expected, rtol=1e-4, atol=1e-4)


def test_summaries_against_closed_forms(posterior):
    found = posterior.summaries(jax.random.key(3), n_draws=4001)
    assert {name: summary.mean.shape for name, summary in found.items()} == {
        **dict.fromkeys(("mu", "r", "gate"), (12,)),
        **dict.fromkeys(("p", "phi"), ()),
        **dict.fromkeys(("phi_capture", "p_capture"), (30,)),
    }
    for name in ("mu", "phi", "phi_capture"):
        loc, scale = (posterior.params[f"{name}_unconstrained{s}"] for s in ("_loc", "_log_scale"))
        reference = stats.lognorm(np.exp(scale), scale=np.exp(loc))
        sd = reference.std()
        assert np.all(np.abs(found[name].mean - reference.mean()) < 5 * sd / np.sqrt(4001)), name
        np.testing.assert_allclose(found[name].sd, sd, rtol=0.1)


@pytest.mark.parametrize("block", [7, 50])
def test_summaries_and_quantiles_are_those_of_the_draws(posterior, block, monkeypatch):
    """Streaming in blocks, of draws or of genes and cells, loses nothing."""
    key = jax.random.key(4)
    monkeypatch.setattr(posteriors, "_BLOCK_ELEMENTS", block * max(x.size for x in posterior.params.values()))
    found = posterior.summaries(key, n_draws=50)
    quantiles = posterior.quantiles(key, (0.1, 0.5), n_draws=50, block=block)
    for name, value in posterior.named(posterior.draws(key, 50)).items():
        draws = np.asarray(value, np.float64)
        np.testing.assert_allclose(found[name].mean, np.mean(draws, axis=0), rtol=1e-5)
        np.testing.assert_allclose(found[name].sd, np.std(draws, axis=0, ddof=1), rtol=1e-3)
        np.testing.assert_allclose(quantiles[name], np.quantile(draws, (0.1, 0.5), axis=0), rtol=1e-5)


@pytest.mark.parametrize("block", [5, 2048])
def test_quantiles_against_closed_forms(posterior, block):
    q = (0.1, 0.5, 0.9)
    found = posterior.quantiles(jax.random.key(5), q, n_draws=4000, block=block)
    assert found["mu"].shape == found["r"].shape == (3, 12)
    assert found["phi_capture"].shape == found["p_capture"].shape == (3, 30)
    assert found["phi"].shape == found["p"].shape == (3,)
    for name in ("mu", "phi_capture"):
        loc, scale = (posterior.params[f"{name}_unconstrained{s}"] for s in ("_loc", "_log_scale"))
        z = (np.log(found[name]) - loc) / np.exp(scale)
        np.testing.assert_allclose(z, np.broadcast_to(stats.norm.ppf(q)[:, None], z.shape), atol=0.13)
    loc, scale = (posterior.params[f"gate_unconstrained{s}"] for s in ("_loc", "_log_scale"))
    z = (np.log(found["gate"] / (1 - found["gate"])) - loc) / np.exp(scale)
    np.testing.assert_allclose(z, np.broadcast_to(stats.norm.ppf(q)[:, None], z.shape), atol=0.13)


def test_subset_takes_the_rows_of_each_axis(posterior):
    genes, cells = np.array([3, 1]), np.array([5, 5, 0])
    part = posterior.subset(genes=genes, cells=cells)
    assert (part.n_genes, part.n_cells) == (2, 3)
    np.testing.assert_array_equal(part.params["mu_unconstrained_loc"], posterior.params["mu_unconstrained_loc"][genes])
    name = "phi_capture_unconstrained_log_scale"
    np.testing.assert_array_equal(part.params[name], posterior.params[name][cells])
    np.testing.assert_array_equal(part.params["phi_unconstrained_loc"], posterior.params["phi_unconstrained_loc"])
