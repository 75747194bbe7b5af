"""One way in for randomness: whatever a user passes becomes a seed, and a seed a JAX key."""

from __future__ import annotations

from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import Key, Rng

__all__ = ["DEFAULT_SEED", "as_key", "as_seed"]

DEFAULT_SEED = 42


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
    """JAX key from anything users pass as ``rng``."""
    if isinstance(rng, jax.Array) and jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        return rng
    return jax.random.key(as_seed(rng))
