"""Counts that stay on disk are those in memory, and a model that needs their sums alone never loads them."""

from __future__ import annotations

import pickle

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scribe
from scribe._counts.checks import CountsWarning
from scribe._counts.container import Counts
from scribe._counts.source import Blocks, InMemory

C, G = 37, 9


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    return rng.poisson(rng.gamma(0.4, 9.0, (C, G))).astype(np.float32) + np.eye(C, G, dtype=np.float32)


@pytest.fixture(params=[1, 5, C], ids=lambda size: f"blocks of {size}")
def both(request, dense):
    blocks = [sp.csr_matrix(dense[first : first + request.param]) for first in range(0, C, request.param)]
    return Counts.from_matrix(dense), Counts.from_blocks(lambda: iter(blocks), n_genes=G)


def same(one, other):
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_sums_are_those_of_the_matrix_in_memory(both):
    inside, outside = both
    assert isinstance(outside.store, Blocks)
    assert (outside.shape, outside.nnz, outside.max_count) == (inside.shape, inside.nnz, inside.max_count)
    assert outside.log_factorial_sum == inside.log_factorial_sum
    for name in ("totals", "gene_totals", "empty_cells", "zero_genes"):
        np.testing.assert_array_equal(getattr(outside, name), getattr(inside, name))
    same(vars(outside.pairs()).values(), vars(inside.pairs()).values())
    same(vars(outside.groups()).values(), vars(inside.groups()).values())
    rng = np.random.default_rng(1)
    weights, group = rng.random(C), rng.integers(0, 3, C)
    for mine, theirs in zip(outside.moments(weights), inside.moments(weights), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13)
    np.testing.assert_array_equal(outside.cells_with(group, 3), inside.cells_with(group, 3))
    right, left = rng.random((G, 2)), rng.random((C, 2))
    np.testing.assert_allclose(outside.times(right), inside.times(right), rtol=1e-13)
    np.testing.assert_allclose(outside.sums(left), inside.sums(left), rtol=1e-13)
    assert "_rows" not in vars(outside), "nothing was loaded"


def test_parts_are_those_of_the_matrix_in_memory(both, dense):
    inside, outside = both
    chosen = np.array([36, 0, 5, 5, 4, 20])
    np.testing.assert_array_equal(outside.subset(cells=chosen).rows(slice(None)), dense[chosen])
    np.testing.assert_array_equal(outside.subset(cells=chosen[:0]).shape, (0, G))
    some = outside.subset(cells=np.arange(C) % 3 == 0, genes=[4, 1])
    np.testing.assert_array_equal(some.rows(slice(None)), dense[::3][:, [4, 1]])
    parts = list(outside.entries_by(4))
    assert max(np.ptp(part.cell) for part in parts if part.cell.size) < 4
    same([np.concatenate(x) for x in zip(*parts, strict=True)], inside.entries())
    same([np.concatenate(x) for x in zip(*inside.entries_by(4), strict=True)], inside.entries())
    assert "_rows" not in vars(outside)
    same(outside.entries(slice(3, 9)), inside.entries(slice(3, 9)))
    np.testing.assert_array_equal(outside.rows([7, -1]), dense[[7, -1]])
    assert outside.digest() == inside.digest()
    same(outside.to_csr().toarray(), dense)


def test_elsewhere_they_are_in_memory(both, dense):
    moved = pickle.loads(pickle.dumps(Counts.from_blocks(Again(dense), n_genes=G)))
    assert isinstance(moved.store, InMemory)
    np.testing.assert_array_equal(moved.rows(slice(None)), dense)


class Again:
    """Blocks that can be read again, and how often they were."""

    def __init__(self, dense, size=10):
        self.dense, self.size, self.n = dense, size, 0

    def __call__(self):
        self.n += 1
        return (self.dense[first : first + self.size] for first in range(0, len(self.dense), self.size))


def test_one_pass_is_enough_to_check_and_sum(dense):
    read = Again(dense)
    counts = Counts.from_blocks(read, n_genes=G)
    counts.pairs(), counts.totals, counts.gene_totals, counts.groups(), counts.nnz
    assert read.n == 1
    counts.moments(np.ones(C))
    counts.to_csr(), counts.to_csr()
    assert read.n == 3


def test_what_is_not_whole_is_read_into_memory(dense):
    odd = dense.copy()
    odd[-1, 0] = 2.5
    with pytest.warns(CountsWarning, match="not whole numbers"):
        counts = Counts.from_blocks(Again(odd), n_genes=G)
    assert isinstance(counts.store, InMemory)
    np.testing.assert_array_equal(counts.rows(slice(None)), odd)
    assert Counts.from_blocks(Again(odd), n_genes=G, non_integer="round").integer
    store = Blocks(Again(odd), G, source="X", alternatives=tuple)
    assert not store.whole
    with pytest.raises(ValueError, match="not whole numbers: read them into memory"):
        _ = store.totals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: -u, "negative"),
        (lambda u: np.where(u > 3, np.nan, u), "not finite"),
        (lambda u: u[:0], "has 0 cells"),
        (np.log1p, "does not hold raw counts"),
        (lambda u: u[:, 1:], "found a block with 8 genes, expected 9"),
    ],
)
def test_bad_blocks_are_refused_as_in_memory(dense, change, message):
    with pytest.raises(ValueError, match=message):
        Counts.from_blocks(Again(change(dense)), n_genes=G)


def test_totals_of_one_depth_warn(dense):
    one_depth = np.ones((C, G), np.float32)
    one_depth[:, 0] = 10_000 - dense[:, 0]
    with pytest.warns(CountsWarning, match="within 3 % of 10,000"):
        Counts.from_blocks(Again(one_depth), n_genes=G)


@pytest.mark.loose_promotion
@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["backed", "view", "dask"])
def test_the_default_model_never_loads_them(dense, kind, tmp_path, monkeypatch):
    adata = ad.AnnData(sp.csr_matrix(dense))
    cells = np.arange(C)[::-1]
    expected = scribe.tl.fit(adata[cells] if kind == "view" else adata, n_steps=200, early_stopping=False, copy=True)
    adata.write_h5ad(tmp_path / "counts.h5ad")
    lazy = ad.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    if kind == "dask":
        array = pytest.importorskip("dask.array").from_array(dense, chunks=(10, G))
        lazy = ad.AnnData(array, obs=adata.obs, var=adata.var)

    def load(self):
        pytest.fail("the whole matrix was loaded")

    with monkeypatch.context() as patch:
        patch.setattr(Blocks, "load", load)
        results = scribe.fit(lazy[cells] if kind == "view" else lazy, n_steps=200, early_stopping=False)
    for name, value in scribe.get.results(expected).params.items():
        np.testing.assert_array_equal(results.params[name], value)
    # what needs every element loads them
    assert np.isfinite(results.log_likelihood(n_samples=1)).all()
