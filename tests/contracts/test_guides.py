"""Every guide with models of every kind: a finite, differentiable bound, draws of its density, exact round trips."""

from __future__ import annotations

import functools
import itertools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer import Trace_ELBO

import scribe
from scribe import guides
from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._model.build import build
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe.guides import MLP, Amortised, Composed, Flow, Guide, Joint, LowRank, MeanField, from_json, whole
from scribe.priors import latent_name

pytestmark = pytest.mark.loose_promotion

SMALL_FLOW = Flow("iaf", n_layers=1, network=MLP((3,)))
GUIDES: dict[str, Guide] = {
    "mean_field": MeanField(),
    "mean_field-wide": MeanField(init_scale=0.5),
    "low_rank": whole(LowRank(3)),
    "joint": Composed((Joint(("p", "r"), family=LowRank(2)), MeanField())),
    "structured": Composed((Joint(("r", "mu", "gate"), family=LowRank(2), dense=("mu",)), MeanField())),
    "linear": Composed((Joint(("r", "mu", "gate")), MeanField())),
    "amortised": whole(Amortised((5, 4))),
    "by_total": MeanField(by_total=True),
    "flow": whole(Flow(n_layers=3, network=MLP((4,)))),
    "flows": Composed(
        (
            Joint(("r", "mu"), family=Flow("iaf", n_layers=1, network=MLP((3,))), dense=("r", "mu")),
            Amortised((3,)),
            MeanField(),
        )
    ),
}
MODELS = {
    "nbvcp": {"model": "nbvcp"},
    "zinbvcp-disp": {"model": "zinbvcp", "parameterization": "mean_disp"},
    "anchored": {"priors": {"organism": "human"}},
    "zip": {"model": "zip"},
}
ONLY = {
    "mean_field-wide": {"nbvcp"},
    "low_rank": {"nbvcp", "zinbvcp-disp"},
    "joint": {"anchored"},
    "structured": {"zinbvcp-disp"},
    "linear": {"zinbvcp-disp"},
    "amortised": {"nbvcp", "anchored"},
    "by_total": {"nbvcp"},
    "flow": {"zip"},
    "flows": {"zinbvcp-disp"},
}
"""Models for guides that name parameters, or that need no test with all."""
PAIRS = [(g, m) for g in GUIDES for m in MODELS if m in ONLY.get(g, MODELS)]
SLOW = {("low_rank", "zinbvcp-disp"), ("mean_field", "anchored"), ("amortised", "anchored")}
"""Pairs of a guide and a model that both stand in other pairs, too."""


COSTLY = {(guide, "zinbvcp-disp") for guide in ("flows", "structured", "linear")}
"""Pairs whose gradient compiles for long, and that a fit takes in any case."""


def marked(pairs, also=frozenset()):
    slow = SLOW | also
    return [pytest.param(pair, marks=[pytest.mark.slow] if pair in slow else [], id="-".join(pair)) for pair in pairs]


N_CELLS, N_GENES = 14, 5
LENGTHS = {"gene": N_GENES, "cell": N_CELLS}


@functools.cache
def setting(model: str):
    """Model, data, latents and starting values; compiled parts are shared by the tests."""
    spec = resolve_spec(**MODELS[model])
    counts = Counts.from_matrix(np.random.default_rng(0).poisson(3.0, (N_CELLS, N_GENES)) + np.eye(N_CELLS, N_GENES))
    traced, data = build(spec, n_genes=N_GENES), full_data(counts, totals_suffice=False)
    return spec, counts, traced, data, spec.latents, spec.start(start_of(spec, counts).values)


def begin(case):
    """Arrays of a guide at the start."""
    guide, _, counts, _, _, latents, start = case
    return guide.init(latents, start, lengths=LENGTHS, totals=counts.totals)


def moved(case):
    """Arrays as they might be in the course of a fit: none at a special value, as zero."""
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(x + rng.normal(0, 0.2, x.shape), x.dtype) for name, x in jax.device_get(begin(case)).items()
    }


def settled(case, params):
    guide, _, counts, _, _, latents, _ = case
    return guide.finalise(params, latents=latents, counts=counts)


