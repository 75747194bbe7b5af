"""Populations of parameters: every spelling, its defaults, and errors that name the fix."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest

import scribe
from scribe import coordinates, families
from scribe._model.completion import complete
from scribe._model.hierarchies import FLAT, HYPERPARAMETERS, find_population, hierarchy
from scribe._model.options import ModelOptions, options_table
from scribe._model.resolve import resolve_spec
from scribe.priors import (
    SCATTERS,
    Gaussian,
    Horseshoe,
    LogNormal,
    NormalExponentialGamma,
    TransformedNormal,
    over,
)

P = over("gene", TransformedNormal(0.0, 1.0, "sigmoid"), Horseshoe())
PHI = over("gene", TransformedNormal(0.0, 1.0, "exp"), Gaussian(0.0, 0.5))
OMEGA = over("gene", TransformedNormal(-5.0, 1.0, "exp"), Horseshoe())
GATE = over("gene", TransformedNormal(-5.0, 1.0, "sigmoid"), NormalExponentialGamma())

PARAMS = {p.name: p for c in coordinates.ALL for p in c.sampled} | {p.name: p for p in families.added_params()}
OPTIONS = complete({}, kind=ModelOptions)


@pytest.mark.parametrize(
    ("model", "options", "site", "prior"),
    [
        ("nbvcp", {"prob_prior": "horseshoe"}, "p", P),
        ("nbvcp", {"p_prior": "horseshoe"}, "p", P),
        ("nbvcp", {"priors": {"prob": "horseshoe"}}, "p", P),
        ("nbvcp", {"priors": {"p": {"type": "horseshoe"}}}, "p", P),
        ("nbdm", {"prob_prior": "gaussian", "parameterization": "mean_odds"}, "phi", PHI),
        ("nbdm", {"priors": {"odds": "gaussian"}, "parameterization": "mean_odds"}, "phi", PHI),
        ("zinb", {"zero_inflation_prior": "neg"}, "gate", GATE),
        ("zinb", {"gate_prior": "neg"}, "gate", GATE),
        ("zinb", {"priors": {"zero_inflation": {"type": "neg"}}}, "gate", GATE),
        ("zip", {"zero_inflation_prior": "neg"}, "gate", GATE),
        ("zinbvcp", {"overdispersion": "bnb"}, "omega", OMEGA),
        ("nbdm", {"overdispersion": "bnb", "overdispersion_prior": "horseshoe"}, "omega", OMEGA),
        ("nbdm", {"overdispersion": "bnb", "priors": {"overdispersion": "horseshoe"}}, "omega", OMEGA),
        (
            "nbvcp",
            {"overdispersion": "bnb", "overdispersion_prior": "gaussian"},
            "omega",
            over("gene", TransformedNormal(-5.0, 1.0, "exp"), Gaussian(0.0, 1.0)),
        ),
        (
            "nbvcp",
            {"overdispersion": "bnb", "overdispersion_prior": "none"},
            "omega",
            TransformedNormal(-5.0, 1.0, "exp"),
        ),
        (
            "nbdm",
            {"prob_prior": "gaussian", "parameterization": "mean_odds", "positive_transform": "exp"},
            "phi",
            over("gene", TransformedNormal(0.0, 1.0, "exp"), Gaussian(0.0, 0.5)),
        ),
        (
            "nbdm",
            {"priors": {"p": {"type": "gaussian", "loc": (1, 2), "scale": [-1, 0.1]}}},
            "p",
            over("gene", TransformedNormal(1.0, 2.0, "sigmoid"), Gaussian(-1.0, 0.1)),
        ),
    ],
)
def test_every_spelling(model: str, options: dict[str, Any], site: str, prior: Any) -> None:
    spec = resolve_spec(model, unconstrained=True, **options)
    assert spec.priors[site] == prior
    assert next(s for s in spec.sites if s.name == site).axes == ("gene",)
    plain = resolve_spec(model, unconstrained=True, parameterization=options.get("parameterization"))
    if site not in plain.priors:
        assert spec.family.layers == resolve_spec(model, unconstrained=True, overdispersion="bnb").family.layers
    others = {name: p for name, p in plain.priors.items() if name != site and "positive_transform" not in options}
    assert others.items() <= spec.priors.items()


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (None, ("nb", "with_capture", "beta_mixed")),
        ("nbdm", ("nb", "beta_mixed")),
        ("zinb", ("nb", "beta_mixed", "zero_inflated")),
        ("zinbvcp", ("nb", "with_capture", "beta_mixed", "zero_inflated")),
        (
            families.with_capture(families.beta_mixed(families.nb)),
            ("nb", "beta_mixed", "with_capture"),
        ),
    ],
)
def test_overdispersion_has_its_place_in_the_model(model: Any, layers: tuple[str, ...]) -> None:
    """The observed probability is what varies, unless a family object says that it is that of the molecules."""
    assert resolve_spec(model, unconstrained=True, overdispersion="bnb").family.layers == layers


def test_flat_hyperparameters_are_defaults_of_all_and_dicts_set_one() -> None:
    spec = resolve_spec(
        "zinb",
        unconstrained=True,
        prob_prior="horseshoe",
        horseshoe_tau0=0.3,
        horseshoe_slab_df=5,
        horseshoe_slab_scale=1.5,
        priors={"gate": {"type": "horseshoe", "tau0": 0.7}},
    )
    assert spec.priors["p"].deviation == Horseshoe(0.3, 5.0, 1.5)
    assert spec.priors["gate"].deviation == Horseshoe(0.7, 5.0, 1.5)
    spec = resolve_spec("zinb", unconstrained=True, gate_prior="neg", neg_u=0.5, neg_a=2.0, neg_tau=3.0)
    assert spec.priors["gate"].deviation == NormalExponentialGamma(0.5, 2.0, 3.0)


def test_hyperparameters_are_those_of_the_families_with_their_defaults() -> None:
    table = options_table(ModelOptions)
    for keyword, (family, name) in HYPERPARAMETERS.items():
        assert getattr(SCATTERS[family](), name) == table[keyword].default
    assert set(FLAT) <= set(table)


def test_none_is_no_population() -> None:
    for options in ({"prob_prior": "none"}, {"priors": {"p": "none"}}):
        for unconstrained in (False, True):
            assert resolve_spec(unconstrained=unconstrained, **options) == resolve_spec(unconstrained=unconstrained)


@pytest.mark.parametrize("axis", ["gene", "component", "dataset"])
@pytest.mark.parametrize("kind", SCATTERS)
def test_hierarchy_of_every_population(axis: str, kind: str) -> None:
    """Defaults of the table; a base of one's own replaces the location."""
    with_population = [p for p in PARAMS.values() if find_population(p, axis)]
    assert len(with_population) >= 2
    for param in with_population:
        population = find_population(param, axis)
        link = "sigmoid" if param.support == "unit" else "exp"
        prior = hierarchy(param, axis, kind, link=link, options=OPTIONS)
        deviation = Gaussian(*population.scale) if kind == "gaussian" else SCATTERS[kind]()
        assert prior == over(axis, TransformedNormal(*population.loc, link), deviation)
        base = LogNormal(0.5, 2.0)
        assert hierarchy(param, axis, kind, link=link, options=OPTIONS, base=base) == over(axis, base, deviation)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "nbvcp",
            {"prob_prior": "horseshoe", "unconstrained": False},
            "prob_prior='horseshoe' needs unconstrained=True",
        ),
        (
            "zinb",
            {"priors": {"gate": "neg"}, "unconstrained": False},
            "'neg' prior of 'gate' .* unconstrained=True",
        ),
        (
            "nbvcp",
            {"prob_prior": "horsehoe"},
            r"family 'horsehoe'\. Did you mean 'horseshoe'\? Choose one of",
        ),
        ("nbvcp", {"priors": {"p": {"type": "cauchy"}}}, "prior of 'p' has the family 'cauchy'"),
        ("nbvcp", {"priors": {"p": {"type": "neg", "tau0": 1.0}}}, "neg prior of 'p' has no hyperparameter 'tau0'"),
        ("nbvcp", {"priors": {"p": {"type": "gaussian", "tau0": 1.0}}}, "It has: 'scale', 'loc'"),
        ("nbvcp", {"priors": {"p": {"type": "neg", "loc": 1.0}}}, r"'loc' in the prior of 'p' must be a pair \(mean"),
        (
            "nbvcp",
            {"prob_prior": "neg", "priors": {"p": (0, 1)}},
            r"prob_prior='neg' and priors\['p'\]=\(0, 1\) set the same prior: keep one",
        ),
        ("zinb", {"gate_prior": "neg", "priors": {"zero_inflation": "horseshoe"}}, "zero_inflation_prior='neg' and"),
        ("zinb", {"gate_prior": "neg", "zero_inflation_prior": "neg"}, "given twice, also as 'gate_prior'"),
        (
            "nbvcp",
            {"zero_inflation_prior": "neg"},
            "needs a model with 'gate': pass zero_inflation=True",
        ),
        (
            "nbvcp",
            {"prob_prior": "neg", "parameterization": "mean_disp"},
            r"prob_prior='neg' needs p or phi to be sampled, but .*'mean_disp' samples \['mu', 'r'\]\. "
            "Pass parameterization='canonical' or 'mean_prob' or 'mean_odds'",
        ),
        (
            "nbvcp",
            {"overdispersion": "bnb", "unconstrained": False},
            "overdispersion_prior='horseshoe' needs unconstrained=True",
        ),
        ("nbvcp", {"overdispersion": "BNB"}, "overdispersion must be one of 'none', 'bnb', got 'BNB'"),
        ("poisson", {"overdispersion": "bnb"}, "overdispersion='bnb' needs a negative binomial model"),
        ("nbvcp", {"overdispersion_prior": "neg"}, "needs a model with 'omega': pass overdispersion='bnb'"),
        (
            "nbvcp",
            {"priors": {"overdispersion": "neg"}},
            r"priors\['omega'\] needs overdispersion='bnb'",
        ),
        ("poissonvcp", {"prob_prior": "neg"}, "which the 'poisson' family does not have: leave it out"),
        ("nbvcp", {"horseshoe_tau0": 0.1}, "horseshoe_tau0=0.1 has no effect: no prior of this model is 'horseshoe'"),
        ("nbvcp", {"prob_prior": "gaussian", "neg_u": 0.5}, "neg_u=0.5 has no effect"),
        ("nbvcp", {"prob_prior": "horseshoe", "horseshoe_tau0": -1.0}, "needs hyperparameters above 0, got tau0=-1.0"),
        (
            "nbvcp",
            {"priors": {"capture_prob": "neg"}},
            r"priors\['p_capture'\]='neg' would make .* Give a pair of numbers or a scribe prior object\.",
        ),
        (
            "nbvcp",
            {"priors": {"expression": "horseshoe"}, "parameterization": "mean_odds"},
            r"priors\['mu'\]='horseshoe' would make genes a population.* Give a pair of numbers or a scribe prior "
            "object; for a population along another axis expression_prior='horseshoe' with n_components=2 or more or "
            "expression_dataset_prior='horseshoe' with dataset_key",
        ),
    ],
)
def test_errors_name_the_fix(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_spec(model, **{"unconstrained": True, **options})


FITS = {
    "p-gaussian": {"prob_prior": "gaussian"},
    "p-horseshoe": {"prob_prior": "horseshoe"},
    "phi-neg": {"prob_prior": "neg", "parameterization": "mean_odds"},
    "gate-horseshoe": {"zero_inflation_prior": "horseshoe", "model": "zinbvcp"},
    "omega-horseshoe": {"overdispersion": "bnb"},
    "both-in-batches": {
        "model": "zinb",
        "zero_inflation_prior": "neg",
        "prob_prior": "horseshoe",
        "batch_size": 40,
    },
}


@pytest.mark.loose_promotion
@pytest.mark.parametrize(
    "options",
    # fits of the others are among the recipes and guides, too
    [pytest.param(x, marks=[] if n == "phi-neg" else [pytest.mark.slow]) for n, x in FITS.items()],
    ids=FITS,
)
def test_fit_writes_reads_back_and_denoises(small_counts: Any, options: dict[str, Any]) -> None:
    """The loss falls, every latent has its slot, and what is read back answers as the results themselves did."""
    adata = small_counts[:60, :20].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, unconstrained=True, n_steps=120, early_stopping=False, **options)
    results = scribe.get.results(adata)
    assert results.loss_history[-20:].mean() < results.loss_history[:5].mean()
    held = {*adata.uns["scribe"]["sites"], *(n.removeprefix("scribe_") for n in (*adata.varm, *adata.obsm))}
    assert {latent.name.removesuffix("_unconstrained") for latent in results.spec.latents} <= held
    site = "phi" if "parameterization" in options else "gate" if "model" in options else "p"
    site = "omega" if "overdispersion" in options else site
    found = results.get_map()[site]
    assert found.shape == (20,)
    assert np.ptp(found) > 0
    np.testing.assert_allclose(results[adata.var_names[3]].get_map()[site], found[3:4], rtol=1e-5)
    law = results.get_distributions()[site]
    draws = results.get_posterior_samples(400, sites=[site])[site]
    median = np.median(law.sample(jax.random.key(1), (4000,)), axis=0)
    below = np.mean(np.asarray(draws) < median, axis=0)
    assert np.all((below > 0.35) & (below < 0.65))
    assert results.get_posterior_quantiles((0.1, 0.9), n_samples=20)[site].shape == (2, 20)
    scribe.tl.denoise(adata, n_samples=3)
    assert np.isfinite(adata.layers["scribe_denoised"]).all()
    scribe.tl.ppc(adata, n_samples=3, n_genes=4)
