"""Log-ratios against their algebra, and references against where they should rest."""

from __future__ import annotations

import numpy as np
import pytest

from scribe._stats.logratios import balance, basis, reference_of


def test_basis_is_orthonormal_and_centred() -> None:
    v = basis(7)
    np.testing.assert_allclose(v.T @ v, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(v.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(v @ v.T, np.eye(7) - 1 / 7, atol=1e-12, err_msg="ilr keeps distances of clr")
    np.testing.assert_array_equal(basis(7, slice(2, 5)), v[:, 2:5])


def test_balance_against_its_formula() -> None:
    up, down = np.array([1, 4]), np.array([0, 2, 5])
    weights = balance(up, down, 6)
    x = np.random.default_rng(0).normal(size=6)
    np.testing.assert_allclose(weights @ x, np.sqrt(6 / 5) * (x[up].mean() - x[down].mean()))
    np.testing.assert_allclose([weights @ weights, weights.sum()], [1, 0], atol=1e-12)
    with pytest.raises(ValueError, match="two sets of genes without common ones, got 2 and 0"):
        balance(up, np.zeros(0, int), 6)


def test_references() -> None:
    means = np.array([[0.0, 1.0, 2.0, 3.0, 9.0], [0.0, 1.1, 2.0, -3.0, 9.0]])
    sds = np.array([[0.1, 0.2, 0.4, 0.3, 0.1], [0.3, 0.2, 0.9, 0.1, 0.1]])

    def rests_on(reference):
        weights = reference_of(reference, means, sds, (means[0] - means[1], sds[0]), n_genes=4).weights
        np.testing.assert_allclose(weights.sum(), 1.0)
        return list(np.flatnonzero(weights))

    unchanged = reference_of("unchanged", means, sds, (means[0] - means[1], sds[0]), n_genes=4).weights
    np.testing.assert_allclose(unchanged[[3, 4]], 0.0, atol=0.02, err_msg="the fourth changes, the last is no gene")
    assert rests_on("clr") == [0, 1, 2, 3, 4], "the pooled part as well"
    assert rests_on("expressed") == [0, 1, 3], "known well in both groups"
    assert rests_on("iqlr") == [0, 2], "the middle half of 0.05, 0.0425, 0.485, 9.05"
    assert rests_on(np.array([False, False, True, False])) == [2]
    with pytest.raises(ValueError, match="Did you mean 'iqlr'"):
        rests_on("iqrl")
    with pytest.raises(ValueError, match="has none of the genes that are kept"):
        rests_on(np.zeros(4, bool))


def test_of_genes_that_are_badly_known_the_best_quarter_is_the_reference() -> None:
    sds = np.tile(np.linspace(1, 2, 8), (2, 1))
    weights = reference_of("expressed", np.zeros((2, 8)), sds, (np.zeros(8), sds[0]), n_genes=8).weights
    assert list(np.flatnonzero(weights)) == [0, 1]
