"""Priors from an earlier fit: what they are, that they act as Bayes' rule says, and that they survive the file."""

import anndata as ad
import jax
import numpy as np
import pytest
from scipy import stats

import scribe
from scribe.priors import Informed

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")]

MEAN_DISP = {"parameterization": "mean_disp", "n_steps": 1500}


@pytest.fixture(scope="module")
def both():
    params = {"mu": np.geomspace(2.0, 200.0, 12), "r": np.geomspace(0.5, 8.0, 12)}
    adata = scribe.datasets.simulate(160, 12, model="nbvcp", parameterization="mean_disp", params=params, rng=3)
    adata.obs_names = [f"c{i}" for i in range(160)]
    return adata[:100].copy(), adata[100:].copy()


@pytest.fixture(scope="module")
def earlier(both):
    return scribe.fit(both[0], **MEAN_DISP)


def on_real_line(results, site, n=4000):
    link = results.spec.site(site).link
    return np.asarray(link.inverse(np.asarray(results.get_posterior_samples(n, rng=7)[site], np.float64)))


def test_moments_are_those_of_the_earlier_fit(both, earlier):
    found = scribe.fit(
        both[1], **MEAN_DISP, informative_priors_from=earlier, informative_priors_tau=2.0, informative_priors_freeze="r"
    )
    known = found.posterior.design.known
    assert set(known) == {"mu_unconstrained", "r_unconstrained"}, "these are other cells"
    for site, factor in (("mu", 2.0), ("r", 1.0)):
        z = on_real_line(earlier, site)
        moments = known[f"{site}_unconstrained"]
        np.testing.assert_allclose(moments.loc, z.mean(axis=0), atol=0.15 * z.std(axis=0).max())
        np.testing.assert_allclose(moments.scale, factor * z.std(axis=0), rtol=0.1)
    assert found.spec.priors["mu"] == Informed(earlier.spec.priors["mu"])
    assert [latent.name for latent in found.spec.frozen] == ["r_unconstrained"]


def test_the_posterior_is_that_of_bayes_rule():
    # one gene at a time: normal prior of the log mean, Poisson counts
    rng = np.random.default_rng(0)
    first, second = (ad.AnnData(rng.poisson(np.geomspace(1, 8, 6), (n, 6)).astype(np.float32)) for n in (30, 12))
    second.obs_names = [f"d{i}" for i in range(12)]
    one = scribe.fit(first, "poisson", n_steps=2000)
    two = scribe.fit(second, "poisson", n_steps=3000, informative_priors_from=one, informative_priors_tau=1.5)
    moments = two.posterior.design.known["mu_unconstrained"]
    z = np.linspace(-5, 4, 4001)[:, None]
    log_posterior = stats.norm.logpdf(z, moments.loc, moments.scale) + stats.poisson.logpmf(
        np.asarray(second.X).sum(axis=0), 12 * np.exp(z)
    )
    weight = np.exp(log_posterior - log_posterior.max(axis=0))
    weight /= weight.sum(axis=0)
    mean = (weight * z).sum(axis=0)
    sd = np.sqrt((weight * np.square(z - mean)).sum(axis=0))
    found = two.posterior.params
    np.testing.assert_allclose(found["mu_unconstrained_loc"], mean, atol=0.1 * sd.max())
    np.testing.assert_allclose(np.exp(found["mu_unconstrained_log_scale"]), sd, rtol=0.1)


def test_frozen_parameters_stay_and_others_are_fitted_given_them(both, earlier):
    found = scribe.fit(
        both[1], **MEAN_DISP, informative_priors_from=earlier, informative_priors_freeze=("r", "expression")
    )
    assert set(found.params) == {"p_capture_unconstrained_loc", "p_capture_unconstrained_log_scale"}
    for site in ("mu", "r"):
        z = on_real_line(found, site)
        np.testing.assert_allclose(z.mean(axis=0), on_real_line(earlier, site).mean(axis=0), atol=0.15)
        np.testing.assert_allclose(z.std(axis=0), on_real_line(earlier, site).std(axis=0), rtol=0.15)
    np.testing.assert_allclose(found.params["p_capture_unconstrained_loc"], capture_given(found, both[1]), atol=0.4)


