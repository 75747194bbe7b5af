"""Sampled parameters: those that belong to no family, and what any of them is in a model."""

from __future__ import annotations

from dataclasses import dataclass

from scribe._dist.links import LINKS, Link
from scribe.families import Param, Population
from scribe.priors import Beta, BetaPrime, Dirichlet, LogNormal, Prior, TransformedNormal

__all__ = ["CAPTURE_SITES", "MIXING", "SCALING", "Site"]

_FLAT_ODDS = BetaPrime(1.0, 1.0)

CAPTURE_SITES: dict[str, Param] = {
    param.name: param
    for param in (
        Param("p_capture", ("capture_prob", "capture_probability"), "unit", ("cell",), Beta(1.0, 1.0), (0.0, 1.0)),
        Param("phi_capture", ("capture_odds", "capture_odds_ratio"), "positive", ("cell",), _FLAT_ODDS, (0.0, 1.0)),
        # sampled with an anchor alone, which replaces this prior
        Param("eta_capture", ("capture_efficiency", "eta"), "positive", ("cell",), LogNormal(0.0, 1.0), (0.0, 1.0)),
    )
}
"""The forms in which a cell's capture probability may be sampled."""

MIXING = Param("mixing_weights", ("mixing",), "simplex", ("component",), Dirichlet(1.0), (0.0, 1.0))
"""Weights of the components of a mixture."""

SCALING = Param(
    "mu_eta",
    ("capture_scaling",),
    "real",
    (),
    TransformedNormal(12.0, 1.0, "identity"),
    (12.0, 1.0),
    populations=(("dataset", Population((12.0, 1.0), (-2.0, 0.5))),),
)
"""Log of the total mRNA of a cell where an anchor of capture leaves it to the data."""


@dataclass(frozen=True)
class Site:
    """A sampled parameter with its prior and the axes it runs over."""

    param: Param
    prior: Prior
    axes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.param.name

    @property
    def link(self) -> Link:
        """Link between the real line and the parameter."""
        return LINKS[self.prior.link]
