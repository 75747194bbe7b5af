"""The contracts of a distribution over the latent sites of a model, and of one that can be trained: a guide."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

import numpyro
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._rng import Numbers
from scribe._types import AnyArray, Array, Key, Params
from scribe.guides._noise import Ids
from scribe.priors import Latent

__all__ = [
    "LOC",
    "LOG_SCALE",
    "Approximation",
    "Guide",
    "GuideFunction",
    "Ids",
    "Latents",
    "Role",
    "param",
    "roles",
]

GuideFunction = Callable[[CountData], None]
"""A numpyro guide of a data set."""

Latents = tuple[Latent, ...]
"""The latents that a guide is for, in the order of the model."""

LOC, LOG_SCALE = "_loc", "_log_scale"
"""Suffixes of the location of a latent and of the logarithm of its scale."""


class Role(NamedTuple):
    """What an array of an approximation is: of a latent, whose axes its shape begins with, or of none.

    ``kind`` tells the arrays of one latent apart.
    """

    latent: Latent | None
    kind: str

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that the array begins with."""
        return () if self.latent is None else self.latent.axes


def roles(names: Iterable[str], latents: Latents) -> dict[str, Role]:
    """Role of every array by its name: that of a latent followed by what it is, or a name of its own."""
    # the longest that fits: the name of a latent may begin with that of another
    by_length = sorted(latents, key=lambda latent: -len(latent.name))

    def of(name: str) -> Role:
        latent = next((latent for latent in by_length if name.startswith(latent.name)), None)
        return Role(latent, name if latent is None else name.removeprefix(latent.name))

    return {name: of(name) for name in names}


class Approximation(ABC):
    """A distribution over latents that stands for their posterior. Its state is nothing but named arrays.

    `roles` says which latent an array belongs to. More axes than those of the latent may follow.
    """

    name: ClassVar[str]
    """Under which users and files know it."""

    @abstractmethod
    def centre(self, params: Mapping[str, Array], *, latents: Latents) -> dict[str, Array]:
        """Location of every latent: the median of its distribution, or the nearest thing to it."""

    @abstractmethod
    def marginal(self, latent: str, params: Mapping[str, Array], *, latents: Latents) -> dist.Distribution | None:
        """Distribution of every element of a latent by itself; None where it is known by draws alone."""

    @abstractmethod
    def draw(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, numbers: Numbers, ids: Ids
    ) -> dict[str, Array]:
        """Draws of every latent by their numbers, (draws, ...) each.

        A draw is a function of the key and its number, and what it has of a gene or cell depends on which one it is and
        not on the others.
        """

    def n_draws(self, params: Mapping[str, Any]) -> int | None:
        """Number of draws that it consists of; None where new ones can be made without end."""
        return None

    def to_json(self) -> dict[str, object]:
        """Name under ``type`` and constructor arguments under ``settings``."""
        return _record(self)


class Guide(Approximation):
    """A variational family."""

    @abstractmethod
    def select(self, latents: Latents) -> Latents:
        """Which latents the guide is made for; all other methods are called with these."""

    @abstractmethod
    def init(
        self, latents: Latents, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray
    ) -> Params:
        """Trainable arrays for the given latents, starting at the given values.

        ``lengths`` are those of the axes, ``totals`` (cells,) the total counts of the cells.
        """

    @abstractmethod
    def build(self, latents: Latents) -> GuideFunction:
        """Numpyro guide; its parameters carry the names of `init` and are substituted by the engine."""

    @property
    @abstractmethod
    def by_total(self) -> bool:
        """Whether cells of equal totals share the rows of per-cell arrays, in minibatches too."""

    @abstractmethod
    def finalise(self, params: Mapping[str, Array], *, latents: Latents, counts: Counts) -> Params:
        """Arrays with which a fit ends: the trained ones and what `centre`, `marginal` and `draw` read beside them.

        Latents of cells are conditionals. A guide that does not hold a row for each of them computes it here from the
        ``counts`` of cells, those of the fit or new ones, as a network does from what they show. Arrays may then be
        subset by genes and cells along the axes of their latents.
        """


def _record(value: Any) -> dict[str, object]:
    settings = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {"type": value.name, "settings": settings}


def _plain(value: Any) -> object:
    if is_dataclass(value):
        return _record(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def param(name: str) -> Array:
    """Read a trainable array inside a guide; the engine substitutes its value."""
    return numpyro.param(name)
