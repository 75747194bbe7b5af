"""Minibatches of cells: fixed shape, sparse, reproducible, unbiased, and compiled once."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import CHUNK, CountData, NonZeros, full_data
from scribe._counts.likelihood import by_cell, by_gene, log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe.families import from_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scribe._types import Array, Natural

    Floats = NDArray[np.float64]

pytestmark = pytest.mark.filterwarnings("ignore:.*are kept:scribe._counts.checks.CountsWarning")

FAMILIES = {"nb": from_layers(["nb"]), "zip": from_layers(["poisson", "zero_inflated"])}


def sparse_counts(seed: int, n_cells: int = 40, n_genes: int = 500) -> Counts:
    """Cells of very different depth."""
    rng = np.random.default_rng(seed)
    return Counts.from_matrix(rng.poisson(0.2 * rng.lognormal(-2, 1.5, (n_cells, 1)), (n_cells, n_genes)))


def to_dense(rows: NonZeros, shape: tuple[int, int]) -> Floats:
    out = np.zeros(shape)
    cell = np.broadcast_to(rows.cell, rows.value.shape)
    np.add.at(out, (cell.ravel(), np.asarray(rows.gene).ravel()), np.asarray(rows.value).ravel())
    return out


def test_batches_hold_the_counts_of_distinct_cells() -> None:
    counts = sparse_counts(0)
    drawn = CellBatches(counts, 7, totals_suffice=False, seed=3).draw(0, 5)
    assert drawn.cells.rows.shape == (5, 7)
    np.testing.assert_allclose(drawn.scale, 40 / 7, rtol=1e-6)
    for i in range(5):
        batch = jax.tree.map(operator.itemgetter(i), drawn)
        cells = np.asarray(batch.cells.rows)
        assert len(set(cells)) == 7
        np.testing.assert_array_equal(batch.cells.totals, counts.totals[cells])
        np.testing.assert_array_equal(batch.cells.weight, 1.0)
        np.testing.assert_array_equal(to_dense(batch.non_zeros, (7, 500)), counts.rows(cells))
        assert np.all(np.diff(batch.non_zeros.cell[:, 0]) >= 0), "rows are sorted by cell, as the engine is told"


def test_batches_are_padded_to_one_shape_and_stay_sparse() -> None:
    """As many rows as the deepest possible batch needs: not the dense size, and the same for every batch."""
    counts = sparse_counts(1)
    batches = CellBatches(counts, 6, totals_suffice=False, seed=0)
    shapes = {tuple(x.shape[1:] for x in batches.draw(i, 2).non_zeros) for i in (0, 2, 40, 300)}
    deepest = np.sort(-(-np.diff(counts.indptr) // CHUNK))[-6:].sum()
    assert shapes == {((deepest, CHUNK), (deepest, 1), (deepest, CHUNK), (deepest, CHUNK))}
    assert deepest * CHUNK < 6 * counts.n_genes / 2
    assert CellBatches(counts, 6, totals_suffice=True, seed=0).draw(0, 1).non_zeros is None


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    counts = sparse_counts(2)

    def make(seed: int) -> CellBatches:
        return CellBatches(counts, 5, totals_suffice=False, seed=seed)

    whole = make(1).draw(0, 6)
    later = make(1).draw(4, 2)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(later), strict=True):
        np.testing.assert_array_equal(a[4:], b)
    assert not np.array_equal(make(2).draw(0, 6).cells.rows, whole.cells.rows)
    assert not np.array_equal(whole.cells.rows[0], whole.cells.rows[1])


def parameters(rng: np.random.Generator, n_cells: int, n_genes: int) -> tuple[dict[str, dict[str, Floats]], Floats]:
    """Natural parameters of both families, and offsets."""
    log_mean = rng.normal(0, 1, n_genes)
    zip_ = {"log_mean": log_mean, "gate_logit": rng.normal(-1, 1, n_genes)}
    return {"nb": {"log_mean": log_mean, "log_odds": np.array(-0.4)}, "zip": zip_}, rng.uniform(-2, 0, n_cells)


def log_pmf(name: str, natural: dict[str, Floats], offset: Floats, u: Floats) -> Floats:
    """scipy's log-probability of every count."""
    mean = np.exp(natural["log_mean"] + offset[:, None])
    if name == "nb":
        size = np.exp(natural["log_mean"] + natural["log_odds"])
        return stats.nbinom(size, size / (size + mean)).logpmf(u)
    gate = special.expit(natural["gate_logit"])
    return np.log((1 - gate) * stats.poisson(mean).pmf(u) + gate * (u == 0))


@pytest.mark.parametrize("name", FAMILIES)
def test_batches_are_unbiased(name: str) -> None:
    """Every batch of 3 of 6 cells is equally likely, and the mean over all of them is the sum over all cells."""
    rng = np.random.default_rng(5)
    u = rng.poisson(2.0, (6, 4)).astype(float)
    natural, offset = parameters(rng, 6, 4)
    family, counts = FAMILIES[name], Counts.from_matrix(u)
    suffices = name == "nb"
    with jax.enable_x64(True):
        data = full_data(counts, totals_suffice=suffices)
        drawn = CellBatches(counts, 3, totals_suffice=suffices, seed=9).draw(0, 400)
        here, x = jax.tree.map(jnp.asarray, natural[name]), jnp.asarray(offset)

        @functools.partial(jax.jit)
        @jax.vmap
        def of_batch(batch: Any) -> Array:
            return log_likelihood(family, Parameters(here, Scalar(x[batch.cells.rows])), batch.join(data))

        values = np.asarray(of_batch(drawn))
    subsets, first, n = np.unique(np.asarray(drawn.cells.rows), axis=0, return_index=True, return_counts=True)
    assert len(subsets) == special.comb(6, 3)
    assert stats.chisquare(n).pvalue > 1e-4
    np.testing.assert_allclose(values[first].mean(), log_pmf(name, natural[name], offset, u).sum(), rtol=1e-10)


