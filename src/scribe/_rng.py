"""One way in for randomness: whatever a user passes becomes a seed, a seed a JAX key, and keys random numbers.

The numbers of a draw are a function of the key, the number of the draw and of what each is for: a parameter of a gene,
the count of a gene in a cell. They do not depend on how many are drawn, in which blocks, or in which order genes and
cells come.
"""

from __future__ import annotations

import zlib
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import AnyArray, Array, IntArray, Key, Rng

__all__ = [
    "DEFAULT_SEED",
    "Numbers",
    "as_key",
    "as_seed",
    "categorical",
    "hashed",
    "identities",
    "keys_of_elements",
    "stream",
    "uniform",
    "unit",
]

DEFAULT_SEED = 42

Numbers = Array | IntArray
"""Whole numbers of 32 bits without sign."""

_AGAIN = np.uint32(0x9E3779B9)
"""What is added to the number of a name that occurs again: 2^32 over the golden ratio."""

_ROTATIONS, _PARITY = ((13, 15, 26, 6), (17, 29, 16, 24)), np.uint32(0x1BD11BDA)
"""Constants of Threefry-2x32."""


def as_seed(rng: Rng) -> int:
    """Integer seed from an integer, a NumPy generator (advanced by one draw), a JAX key or None (42)."""
    if rng is None:
        return DEFAULT_SEED
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31 - 1))
    if isinstance(rng, jax.Array):
        data = jax.random.key_data(rng) if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else rng
        return int(np.asarray(data).ravel()[-1]) & 0x7FFFFFFF
    if not isinstance(rng, Integral) or isinstance(rng, bool):
        msg = f"rng must be a whole number, a numpy.random.Generator, a JAX key or None, got {rng!r}."
        raise TypeError(msg)
    return int(rng)


def as_key(rng: Rng) -> Key:
    """JAX key of the seed of anything users pass as ``rng``."""
    return jax.random.key(as_seed(rng))


def stream(key: Key, name: str) -> Key:
    """Key of one use of randomness, different from those of all other uses and from those of draws, by number."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) | 2**31)


def identities(names: AnyArray) -> IntArray:
    """Numbers of 32 bits that tell names apart, (n,): each of the name alone, but where one occurs again.

    Whole numbers stand for themselves.
    """
    if np.issubdtype(names.dtype, np.integer):
        return names.astype(np.uint32)
    found = np.fromiter((zlib.crc32(str(name).encode()) for name in names), np.uint32, len(names))
    order = np.argsort(found, kind="stable")
    starts = np.r_[True, found[order][1:] != found[order][:-1]]
    times = np.arange(len(found)) - np.maximum.accumulate(np.where(starts, np.arange(len(found)), 0))
    found[order] += times.astype(np.uint32) * _AGAIN
    return found


def hashed(key: Key, first: Numbers, second: Numbers) -> tuple[Array, Array]:
    """Two words of 32 random bits for every pair of numbers (uint32), a function of the key and the pair alone.

    The pair is the counter of the Threefry hash [Salmon11]_ of 20 rounds, the generator of JAX. Written out it is fused
    with what reads it, and several times faster than the primitive of JAX where many keys meet many counters.

    .. [Salmon11] Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11.
    """
    words = jax.random.key_data(key)
    if words.shape != (2,):
        # keys of another generator
        words = jax.random.bits(key, (2,), jnp.uint32)
    schedule = (words[0], words[1], words[0] ^ words[1] ^ _PARITY)
    one, other = jnp.asarray(first) + schedule[0], jnp.asarray(second) + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            one = one + other
            other = one ^ ((other << np.uint32(distance)) | (other >> np.uint32(32 - distance)))
        one = one + schedule[(group + 1) % 3]
        other = other + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return one, other


def unit(words: tuple[Array, Array], dtype: Any) -> Array:
    """Uniform numbers between zero and one, without both, from two words of random bits each."""
    first, second = words
    if jnp.finfo(dtype).bits == 64:
        high, low = (x.astype(dtype) for x in (first, second >> 12))
        return (high * 2.0**20 + low + 0.5) * 2.0**-52
    return ((first >> 9).astype(dtype) + 0.5) * 2.0**-23


def uniform(key: Key, first: Numbers, second: Numbers, dtype: Any) -> Array:
    """Uniform numbers between zero and one, without both, for every pair of numbers as in `hashed`."""
    return unit(hashed(key, first, second), dtype)


def keys_of_elements(key: Key, first: Numbers, second: Numbers) -> Key:
    """A key for every pair of numbers as in `hashed`."""
    return jax.random.wrap_key_data(jnp.stack(hashed(key, first, second), axis=-1), impl="threefry2x32")


@jax.jit
def categorical(key: Key, element: Numbers, logits: Array) -> Array:
    """One of the categories for every element, (elements,), by their ``logits`` (elements, categories)."""
    category = jnp.arange(logits.shape[1], dtype=jnp.uint32)
    # the largest of logits with Gumbel noise
    return jnp.argmax(logits - jnp.log(-jnp.log(uniform(key, element[:, None], category[None], logits.dtype))), axis=1)
