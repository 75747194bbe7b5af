"""Keywords as users pass them: older names, defaults, and those that have no effect."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from scribe._model.checks import refuse_unknown
from scribe._model.options import FitOptions, given_among, options_table

__all__ = ["complete", "properly_named", "refuse_idle"]


def refuse_idle(options: Mapping[str, Any], *groups: str) -> None:
    """Raise at keywords of some groups, or of all, that lack the one without which they have no effect.

    ``options`` are complete, or all of one kind; of what these lack nothing is asked.
    """
    table = options_table()
    for name in given_among(options, [name for name in table if name in options]):
        needed = table[name].needs
        if needed is None or (groups and table[name].group not in groups):
            continue
        keyword = needed.partition("=")[0]
        if keyword in options and options[keyword] == table[keyword].default:
            msg = f"{name}={options[name]!r} has no effect without {needed}: pass that as well, or leave it out."
            raise ValueError(msg)


def complete(given: Mapping[str, Any], *, kind: type = FitOptions, verb: str = "fit") -> dict[str, Any]:
    """Fill in defaults; for the rest see `properly_named`."""
    defaults = {name: option.default for name, option in options_table(kind).items()}
    return defaults | properly_named(given, kind=kind, verb=verb)


def properly_named(given: Mapping[str, Any], *, kind: type = FitOptions, verb: str = "fit") -> dict[str, Any]:
    """Resolve older names, write values as defaults are written, and refuse unknown keywords.

    Raises
    ------
    TypeError
        For an unknown keyword, naming the one that may have been meant.
    ValueError
        If a keyword is given under two names.
    """
    table, types = options_table(kind), typing.get_type_hints(kind)
    aliases = {option.alias: name for name, option in table.items() if option.alias}
    refuse_unknown(verb, given, [*table, *aliases])
    values: dict[str, Any] = {}
    for name, value in given.items():
        target = aliases.get(name, name)
        if target in values:
            msg = f"{target!r} was given twice, also as {table[target].alias!r}: keep one."
            raise ValueError(msg)
        values[target] = _plain(value, typing.get_args(types[target]) or (types[target],))
    return values


def _plain(value: Any, types: tuple[Any, ...]) -> Any:
    """A value of one of some types as defaults are written.

    Lists and arrays become tuples, one name alone in them that name, and whole numbers integers.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and int in types:
        return int(float(value)) if float(value).is_integer() else value
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable) or _SEQUENCES.isdisjoint(map(_kind, types)):
        return value
    parts = tuple(part.item() if isinstance(part, np.generic) else part for part in value)
    return parts[0] if len(parts) == 1 and str in types else parts


_SEQUENCES = {Sequence, tuple, list}


def _kind(hint: Any) -> Any:
    """What a type is one of, without that of its parts."""
    return typing.get_origin(hint) or hint