N_DRAWS = 4000
IDS = {axis: np.random.default_rng(1).permutation(100)[:n].astype(np.uint32) for axis, n in LENGTHS.items()}
"""Numbers that tell genes and cells apart."""


@functools.cache
def drawing(guide, latents):
    """Draws of a guide by key and arrays, compiled once for all tests."""
    numbers = np.arange(N_DRAWS, dtype=np.uint32)
    return jax.jit(lambda key, params: guide.draw(key, params, latents=latents, numbers=numbers, ids=IDS))


@pytest.fixture(params=marked(PAIRS))
def case(request):
    guide, model = request.param
    return GUIDES[guide], *setting(model)


def test_every_guide_is_tested():
    parts = {type(part) for guide in GUIDES.values() for part in getattr(guide, "parts", ())}
    assert parts | {type(guide) for guide in GUIDES.values()} == set(guides.ALL.values())


def test_every_latent_belongs_to_one_part(case):
    """The named arrays of the latents, and their distributions, are there exactly once."""
    guide, _, _, _, data, latents, _ = case
    params, trace = moved(case), {}

    def run(params):
        guided = handlers.substitute(handlers.seed(guide.build(latents), jax.random.key(0)), params)
        trace.update(handlers.trace(guided).get_trace(data))

    jax.eval_shape(run, params)
    drawn = [n for n, site in trace.items() if site["type"] == "sample" and not site["is_observed"]]
    assert sorted(drawn) == sorted(latent.name for latent in latents)
    assert {n for n, site in trace.items() if site["type"] == "param"} == set(params)


@pytest.mark.parametrize("case", marked(PAIRS, also=COSTLY), indirect=True)
def test_bound_and_gradient_are_finite(case):
    guide, _, _, model, data, latents, _ = case
    params = moved(case)

    def bound(params, key):
        return Trace_ELBO().loss(key, params, model, guide.build(latents), data)

    value, gradient = jax.jit(jax.value_and_grad(bound))(params, jax.random.key(0))
    assert np.isfinite(value)
    assert set(gradient) == set(params)
    for name, g in gradient.items():
        assert np.isfinite(g).all(), name
        assert np.any(np.asarray(g) != 0), f"{name} has no effect"


def test_draws_have_the_shape_of_the_sites_and_follow_the_guide(case):
    """``draw``, which needs no model, and the traced guide are one distribution: equal means and variances."""
    guide, _, _, _, data, latents, _ = case
    params = moved(case)
    n = N_DRAWS
    draws = drawing(guide, latents)(jax.random.key(1), settled(case, params))
    assert {name: value.shape for name, value in draws.items()} == {
        latent.name: (n, *(LENGTHS[axis] for axis in latent.axes)) for latent in latents
    }

    def traced(key):
        trace = handlers.trace(handlers.substitute(handlers.seed(guide.build(latents), key), params)).get_trace(data)
        return {name: site["value"] for name, site in trace.items() if site["type"] == "sample"}

    others = jax.jit(jax.vmap(traced))(jax.random.split(jax.random.key(2), n))
    for name, value in draws.items():
        a, b = np.asarray(value, np.float64), np.asarray(others[name], np.float64)
        error = np.sqrt((a.var(0) + b.var(0)) / n)
        assert np.all(np.abs(a.mean(0) - b.mean(0)) < 5 * error)
        np.testing.assert_allclose(a.std(0), b.std(0), rtol=0.08)


def test_centre_and_marginal_are_those_of_the_draws(case):
    guide, _, _, _, _, latents, _ = case
    final = settled(case, moved(case))
    n = N_DRAWS
    draws = drawing(guide, latents)(jax.random.key(3), final)
    centre = guide.centre(final, latents=latents)
    for name, value in draws.items():
        x = np.asarray(value, np.float64)
        normal = guide.marginal(name, final, latents=latents)
        if normal is not None:
            np.testing.assert_allclose(x.std(0), np.broadcast_to(normal.scale, x.shape[1:]), rtol=0.08)
            np.testing.assert_array_equal(normal.loc, centre[name])
        assert np.all(np.abs(np.median(x, 0) - centre[name]) < 8 * x.std(0) / np.sqrt(n))


