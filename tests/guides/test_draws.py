"""Draws as a posterior: which of them are given out, and their densities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scribe import guides
from scribe._dist.links import LINKS
from scribe._dist.pushed import PushedKernels, kernel_density
from scribe.guides import Draws, from_json

TOTAL = 30


def params():
    return {
        "mu_unconstrained_draws": jnp.arange(2.0 * TOTAL).reshape(2, TOTAL),
        "p_unconstrained_draws": jnp.arange(30.0),
    }


def numbers(n, seed=0):
    drawn = Draws(3).draw(jax.random.key(seed), params(), latents=(), n_draws=n)
    assert drawn["mu_unconstrained"].shape == (n, 2)
    np.testing.assert_array_equal(
        drawn["mu_unconstrained"], drawn["p_unconstrained"][:, None] + jnp.asarray([[0.0, 30.0]])
    )
    return np.asarray(drawn["p_unconstrained"]).astype(int)


@pytest.mark.parametrize("n", [1, 7, 30])
def test_fewer_than_there_are_come_at_equal_distances(n):
    for seed in range(3):
        found = numbers(n, seed)
        assert np.all((found >= 0) & (found < TOTAL))
        assert set(np.diff(found)) <= {TOTAL // n, -(-TOTAL // n)}
    assert n == TOTAL or len({tuple(numbers(n, seed)) for seed in range(8)}) > 1, "the start is random"


def test_more_than_there_are_take_turns():
    counts = np.bincount(numbers(100), minlength=TOTAL)
    assert set(counts) == {3, 4}


@pytest.mark.parametrize("n", [7, 45])
def test_parts_make_up_the_whole(n):
    part = jax.jit(
        lambda first, of: Draws().draw_part(jax.random.key(1), params(), latents=(), n_draws=3, first=first, of=of)
    )
    pieces = [np.asarray(part(first, n)["p_unconstrained"]) for first in range(0, n, 3)]
    whole = np.concatenate(pieces)[:n].astype(int)
    np.testing.assert_array_equal(np.sort(whole), np.sort(numbers(n, seed=1)))


def test_large_numbers_do_not_overflow():
    total = 60_000
    many = {"p_unconstrained_draws": jnp.arange(float(total))}
    found = np.asarray(Draws().draw(jax.random.key(0), many, latents=(), n_draws=total - 1)["p_unconstrained"])
    assert set(np.diff(found)) <= {1.0, 2.0}
    assert found[-1] < total


def test_median_and_name():
    centre = Draws().centre(params(), latents=())
    np.testing.assert_array_equal(centre["mu_unconstrained"], [14.5, 44.5])
    assert Draws(3).n_draws(params()) == TOTAL
    assert from_json(Draws(3).to_json()) == Draws(3)
    assert "draws" not in guides.ALL, "there is nothing to train"


def test_kernel_density_has_the_moments_of_the_draws():
    rng = np.random.default_rng(0)
    draws = np.stack([rng.normal(2.0, 0.5, 500), rng.standard_gamma(2.0, 500)]).astype(np.float32)
    density = kernel_density(jnp.asarray(draws))
    np.testing.assert_allclose(density.mean, draws.mean(1), rtol=1e-4)
    np.testing.assert_allclose(density.variance, draws.var(1), rtol=1e-3)
    at = np.asarray([2.1, 1.0], np.float32)
    exact = [stats.norm(2.0, 0.5).pdf(2.1), stats.gamma(2.0).pdf(1.0)]
    np.testing.assert_allclose(np.exp(density.log_prob(at)), exact, rtol=0.2)
    alone = kernel_density(jnp.full((1, 20), 3.0))
    np.testing.assert_allclose(alone.mean, 3.0, rtol=1e-6)


@pytest.mark.loose_promotion
@pytest.mark.parametrize("link", ["exp", "sigmoid", "softplus"])
def test_pushed_kernels_have_the_moments_of_pushed_draws(link):
    draws = np.random.default_rng(1).normal(-0.5, 0.3, (2, 500)).astype(np.float32)
    law = PushedKernels(kernel_density(jnp.asarray(draws)), LINKS[link])
    values = np.asarray(LINKS[link].value(jnp.asarray(draws)))
    np.testing.assert_allclose(law.mean, values.mean(1), rtol=5e-3)
    np.testing.assert_allclose(law.variance, values.var(1), rtol=5e-2)
    again = np.asarray(law.sample(jax.random.key(0), (4000,)))
    np.testing.assert_allclose(again.mean(0), values.mean(1), rtol=0.03)
    top = min(values.max() * 1.7, 0.999) if link == "sigmoid" else values.max() * 1.7
    grid = np.linspace(values.min() * 0.3, top, 4001)[:, None].astype(np.float32)
    density = np.exp(np.asarray(law.log_prob(np.broadcast_to(grid, (4001, 2)))))
    np.testing.assert_allclose(np.trapezoid(density, grid, axis=0), 1.0, rtol=0.01)