def capture_given(results, adata):
    """Posterior mean of the logit of every cell's capture at the frozen means and dispersions, by quadrature."""
    known = results.posterior.design.known
    mu, r = (np.exp(known[f"{site}_unconstrained"].loc) for site in ("mu", "r"))
    x = np.linspace(-8, 8, 801)[:, None, None]
    nu = 1 / (1 + np.exp(-x))
    given = stats.nbinom.logpmf(adata.to_df().to_numpy(), r, r / (r + nu * mu)).sum(axis=2)
    log_posterior = given + stats.logistic.logpdf(x[:, :, 0])
    weight = np.exp(log_posterior - log_posterior.max(axis=0))
    return (weight * x[:, :, 0]).sum(axis=0) / weight.sum(axis=0)


def test_draws_of_some_genes_and_cells_are_those_of_all(both, earlier):
    found = scribe.fit(both[1], **MEAN_DISP, informative_priors_from=earlier, informative_priors_freeze="r")
    every = found.get_posterior_samples(3, rng=1)
    part = found[[4, 2]].cells([7]).get_posterior_samples(3, rng=1)
    np.testing.assert_array_equal(part["r"], np.asarray(every["r"])[:, [4, 2]])
    np.testing.assert_array_equal(part["p_capture"], np.asarray(every["p_capture"])[:, [7]])


def test_genes_are_matched_by_name(both, earlier):
    some = both[1][:, [5, 0, 9]].copy()
    found = scribe.fit(some, **MEAN_DISP, informative_priors_from=earlier, informative_priors_freeze="r")
    whole = scribe.fit(both[1], **MEAN_DISP, informative_priors_from=earlier, informative_priors_freeze="r")
    mine, theirs = (one.posterior.design.known["r_unconstrained"] for one in (found, whole))
    np.testing.assert_allclose(mine.loc, theirs.loc[[5, 0, 9]], rtol=1e-5)
    some.var_names = ["new", *some.var_names[1:]]
    with pytest.raises(ValueError, match=r"1 of the 3 here are not among them, such as 'new'"):
        scribe.fit(some, informative_priors_from=earlier)


def test_capture_is_known_of_the_same_cells_alone(both, earlier):
    again = scribe.fit(both[0][::-1].copy(), **MEAN_DISP, informative_priors_from=earlier)
    moments = again.posterior.design.known["p_capture_unconstrained"]
    z = on_real_line(earlier, "p_capture")
    np.testing.assert_allclose(moments.loc, z.mean(axis=0)[::-1], atol=0.1)
    for name in ("p_capture", "capture_probability"):
        with pytest.raises(ValueError, match="the cells here are not those of the earlier fit"):
            scribe.fit(both[1], **MEAN_DISP, informative_priors_from=earlier, informative_priors_freeze=name)


def test_minibatches_read_the_rows_of_their_cells(both, earlier):
    how = {"informative_priors_from": earlier, "informative_priors_tau": 0.05, "parameterization": "mean_disp"}
    whole = scribe.fit(both[0], **how, n_steps=1500)
    parts = scribe.fit(both[0], **how, n_steps=2500, batch_size=25, early_stopping=False)
    # the prior is far stronger than the counts of a cell
    known = whole.posterior.design.known["p_capture_unconstrained"]
    for one in (whole, parts):
        assert np.corrcoef(one.params["p_capture_unconstrained_loc"], known.loc)[0, 1] > 0.99
    assert np.ptp(known.loc) > 1


