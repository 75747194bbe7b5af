"""Labels of groups of cells: users write them as text, numbers or truth values, here they are text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["apart", "as_labels", "joined", "label_of"]


def label_of(value: object) -> str:
    """Text of one label; a whole number is written alike whatever its type: 1, 1.0 and those of NumPy."""
    if isinstance(value, Real) and not isinstance(value, Integral) and float(value).is_integer():
        return f"{float(value):.0f}"
    return str(value)


def as_labels(given: Any) -> list[str]:
    """Texts of one label or several, each once."""
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return list(dict.fromkeys(map(label_of, given if several else [given])))


def joined(factors: Mapping[str, Sequence[str]], separator: str = " | ") -> tuple[str, ...]:
    """Labels of combinations of the levels of several factors, given one after the other; no two are alike."""
    return tuple(apart([separator.join(of) for of in zip(*factors.values(), strict=True)]))


def apart(names: Sequence[str]) -> list[str]:
    """The names, from the second of those that are alike on with a number: ``a``, ``a (2)``."""
    taken: dict[str, None] = {}
    for name in names:
        number, one = 1, name
        while one in taken:
            number += 1
            one = f"{name} ({number})"
        taken[one] = None
    return list(taken)
