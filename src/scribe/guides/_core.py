"""The contract of a core: the joint law of the noise of latents that a guide draws together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from scribe._types import AnyArray, Array, Params

__all__ = ["Core", "CoreArrays", "Density"]


class CoreArrays(NamedTuple):
    """What a core reads: scales and rows by element, (batch, elements, ...), and the rest by name.

    Without rows there are none of the elements: (batch, 0).
    """

    log_scale: Array
    rows: Array
    weights: Params


Density = Callable[[Array], Array]
"""Logarithm of the density of a draw, a scalar, differentiated along the draw only where that is possible."""


class Core(ABC):
    """Joint law of centred vectors, (batch, elements): what ties their elements together."""

    suffix: ClassVar[str]
    """Of the arrays with rows for the elements of a latent, (..., columns) each."""

    trains_rows: ClassVar[bool]
    """Whether they are trained; otherwise `settled_rows` are added after a fit."""

    by_element: ClassVar[int | None]
    """Which array of `noise` has one number for every element; None where all elements of the core are in it."""

    @abstractmethod
    def init_rows(self, shape: tuple[int, ...], rng: np.random.Generator) -> AnyArray | None:
        """Trainable rows of a latent of this shape; None where there are none."""

    @abstractmethod
    def init_weights(self, sizes: tuple[int, ...], *, batch: int) -> Params:
        """Trainable arrays that belong to no element, for vectors made of latents of these sizes."""

    @abstractmethod
    def weights(self, n_latents: int, *, batched: bool) -> tuple[str, ...]:
        """Names of those, for vectors of so many latents, one vector or a batch of them."""

    @abstractmethod
    def settled_rows(self, sizes: tuple[int, ...], *, batch: int) -> Array | None:
        """Rows added after a fit, (batch, elements): what draws of a part of the elements need."""

    @abstractmethod
    def noise(self, arrays: CoreArrays) -> list[tuple[int, ...]]:
        """Shapes of the standard normals that `draw` needs."""

    @abstractmethod
    def draw(self, arrays: CoreArrays, noise: list[Array]) -> tuple[Array, Density]:
        """One draw, (batch, elements), and its density."""

    @abstractmethod
    def loadings(self, rows: Array) -> Array | None:
        """How elements depend on normals that others share, (..., normals) in units of their scales.

        None where they are not normal.
        """