@pytest.mark.parametrize(("n_genes", "depth"), [(4, 0.0), (300, 2.0)])
def test_cells_of_a_batch_have_their_own_likelihoods(n_genes: int, depth: float) -> None:
    """Padding adds nothing to a cell, not even to the last one, which it is counted with."""
    rng = np.random.default_rng(6)
    u = rng.poisson(rng.lognormal(0, depth, (8, 1)), (8, n_genes)).astype(float)
    natural, offset = parameters(rng, 8, n_genes)
    counts = Counts.from_matrix(u)
    with jax.enable_x64(True):
        data = full_data(counts, totals_suffice=False)
        here, x = jax.tree.map(jnp.asarray, natural["zip"]), jnp.asarray(offset)
        found = jax.jit(functools.partial(by_cell, FAMILIES["zip"]))
        drawn = CellBatches(counts, 3, totals_suffice=False, seed=0).draw(0, 6)
        for i in range(6):
            batch = jax.tree.map(operator.itemgetter(i), drawn)
            cells = np.asarray(batch.cells.rows)
            expected = log_pmf("zip", natural["zip"], offset, u).sum(axis=1)[cells]
            given = Parameters(here, Scalar(x[cells]))
            np.testing.assert_allclose(found(given, batch.join(data)), expected, rtol=1e-10)


def test_sums_of_genes_weigh_cells() -> None:
    rng = np.random.default_rng(3)
    u, weight = rng.poisson(1.0, (8, 5)).astype(float), rng.integers(0, 4, 8).astype(float)
    natural, offset = parameters(rng, 8, 5)
    with jax.enable_x64(True):
        data = full_data(Counts.from_matrix(u), totals_suffice=False)
        data = data._replace(cells=data.cells._replace(weight=jnp.asarray(weight)))
        here, x = jax.tree.map(jnp.asarray, natural["zip"]), jnp.asarray(offset)
        found = by_gene(FAMILIES["zip"], Parameters(here, Scalar(x)), data, n_genes=5)
    np.testing.assert_allclose(found, weight @ log_pmf("zip", natural["zip"], offset, u), rtol=1e-10)


def test_compiled_once_for_data_of_one_shape_and_for_all_batches() -> None:
    rng = np.random.default_rng(1)
    u = rng.poisson(0.7, (220, 9)).astype(float)
    natural, offset = parameters(rng, 220, 9)
    traces = []

    @functools.partial(jax.jit)
    def value(natural: Natural, offset: Array, data: CountData) -> Array:
        traces.append(offset.shape)
        return log_likelihood(FAMILIES["zip"], Parameters(natural, Scalar(offset)), data)

    def expected(u: Floats, x: Floats) -> float:
        return float(log_pmf("zip", natural["zip"], x, u).sum())

    counts = Counts.from_matrix(u)
    x = jnp.asarray(offset, np.float32)
    here = {n: jnp.asarray(v, np.float32) for n, v in natural["zip"].items()}
    for matrix in (u, u[::-1].copy()):
        found = value(here, x, full_data(Counts.from_matrix(matrix), totals_suffice=False))
        np.testing.assert_allclose(found, expected(matrix, offset), rtol=1e-5)
    assert traces == [(220,)]
    batches = CellBatches(counts, 220, totals_suffice=False, seed=0).draw(0, 2)
    data = full_data(counts, totals_suffice=True)
    for i in range(2):
        batch = jax.tree.map(operator.itemgetter(i), batches)
        found = value(here, x[batch.cells.rows], batch.join(data))
        np.testing.assert_allclose(found, expected(u, offset), rtol=1e-5)
    assert traces == [(220,), (220,)], "once more for batches, whose rows are sorted by cell"
    several = [CellBatches(counts, 60, totals_suffice=False, seed=s).draw(i, 1) for s in (0, 1) for i in (0, 5)]
    distinct = set()
    for drawn in several:
        batch = jax.tree.map(operator.itemgetter(0), drawn)
        distinct.add(float(value(here, x[batch.cells.rows], batch.join(data))))
    assert len(distinct) == 4
    assert traces[2:] == [(60,)]


def test_disjoint_batches_divide_the_cells_alike_in_every_call() -> None:
    batches = CellBatches(sparse_counts(0), 7, totals_suffice=True, seed=3)
    assert batches.n_disjoint == 5
    rows = np.asarray(batches.disjoint(0, 10).cells.rows)
    assert rows.shape == (5, 7)
    assert len(set(rows.ravel().tolist())) == 35
    np.testing.assert_array_equal(batches.disjoint(2, 2).cells.rows, rows[2:4])
