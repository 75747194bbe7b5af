r"""Coordinates of the negative binomial.

With :math:`P(u) \propto (1-p)^r p^u`, mean :math:`\mu = rp/(1-p)` and odds :math:`\phi = (1-p)/p = r/\mu`, any two of
:math:`\mu, r, p|\phi` determine the distribution. The first three coordinate systems share :math:`p` (or
:math:`\phi`) among all genes, hence one ratio of variance to mean, :math:`1 + 1/\phi`, for the transcriptome; the last
gives every gene its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scribe._types import Array, Natural
from scribe.coordinates._base import Coordinates
from scribe.families import Param, Population
from scribe.priors import Beta, BetaPrime, LogNormal

__all__ = ["CANONICAL", "MEAN_DISP", "MEAN_ODDS", "MEAN_PROB", "MU"]

# expression spans five orders of magnitude, hence the wide log-normals on mu and r
_WIDE = LogNormal(0.0, 3.0)
# levels scatter about a location that has the prior of a model without them
_OF_LEVELS = tuple((axis, Population((0.0, 3.0), (-2.0, 0.5))) for axis in ("component", "dataset"))
_EVEN = tuple((axis, Population((0.0, 1.0), (0.0, 0.5))) for axis in ("gene", "dataset"))
_EXPRESSION: dict[str, Any] = {"role": "expression", "populations": _OF_LEVELS}
_PROBABILITY: dict[str, Any] = {"role": "probability", "populations": _EVEN}

MU = Param("mu", ("expression", "mean_expression"), "positive", ("gene",), _WIDE, (0.0, 3.0), **_EXPRESSION)
_R = Param("r", ("dispersion",), "positive", ("gene",), _WIDE, (0.0, 3.0), **_EXPRESSION)
_P = Param("p", ("prob", "probability"), "unit", (), Beta(1.0, 1.0), (0.0, 1.0), **_PROBABILITY)
_PHI = Param("phi", ("odds", "odds_ratio"), "positive", (), BetaPrime(1.0, 1.0), (0.0, 1.0), **_PROBABILITY)


def _canonical(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["r"] + x["p"], "log_odds": -x["p"]}


def _canonical_inverse(x: Natural) -> dict[str, Array]:
    return {"p": -x["log_odds"], "r": x["log_mean"] + x["log_odds"]}


def _mean_prob(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["mu"], "log_odds": -x["p"]}


def _mean_prob_inverse(x: Natural) -> dict[str, Array]:
    return {"p": -x["log_odds"], "mu": x["log_mean"]}


def _mean_odds(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["mu"], "log_odds": x["phi"]}


def _mean_odds_inverse(x: Natural) -> dict[str, Array]:
    return {"phi": x["log_odds"], "mu": x["log_mean"]}


def _mean_disp(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["mu"], "log_odds": x["r"] - x["mu"]}


def _mean_disp_inverse(x: Natural) -> dict[str, Array]:
    return {"mu": x["log_mean"], "r": x["log_mean"] + x["log_odds"]}


CANONICAL = Coordinates("canonical", ("standard",), "nb", (_P, _R), _canonical, _canonical_inverse)
MEAN_PROB = Coordinates("mean_prob", ("linked",), "nb", (_P, MU), _mean_prob, _mean_prob_inverse)
MEAN_ODDS = Coordinates(
    "mean_odds", ("odds_ratio",), "nb", (_PHI, MU), _mean_odds, _mean_odds_inverse, capture="phi_capture"
)
MEAN_DISP = Coordinates("mean_disp", (), "nb", (MU, _R), _mean_disp, _mean_disp_inverse)
