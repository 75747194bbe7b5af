"""Variational families."""

from collections.abc import Mapping
from typing import Any

from scribe._nn import MLP
from scribe.guides._base import LOC, LOG_SCALE, Approximation, Guide, Ids, Role, roles
from scribe.guides.amortised import Amortised
from scribe.guides.choose import choose, given
from scribe.guides.compose import Composed, whole
from scribe.guides.draws import Draws
from scribe.guides.flow import Flow
from scribe.guides.joint import Joint
from scribe.guides.low_rank import LowRank
from scribe.guides.mean_field import MeanField

ALL: dict[str, type[Guide]] = {guide.name: guide for guide in (MeanField, LowRank, Flow, Joint, Amortised, Composed)}
"""Every guide by the name that files hold."""


_STORED: dict[str, type[Approximation]] = {**ALL, "draws": Draws}
"""What a fit may leave behind: a guide, or draws."""


def from_json(record: Mapping[str, Any]) -> Approximation:
    """Rebuild a guide, or draws, from what its ``to_json`` gave."""
    return _value(record)


def _value(plain: Any) -> Any:
    if isinstance(plain, Mapping):
        made = {**_STORED, MLP.name: MLP}[plain["type"]]
        return made(**{name: _value(value) for name, value in plain["settings"].items()})
    return tuple(map(_value, plain)) if isinstance(plain, list) else plain


__all__ = [
    "ALL",
    "LOC",
    "LOG_SCALE",
    "MLP",
    "Amortised",
    "Approximation",
    "Composed",
    "Draws",
    "Flow",
    "Guide",
    "Ids",
    "Joint",
    "LowRank",
    "MeanField",
    "Role",
    "choose",
    "from_json",
    "given",
    "roles",
    "whole",
]
