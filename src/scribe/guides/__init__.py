"""Variational families."""

from collections.abc import Mapping
from typing import Any

from scribe.guides._base import Guide
from scribe.guides.mean_field import LOC, MeanField

ALL: dict[str, type[Guide]] = {"mean_field": MeanField}
"""Every guide by the name users pass as ``guide``."""


def from_json(record: Mapping[str, Any]) -> Guide:
    """Rebuild a guide from what its ``to_json`` gave."""
    return ALL[record["type"]](**record["settings"])


__all__ = ["ALL", "LOC", "Guide", "MeanField", "from_json"]