def test_draws_are_a_function_of_number_gene_and_cell(case):
    """Some draws of some genes and cells, in another order, are those of all: whatever else is drawn."""
    guide, _, _, _, _, latents, _ = case
    final = settled(case, moved(case))
    keep, numbers = {"gene": np.array([3, 1]), "cell": np.array([2, 11, 5])}, np.array([3, 0], np.uint32)
    part = dict(final)
    for latent in latents:
        for name in [name for name in final if name.startswith(latent.name)]:
            for place, axis in enumerate(latent.axes):
                part[name] = jnp.take(part[name], keep[axis], axis=place)
    ids = {axis: IDS[axis][index] for axis, index in keep.items()}
    some = guide.draw(jax.random.key(2), part, latents=latents, numbers=numbers, ids=ids)
    every = drawing(guide, latents)(jax.random.key(2), final)
    for latent in latents:
        expected = np.asarray(every[latent.name])[numbers]
        for place, axis in enumerate(latent.axes):
            expected = np.take(expected, keep[axis], axis=1 + place)
        np.testing.assert_allclose(some[latent.name], expected, rtol=1e-5, atol=1e-6)


def test_starts_at_the_given_values(case):
    guide, _, _, _, _, latents, start = case
    draws = drawing(guide, latents)(jax.random.key(0), settled(case, begin(case)))
    # a network comes near to the start of the cells alone: see the tests of Amortised
    predicted = {
        x.name for part in getattr(guide, "parts", ()) if isinstance(part, Amortised) for x in part.select(latents)
    }
    for name, value in draws.items():
        if name in predicted:
            continue
        expected = np.broadcast_to(start[name], value.shape[1:])
        error = np.asarray(value).std(0) / np.sqrt(N_DRAWS)
        assert np.all(np.abs(np.asarray(value).mean(0) - expected) < 5 * error + 1e-6)


def test_a_minibatch_reads_the_rows_of_its_cells(case):
    guide, spec, counts, model, _, latents, _ = case
    batch = jax.tree.map(lambda x: x[0], CellBatches(counts, 4, totals_suffice=False, seed=0).draw(0, 1))
    batch = batch.join(full_data(counts, totals_suffice=True))
    params = begin(case)
    trace = handlers.trace(
        handlers.substitute(handlers.seed(guide.build(latents), jax.random.key(0)), params)
    ).get_trace(batch)
    if spec.capture_site is not None:
        assert trace[latent_name(spec.capture_site)]["value"].shape == (4,)
    assert np.isfinite(Trace_ELBO().loss(jax.random.key(0), params, model, guide.build(latents), batch))


def test_settings_survive_json(case):
    guide = case[0]
    assert from_json(json.loads(json.dumps(guide.to_json()))) == guide


FITS = {guide: (guide, model) for guide, model in PAIRS[::-1]}
SIMILAR = {FITS[guide] for guide in ("mean_field-wide", "linear", "structured", "flows")}
"""Fits of guides of which others have all parts."""


@pytest.mark.parametrize("pair", marked(FITS.values(), also=SIMILAR))
def test_fit_and_slots(pair, small_counts, tmp_path):
    """A few steps, written to a file and read again: the same guide, arrays and draws; and some more steps."""
    import anndata

    guide, model = pair
    adata = small_counts.copy()
    with pytest.warns(scribe.ConvergenceWarning):
        scribe.tl.fit(adata, guide=GUIDES[guide], n_steps=5, early_stopping=False, **MODELS[model])
    adata.write_h5ad(tmp_path / "fit.h5ad")
    before, after = scribe.get.results(adata), scribe.get.results(anndata.read_h5ad(tmp_path / "fit.h5ad"))
    assert after.posterior.guide == GUIDES[guide]
    for name, value in before.get_posterior_samples(rng=0, n_samples=3).items():
        assert jnp.array_equal(value, after.get_posterior_samples(rng=0, n_samples=3)[name]), name
    with pytest.warns(scribe.ConvergenceWarning):
        scribe.tl.fit(adata, resume=True, n_steps=2, early_stopping=False)
    assert scribe.get.results(adata).loss_history.size == 7
    part = adata[5:25, ::3].copy()
    assert scribe.get.results(part).get_posterior_samples(rng=0, n_samples=3)["mu"].shape == (3, part.n_vars)


