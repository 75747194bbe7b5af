"""Components that the counts do not support: how many cells they hold, and the bound with one less."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData
from scipy.special import logsumexp

import scribe
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.resolve import resolve_spec
from scribe._posterior.components import Fewer, _as_one, _least_missed, remarks
from scribe._posterior.levels import with_level_cells
from scribe._posterior.posterior import Posterior
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

QUICK = {"parameterization": "mean_disp", "mixture_params": "mean", "early_stopping": {"warmup": 300, "patience": 100}}


def of_types(n_types, *, seed=0, n=90, n_genes=8):
    """Counts of types that differ threefold in every gene, and the type of every cell."""
    rng = np.random.default_rng(seed)
    mean = 6.0 * 3.0 ** rng.choice((-0.5, 0.5), (n_types, n_genes))
    group = rng.integers(0, n_types, n)
    return rng.poisson(rng.gamma(5.0, mean[group] / 5.0)).astype(np.float32), group


@pytest.fixture(scope="module")
def one_too_many():
    """A mixture of two types fitted to one, with what was said."""
    counts, _ = of_types(1)
    adata = AnnData(counts)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        scribe.tl.fit(adata, n_components=2, **QUICK)
    return adata, [str(w.message) for w in said if issubclass(w.category, scribe.ComponentsWarning)]


def test_one_component_has_the_better_bound(one_too_many, through_file):
    """By as much as separate fits of both say; it is kept in the verdict and repeated with every assignment."""
    adata, said = one_too_many
    results = scribe.get.results(adata)
    alone = scribe.fit(adata.X, parameterization="mean_disp", early_stopping=QUICK["early_stopping"])
    assert results.fewer_loss == pytest.approx(alone.verdict.loss, abs=1.5)
    assert alone.verdict.loss < results.verdict.loss
    assert any("one component has the better ELBO" in text and "expression_prior='gaussian'" in text for text in said)
    assert "one component has the better ELBO" in str(results.verdict)
    read = through_file(adata)
    with pytest.warns(scribe.ComponentsWarning, match="more certain than they are right"):
        scribe.tl.assign(read, n_samples=2)
    with pytest.warns(scribe.ComponentsWarning, match="A mixture of one component less has the better ELBO"):
        scribe.get.results(read).cell_type_assignments(n_samples=0)


def test_types_that_differ_are_supported():
    """Nothing is said, and the smaller fit ends long before the larger one."""
    counts, group = of_types(2)
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        fit = scribe.engines.SVI.fit
        patch.setattr(
            scribe.engines.SVI, "fit", lambda engine, *a, **k: steps.append(engine.n_steps) or fit(engine, *a, **k)
        )
        results = scribe.fit(counts, n_components=2, **QUICK)
    assert results.fewer_loss is None
    assert steps == [50_000, 300]
    found = results.cell_type_assignments(n_samples=2).component
    assert max(np.mean(found == group), np.mean(found != group)) > 0.95


def test_it_is_not_measured_where_it_is_not_to_be():
    """Where it is switched off, or where the larger fit was not to converge."""
    counts, _ = of_types(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", scribe.ComponentsWarning)
        warnings.filterwarnings("ignore", ".*nearly empty.*|NOT converged")
        for options in ({"check_components": False}, {"early_stopping": False}):
            found = scribe.fit(counts, n_components=2, **{**QUICK, **options, "n_steps": 400})
            assert found.fewer_loss is None
    for options in ({}, {"n_components": 2, "inference_method": "mcmc"}):
        with pytest.raises(ValueError, match="check_components=False has no effect"):
            scribe.fit(counts, check_components=False, **options)


def test_nearly_empty_components_are_named(made_mixture):
    """Whatever the engine; not those with few of few cells."""
    said = remarks(made_mixture, None)
    assert len(said) == 1
    (text,) = said
    assert text.startswith("1 of 3 components nearly empty: 'c' holds 0.0 of 60 cells")


@pytest.fixture
def made_mixture():
    """A posterior of three components, of which the last expresses nothing like the cells."""
    counts, _ = of_types(1, n=60)
    spec = resolve_spec("poisson", components=("a", "b", "c"))
    mean = np.log(counts.mean(axis=0)) + np.array([[0.0], [0.1], [3.0]])
    params = {"mu_unconstrained_loc": mean, "mixing_weights_unconstrained_loc": np.zeros(3)}
    params |= {name.replace("_loc", "_log_scale"): np.full(x.shape, -5.0) for name, x in params.items()}
    posterior = Posterior(spec, MeanField(), params, n_genes=counts.shape[1], n_cells=len(counts))
    return with_level_cells(posterior, Counts.from_matrix(counts))


@pytest.mark.parametrize("n_empty", [1, 2])
def test_one_component_that_holds_all_cells(made_mixture, n_empty):
    """Is told with every assignment; where two or more hold cells the fit has told it."""
    cells = np.array([[60.0 - 25.0 * (2 - n_empty)], [25.0 * (2 - n_empty)], [0.0]])
    posterior = replace(made_mixture, design=Design(level_cells=cells))
    counts = of_types(1, n=60)[0]
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results.cell_type_assignments(counts, n_samples=0)
    assert [str(w.message)[:45] for w in said] == ["One of the 3 components holds all cells: assi"] * (n_empty == 2)


def test_labels_that_are_not_told_apart_are_named(made_mixture):
    labelled = replace(made_mixture, design=Design(logits=np.eye(3)[np.zeros(60, int)]))
    text = "; ".join(remarks(labelled, Fewer((1, 0), 10.0, gain=3.25, error=1.0)))
    assert "a mixture of 2 components ('a' and 'b' as one) has the better ELBO, by 3.25 nats" in text
    assert "better" not in "; ".join(remarks(labelled, Fewer((1, 0), 10.0, gain=3.25, error=4.0)))


def test_the_component_that_is_missed_least():
    rng = np.random.default_rng(0)
    joint = rng.normal(0.0, 3.0, (50, 4))
    joint[:, 3] = joint[:, 1] + rng.normal(-1.0, 0.1, 50)
    log_probabilities = joint - logsumexp(joint, axis=1, keepdims=True)
    costs = [logsumexp(joint, axis=1).sum() - logsumexp(np.delete(joint, k, axis=1), axis=1).sum() for k in range(4)]
    assert _least_missed(log_probabilities) == (int(np.argmin(costs)), 1) == (3, 1)


def test_the_model_with_two_components_as_one():
    priors = {"mixing": (1.0, 2.0, 3.0)}
    labels, datasets = ("a", "b", "c"), ("x", "y")
    free = {"parameterization": "mean_disp", "unconstrained": True, "expression_prior": "gaussian"}
    spec = resolve_spec("nbvcp", components=labels, datasets=datasets, dataset_params="mean", priors=priors, **free)
    logits = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    smaller, design = _as_one(spec, Design(np.array([0, 1, 0, 1]), logits), (0, 2))
    assert smaller.levels["component"].labels == ("b", "c + a")
    assert smaller.priors["mixing_weights"].concentration == (2.0, 3.0)
    np.testing.assert_array_equal(design.logits, [[0.0, 3.0], [3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    np.testing.assert_array_equal(design.dataset, [0, 1, 0, 1])
    one, design = _as_one(smaller, design, (1, 0))
    assert one == resolve_spec(
        "nbvcp", datasets=datasets, dataset_params="mean", parameterization="mean_disp", unconstrained=True
    )
    assert design.logits is None
