"""Priors of model parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from scribe.priors._base import LATENT_SUFFIX, Base, CellContext, Draw, Latent, Law, Prior, latent_name
from scribe.priors.capture import CaptureAnchor, organism
from scribe.priors.dirichlet import Dirichlet
from scribe.priors.simple import Beta, BetaPrime, LogNormal, TransformedNormal

ALL: dict[str, Callable[..., Prior]] = {
    "lognormal": LogNormal,
    "beta": Beta,
    "betaprime": BetaPrime,
    "normal": TransformedNormal,
    "capture_anchor": CaptureAnchor,
    "dirichlet": Dirichlet,
}
"""Every prior by the type name under which a specification stores it."""


def from_json(record: Mapping[str, Any]) -> Prior:
    """Rebuild a prior from what its ``to_json`` gave."""
    return ALL[record["type"]](*record["args"])


__all__ = [
    "ALL",
    "LATENT_SUFFIX",
    "Base",
    "Beta",
    "BetaPrime",
    "CaptureAnchor",
    "CellContext",
    "Dirichlet",
    "Draw",
    "Latent",
    "Law",
    "LogNormal",
    "Prior",
    "TransformedNormal",
    "from_json",
    "latent_name",
    "organism",
]
