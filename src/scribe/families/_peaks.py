"""The most probable count of a mixture of laws, of each of which it is known where it rises and where it falls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from scribe._types import Array

if TYPE_CHECKING:
    from scribe.families._base import MoleculePosterior

__all__ = ["Highest", "Part", "highest_peak", "most_probable"]


class Part(NamedTuple):
    """A law of a mixture, all of its local maxima, and the logarithm of its weight."""

    law: MoleculePosterior
    peaks: tuple[Array, ...]
    log_weight: Array

    def log_most(self, first: Array, last: Array) -> Array:
        """Logarithm of the largest weighted probability from one count to another: at an end, or at a peak."""
        heights = (self.law.log_prob(jnp.clip(peak, first, last)) for peak in self.peaks)
        return self.log_weight + jnp.max(_stacked(heights), axis=0)


class Highest(NamedTuple):
    """The peak that is highest in its own part, and the counts beyond which no part rises that could make a difference.

    Where these are the peak alone, as in a lone law, it is the mode.
    """

    peak: Array
    low: Array
    high: Array


def highest_peak(parts: Sequence[Part], *, axes: tuple[int, ...] = ()) -> Highest:
    """Find the highest peak; parts may be stacks of laws, the ``axes`` of which are mixed as well."""
    every = [(part, peak) for part in parts for peak in part.peaks]
    height = _stacked(part.log_weight + part.law.log_prob(peak) for part, peak in every)
    at = jnp.broadcast_to(_stacked(peak for _, peak in every), height.shape)
    mixed = _positions(axes)
    top = jnp.max(height, axis=mixed, keepdims=True)
    peak = jnp.max(jnp.where(height == top, at, -jnp.inf), axis=mixed)
    if len(parts) == 1 and all(height.shape[position] == 1 for position in mixed[1:]):
        return Highest(peak, peak, peak)
    # the rest is lost in rounding
    relevant = height > top + jnp.log(jnp.finfo(height.dtype).eps)
    low = jnp.min(jnp.where(relevant, at, jnp.inf), axis=mixed)
    return Highest(peak, low, jnp.max(jnp.where(relevant, at, -jnp.inf), axis=mixed))


def most_probable(parts: Sequence[Part], *, axes: tuple[int, ...] = ()) -> Array:
    """Most probable count of a mixture; parts may be stacks of laws, the ``axes`` of which are mixed as well.

    It is looked for from the lowest peak to the highest. What all parts reach at most between two counts bounds the
    mixture there: where that is no more than what has been found, these counts are passed over, and the next step is
    twice as wide; else it is half as wide, down to single counts, of which the bound is the probability.
    """
    start = highest_peak(parts, axes=axes)
    if start.low is start.high:
        return start.peak
    Carry = tuple[Array, Array, Array, Array]

    def log_most(first: Array, last: Array) -> Array:
        ends = [jnp.expand_dims(end, axes) for end in (first, last)]
        return jax.nn.logsumexp(_stacked(part.log_most(*ends) for part in parts), axis=_positions(axes))

    def step(carry: Carry) -> Carry:
        first, width, mode, best = carry
        bound = log_most(first, jnp.minimum(first + width - 1.0, start.high))
        better, single = bound > best, width == 1.0
        found, passed = better & single, ~better | single
        return (
            jnp.where(passed, first + width, first),
            jnp.where(passed, 2.0 * width, 0.5 * width),
            jnp.where(found, first, mode),
            jnp.where(found, bound, best),
        )

    begin = start.low, jnp.ones_like(start.low), start.peak, log_most(start.peak, start.peak)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[0] <= start.high), step, begin)[2]


def _positions(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of what is stacked: that of the parts, and those of each."""
    return (0, *(axis + 1 for axis in axes))


def _stacked(arrays: Iterable[Array]) -> Array:
    return jnp.stack(jnp.broadcast_arrays(*arrays))