KEYWORDS: dict[str, dict[str, object]] = {
    "mean_field": {},
    "low_rank": {"guide_rank": 2},
    "linear": {"joint_params": "all"},
    "joint": {"joint_params": "all", "guide_rank": 2},
    "dense": {"joint_params": "all", "dense_params": "mean", "guide_rank": 2},
    **{
        kind: {"guide_flow": kind, "guide_flow_num_layers": 2, "guide_flow_hidden_dims": [4]}
        for kind in ("affine_coupling", "spline_coupling", "maf", "iaf")
    },
    "flow of all": {
        "guide_flow": "affine_coupling",
        "guide_flow_num_layers": 2,
        "guide_flow_hidden_dims": [4],
        "joint_params": "all",
        "dense_params": "all",
    },
    "amortised": {"amortize_capture": True, "capture_hidden_dims": [4]},
}
FAMILIES: dict[str, dict[str, object]] = {
    **{model: {"model": model} for model in ("nbdm", "zinb", "nbvcp", "zinbvcp", "poisson", "zipvcp", "twostatevcp")},
    **{system: {"parameterization": system} for system in ("mean_prob", "mean_odds", "mean_disp")},
    "bnb": {"overdispersion": "bnb", "unconstrained": True},
    "twostate": {"model": "twostate"},
    "mixture": {"n_components": 2},
    "mixture, zero-inflated": {"model": "zinb", "n_components": 2, "mixture_params": "all"},
    "datasets": {
        "dataset_key": "donor",
        "unconstrained": True,
        "expression_dataset_prior": "gaussian",
        "prob_dataset_prior": "horseshoe",
    },
    "factors": {
        "dataset_key": ["donor", "condition"],
        "unconstrained": True,
        "expression_dataset_prior": {"donor": "gaussian", "condition": "fixed"},
    },
    "horseshoe": {"prob_prior": "horseshoe", "unconstrained": True},
    "neg": {"model": "zinbvcp", "zero_inflation_prior": "neg", "unconstrained": True},
    "components": {"n_components": 2, "expression_prior": "horseshoe", "unconstrained": True},
}


def products():
    """Every guide with every family; without a mark one of which neither is fitted elsewhere in these tests."""
    quick = {("dense", "factors")}
    for guide, family in itertools.product(KEYWORDS, FAMILIES):
        if guide == "amortised" and not FAMILIES[family].get("model", "nbvcp").endswith("vcp"):
            continue
        marks = [] if (guide, family) in quick else [pytest.mark.slow]
        yield pytest.param(guide, family, id=f"{guide}-{family}", marks=marks)


@pytest.mark.parametrize(("guide", "family"), list(products()))
def test_every_guide_with_every_family(guide, family, small_counts, tmp_path):
    """A fit from keywords is finite, and its draws survive a file."""
    import anndata

    adata = small_counts[:40, :13].copy()
    adata.obs["donor"] = np.array(list("abcd"))[np.arange(40) % 4]
    adata.obs["condition"] = np.array(["ctrl", "stim"])[np.arange(40) // 20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, n_steps=5, early_stopping=False, **KEYWORDS[guide], **FAMILIES[family])
    adata.write_h5ad(tmp_path / "fit.h5ad")
    before, after = scribe.get.results(adata), scribe.get.results(anndata.read_h5ad(tmp_path / "fit.h5ad"))
    assert np.isfinite(before.loss_history).all()
    found = after.get_posterior_samples(rng=0, n_samples=3)
    for name, value in before.get_posterior_samples(rng=0, n_samples=3).items():
        assert np.isfinite(value).all(), name
        np.testing.assert_array_equal(value, found[name], err_msg=name)
    for latent in before.spec.latents:
        assert latent.name.removesuffix("_unconstrained") in {
            *adata.uns["scribe"]["sites"],
            *(n.removeprefix("scribe_") for n in (*adata.varm, *adata.obsm)),
        }
