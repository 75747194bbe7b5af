"""The record that every engine returns."""

from __future__ import annotations

from dataclasses import dataclass

from scribe._types import FloatArray, Params
from scribe.engines.convergence import Verdict

__all__ = ["Fit"]


@dataclass(frozen=True)
class Fit:
    """What an engine returns.

    ``params`` are the trainable arrays of the guide with one row per cell, ``losses`` the negative ELBO of every step
    in nats (NaN where a step was skipped), ``verdict`` how it ended.
    """

    params: Params
    losses: FloatArray
    verdict: Verdict
    seed: int
