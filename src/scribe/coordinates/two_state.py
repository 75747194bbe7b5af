r"""Coordinates of the two-state promoter.

With :math:`\alpha = k_{on}`, :math:`\beta = k_{off}` and :math:`\kappa = \alpha + \beta`, all sample the mean
:math:`\mu` and two of: burst size :math:`b = \mu/\alpha`, :math:`k_{off}`, switching ratio :math:`s = \beta/\alpha`,
excess Fano factor :math:`F = \sigma^2/\mu - 1 = \mu\beta/\{\alpha(\kappa+1)\}`, concentration :math:`\kappa` or
:math:`\delta = 1/(\kappa+1)`. Counts determine :math:`\mu` and :math:`F`; near the negative binomial
(:math:`\kappa \to \infty`) they say little of the third. The last two systems keep it apart from the others.

On the working scale :math:`\operatorname{logit}\delta = -\log\kappa`: mean_fano and moment_delta are one map.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from scribe._types import Array, Natural
from scribe.coordinates._base import Coordinates
from scribe.coordinates.nb import MU
from scribe.families import Param
from scribe.priors import Beta, LogNormal, Prior

__all__ = ["MEAN_FANO", "MOMENT_DELTA", "NATURAL", "RATIO"]


def _positive(name: str, prior: LogNormal) -> Param:
    return Param(name, (name,), "positive", ("gene",), prior, (prior.loc, prior.scale))


_BURST_SIZE = _positive("burst_size", LogNormal(0.0, 1.5))
_EXCESS_FANO = _positive("excess_fano", LogNormal(0.0, 1.5))
_K_OFF = _positive("k_off", LogNormal(3.0, 2.0))
_SWITCHING_RATIO = _positive("switching_ratio", LogNormal(3.0, 2.0))
_CONCENTRATION = _positive("concentration", LogNormal(3.0, 2.0))
_SAME_ON_LOGIT: Prior = Beta(0.6, 5.0)
"""Mean -3.05 and standard deviation 1.96 of the logit: that of the concentration seen from the other side.

Beta(1, 50), with -4.5 and 1.3, would all but exclude promoters that are slow (delta > 0.4 has a probability of 1e-11).
"""
_INV_CONCENTRATION = Param("inv_concentration", ("inv_concentration",), "unit", ("gene",), _SAME_ON_LOGIT, (-3.0, 2.0))


def _natural(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["mu"], "log_k_on": x["mu"] - x["burst_size"], "log_k_off": x["k_off"]}


def _natural_inverse(x: Natural) -> dict[str, Array]:
    return {"mu": x["log_mean"], "burst_size": x["log_mean"] - x["log_k_on"], "k_off": x["log_k_off"]}


def _ratio(x: Mapping[str, Array]) -> dict[str, Array]:
    log_k_on = x["mu"] - x["burst_size"]
    return {"log_mean": x["mu"], "log_k_on": log_k_on, "log_k_off": log_k_on + x["switching_ratio"]}


def _ratio_inverse(x: Natural) -> dict[str, Array]:
    return {
        "mu": x["log_mean"],
        "burst_size": x["log_mean"] - x["log_k_on"],
        "switching_ratio": x["log_k_off"] - x["log_k_on"],
    }


def _of_moments(log_mean: Array, log_fano: Array, log_concentration: Array) -> dict[str, Array]:
    r"""Map by :math:`\beta/\alpha = F(\kappa+1)/\mu` and :math:`\alpha + \beta = \kappa`."""
    log_odds_off = log_fano + jax.nn.softplus(log_concentration) - log_mean
    return {
        "log_mean": log_mean,
        "log_k_on": log_concentration - jax.nn.softplus(log_odds_off),
        "log_k_off": log_concentration - jax.nn.softplus(-log_odds_off),
    }


def _to_moments(x: Natural) -> tuple[Array, Array]:
    """Log of excess Fano factor and concentration."""
    log_concentration = jnp.logaddexp(x["log_k_on"], x["log_k_off"])
    log_ratio = x["log_k_off"] - x["log_k_on"]
    return x["log_mean"] + log_ratio - jax.nn.softplus(log_concentration), log_concentration


def _mean_fano(x: Mapping[str, Array]) -> dict[str, Array]:
    return _of_moments(x["mu"], x["excess_fano"], x["concentration"])


def _mean_fano_inverse(x: Natural) -> dict[str, Array]:
    log_fano, log_concentration = _to_moments(x)
    return {"mu": x["log_mean"], "excess_fano": log_fano, "concentration": log_concentration}


def _moment_delta(x: Mapping[str, Array]) -> dict[str, Array]:
    return _of_moments(x["mu"], x["excess_fano"], -x["inv_concentration"])


def _moment_delta_inverse(x: Natural) -> dict[str, Array]:
    log_fano, log_concentration = _to_moments(x)
    return {"mu": x["log_mean"], "excess_fano": log_fano, "inv_concentration": -log_concentration}


MOMENT_DELTA = Coordinates(
    "two_state_moment_delta",
    ("moment_delta", "delta"),
    "two_state",
    (MU, _EXCESS_FANO, _INV_CONCENTRATION),
    _moment_delta,
    _moment_delta_inverse,
)
MEAN_FANO = Coordinates(
    "two_state_mean_fano",
    ("mean_fano", "fano"),
    "two_state",
    (MU, _EXCESS_FANO, _CONCENTRATION),
    _mean_fano,
    _mean_fano_inverse,
)
NATURAL = Coordinates(
    "two_state_natural", ("natural",), "two_state", (MU, _BURST_SIZE, _K_OFF), _natural, _natural_inverse
)
RATIO = Coordinates(
    "two_state_ratio", ("ratio",), "two_state", (MU, _BURST_SIZE, _SWITCHING_RATIO), _ratio, _ratio_inverse
)
