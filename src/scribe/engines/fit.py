"""The records that engines return."""

from __future__ import annotations

from dataclasses import dataclass

from scribe._types import AnyArray, FloatArray, Params
from scribe.engines.convergence import Verdict
from scribe.engines.mixing import Mixing
from scribe.guides import Draws

__all__ = ["Fit", "Sampled"]


@dataclass(frozen=True)
class Fit:
    """What an engine that optimises returns.

    ``params`` are the trainable arrays of the guide with one row per cell, ``losses`` the negative ELBO of every step
    in nats (NaN where a step was skipped), ``verdict`` how it ended, ``restart_losses`` with which loss every
    run ended, where there were several.
    """

    params: Params
    losses: FloatArray
    verdict: Verdict
    seed: int
    restart_losses: FloatArray | None = None


@dataclass(frozen=True)
class Sampled:
    """What an engine that samples returns.

    ``params`` are the draws, as ``draws`` holds them; ``statistics`` are what the sampler says of every draw, (chains,
    draws) each; ``verdict`` tells how well the chains mixed.
    """

    draws: Draws
    params: dict[str, AnyArray]
    statistics: dict[str, AnyArray]
    verdict: Mixing
    seed: int
