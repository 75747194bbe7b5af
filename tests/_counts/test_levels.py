"""Components and datasets in the sparse engine: against sums over dense matrices, cell by cell and leaf by leaf."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.design import Design
from scribe._counts.levels import at_cells, at_elements, spread
from scribe._counts.likelihood import by_cell, by_component, by_gene, log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.likelihood import Likelihood
from scribe.families import from_layers

pytestmark = pytest.mark.loose_promotion

K, D, C, G = 3, 2, 230, 7
FAMILIES = {"nb": ("nb",), "zinb": ("nb", "zero_inflated"), "poisson": ("poisson",)}
SHAPES = {"genes": (K, D, G), "levels": (K, D, 1), "components": (K, 1, G), "datasets": (1, D, G), "shared": ()}


def parameters(layers, odds: str, *, mean: str = "genes"):
    rng = np.random.default_rng(3)
    natural = {"log_mean": rng.normal(0.5, 1.0, SHAPES[mean]), "log_odds": rng.normal(0.0, 0.7, SHAPES[odds])}
    if layers[0] == "poisson":
        del natural["log_odds"]
    if "zero_inflated" in layers:
        natural["gate_logit"] = rng.normal(-2, 1, SHAPES["components"])
    return {name: jnp.asarray(value) for name, value in natural.items()}


@functools.cache
def cells():
    rng = np.random.default_rng(0)
    matrix = rng.poisson(rng.gamma(0.7, 2.0, (C, G))) + (np.arange(C)[:, None] % G == np.arange(G))
    weights = rng.dirichlet(np.ones(K), C)
    return Counts.from_matrix(matrix), rng.integers(0, D, C), np.log(weights), rng.uniform(-3.0, 0.0, C)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


CASES = [*(("nb", odds) for odds in SHAPES), ("zinb", "datasets"), ("poisson", "shared")]


BETWEEN = {("nb", "components"), ("nb", "datasets"), ("nb", "shared")}
"""Odds that vary along some axes; others have all of them, or the last."""


@pytest.mark.parametrize(
    ("name", "odds"), [pytest.param(*c, marks=pytest.mark.slow) if c in BETWEEN else c for c in CASES]
)
def test_mixture_of_datasets_is_the_dense_sum(name, odds) -> None:
    counts, dataset, log_weights, offset = cells()
    family, natural = from_layers(FAMILIES[name]), parameters(FAMILIES[name], odds)
    data = full_data(
        counts.spread(dataset, D), totals_suffice=False, by_cell=True, design=Design(dataset.astype(np.int32))
    )
    u, x, w = jnp.asarray(counts.rows(slice(None)), float), jnp.asarray(offset), jnp.asarray(log_weights)

    def dense(natural, x):
        at = [at_cells(natural, jnp.full(C, k), jnp.asarray(dataset)) for k in range(K)]
        return jnp.stack([jnp.sum(family.log_pmf(u, one, x[:, None]), axis=1) for one in at], axis=1)

    def engine(natural, x):
        return by_component(family, Parameters(natural, Scalar(x)), data)

    def dense_mixture(natural, x):
        matrix = dense(natural, x)
        return jnp.sum(logsumexp(matrix + w, axis=1)), matrix

    (value, matrix), slopes = jax.jit(jax.value_and_grad(dense_mixture, argnums=(0, 1), has_aux=True))(natural, x)
    expected = value, slopes
    np.testing.assert_allclose(jax.jit(engine)(natural, x), matrix, rtol=1e-8)
    found = jax.jit(
        jax.value_and_grad(lambda n, x: log_likelihood(family, Parameters(n, Scalar(x), None, w), data), argnums=(0, 1))
    )(natural, x)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("name", "odds"), CASES)
@pytest.mark.parametrize("rows_are_cells", [True, False])
def test_datasets_are_sums_over_their_cells(name, odds, rows_are_cells) -> None:
    """Total, by gene and by cell, in either layout, and from totals alone where they suffice."""
    counts, dataset, _, offset = cells()
    family = from_layers(FAMILIES[name])
    natural = {n: v[:1] if v.ndim else v for n, v in parameters(FAMILIES[name], odds).items()}
    data = full_data(
        counts.spread(dataset, D), totals_suffice=False, by_cell=rows_are_cells, design=Design(dataset.astype(np.int32))
    )
    x = jnp.asarray(offset)

    @jax.jit
    def found_and_dense(natural, x, data, u):
        at = at_cells(natural, None, jnp.asarray(dataset))
        given = Parameters(natural, Scalar(x))
        genes = by_gene(family, given, data, n_genes=G)
        sums = log_likelihood(family, given, data), by_cell(family, given, data), genes
        return sums, family.log_pmf(u, at, x[:, None])

    (total, by_cell_found, by_gene_found), dense = found_and_dense(
        natural, x, data, counts.rows(slice(None)).astype(float)
    )
    dense = np.asarray(dense)
    np.testing.assert_allclose(total, dense.sum(), rtol=1e-8)
    np.testing.assert_allclose(by_cell_found, dense.sum(1), rtol=1e-8)
    np.testing.assert_allclose(by_gene_found, dense.sum(0), rtol=1e-8)
    axes = {n: () if not v.ndim or v.shape[-1] == 1 else ("gene",) for n, v in natural.items()}
    if family.summarises(axes):
        totals = full_data(counts.spread(dataset, D), totals_suffice=True, design=Design(dataset.astype(np.int32)))
        of_totals = jax.jit(functools.partial(log_likelihood, family))(Parameters(natural, Scalar(x)), totals)
        np.testing.assert_allclose(of_totals, dense.sum(), rtol=1e-8)


def test_parameters_common_to_all_datasets_need_no_spreading() -> None:
    counts, _, log_weights, offset = cells()
    family = from_layers(("nb",))
    natural = parameters(("nb",), "components", mean="components")
    data, x = full_data(counts, totals_suffice=False, by_cell=True), jnp.asarray(offset)
    u = jnp.asarray(counts.rows(slice(None)), float)
    one = [jnp.sum(family.log_pmf(u, at_cells(natural, jnp.full(C, k), None), x[:, None]), 1) for k in range(K)]
    expected = jnp.sum(logsumexp(jnp.stack(one, 1) + log_weights, axis=1))
    likelihood, given = Likelihood(family), Parameters(natural, Scalar(x), None, jnp.asarray(log_weights))
    found = likelihood.log_prob(given, data)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    gamma = likelihood.responsibilities(given, data)
    np.testing.assert_allclose(gamma, jax.nn.softmax(jnp.stack(one, 1) + log_weights, axis=1), atol=1e-9)
    pmf = jnp.stack([family.log_pmf(u, at_cells(natural, jnp.full(C, k), None), x[:, None]) for k in range(K)], 1)
    genes = likelihood.by_gene(given, data, n_genes=G)
    np.testing.assert_allclose(genes, jnp.sum(gamma[:, :, None] * pmf, axis=(0, 1)), rtol=1e-8)


def test_minibatches_average_to_the_whole() -> None:
    counts, dataset, log_weights, offset = cells()
    family, natural, x = from_layers(("nb",)), parameters(("nb",), "genes"), jnp.asarray(offset)
    design, columns = Design(dataset.astype(np.int32), log_weights), counts.spread(dataset, D)
    whole = full_data(columns, totals_suffice=False, by_cell=True, design=design)
    batches = CellBatches(columns, 10, totals_suffice=False, seed=0, design=design)

    def value(data):
        return log_likelihood(family, Parameters(natural, Scalar(x[data.cells.rows]), None, data.cells.logits), data)

    drawn = batches.disjoint(0, C // 10)
    parts = jax.vmap(lambda one: value(one.join(whole)))(drawn)
    np.testing.assert_allclose(np.mean(parts), value(whole), rtol=1e-8)


def test_shapes_of_levels() -> None:
    natural = parameters(("nb",), "levels")
    flat = spread({name: value[0] for name, value in natural.items()})
    assert {name: value.shape for name, value in flat.items()} == {"log_mean": (D * G,), "log_odds": (D * G,)}
    np.testing.assert_array_equal(flat["log_odds"][:G], natural["log_odds"][0, 0, 0])
    at = at_cells(natural, jnp.array([0, 2]), jnp.array([1, 0]))
    np.testing.assert_array_equal(at["log_mean"], natural["log_mean"][jnp.array([0, 2]), jnp.array([1, 0])])


def test_parameters_of_single_elements():
    wide, dataset, gene = np.arange(1.0 * D * G).reshape(D, G), np.array([1, 0, 1]), np.array([2, 0, 5])
    natural = {"both": wide, "gene": wide[0], "dataset": wide[:, :1], "one": wide[:1], "shared": np.array(3.0)}
    natural = {name: jnp.asarray(value) for name, value in natural.items()}
    found = at_elements(natural, jnp.asarray(dataset), jnp.asarray(gene))
    ones = np.zeros(3, int)
    expected = {"both": wide[dataset, gene], "gene": wide[ones, gene], "dataset": wide[dataset, ones]}
    for name, value in {**expected, "one": wide[ones, gene], "shared": np.array(3.0)}.items():
        np.testing.assert_array_equal(np.broadcast_to(found[name], value.shape), value, err_msg=name)
    np.testing.assert_array_equal(at_elements(natural, None, jnp.asarray(gene))["gene"], wide[0, gene])
