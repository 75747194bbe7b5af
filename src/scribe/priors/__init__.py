"""Priors of model parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from scribe.priors._base import LATENT_SUFFIX, Base, Context, Draw, Effects, Latent, Prior, PriorFunction, latent_name
from scribe.priors._scatter import Scatter
from scribe.priors.anchor import MeanAnchor
from scribe.priors.capture import CaptureAnchor, organism
from scribe.priors.crossed import Crossed, Effect
from scribe.priors.dirichlet import Dirichlet
from scribe.priors.gaussian import Fixed, Gaussian
from scribe.priors.hierarchy import Hierarchical, over
from scribe.priors.horseshoe import Horseshoe
from scribe.priors.informed import Informed
from scribe.priors.neg import NormalExponentialGamma
from scribe.priors.simple import Beta, BetaPrime, LogNormal, TransformedNormal

ALL: dict[str, Callable[..., Prior]] = {
    prior.kind: prior
    for prior in (
        LogNormal,
        Beta,
        BetaPrime,
        TransformedNormal,
        CaptureAnchor,
        Dirichlet,
        MeanAnchor,
        Hierarchical,
        Informed,
    )
}
"""Every prior by the type name under which a specification stores it."""

SCATTERS: dict[str, Callable[..., Scatter]] = {
    deviation.kind: deviation for deviation in (Gaussian, Horseshoe, NormalExponentialGamma, Fixed)
}
"""Every deviation by the name under which users ask for a hierarchy."""

_SUMS: dict[str, Callable[..., Any]] = {"crossed": lambda *parts: Crossed(parts), "effect": Effect}
"""What a specification stores of factors."""


def from_json(record: Mapping[str, Any]) -> Any:
    """Rebuild a prior, or a deviation, from what its ``to_json`` gave."""
    args = [from_json(arg) if isinstance(arg, Mapping) else arg for arg in record["args"]]
    return {**ALL, **SCATTERS, **_SUMS}[record["type"]](*args)


__all__ = [
    "ALL",
    "LATENT_SUFFIX",
    "SCATTERS",
    "Base",
    "Beta",
    "BetaPrime",
    "CaptureAnchor",
    "Context",
    "Crossed",
    "Dirichlet",
    "Draw",
    "Effect",
    "Effects",
    "Fixed",
    "Gaussian",
    "Hierarchical",
    "Horseshoe",
    "Informed",
    "Latent",
    "LogNormal",
    "MeanAnchor",
    "NormalExponentialGamma",
    "Prior",
    "PriorFunction",
    "Scatter",
    "TransformedNormal",
    "from_json",
    "latent_name",
    "organism",
    "over",
]
