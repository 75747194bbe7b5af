"""Functions of one scalar by their values at nodes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe._counts.interpolation import Interval, clenshaw, nodes_needed, sum_over_cells, to_coefficients


@pytest.mark.parametrize("half", [0.3, 1.5, 4.0])
@pytest.mark.parametrize("error", [1e-3, 1e-6])
def test_as_many_nodes_as_an_error_allows(half, error):
    """For a function with poles one away from the axis; half as many nodes are too few."""

    def largest(n):
        nodes = half * np.cos((np.arange(n) + 0.5) * np.pi / n)
        coefficients = to_coefficients(n) @ (1 / (1 + nodes**2))
        x = np.linspace(-1, 1, 501)
        return np.abs(np.polynomial.chebyshev.chebval(x, coefficients) - 1 / (1 + (half * x) ** 2)).max()

    n = nodes_needed(half, distance=1.0, error=error)
    # the bound of the theorem has a factor that grows where poles are near
    assert largest(n) < 4 * error / half
    assert largest(n // 2) > error


def test_clenshaw_and_polynomials_agree_with_numpy():
    rng = np.random.default_rng(0)
    coefficients, place = rng.normal(size=(7, 20)).astype(np.float32), rng.uniform(-1, 1, 20).astype(np.float32)
    expected = [np.polynomial.chebyshev.chebval(x, c) for x, c in zip(place, coefficients.T, strict=True)]
    np.testing.assert_allclose(clenshaw(jnp.asarray(coefficients), jnp.asarray(place)), expected, rtol=1e-4, atol=1e-5)
    interval = Interval(jnp.float32(0.5), jnp.float32(2.0))
    values = interval.polynomials(jnp.asarray(0.5 + 2.0 * place), 7)
    np.testing.assert_allclose(np.sum(coefficients * np.asarray(values), axis=0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_cells", [20, 300])
def test_weighted_sums_over_cells_and_their_derivatives(n_cells):
    """Few cells one by one and many by nodes, against the sum as it stands; three genes."""
    rng = np.random.default_rng(1)
    offset, weight = rng.normal(0, 0.7, n_cells), rng.integers(1, 9, n_cells).astype(float)
    level = rng.normal(size=3)

    def of_genes(level, x):
        return jax.nn.softplus(x[:, None] + level[None])

    def total(level, offset, weight):
        found = sum_over_cells(functools.partial(of_genes, level), offset, weight)
        return found @ jnp.asarray([1.0, -2.0, 0.5], found.dtype)

    def plain(level, offset, weight):
        return weight @ of_genes(level, offset) @ jnp.asarray([1.0, -2.0, 0.5], offset.dtype)

    with jax.enable_x64(True):
        at = tuple(map(jnp.asarray, (level, offset, weight)))
        found, expected = (jax.value_and_grad(f, argnums=(0, 1, 2))(*at) for f in (total, plain))
        for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)
