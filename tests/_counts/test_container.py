"""Counts against dense numpy: every way in, every summary, every selection."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import gammaln

from scribe._counts import Counts, CountsWarning
from scribe._counts.build import Rows
from scribe._counts.source import InMemory

FORMS = {
    "float64": lambda dense: dense.astype(np.float64),
    "float32, Fortran order": lambda dense: np.asfortranarray(dense, dtype=np.float32),
    "int64": lambda dense: dense.astype(np.int64),
    "uint32": lambda dense: dense.astype(np.uint32),
    "nested lists": lambda dense: dense.tolist(),
    "jax": lambda dense: jnp.asarray(dense, dtype=jnp.float32),
    "csr_matrix": lambda dense: sp.csr_matrix(dense.astype(np.float32)),
    "csr_array, 64-bit": lambda dense: sp.csr_array(dense.astype(np.int64)),
    "csc_matrix": sp.csc_matrix,
    "csc_array": lambda dense: sp.csc_array(dense.astype(np.float64)),
    "coo_array": sp.coo_array,
    "lil_matrix": sp.lil_matrix,
    "untidy csr": lambda dense: untidy(dense).tocsr(),
    "untidy coo": lambda dense: untidy(dense).tocoo(),
}


def draw(rng: np.random.Generator, n_cells: int, n_genes: int) -> np.ndarray:
    """Sparse counts with an occasional value near a million."""
    dense = rng.poisson(rng.gamma(0.3, 2.0, (n_cells, n_genes)))
    dense[rng.random(dense.shape) < 0.02] *= 300_000
    return np.minimum(dense, 10**6)


def untidy(dense: np.ndarray) -> sp.csr_matrix:
    """The same matrix with shuffled gene order, every count split in two entries, and a stored zero in each row."""
    indptr, indices, data = [0], [], []
    for row in dense:
        genes = np.flatnonzero(row)[::-1]
        indices += [*genes, 0, *genes]
        data += [*(row[genes] - 1), 0, *np.ones(genes.size)]
        indptr.append(len(indices))
    return sp.csr_matrix((np.array(data, dtype=np.float64), indices, indptr), shape=dense.shape)


@contextlib.contextmanager
def structure_unchecked():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CountsWarning)
        yield


def build(matrix: object, **options: object) -> Counts:
    with structure_unchecked():
        return Counts.from_matrix(matrix, **options)


def assert_holds(counts: Counts, dense: np.ndarray) -> None:
    """The three arrays are exactly the canonical form of `dense`, in the promised types."""
    row, gene = np.nonzero(dense)
    assert counts.shape == dense.shape
    assert counts.indptr.dtype == np.int64
    assert counts.indices.dtype == np.int32
    assert counts.data.dtype == np.float32
    np.testing.assert_array_equal(counts.indptr, np.searchsorted(row, np.arange(len(dense) + 1)))
    np.testing.assert_array_equal(counts.indices, gene)
    np.testing.assert_array_equal(counts.data, dense[row, gene].astype(np.float32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (23, 17)])
def test_every_matrix_type_gives_the_same_counts(form, shape):
    dense = draw(np.random.default_rng(sum(shape)), *shape)
    dense[0, 0] = 10**6
    counts = build(FORMS[form](dense))
    assert_holds(counts, dense)
    assert counts.integer
    assert counts.nnz == np.count_nonzero(dense)
    assert_holds(build(FORMS[form](dense.T), cells_axis=1), dense)


def test_small_types():
    dense = np.random.default_rng(0).poisson(0.5, (9, 5))
    assert_holds(build(dense.astype(np.uint16)), dense)
    assert_holds(build(dense.astype(np.float16)), dense)
    assert_holds(build(dense > 0), dense > 0)
    assert_holds(build(sp.csr_array(dense > 0)), dense > 0)


def test_users_matrix_is_neither_changed_nor_left_writable_through_counts():
    rng = np.random.default_rng(1)
    dense = draw(rng, 12, 8)
    for matrix in (untidy(dense), sp.csr_matrix(dense.astype(np.float32))):
        before = [array.copy() for array in (matrix.data, matrix.indices, matrix.indptr)]
        counts = build(matrix, non_integer="round")
        _ = counts.totals, counts.subset(cells=[0], genes=[1, 0])
        for array, copy in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
            np.testing.assert_array_equal(array, copy)
            assert array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            counts.data[0] = 5


def test_canonical_float32_is_shared_and_not_copied():
    matrix = sp.csr_matrix(draw(np.random.default_rng(2), 30, 20).astype(np.float32))
    counts = build(matrix)
    assert np.shares_memory(counts.data, matrix.data)
    assert np.shares_memory(counts.indices, matrix.indices)
    assert np.shares_memory(counts.to_csr().data, matrix.data)


def test_chunks_of_any_kind_equal_the_whole():
    dense = draw(np.random.default_rng(3), 40, 11)
    parts = [dense[:7], untidy(dense[7:9]), sp.csc_array(dense[9:9]), sp.coo_matrix(dense[9:])]
    with structure_unchecked():
        assert_holds(Counts.from_chunks(iter(parts), n_genes=11), dense)


def test_chunks_of_unequal_width_are_refused():
    with pytest.raises(ValueError, match="found a block with 3 genes, expected 4"):
        Counts.from_chunks([np.ones((2, 4)), np.ones((2, 3))])
    with pytest.raises(ValueError, match="found a block with 4 genes, expected 5"):
        Counts.from_chunks([np.ones((2, 4))], n_genes=5)


@pytest.mark.parametrize("seed", range(5))
def test_totals_and_extremes(seed):
    rng = np.random.default_rng(seed)
    dense = draw(rng, 50, 30)
    dense[rng.random(50) < 0.2] = 0
    dense[:, rng.random(30) < 0.2] = 0
    counts = build(dense)
    np.testing.assert_array_equal(counts.totals, dense.sum(1))
    np.testing.assert_array_equal(counts.gene_totals, dense.sum(0))
    np.testing.assert_array_equal(counts.empty_cells, np.flatnonzero(dense.sum(1) == 0))
    np.testing.assert_array_equal(counts.zero_genes, np.flatnonzero(dense.sum(0) == 0))
    assert counts.max_count == dense.max()
    np.testing.assert_allclose(counts.log_factorial_sum, gammaln(dense + 1.0).sum(), rtol=1e-14)


def test_all_zero_matrix_is_kept():
    counts = build(np.zeros((3, 4)))
    assert counts.shape == (3, 4)
    assert (counts.nnz, counts.max_count, counts.log_factorial_sum) == (0, 0.0, 0.0)
    assert counts.pairs().gene.size == 0
    np.testing.assert_array_equal(counts.groups().n, [3])
    np.testing.assert_array_equal(counts.rows([2, 0]), np.zeros((2, 4)))


@pytest.mark.parametrize("fractional", [False, True])
def test_pairs_are_the_histogram_of_each_gene(fractional):
    rng = np.random.default_rng(5)
    dense = draw(rng, 60, 9) + (0.25 * rng.integers(0, 4, (60, 9)) if fractional else 0)
    dense[0, 0] = 100.0
    if fractional:
        with pytest.warns(CountsWarning, match="not whole numbers"):
            counts = Counts.from_matrix(dense)
    else:
        counts = build(dense)
    expected = Counter((gene, float(dense[cell, gene])) for cell, gene in np.argwhere(dense))
    pairs = counts.pairs()
    assert (pairs.gene.dtype, pairs.count.dtype, pairs.n.dtype) == (np.int32, np.float32, np.float64)
    found = list(zip(pairs.gene.tolist(), pairs.count.tolist(), strict=True))
    assert found == sorted(expected)
    np.testing.assert_array_equal(pairs.n, [expected[pair] for pair in found])


def test_groups_hold_cells_of_equal_totals():
    dense = np.random.default_rng(6).poisson(0.3, (80, 12))
    counts = build(dense)
    groups = counts.groups()
    totals = Counter(dense.sum(1).tolist())
    assert groups.index.dtype == np.int32
    np.testing.assert_array_equal(groups.totals, sorted(totals))
    np.testing.assert_array_equal(groups.n, [totals[total] for total in sorted(totals)])
    np.testing.assert_array_equal(groups.totals[groups.index], dense.sum(1))


def test_moments():
    rng = np.random.default_rng(7)
    dense = draw(rng, 35, 14).astype(np.float64)
    weights = rng.gamma(2.0, size=35)
    moments = build(dense).moments(weights)
    np.testing.assert_allclose(moments.total, dense.sum(0), rtol=1e-14)
    np.testing.assert_allclose(moments.weighted, weights @ dense, rtol=1e-13)
    np.testing.assert_allclose(moments.square, (dense**2).sum(0), rtol=1e-13)
    with pytest.raises(ValueError, match=r"weights has shape \(34,\): expected one weight for each of the 35 cells"):
        build(dense).moments(weights[1:])


SELECTORS = {
    "indices": [3, 0, 9],
    "array with repeats": np.array([5, 5, 1]),
    "negative": [-1, 2],
    "slice": slice(8, 2, -2),
    "mask": np.arange(12) % 3 == 0,
    "nothing": [],
}


@pytest.mark.parametrize("selector", SELECTORS)
def test_rows_and_subsets(selector):
    dense = draw(np.random.default_rng(8), 12, 12)
    names = np.array([f"n{i}" for i in range(12)])
    counts = build(dense, gene_names=names, cell_names=names.tolist())
    chosen = SELECTORS[selector]
    where = np.arange(12)[chosen]
    np.testing.assert_array_equal(counts.rows(chosen), dense[where])
    assert counts.rows(chosen).dtype == np.float32
    assert_holds(counts.subset(cells=chosen), dense[where])
    assert_holds(counts.subset(genes=chosen), dense[:, where])
    both = counts.subset(cells=chosen, genes=slice(4, 1, -1))
    assert_holds(both, dense[where][:, 4:1:-1])
    np.testing.assert_array_equal(both.cell_names, names[where])
    np.testing.assert_array_equal(both.gene_names, names[4:1:-1])
    np.testing.assert_array_equal(both.totals, dense[where][:, 4:1:-1].sum(1))


def test_selecting_what_is_not_there_is_an_error():
    counts = build(np.ones((3, 4)))
    with pytest.raises(IndexError, match="out of bounds"):
        counts.rows([3])
    with pytest.raises(IndexError, match="boolean index did not match"):
        counts.subset(genes=np.array([True, False, True]))


def test_to_csr_round_trip():
    dense = draw(np.random.default_rng(9), 14, 10)
    np.testing.assert_array_equal(build(dense).to_csr().toarray(), dense)
    assert_holds(build(build(dense).to_csr()), dense)


def test_positions_beyond_two_to_the_31():
    """A row that starts after 2**31 non-zeros is read, from arrays that take no memory."""
    nnz = 2**31 + 5
    indptr = np.array([0, nnz - 3, nnz], dtype=np.int64)
    rows = Rows(indptr, np.broadcast_to(np.int32(1), (nnz,)), np.broadcast_to(np.float32(2), (nnz,)), 3)
    counts = Counts(store=InMemory(rows))
    assert counts.nnz == nnz
    np.testing.assert_array_equal(counts.rows([-1]), [[0, 2, 0]])


def test_names_are_kept_and_their_number_is_checked():
    counts = build(np.ones((2, 3)), gene_names=["a", "b", "c"], cell_names=("x", "y"))
    assert counts.gene_names.tolist() == ["a", "b", "c"]
    assert counts.cell_names.tolist() == ["x", "y"]
    with pytest.raises(ValueError, match="found 4 gene names for a matrix of 2 cells x 3 genes"):
        Counts.from_matrix(np.ones((2, 3)), gene_names=list("abcd"))
    with pytest.raises(ValueError, match=r"found 3 cell names .* pass cells_axis=1"):
        Counts.from_matrix(np.ones((2, 3)), cell_names=list("abc"))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(3), "expected a matrix with two axes .* found 1 in a ndarray"),
        (np.ones((2, 2, 2)), "found 3 in a ndarray"),
        (np.array([["a", "b"]]), "expected a numeric matrix, found dtype <U1 in a ndarray"),
        (np.ones((2, 2), dtype=complex), "found dtype complex128"),
        ("counts.h5ad", "expected a numeric matrix, found dtype <U11 in a str"),
        (np.ones((0, 3)), "has 0 cells and 3 genes"),
        (sp.csr_matrix((4, 0)), "has 4 cells and 0 genes"),
    ],
)
def test_what_is_not_a_count_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        Counts.from_matrix(matrix)


def test_unknown_axis():
    with pytest.raises(ValueError, match="cells_axis=2 is unknown: expected 0"):
        Counts.from_matrix(np.ones((2, 2)), cells_axis=2)


def test_repr():
    assert repr(build(np.ones((2, 3)), source="X")) == "Counts(2 cells x 3 genes, 6 non-zeros, integers, X)"


def test_split_by_molecules():
    """Parts add up; every count is split binomially; the parts hold no zeros and keep names."""
    matrix = np.random.default_rng(0).poisson(3.0, (200, 30))
    counts = Counts.from_matrix(matrix, gene_names=[f"g{i}" for i in range(30)])
    kept, taken = counts.split(0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(kept.rows(slice(None)) + taken.rows(slice(None)), matrix)
    assert (taken.data > 0).all()
    assert (kept.data > 0).all()
    assert list(taken.gene_names) == list(counts.gene_names)
    share = taken.rows(slice(None)) / np.maximum(matrix, 1)
    for count in (1, 3, 5):
        of = share[matrix == count]
        assert of.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / count / of.size))
        assert of.var() == pytest.approx(0.21 / count, rel=0.15)


def test_only_whole_counts_are_split():
    with pytest.warns(CountsWarning):
        counts = Counts.from_matrix([[1.5, 2.0], [3.0, 40.0]])
    with pytest.raises(ValueError, match="not whole numbers, which are no molecules to split"):
        counts.split(0.5, np.random.default_rng(0))


def test_views_of_the_non_zeros_against_the_dense_matrix():
    rng = np.random.default_rng(5)
    dense = rng.poisson(0.4, (23, 11)).astype(np.float32)
    dense[:, 0] += 1
    counts = Counts.from_matrix(dense + np.eye(23, 11, dtype=np.float32))
    dense = counts.rows(slice(None))
    cell, gene, value = counts.entries(slice(4, 9))
    assert cell.min() == 4
    assert cell.max() == 8
    rebuilt = np.zeros_like(dense[4:9])
    rebuilt[cell - 4, gene] = value
    np.testing.assert_array_equal(rebuilt, dense[4:9])
    found = np.zeros_like(dense)
    for most in (1, 40, 10**6):
        found[:] = 0
        seen = []
        for genes, (cell, gene, value) in counts.columns(3, most=most):
            found[cell, genes.start + gene] = value
            seen.append(genes)
        np.testing.assert_array_equal(found, dense)
        assert [genes.start for genes in seen] == [0, 3, 6, 9]
        assert seen[-1].stop == 11
    weights, matrix = rng.normal(size=(23, 4)), rng.normal(size=(11, 2))
    np.testing.assert_allclose(counts.sums(weights), weights.T @ dense, rtol=1e-5)
    np.testing.assert_allclose(counts.times(matrix), dense @ matrix, rtol=1e-5)
    group = np.arange(23) % 3
    expected = np.stack([(dense[group == number] > 0).sum(axis=0) for number in range(3)])
    np.testing.assert_array_equal(counts.cells_with(group, 3), expected)


def test_counts_less_some_of_them():
    counts = Counts.from_matrix(np.random.default_rng(6).poisson(2.0, (30, 7)) + 1)
    rest, taken = counts.split(0.3, np.random.default_rng(0))
    found = counts.less(taken)
    np.testing.assert_array_equal(found.rows(slice(None)), rest.rows(slice(None)))
    assert found.digest() == rest.digest() != taken.digest()
    assert found.nnz == rest.nnz
