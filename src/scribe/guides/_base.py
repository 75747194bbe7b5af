"""The contract of a guide: a variational family over the latent sites of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpyro
import numpyro.distributions as dist

from scribe._counts.data import CountData
from scribe._types import AnyArray, Array, Key, Params
from scribe.priors import Latent

__all__ = ["Guide", "GuideFunction"]

GuideFunction = Callable[[CountData], None]
"""A numpyro guide of a data set."""


class Guide(ABC):
    """A variational family. Its state is nothing but named arrays."""

    @abstractmethod
    def init(self, latents: tuple[Latent, ...], start: Mapping[str, AnyArray], *, lengths: Mapping[str, int]) -> Params:
        """Trainable arrays for the given latents, starting at the given values; ``lengths`` are those of the axes."""

    @abstractmethod
    def build(self, latents: tuple[Latent, ...]) -> GuideFunction:
        """Numpyro guide; its parameters carry the names of `init` and are substituted by the engine."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Name under ``type`` and constructor arguments under ``settings``."""

    @abstractmethod
    def centre(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """Location of every latent: the median of its distribution, or the nearest thing to it."""

    @abstractmethod
    def marginal(self, latent: str, params: Mapping[str, Array]) -> dist.Normal:
        """Distribution of every element of a latent by itself."""

    @abstractmethod
    def draw(self, key: Key, params: Mapping[str, Array], *, n_draws: int) -> dict[str, Array]:
        """Draws of every latent, (draws, ...) each."""


def param(name: str) -> Array:
    """Read a trainable array inside a guide; the engine substitutes its value."""
    value: Array = numpyro.param(name)
    return value
