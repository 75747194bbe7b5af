"""What a count distribution must offer: the contract every family and modifier fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from scribe._counts.data import Cells
from scribe._types import Array, Key, Natural

__all__ = ["Family", "Moments", "Param", "Thinned"]


class Moments(NamedTuple):
    """Mean and variance of a count, each of the broadcast shape of the parameters."""

    mean: Array
    variance: Array


@dataclass(frozen=True)
class Param:
    """A sampled parameter: its name, its descriptive name, its support and the axes it runs over.

    ``support`` is ``"positive"`` or ``"unit"``; ``axes`` holds ``"gene"``, ``"cell"`` or nothing for a scalar.
    """

    name: str
    descriptive: str
    support: str
    axes: tuple[str, ...] = ()


class Thinned(ABC):
    """Posterior of a count ``m`` before binomial thinning, given what was observed of it."""

    @abstractmethod
    def moments(self) -> Moments:
        """Mean and variance of ``m`` given the observation."""

    @abstractmethod
    def mode(self) -> Array:
        """Most probable ``m`` given the observation."""

    @abstractmethod
    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m`` given the observation; minus infinity below what was observed."""

    @abstractmethod
    def sample(self, key: Key) -> Array:
        """One draw of ``m`` given the observation."""


class Family(ABC):
    """A count distribution with natural parameters per gene and one scalar offset per cell.

    The offset is the logarithm of the probability with which every molecule of the cell is captured: counts are a
    binomial thinning of the family at offset 0. All methods are elementwise; the caller makes ranks equal.

    The log-pmf is written as a sum of two terms so that a matrix costs what its non-zeros cost:
    ``gene_term``, which does not involve the offset and is zero at ``u = 0`` (evaluated once per distinct pair of
    gene and count), and ``cell_term``, the rest. A family that cannot be split leaves ``gene_term`` at zero.
    """

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Name of the base family and of the modifiers around it, innermost first."""

    @property
    def name(self) -> str:
        """The composition as one would write it, for messages."""
        base, *modifiers = self.layers
        return "".join(f"{m}(" for m in reversed(modifiers)) + base + ")" * len(modifiers)

    @property
    @abstractmethod
    def natural(self) -> tuple[str, ...]:
        """Names of the natural parameters."""

    @property
    def params(self) -> tuple[Param, ...]:
        """Parameters the family adds to those of the coordinates."""
        return ()

    @property
    def captured(self) -> bool:
        """Whether every cell has its own capture probability."""
        return False

    @abstractmethod
    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Part of the log-pmf that involves the offset."""

    def gene_term(self, u: Array, natural: Natural) -> Array:
        """Part of the log-pmf free of the offset; zero at ``u = 0``."""
        return jnp.zeros_like(u)

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Log-probability of the count ``u``."""
        return self.gene_term(u, natural) + self.cell_term(u, natural, offset)

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        """``cell_term`` at ``u`` less that at zero: what a non-zero costs. Zero at ``u = 0``."""
        return self.cell_term(u, natural, offset) - self.cell_term(jnp.zeros_like(u), natural, offset)

    def cell_sum(self, natural: Natural, offset: Array, cells: Cells) -> Array | None:
        """Return the closed form of the sum of ``cell_term`` over genes and cells, or None where there is none.

        ``natural`` holds (genes,) arrays and scalars, ``offset`` (cells,).
        """
        return None

    def summarises(self, natural_axes: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether ``cell_sum`` is available when the natural parameters run over the given axes."""
        return False

    @abstractmethod
    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """One draw of the count, of the broadcast shape of parameters and offset."""

    @abstractmethod
    def moments(self, natural: Natural, offset: Array) -> Moments:
        """Mean and variance of the count."""

    @abstractmethod
    def denoise(self, u: Array, natural: Natural, offset: Array) -> Thinned:
        """Posterior of the count before thinning, given the observed ``u``."""

    @abstractmethod
    def readable(self, natural: Natural) -> dict[str, Array]:
        """The natural parameters under the names users know (``mu``, ``r``, ``p``, ``phi``, ``gate``)."""
