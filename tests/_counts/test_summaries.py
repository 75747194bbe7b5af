"""Summaries do not depend on where the stream is cut, and index arithmetic is 64-bit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scribe._counts.summaries import PairCounter, blocks, gene_moments, row_blocks, row_sums


def draw(seed: int) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.poisson(rng.gamma(0.3, 20.0, (70, 13)))
    dense[rng.random(70) < 0.3] = 0
    return sp.csr_matrix(dense.astype(np.float32))


def counted(gene, count, *, n_genes, parts=1, **how):
    counter = PairCounter(n_genes)
    for some in np.array_split(np.arange(len(gene)), parts):
        counter.add(gene[some], count[some], **how)
    return counter.result()


@pytest.mark.parametrize("step", [1, 2, 7, 10**6])
def test_streaming_equals_whole(step):
    matrix = draw(0)
    dense = matrix.toarray().astype(np.float64)
    indptr = matrix.indptr.astype(np.int64)
    np.testing.assert_array_equal(row_sums(indptr, matrix.data, step=step), dense.sum(1))
    weights = np.random.default_rng(1).random(70)
    moments = gene_moments(indptr, matrix.indices, matrix.data, weights=weights, n_genes=13, step=step)
    np.testing.assert_allclose(moments.weighted, weights @ dense, rtol=1e-13)
    pairs = counted(matrix.indices, matrix.data, n_genes=13, step=step)
    expected = [np.unique(column[column > 0], return_counts=True) for column in dense.T]
    np.testing.assert_array_equal(pairs.gene, np.repeat(np.arange(13), [count.size for count, _ in expected]))
    np.testing.assert_array_equal(pairs.count, np.concatenate([count for count, _ in expected]))
    np.testing.assert_array_equal(pairs.n, np.concatenate([n for _, n in expected]))


def test_pairs_whose_product_of_indices_exceeds_64_bits():
    """50,000 genes x (1e6 + 1) counts passes 2**31; 50,000 x 3e38 would pass 2**63."""
    gene = np.array([49_999, 49_999, 0, 49_999, 49_998], dtype=np.int32)
    count = np.array([1e6, 1e6, 3e38, 999_999, 1e6], dtype=np.float32)
    pairs = counted(gene, count, n_genes=50_000)
    np.testing.assert_array_equal(pairs.gene, [0, 49_998, 49_999, 49_999])
    np.testing.assert_array_equal(pairs.count, np.array([3e38, 1e6, 999_999, 1e6], dtype=np.float32))
    np.testing.assert_array_equal(pairs.n, [1, 1, 1, 2])


def test_counts_that_are_not_whole_are_pairs_of_their_own():
    gene, count = np.array([0, 0, 0, 1, 1], np.int32), np.array([2.5, 2.0, 2.5, 17.5, 0.5], np.float32)
    pairs = counted(gene, count, n_genes=2)
    np.testing.assert_array_equal(pairs.gene, [0, 0, 1, 1])
    np.testing.assert_array_equal(pairs.count, [2.0, 2.5, 0.5, 17.5])
    np.testing.assert_array_equal(pairs.n, [1, 2, 1, 1])


def test_blocks_cover_everything_once():
    assert [(part.start, part.stop) for part in blocks(7, step=3)] == [(0, 3), (3, 6), (6, 7)]
    assert list(blocks(0)) == []


def test_row_blocks_bound_the_stored_values_even_past_two_to_the_31():
    lengths = np.array([0, 2**30, 2**30, 0, 2**31, 3, 3, 0])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    parts = list(row_blocks(indptr, step=2**30))
    covered = np.concatenate([np.arange(8)[part] for part in parts])
    np.testing.assert_array_equal(covered, np.arange(8))
    sizes = [lengths[part].sum() for part in parts]
    assert all(size <= 2**30 or lengths[part].size == 1 for size, part in zip(sizes, parts, strict=True))
    assert len(parts) == 4
