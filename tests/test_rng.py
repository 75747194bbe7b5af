"""Whatever users pass as rng gives a seed and a key."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from scribe._rng import DEFAULT_SEED, as_key, as_seed


@pytest.mark.parametrize("value", [7, np.int64(7), jax.random.key(7), jax.random.PRNGKey(7)], ids=type)
def test_integers_and_keys_keep_their_seed(value):
    assert as_seed(value) == 7
    np.testing.assert_array_equal(jax.random.key_data(as_key(value)), jax.random.key_data(jax.random.key(7)))


def test_none_is_the_documented_default():
    assert as_seed(None) == DEFAULT_SEED == 42


def test_a_generator_advances():
    first, second = (np.random.default_rng(3) for _ in range(2))
    seeds = [as_seed(first), as_seed(first)]
    assert seeds[0] != seeds[1]
    assert as_seed(second) == seeds[0]


def test_a_key_of_another_kind_is_kept():
    key = jax.random.fold_in(jax.random.key(1), 5)
    np.testing.assert_array_equal(jax.random.key_data(as_key(key)), jax.random.key_data(key))


@pytest.mark.parametrize("value", [1.7, True, "abc"])
def test_other_things_are_refused(value):
    with pytest.raises(TypeError, match=r"rng must be a whole number, .* a JAX key or None, got"):
        as_seed(value)
