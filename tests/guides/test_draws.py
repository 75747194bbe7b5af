"""Draws as a posterior: which of them are given out, and their densities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe import guides
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
