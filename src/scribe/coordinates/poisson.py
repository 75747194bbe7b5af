"""Coordinates of the Poisson: its mean."""

from __future__ import annotations

from collections.abc import Mapping

from scribe._types import Array, Natural
from scribe.coordinates._base import Coordinates
from scribe.coordinates.nb import MU

__all__ = ["MEAN"]


def _mean(x: Mapping[str, Array]) -> dict[str, Array]:
    return {"log_mean": x["mu"]}


def _mean_inverse(x: Natural) -> dict[str, Array]:
    return {"mu": x["log_mean"]}


MEAN = Coordinates("mean", (), "poisson", (MU,), _mean, _mean_inverse)
