"""Hierarchies: the members of a population along an axis share a location, about which they deviate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from scribe._types import AnyArray, Array
from scribe.priors._base import Draw, Effects, Prior
from scribe.priors._scatter import Scatter, spread

__all__ = ["Hierarchical", "over"]


@dataclass(frozen=True)
class Hierarchical(Prior):
    """A parameter that runs over an axis, with a location drawn from ``base`` and deviations along the axis.

    The location is a parameter of its own, over the other axes, so that hierarchies nest: ``base`` may be another.

    Parameters
    ----------
    axis
        ``"gene"``, ``"component"`` or ``"dataset"``.
    base
        Prior of the location, whose link is that of the parameter.
    deviation
        How the members scatter about the location.
    """

    kind = "over"
    axis: str
    base: Prior
    deviation: Scatter

    @property
    def link(self) -> str:
        """That of the location."""
        return self.base.link

    @property
    def adds(self) -> tuple[str, ...]:
        """The axis, and what the prior of the location adds."""
        return (*self.base.adds, self.axis)

    def _inner(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(axis for axis in axes if axis != self.axis)

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw) -> Array:
        """Location over the other axes, then the members."""
        inner = self._inner(axes)
        loc = spread(self.base(name + "_loc", inner, draw), inner, axes)
        return self.deviation(name, axes, draw, axis=self.axis, loc=loc)

    def effects(self, name: str, axes: tuple[str, ...], draw: Draw) -> Effects:
        """Those of the location and of the members."""
        of_location = self.base.effects(name + "_loc", self._inner(axes), draw)
        return {**of_location, **self.deviation.effects(name, axes, draw, axis=self.axis)}

    def start(self, name: str, axes: tuple[str, ...], value: AnyArray | Array) -> dict[str, Any]:
        """The location at the mean along the axis, the members where they are."""
        inner, number = self._inner(axes), axes.index(self.axis)
        given = jnp.asarray(value)
        wide = given.reshape((1,) * (len(axes) - given.ndim) + given.shape)
        loc = jnp.mean(wide, axis=number, keepdims=True)
        latents = self.base.start(name + "_loc", inner, jnp.squeeze(loc, number))
        return {**latents, **self.deviation.start(name, axes, wide, axis=self.axis, loc=loc)}


def over(axis: str, base: Prior, deviation: Scatter) -> Hierarchical:
    """Let a parameter run over an axis about a location with the prior ``base``.

    Parameters
    ----------
    axis
        ``"gene"``, ``"component"`` or ``"dataset"``.
    base
        Prior of the location.
    deviation
        `Gaussian`, `Horseshoe`, `NormalExponentialGamma` or `Fixed`, or sums of them over factors, `Crossed`.

    Returns
    -------
    The prior of the parameter.
    """
    return Hierarchical(axis, base, deviation)
