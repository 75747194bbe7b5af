r"""Capture anchored to the total mRNA of a cell.

A cell with :math:`M_c` molecules of which :math:`L_c` are observed has :math:`\nu_c = L_c/M_c = e^{-\eta_c}`. Knowing
the organism's total mRNA :math:`M_0` up to a factor :math:`e^{\sigma_M}` between cells makes capture, and with it the
absolute scale of expression, identified:
:math:`\eta_c \sim N^+(\log M_0 - \log L_c, \sigma_M)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.truncated import SoftplusTruncatedNormal
from scribe.priors._base import Base, Context

__all__ = ["ORGANISMS", "CaptureAnchor", "organism"]

_SIGMA = 0.3

ORGANISMS: dict[str, float] = {"human": 200_000.0, "mouse": 200_000.0, "yeast": 60_000.0, "ecoli": 3_000.0}
"""Total mRNA molecules of a typical cell."""

_ALIASES = {
    "homo_sapiens": "human",
    "mus_musculus": "mouse",
    "saccharomyces_cerevisiae": "yeast",
    "e_coli": "ecoli",
    "escherichia_coli": "ecoli",
}


@dataclass(frozen=True)
class CaptureAnchor(Base):
    r"""Prior of :math:`\eta_c = -\log\nu_c`, centred per cell at :math:`\log M_0 - \log L_c` and truncated at 0."""

    log_m0: float
    sigma: float
    kind = "capture_anchor"
    link = "softplus"

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            msg = (
                f"The capture prior needs (log_M0, sigma_M) with sigma_M > 0, got ({self.log_m0!r}, {self.sigma!r}); "
                'for example priors={"capture_efficiency": (math.log(200_000), 0.3)}.'
            )
            raise ValueError(msg)
        if not 0 < self.log_m0 < math.log(1e9):
            msg = (
                f"log_M0 is the natural logarithm of the total mRNA per cell, between 0 and {math.log(1e9):.1f}; "
                f"got {self.log_m0!r}. Did you mean math.log({self.log_m0!r}) = "
                f"{math.log(self.log_m0) if self.log_m0 > 0 else float('nan'):.2f}?"
            )
            raise ValueError(msg)

    def distribution(self, context: Context) -> dist.Distribution:
        """Truncated normal per cell, on the softplus scale, about the total mRNA of the anchor or one being learned."""
        log_m0 = self.log_m0 if context.log_m0 is None else context.log_m0
        return SoftplusTruncatedNormal(log_m0 - jnp.log(jnp.maximum(context.totals, 1.0)), self.sigma)


def organism(name: str) -> CaptureAnchor:
    """Capture anchor of an organism by its common or Latin name."""
    key = name.strip().lower().replace(" ", "_").replace(".", "")
    key = _ALIASES.get(key, key)
    if key not in ORGANISMS:
        allowed = ", ".join(repr(n) for n in (*ORGANISMS, *_ALIASES))
        msg = (
            f"No total mRNA is known for organism {name!r}. Known: {allowed}. For others give it yourself: "
            'priors={"capture_efficiency": (log_M0, sigma_M)}.'
        )
        raise ValueError(msg)
    return CaptureAnchor(math.log(ORGANISMS[key]), _SIGMA)
