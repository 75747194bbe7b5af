"""The contract of a deviation: how the members of a population scatter about its location."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp

from scribe._types import Array
from scribe.priors._base import Draw, Effects, record

__all__ = ["Scatter", "check_positive", "local_axes", "own_scale", "spread"]

_SMALLEST = 0.1
"""Smallest scale at which a deviation starts: from nothing it would hardly grow."""


class Scatter(ABC):
    """Distribution of the members of a population along one axis, given its location, on the real line."""

    kind: ClassVar[str]

    @abstractmethod
    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Values of ``name`` over ``axes``; ``loc`` has the same axes, of length 1 along ``axis``."""

    def effects(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str) -> Effects:
        """Effects of factors that deviations of ``name`` are sums of."""
        return {}

    @abstractmethod
    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """Values of the latents at which ``name`` has the given value, of the rank of ``axes``."""

    def to_json(self) -> dict[str, object]:
        """Plain values from which `scribe.priors.from_json` rebuilds the deviation."""
        return record(self)


def check_positive(kind: str, **values: float) -> None:
    """Raise where a hyperparameter is not above 0."""
    wrong = [f"{name}={value!r}" for name, value in values.items() if not value > 0]
    if wrong:
        msg = f"{kind} needs hyperparameters above 0, got {', '.join(wrong)}."
        raise ValueError(msg)


def spread(value: Array, own: tuple[str, ...], axes: tuple[str, ...]) -> Array:
    """Give an array over the axes ``own`` the rank of ``axes``, with length 1 along those it does not have."""
    return value.reshape([value.shape[own.index(axis)] if axis in own else 1 for axis in axes])


def local_axes(axes: tuple[str, ...], axis: str) -> tuple[str, ...]:
    """Axes of scales that belong to single members.

    Genes have one each, which components and data sets share: what differs between these differs by gene.
    """
    return ("gene",) if "gene" in axes else (axis,)


def own_scale(difference: Array, axes: tuple[str, ...], axis: str, *, most: float = jnp.inf) -> Array:
    """Root mean square of deviations over all but the `local_axes`, within bounds; where a scale starts."""
    others = tuple(number for number, name in enumerate(axes) if name not in local_axes(axes, axis))
    scale = jnp.sqrt(jnp.mean(jnp.square(difference), axis=others, keepdims=True))
    return jax.lax.stop_gradient(jnp.clip(scale, _SMALLEST, most))
