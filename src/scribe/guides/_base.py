"""The contracts of a distribution over the latent sites of a model, and of one that can be trained: a guide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpyro
import numpyro.distributions as dist

from scribe._counts.data import CountData
from scribe._types import AnyArray, Array, Key, Params
from scribe.priors import Latent

__all__ = ["Approximation", "Guide", "GuideFunction"]

GuideFunction = Callable[[CountData], None]
"""A numpyro guide of a data set."""


class Approximation(ABC):
    """A distribution over latents that stands for their posterior. Its state is nothing but named arrays."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Name under ``type`` and constructor arguments under ``settings``."""

    @abstractmethod
    def centre(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Location of every latent: the median of its distribution, or the nearest thing to it."""

    @abstractmethod
    def marginal(self, latent: str, params: Mapping[str, Array]) -> dist.Distribution | None:
        """Distribution of every element of a latent by itself; None where it is known by draws alone."""

    @abstractmethod
    def draw(self, key: Key, params: Mapping[str, Array], *, n_draws: int) -> dict[str, Array]:
        """Draws of every latent, (draws, ...) each."""

    def draw_part(
        self, key: Key, params: Mapping[str, Array], *, n_draws: int, first: Array, of: Array
    ) -> dict[str, Array]:
        """Draws ``first`` to ``first + n_draws`` in a series of ``of``, so that a long one need not be in memory."""
        return self.draw(jax.random.fold_in(key, first), params, n_draws=n_draws)

    def n_draws(self, params: Mapping[str, Any]) -> int | None:
        """Number of draws that it consists of; None where new ones can be made without end."""
        return None


class Guide(Approximation):
    """A variational family."""

    @abstractmethod
    def init(self, latents: tuple[Latent, ...], start: Mapping[str, AnyArray], *, lengths: Mapping[str, int]) -> Params:
        """Trainable arrays for the given latents, starting at the given values; ``lengths`` are those of the axes."""

    @abstractmethod
    def build(self, latents: tuple[Latent, ...]) -> GuideFunction:
        """Numpyro guide; its parameters carry the names of `init` and are substituted by the engine."""


def param(name: str) -> Array:
    """Read a trainable array inside a guide; the engine substitutes its value."""
    value: Array = numpyro.param(name)
    return value
