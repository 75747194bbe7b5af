"""Deviations that are sums of effects: of the donor a data set is from, its condition, their interaction."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from scribe._types import Array
from scribe.priors._base import Draw, Effects, record
from scribe.priors._scatter import Scatter

__all__ = ["Crossed", "Effect"]


@dataclass(frozen=True)
class Effect:
    """What the levels of a factor contribute to the members of a population.

    Parameters
    ----------
    factor
        Name of the factor.
    of
        Label of the level that every member is at; levels are in the order of their labels.
    deviation
        How the levels scatter about zero.
    """

    kind = "effect"
    factor: str
    of: tuple[str, ...]
    deviation: Scatter

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", tuple(self.of))

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the levels."""
        return tuple(sorted(set(self.of)))

    def name(self, param: str) -> str:
        """Name of the effects on a parameter."""
        return f"{param}_{self.factor}_effect"

    def axis(self, members: str) -> str:
        """Name of the axis of the levels, by that of the members."""
        return f"{members}:{self.factor}"

    def axes(self, axes: tuple[str, ...], members: str) -> tuple[str, ...]:
        """Axes of the effects: levels in the place of members."""
        return tuple(self.axis(members) if axis == members else axis for axis in axes)

    def at_members(self, effects: Array, position: int) -> Array:
        """Effects on the members."""
        return jnp.take(effects, jnp.asarray(np.searchsorted(self.labels, self.of)), axis=position)

    def means(self, members: Array, position: int) -> Array:
        """Mean of the members at every level."""
        at = np.asarray(self.labels)[:, None] == np.asarray(self.of)
        weights = jnp.asarray(at / at.sum(axis=1, keepdims=True), members.dtype)
        return jnp.moveaxis(jnp.tensordot(weights, members, ((1,), (position,))), 0, position)

    def to_json(self) -> dict[str, object]:
        """Type and parameters."""
        return record(self)


@dataclass(frozen=True)
class Crossed(Scatter):
    r"""Members deviate by the sum of the effects of the factors they are combinations of.

    .. math:: \theta_\ell = m + \sum_f e_{f, k_f(\ell)},

    where member :math:`\ell` is at level :math:`k_f(\ell)` of factor :math:`f`, whose effects are a population about
    zero. Factors may be crossed or nested; an interaction is a factor with a level for every combination of those of
    others that there is.

    Parameters
    ----------
    parts
        The effects, one for every factor.
    """

    kind = "crossed"
    parts: tuple[Effect, ...]

    def effects(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str) -> Effects:
        """Effects of the levels of every factor."""
        none, found = jnp.zeros((1,) * len(axes)), {}
        for part in self.parts:
            own = part.axes(axes, axis)
            value = part.deviation(part.name(name), own, draw, axis=part.axis(axis), loc=none)
            found[part.name(name)] = own, value
        return found

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Draw the effects and add them up."""
        found = self.effects(name, axes, draw, axis=axis)
        for part in self.parts:
            loc = loc + part.at_members(found[part.name(name)][1], axes.index(axis))
        return loc

    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """Effects at the means over members, those of a factor with few levels before those of one with many.

        Members that are no sum of effects start at the nearest there is in this manner.
        """
        latents: dict[str, Array] = {}
        position, rest = axes.index(axis), value - loc
        shape = (*rest.shape[:position], len(self.parts[0].of), *rest.shape[position + 1 :])
        rest = jnp.broadcast_to(rest, shape)
        for part in sorted(self.parts, key=lambda part: len(part.labels)):
            effects, own = part.means(rest, position), part.axes(axes, axis)
            none = jnp.zeros((1,) * len(axes), effects.dtype)
            latents |= part.deviation.start(part.name(name), own, effects, axis=part.axis(axis), loc=none)
            rest = rest - part.at_members(effects, position)
        return latents

    def to_json(self) -> dict[str, object]:
        """Type and parts."""
        return {"type": self.kind, "args": [part.to_json() for part in self.parts]}
