"""The contract of a prior: a numpyro fragment that draws a parameter on the real line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

import numpyro.distributions as dist

from scribe._counts.data import Known
from scribe._types import AnyArray, Array

__all__ = [
    "LATENT_SUFFIX",
    "Base",
    "Context",
    "Draw",
    "Effects",
    "Latent",
    "Prior",
    "PriorFunction",
    "latent_name",
    "record",
]

LATENT_SUFFIX = "_unconstrained"


def latent_name(site: str) -> str:
    """Name of the numpyro site that holds a parameter on the real line."""
    return site + LATENT_SUFFIX


class Context(NamedTuple):
    """What a prior may depend on: the data, and an earlier fit.

    ``totals`` (cells,) are the total counts of the cells at hand. ``gene_means`` (genes,) are the mean counts of genes
    over all cells, half a count added to each gene's total, and ``mean_total`` () is the mean of the totals.
    ``log_m0`` () or (cells,) is the log of the total mRNA, where that is a parameter of the model. ``known`` are mean
    and standard deviation of latents by name, as an earlier fit left them.
    """

    totals: Array
    gene_means: Array
    mean_total: Array
    log_m0: Array | None = None
    known: Mapping[str, Known] = {}  # a pytree, unlike a mapping that cannot be changed


class Latent(NamedTuple):
    """What a model samples, on the real line: the name of the numpyro site and the axes it runs over.

    A ``frozen`` one is not sampled: it stays where an earlier fit left it.
    """

    name: str
    axes: tuple[str, ...]
    frozen: bool = False


PriorFunction = Callable[[Context], dist.Distribution]
"""Distribution of a latent, of one element or of all, given the data."""

Draw = Callable[[Latent, PriorFunction], Array]
"""Gives the value of a latent: samples it from its distribution, or reads what was sampled before."""

Effects = dict[str, tuple[tuple[str, ...], Array]]
"""Effects of factors by name, with their axes."""


def record(stored: Any) -> dict[str, object]:
    """Kind and fields of a prior, a deviation or a part of one, as plain values."""
    return {"type": stored.kind, "args": [_plain(getattr(stored, field.name)) for field in fields(stored)]}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    is_part = is_dataclass(value)
    return value.to_json() if is_part else value


class Prior(ABC):
    """Says how a parameter comes about from latents, on the real line; its link takes it to its support.

    Priors are frozen dataclasses. ``kind`` is the name under which a specification stores one with its fields.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def link(self) -> str:
        """Name of the link between the real line and the support."""

    @property
    def adds(self) -> tuple[str, ...]:
        """Axes over which the parameter runs by virtue of this prior, beyond its own: those of a hierarchy."""
        return ()

    @abstractmethod
    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw) -> Array:
        """Value of the parameter ``name`` over ``axes``; every latent it depends on is asked of ``draw``."""

    def effects(self, name: str, axes: tuple[str, ...], draw: Draw) -> Effects:
        """Effects of factors that the parameter ``name`` is a sum of, on the real line; none unless it is crossed."""
        return {}

    @abstractmethod
    def start(self, name: str, axes: tuple[str, ...], value: AnyArray | Array) -> dict[str, Any]:
        """Values of the latents at which the parameter ``name`` has the given value on the real line."""

    def to_json(self) -> dict[str, object]:
        """Plain values from which `scribe.priors.from_json` rebuilds the prior."""
        return record(self)


@dataclass(frozen=True)
class Base(Prior):
    """A prior that is one distribution, the same for every element."""

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw) -> Array:
        """One latent, which is the parameter."""
        return draw(Latent(latent_name(name), axes), self.distribution)

    def start(self, name: str, axes: tuple[str, ...], value: AnyArray | Array) -> dict[str, Any]:
        """The value itself."""
        return {latent_name(name): value}

    @abstractmethod
    def distribution(self, context: Context) -> dist.Distribution:
        """Return the distribution on the real line, a scalar one or one of the shape of the cells."""
