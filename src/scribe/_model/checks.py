"""Checks of what users set, with errors that say what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

from scribe._model.names import nearest

__all__ = ["known_settings", "require_known", "require_whole"]


def require_known(what: str, value: object, allowed: Iterable[str]) -> None:
    """Raise where a value is none of the names allowed."""
    names = list(allowed)
    if value not in names:
        msg = f"Unknown {what} {value!r}.{nearest(str(value), names)} Choose one of: {', '.join(map(repr, names))}."
        raise ValueError(msg)


def require_whole(name: str, value: object, least: int) -> None:
    """Raise where a value is not a whole number of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        msg = f"{name} must be a whole number of at least {least}, got {value!r}."
        raise ValueError(msg)


def known_settings(option: str, given: object, kind: type, *, expected: str) -> Mapping[str, Any]:
    """The dictionary that an option was given, of settings of a dataclass."""
    if not isinstance(given, Mapping):
        msg = f"{option} is {expected}, got {given!r}."
        raise TypeError(msg)
    allowed = [field.name for field in fields(kind)]
    unknown = [name for name in given if name not in allowed]
    if unknown:
        msg = f"Unknown {option} keys {unknown}. Allowed: {', '.join(map(repr, allowed))}."
        raise ValueError(msg)
    return given
