"""The contract of a guide: a variational family over the latent sites of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpyro
from numpyro import handlers

from scribe._counts.data import CountData
from scribe._model.build import Model
from scribe._types import AnyArray, Array, Key, Params

__all__ = ["Guide", "GuideFunction", "Latent", "latent_sites"]

GuideFunction = Callable[[CountData], None]
"""A numpyro guide of a data set."""


class Latent(NamedTuple):
    """A latent site of a model: its name, its shape on the data it was traced with, the plate it sits in."""

    name: str
    shape: tuple[int, ...]
    plate: str | None


def latent_sites(model: Model, data: CountData) -> tuple[Latent, ...]:
    """Latent sites of a model, found by tracing it abstractly: nothing is computed."""
    found: list[Latent] = []

    def run(data: CountData) -> None:
        trace = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace(data)
        for name, site in trace.items():
            if site["type"] == "sample" and not site["is_observed"]:
                plates = [frame.name for frame in site["cond_indep_stack"]]
                found.append(Latent(name, site["value"].shape, plates[0] if plates else None))

    jax.eval_shape(run, data)
    return tuple(found)


class Guide(ABC):
    """A variational family. Its state is nothing but named arrays."""

    @abstractmethod
    def init(self, sites: tuple[Latent, ...], start: Mapping[str, AnyArray], *, n_cells: int) -> Params:
        """Trainable arrays for the given sites, starting at the given values on the real line."""

    @abstractmethod
    def build(self, sites: tuple[Latent, ...]) -> GuideFunction:
        """Numpyro guide; its parameters carry the names of `init` and are substituted by the engine."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Name under ``type`` and constructor arguments under ``settings``."""

    @abstractmethod
    def draw(self, key: Key, params: Mapping[str, Array], *, n_draws: int) -> dict[str, Array]:
        """Draws of every latent site, (draws, ...) each."""


def param(name: str) -> Array:
    """Read a trainable array inside a guide; the engine substitutes its value."""
    value: Array = numpyro.param(name)
    return value
