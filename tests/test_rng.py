"""Whatever users pass as rng gives a seed and a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from scribe._rng import (
    DEFAULT_SEED,
    as_key,
    as_seed,
    categorical,
    hashed,
    identities,
    keys_of_elements,
    stream,
    uniform,
    unit,
)


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


def test_every_verb_makes_the_same_of_a_key():
    """Verbs that keep the seed and methods that take the key draw alike."""
    key = jax.random.split(jax.random.key(1))[1]
    np.testing.assert_array_equal(jax.random.key_data(as_key(key)), jax.random.key_data(as_key(as_seed(key))))


@pytest.mark.parametrize("value", [1.7, True, "abc"])
def test_other_things_are_refused(value):
    with pytest.raises(TypeError, match=r"rng must be a whole number, .* a JAX key or None, got"):
        as_seed(value)


PAIRS = tuple(np.random.default_rng(0).integers(0, 2**32, (2, 50), dtype=np.uint32))


def test_the_hash_is_that_of_jax():
    key = jax.random.key(123)
    words = jax.random.key_data(key)
    expected = threefry_2x32((words[0], words[1]), jnp.concatenate([jnp.asarray(x) for x in PAIRS]))
    np.testing.assert_array_equal(np.concatenate(hashed(key, *PAIRS)), expected)


def test_keys_of_another_generator_hash_as_well():
    first, second = (hashed(jax.random.key(seed, impl="rbg"), *PAIRS)[0] for seed in (0, 1))
    assert np.mean(np.asarray(first) == np.asarray(second)) < 0.1


@pytest.mark.parametrize("x64", [False, True])
def test_uniform_numbers(x64):
    """Uniform over elements, over uses and over keys, and never zero or one."""
    with jax.enable_x64(x64):
        dtype = jnp.zeros(()).dtype
        element, use = np.arange(400, dtype=np.uint32), np.arange(50, dtype=np.uint32)
        values = np.asarray(uniform(jax.random.key(0), element[:, None], use[None], dtype))
        keys = jax.vmap(lambda i: uniform(jax.random.fold_in(jax.random.key(0), i), use[:1], use[:1], dtype))
        others = np.asarray(keys(np.arange(20_000)))
        assert values.dtype == others.dtype == dtype
        for found in (values.ravel(), others.ravel()):
            assert 0 < found.min() < found.max() < 1
            assert stats.kstest(found, "uniform").pvalue > 1e-3
        correlation = np.corrcoef(values.T) - np.eye(50)
        assert np.abs(correlation).max() < 5 / np.sqrt(400)


@pytest.mark.parametrize("x64", [False, True])
def test_extreme_words_are_neither_zero_nor_one(x64):
    with jax.enable_x64(x64):
        words = jnp.asarray([0, 2**32 - 1], jnp.uint32)
        found = np.asarray(unit((words, words), jnp.zeros(()).dtype))
        assert 0 < found[0] < 1e-6
        assert 1 - 1e-6 < found[1] < 1


def test_names_are_told_apart_wherever_they_stand():
    names = np.array([f"cell{i}" for i in range(5000)], object)
    ids, order = identities(names), np.random.default_rng(0).permutation(5000)
    assert ids.dtype == np.uint32
    assert len(set(ids.tolist())) == 5000
    np.testing.assert_array_equal(identities(names[order]), ids[order])
    np.testing.assert_array_equal(identities(np.array([3, 1])), [3, 1])


def test_names_that_occur_again_differ():
    found = identities(np.array(["a", "b", "a", "a"]))
    assert len(set(found.tolist())) == 4
    np.testing.assert_array_equal(found[:2], identities(np.array(["a", "b"])))


def test_categories_have_the_probabilities_of_their_logits():
    weights = np.array([0.5, 0.3, 0.2])
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(weights, jnp.float32)), (20_000, 3))
    found = np.asarray(categorical(jax.random.key(0), np.arange(20_000, dtype=np.uint32), logits))
    assert stats.chisquare(np.bincount(found), 20_000 * weights).pvalue > 1e-3


def test_streams_and_keys_of_elements_differ():
    key, some = jax.random.key(0), np.arange(3, dtype=np.uint32)
    keys = [stream(key, "a"), stream(key, "b"), *keys_of_elements(key, some, some)]
    assert len({jax.random.key_data(one).tobytes() for one in keys}) == 5
