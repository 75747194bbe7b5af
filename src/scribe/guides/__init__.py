"""Variational families."""

from collections.abc import Mapping
from typing import Any

from scribe.guides._base import LOC, Guide
from scribe.guides.compose import Composed, whole
from scribe.guides.joint import Joint
from scribe.guides.low_rank import LowRank
from scribe.guides.mean_field import MeanField

ALL: dict[str, type[Guide]] = {guide.name: guide for guide in (MeanField, LowRank, Joint, Composed)}
"""Every guide by the name that users pass as ``guide`` and that files hold."""


def from_json(record: Mapping[str, Any]) -> Guide:
    """Rebuild a guide from what its ``to_json`` gave."""
    return ALL[record["type"]](**{name: _value(value) for name, value in record["settings"].items()})


def _value(plain: Any) -> Any:
    if isinstance(plain, Mapping):
        return from_json(plain)
    return tuple(map(_value, plain)) if isinstance(plain, list) else plain


__all__ = ["ALL", "LOC", "Composed", "Guide", "Joint", "LowRank", "MeanField", "from_json", "whole"]
