"""The likelihood where every cell adds a number of its own to every gene, against the dense sum."""

from __future__ import annotations

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.design import Design
from scribe._counts.likelihood import by_cell, by_component, by_gene, log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import LowRank, Scalar, offsets, offsets_at
from scribe.families import from_layers

C, G, K, D, FACTORS = 150, 9, 2, 3, 2


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def case(layers, *, levels):
    rng = np.random.default_rng(7)
    predictor = LowRank(rng.normal(-1.0, 0.3, C), rng.normal(size=(C, FACTORS)), 0.5 * rng.normal(size=(G, FACTORS)))
    predictor = jax.tree.map(jnp.asarray, predictor)
    shape = (K, D, G) if levels else (G,)
    natural = {"log_mean": rng.normal(1.0, 1.0, shape), "log_odds": rng.normal(0.0, 0.5, shape)}
    natural |= {"gate_logit": rng.normal(-1.0, 0.5, (1, 1, G) if levels else (G,))} if "zero_inflated" in layers else {}
    natural = {name: jnp.asarray(x) for name, x in natural.items()}
    dataset = rng.integers(0, D, C).astype(np.int32) if levels else None
    log_weights = jnp.asarray(np.log(rng.dirichlet(np.ones(K), C))) if levels else None
    given = Parameters(natural, predictor, None if dataset is None else jnp.asarray(dataset), log_weights)
    u = rng.negative_binomial(1.0, 0.4, (C, G)).astype(float)
    u[:, 0] += 1.0
    return from_layers(layers), given, u


def dense(family, given, u, component=None):
    at = given if component is None else given._replace(component=jnp.full(C, component))
    natural = at.wide() if at.dataset is not None else {n: x[None] if x.ndim else x for n, x in at.natural.items()}
    return family.log_pmf(jnp.asarray(u), natural, offsets(given.predictor))


LAYERS = [("nb", "with_capture"), ("nb", "with_capture", "zero_inflated")]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("rows_are_cells", [True, False])
def test_sums_against_the_dense_matrix(layers, rows_are_cells):
    family, given, u = case(layers, levels=False)
    data = full_data(Counts.from_matrix(u), totals_suffice=False, by_cell=rows_are_cells)
    matrix = np.asarray(dense(family, given, u))
    np.testing.assert_allclose(by_cell(family, given, data), matrix.sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(by_gene(family, given, data, n_genes=G), matrix.sum(axis=0), rtol=1e-10)
    found = jax.value_and_grad(log_likelihood, argnums=1)(family, given, data)
    expected = jax.value_and_grad(lambda given: dense(family, given, u).sum())(given)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", LAYERS)
def test_components_and_datasets_against_the_dense_matrix(layers):
    family, given, u = case(layers, levels=True)
    dataset = np.asarray(given.dataset)
    data = full_data(
        Counts.from_matrix(u).spread(dataset, D), totals_suffice=False, by_cell=True, design=Design(dataset)
    )
    matrix = np.stack([np.asarray(dense(family, given, u, k)) for k in range(K)], axis=1)
    np.testing.assert_allclose(by_component(family, given, data), matrix.sum(axis=2), rtol=1e-10)
    joint = matrix.sum(axis=2) + given.log_weights
    np.testing.assert_allclose(by_cell(family, given, data), logsumexp(joint, axis=1), rtol=1e-10)
    np.testing.assert_allclose(log_likelihood(family, given, data), logsumexp(joint, axis=1).sum(), rtol=1e-10)
    gamma = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    found = by_gene(family, given, data, n_genes=G, gamma=jnp.asarray(gamma))
    np.testing.assert_allclose(found, np.einsum("ck,ckg->g", gamma, matrix), rtol=1e-10)


def test_minibatches_average_to_the_whole():
    family, given, u = case(LAYERS[0], levels=False)
    counts = Counts.from_matrix(u)
    data = full_data(counts, totals_suffice=False)
    drawn = CellBatches(counts, 50, totals_suffice=False, seed=0).disjoint(0, 3)
    parts = []
    for i in range(3):
        batch = jax.tree.map(operator.itemgetter(i), drawn)
        parts.append(log_likelihood(family, given.map_cells(lambda x: x[batch.cells.rows]), batch.join(data)))  # noqa: B023
    np.testing.assert_allclose(np.mean(parts), log_likelihood(family, given, data), rtol=1e-9)


def test_no_factor_is_one_number_per_cell():
    family, given, u = case(LAYERS[1], levels=False)
    data = full_data(Counts.from_matrix(u), totals_suffice=False)
    nothing = given.predictor._replace(loadings=jnp.zeros((G, FACTORS)))
    scalar = given._replace(predictor=Scalar(given.log_exposure))
    np.testing.assert_allclose(
        log_likelihood(family, given._replace(predictor=nothing), data),
        log_likelihood(family, scalar, data),
        rtol=1e-8,
    )


def test_some_cells_and_genes():
    _, given, _ = case(LAYERS[0], levels=False)
    predictor, cells, genes = given.predictor, np.array([3, 90, 4]), np.array([5, 0])
    whole = np.asarray(offsets(predictor))
    part = predictor.map_cells(lambda x: x[cells]).take_genes(genes)
    np.testing.assert_allclose(offsets(part), whole[np.ix_(cells, genes)], rtol=1e-12)
    # genes of the second data set follow those of the first
    np.testing.assert_allclose(offsets_at(predictor, cells[:2], genes + G), whole[cells[:2], genes], rtol=1e-12)
    on_host = jax.tree.map(np.asarray, predictor)
    np.testing.assert_allclose(offsets_at(on_host, cells[:2], genes), whole[cells[:2], genes])
