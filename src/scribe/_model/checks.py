"""Checks of what users set, with errors that say what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any

from scribe._model.synonyms import SYNONYMS

__all__ = ["known_settings", "nearest", "refuse_unknown", "require_known", "require_whole"]


def nearest(name: str, allowed: list[str]) -> str:
    """`` Did you mean 'x'?`` for what others call by this name, or else the name closest in spelling; or nothing."""
    known = [keyword for keyword in SYNONYMS.get(name.lower(), ()) if keyword in allowed]
    match = known or difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""


def refuse_unknown(verb: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise at the first keyword that is not known, naming what it may be called here."""
    names = list(known)
    for name in given:
        if name not in names:
            hint = nearest(name, names) or f" It takes: {', '.join(sorted(names))}."
            msg = f"{verb}(): unknown keyword {name!r}.{hint}"
            raise TypeError(msg)


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
