"""Variational families."""

from collections.abc import Mapping
from typing import Any

from scribe.guides._base import Approximation, Guide
from scribe.guides.draws import Draws
from scribe.guides.mean_field import LOC, MeanField

ALL: dict[str, type[Guide]] = {"mean_field": MeanField}
"""Every guide by the name users pass as ``guide``."""


_STORED: dict[str, type[Approximation]] = {**ALL, "draws": Draws}
"""What a fit may leave behind: a guide, or draws."""


def from_json(record: Mapping[str, Any]) -> Approximation:
    """Rebuild a guide, or draws, from what its ``to_json`` gave."""
    return _STORED[record["type"]](**record["settings"])


__all__ = ["ALL", "LOC", "Approximation", "Draws", "Guide", "MeanField", "from_json"]
