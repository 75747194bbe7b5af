"""Priors of one element each, written on the real line."""

from __future__ import annotations

from dataclasses import dataclass

import numpyro.distributions as dist

from scribe._dist.links import LINKS
from scribe._dist.logit_beta import LogitBeta
from scribe.priors._base import Base, Context

__all__ = ["Beta", "BetaPrime", "LogNormal", "TransformedNormal"]


def _check_scale(name: str, scale: float) -> None:
    if not scale > 0:
        msg = f"{name} needs a scale above 0, got {scale!r}."
        raise ValueError(msg)


def _check_shapes(name: str, a: float, b: float) -> None:
    if not (a > 0 and b > 0):
        msg = f"{name} needs two shapes above 0, got ({a!r}, {b!r})."
        raise ValueError(msg)


@dataclass(frozen=True)
class LogNormal(Base):
    r""":math:`\log\theta \sim N(\text{loc}, \text{scale})` for a positive parameter."""

    loc: float
    scale: float
    kind = "lognormal"
    link = "exp"

    def __post_init__(self) -> None:
        _check_scale("LogNormal(loc, scale)", self.scale)

    def distribution(self, context: Context) -> dist.Distribution:
        """Normal on the log scale."""
        return dist.Normal(self.loc, self.scale)


@dataclass(frozen=True)
class Beta(Base):
    r""":math:`\theta \sim \mathrm{Beta}(a, b)` for a probability."""

    a: float
    b: float
    kind = "beta"
    link = "sigmoid"

    def __post_init__(self) -> None:
        _check_shapes("Beta(a, b)", self.a, self.b)

    def distribution(self, context: Context) -> dist.Distribution:
        """Beta on the logit scale."""
        return LogitBeta(self.a, self.b)


@dataclass(frozen=True)
class BetaPrime(Base):
    r"""Odds :math:`\theta = (1-q)/q` of a probability :math:`q \sim \mathrm{Beta}(a, b)`.

    The density is :math:`\theta^{b-1}(1+\theta)^{-(a+b)}/B(a,b)`, so that ``phi`` under BetaPrime(a, b) and ``p`` under
    Beta(a, b) are the same prior.
    """

    a: float
    b: float
    kind = "betaprime"
    link = "exp"

    def __post_init__(self) -> None:
        _check_shapes("BetaPrime(a, b)", self.a, self.b)

    def distribution(self, context: Context) -> dist.Distribution:
        """Beta prime on the log scale."""
        return LogitBeta(self.b, self.a)


@dataclass(frozen=True)
class TransformedNormal(Base):
    """A normal variable pushed through a link: softplus or exp for positive parameters, sigmoid for probabilities."""

    kind = "normal"
    loc: float
    scale: float
    transform: str

    def __post_init__(self) -> None:
        _check_scale("Normal(loc, scale)", self.scale)
        if self.transform not in LINKS:
            msg = f"TransformedNormal has transform={self.transform!r}; choose one of: {', '.join(map(repr, LINKS))}."
            raise ValueError(msg)

    @property
    def link(self) -> str:
        """The transform."""
        return self.transform

    def distribution(self, context: Context) -> dist.Distribution:
        """The normal."""
        return dist.Normal(self.loc, self.scale)
