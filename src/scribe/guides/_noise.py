"""The noise of draws: standard normals that belong to the elements of latents, whatever else is drawn."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._rng import Numbers, hashed, unit
from scribe._types import Array, Key
from scribe.guides._pathwise import to_normals
from scribe.priors import Latent

__all__ = ["Counters", "Ids", "loose", "normals", "of_latent"]

Ids = Mapping[str, Numbers]
"""Numbers that tell genes and cells apart (uint32), by axis; places are theirs where an axis is missing."""

_LEVEL = np.uint32(0x9E3779B1)
"""An odd number, so that all levels of a latent differ."""


class Counters(NamedTuple):
    """What tells the elements of an array of noise from all others: two numbers each (uint32), of its shape."""

    element: Array
    use: Array


def of_latent(latent: Latent, shape: tuple[int, ...], ids: Ids) -> Counters:
    """Counters of the elements of a latent: by gene or cell, and by name and levels."""
    place = next((i for i, axis in enumerate(latent.axes) if axis in ("gene", "cell")), None)
    element, level_shape = jnp.zeros(shape, jnp.uint32), list(shape)
    if place is not None:
        known = ids.get(latent.axes[place], jnp.arange(shape[place], dtype=jnp.uint32))
        element = jnp.broadcast_to(jnp.expand_dims(known, [i for i in range(len(shape)) if i != place]), shape)
        level_shape[place] = 1
    use = _uses(latent.name, math.prod(level_shape)).reshape(level_shape)
    return Counters(element, jnp.broadcast_to(use, shape))


def loose(name: str, shape: tuple[int, ...]) -> Counters:
    """Counters of noise that belongs to no element of a latent, by place."""
    element = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return Counters(element, jnp.broadcast_to(_uses(name, 1), shape))


def _uses(name: str, n: int) -> Array:
    return np.uint32(zlib.crc32(name.encode())) + jnp.arange(n, dtype=jnp.uint32) * _LEVEL


def normals(key: Key, numbers: Numbers, counters: Sequence[Counters], dtype: Any) -> list[Array]:
    """Standard normals of some draws, by their ``numbers``, (draws, ...) for all counters, made together."""
    element, use = (jnp.concatenate([x.ravel() for x in every]) for every in zip(*counters, strict=True))

    def of_draw(number: Array) -> Array:
        return 2 * unit(hashed(jax.random.fold_in(key, number), element, use), dtype) - 1

    flat, ends = to_normals(jax.vmap(of_draw)(jnp.asarray(numbers))), np.cumsum([one.element.size for one in counters])
    parts = jnp.split(flat, ends[:-1], axis=1)
    return [part.reshape(len(numbers), *one.element.shape) for part, one in zip(parts, counters, strict=True)]
