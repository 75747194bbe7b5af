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


def numbers(n, seed=0, *, first=0, arrays=None):
    arrays = params() if arrays is None else arrays
    wanted = np.arange(first, first + n, dtype=np.uint32)
    drawn = Draws(3).draw(jax.random.key(seed), arrays, latents=(), numbers=wanted, ids={})
    for name, value in drawn.items():
        assert value.shape == (n, *arrays[f"{name}_draws"].shape[:-1])
    if "mu_unconstrained" in drawn:
        expected = drawn["p_unconstrained"][:, None] + jnp.asarray([[0.0, 30.0]])
        np.testing.assert_array_equal(drawn["mu_unconstrained"], expected)
    return np.asarray(drawn["p_unconstrained"]).astype(int)


@pytest.mark.parametrize("n", [1, 7, 30])
def test_fewer_than_there_are_are_spread_and_differ(n):
    for seed in range(3):
        found = np.sort(numbers(n, seed))
        assert len(set(found.tolist())) == n
        gaps = np.diff(np.append(found, found[0] + TOTAL))
        assert gaps.max() <= np.ceil(2.7 * TOTAL / n), "gaps of the golden section"
    assert len({tuple(numbers(n, seed)) for seed in range(8)}) > 1, "the start is random"


def test_the_order_does_not_depend_on_how_many():
    whole = numbers(100)
    for first, n in ((0, 10), (10, 3), (95, 5)):
        np.testing.assert_array_equal(numbers(n, first=first), whole[first : first + n])


def test_more_than_there_are_take_turns():
    found = numbers(100)
    for first in (0, 30, 60):
        assert set(found[first : first + TOTAL].tolist()) == set(range(TOTAL))


@pytest.mark.parametrize("total", [1, 2, 3, 60_000])
def test_every_number_of_draws_has_an_order(total):
    many = {"p_unconstrained_draws": jnp.arange(float(total))}
    np.testing.assert_array_equal(np.sort(numbers(total, arrays=many)), np.arange(total))


def test_stored_draws_keep_their_order():
    np.testing.assert_array_equal(Draws().stored(params())["p_unconstrained"], np.arange(30.0))


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