def test_slots_survive_the_file_and_subsetting(both, tmp_path):
    adata = both[0].copy()
    scribe.tl.fit(adata, **MEAN_DISP, key_added="first")
    how = {"informative_priors_from": "first", "informative_priors_freeze": ("r", "p_capture")}
    scribe.tl.fit(adata, **MEAN_DISP, **how)
    results = scribe.get.results(adata)
    assert adata.varm["scribe_r_prior"].shape == (12, 2)
    assert adata.obsm["scribe_p_capture_prior"].shape == (100, 2)
    adata.write_h5ad(tmp_path / "fit.h5ad")
    again = ad.read_h5ad(tmp_path / "fit.h5ad")
    back = scribe.get.results(again[[4, 9], [3, 1]].copy())
    assert back.spec == results.spec
    drawn, every = back.get_posterior_samples(2, rng=0), results.get_posterior_samples(2, rng=0)
    np.testing.assert_allclose(drawn["r"], np.asarray(every["r"])[:, [3, 1]], rtol=1e-6)
    np.testing.assert_allclose(drawn["p_capture"], np.asarray(every["p_capture"])[:, [4, 9]], rtol=1e-6)
    # a fit goes on with the priors that it has, and another one takes all slots of this one away
    scribe.tl.fit(again, resume=True, n_steps=50, early_stopping=False)
    np.testing.assert_array_equal(again.varm["scribe_r_prior"], adata.varm["scribe_r_prior"])
    scribe.tl.fit(again, parameterization="mean_disp", n_steps=50, early_stopping=False)
    assert not [name for name in (*again.varm, *again.obsm) if name.endswith("_prior")]
    del adata.varm["scribe_r_prior"]
    with pytest.raises(KeyError, match=r"scribe_r_prior.* is missing"):
        scribe.get.results(adata)


def test_chains_know_what_is_frozen(both, earlier):
    how = {"informative_priors_from": earlier, "informative_priors_freeze": ("r", "mu")}
    of_chains = {"inference_method": "mcmc", "n_samples": 300, "n_warmup": 200}
    chains = scribe.fit(both[1], parameterization="mean_disp", **how, **of_chains)
    z = on_real_line(chains, "p_capture", n=300)
    np.testing.assert_allclose(z.mean(axis=0), capture_given(chains, both[1]), atol=0.3)
    assert np.asarray(chains.get_samples()["r"]).shape == (300, 12)


def test_one_component_informs_a_model_of_one_population():
    adata = scribe.datasets.simulate(80, 8, model="nbvcp", params={"mu": np.geomspace(5.0, 80.0, 8)}, rng=0)
    adata.obs["type"] = ["a"] * 40 + ["b"] * 40
    two = scribe.fit(adata, n_components=2, annotation_key="type", n_steps=300, early_stopping=False)
    with pytest.raises(ValueError, match=r"results\.get_component"):
        scribe.fit(adata, informative_priors_from=two)
    one = scribe.fit(adata, informative_priors_from=two.get_component("b"), n_steps=10, early_stopping=False)
    mu = "r_unconstrained"
    expected = two.posterior.draws(jax.random.key(0), 500)[two.spec.sites[1].name]
    assert one.posterior.design.known[mu].loc.shape == (8,)
    np.testing.assert_allclose(one.posterior.design.known[mu].loc, np.mean(expected[:, 1], axis=0), atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"informative_priors_tau": 2.0}, "has no effect without informative_priors_from"),
        ({"informative_priors_from": 3}, "takes results"),
        ({"model": "twostatevcp"}, "says nothing of"),
        ({"model": "nbdm"}, "different scales"),
        ({"priors": {"organism": "human"}}, "different scales"),
        ({"informative_priors_tau": 0.0}, "above 0"),
        ({"informative_priors_n_samples": 1}, "informative_priors_n_samples"),
        ({"informative_priors_freeze": "gate"}, "do not share it"),
        ({"informative_priors_freeze": ("mu", "r", "p_capture")}, "nothing to infer"),
        ({"informative_priors_freeze": "mu", "joint_params": ["mu", "r"]}, "joint_params is about 'mu'"),
        ({"informative_priors_freeze": "p_capture", "amortize_capture": True}, "amortize_capture is about"),
        ({"guide": scribe.guides.MeanField(by_total=True)}, "by_total=False"),
    ],
)
def test_contradictions_are_refused(both, earlier, options, message):
    from_ = {} if message.startswith("has no effect") else {"informative_priors_from": earlier}
    options = {"parameterization": "mean_disp", **from_, **options}
    if options.get("model") == "twostatevcp":
        options.pop("parameterization")
    with pytest.raises((ValueError, TypeError), match=message):
        scribe.fit(both[0], **options)
