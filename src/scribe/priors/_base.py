"""The contract of a prior: a numpyro fragment that draws a parameter on the real line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpyro
import numpyro.distributions as dist

from scribe._types import Array

__all__ = ["LATENT_SUFFIX", "Base", "CellContext", "Prior", "latent_name"]

LATENT_SUFFIX = "_unconstrained"


def latent_name(site: str) -> str:
    """Name of the numpyro site that holds a parameter on the real line."""
    return site + LATENT_SUFFIX


class CellContext(NamedTuple):
    """What a prior over cells may depend on: the total count of every cell, (cells,)."""

    totals: Array


class Prior(ABC):
    """Draws a parameter on the real line; its link takes it to its support."""

    @property
    @abstractmethod
    def link(self) -> str:
        """Name of the link between the real line and the support."""

    @abstractmethod
    def __call__(self, name: str, shape: tuple[int, ...], context: CellContext) -> Array:
        """Sample the parameter ``name`` of the given shape; axes are declared by the plates around the call."""

    @abstractmethod
    def centre(self) -> float:
        """A typical value on the real line, where a fit starts in the absence of better knowledge."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Plain values from which `scribe.priors.from_json` rebuilds the prior."""


@dataclass(frozen=True)
class Base(Prior):
    """A prior that is one distribution, the same for every element."""

    def __call__(self, name: str, shape: tuple[int, ...], context: CellContext) -> Array:
        """Sample one numpyro site of the given shape."""
        value: Array = numpyro.sample(latent_name(name), self.distribution(context).expand(shape))
        return value

    @abstractmethod
    def distribution(self, context: CellContext) -> dist.Distribution:
        """Return the distribution on the real line, a scalar one or one of the shape of the cells."""
