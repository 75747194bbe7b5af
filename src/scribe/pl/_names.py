"""Names of genes beside their points: short ones, where there is room."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from scribe.pl._signature import Axes

__all__ = ["INK", "Name", "Names", "short_name", "short_names", "write_names"]

INK = "#222222"
"""Colour of names."""

_ID = r"ENS[A-Z]*[GT]\d{6,}(?:\.\d+)?"
_BESIDE_ID = re.compile(rf"(.+?)[\s_\-|:.]+\(?{_ID}\)?|{_ID}[\s_\-|:]+(.+)")
"""A symbol with an Ensembl identifier after it or before it, as what makes names unique."""
_VERSION = re.compile(r"(ENS[A-Z]*[GT]\d{6,})\.\d+")

_PLACES = (("left", 4, 2), ("right", -4, 2), ("center", 0, 4), ("center", 0, -10), ("left", 4, -8), ("right", -4, -8))
"""How a name is aligned and how many points it is moved: to either side, above and below, and beneath the sides."""

_APART = 5.0
"""Points between names in a line."""

_TRIED = 6
"""So many names are tried for every one that may be written."""


class Name(NamedTuple):
    """A name, the point it belongs to, and whether it rather stands to the right of it."""

    text: str
    x: float
    y: float
    right: bool


class Names(NamedTuple):
    """Names of a panel, the most important first, and how many to write at most."""

    of: Sequence[Name]
    most: int


def short_name(name: str) -> str:
    """A gene's name without an Ensembl identifier beside its symbol, or without the version of an identifier."""
    both = _BESIDE_ID.fullmatch(name)
    symbol = (both[1] or both[2]) if both else name
    return _VERSION.sub(r"\1", symbol)


def short_names(names: Iterable[str]) -> list[str]:
    """Short names of several genes; those that would be alike stay as they are."""
    every = list(names)
    alike = Counter(map(short_name, dict.fromkeys(every)))
    return [name if alike[short_name(name)] > 1 else short_name(name) for name in every]


def write_names(ax: Axes, names: Names) -> None:
    """Write names beside their points, each where it covers neither another one nor any other text, or not at all.

    The figure must have its final layout.
    """
    every = names.of[: _TRIED * names.most]
    legend = ax.get_legend()
    taken = [text.get_window_extent() for text in ax.texts if text.get_text()]
    taken += [] if legend is None else [legend.get_window_extent()]
    n_written = 0
    for (_, x, y, right), text in zip(every, short_names(name.text for name in every), strict=True):
        if n_written == names.most:
            return
        made = ax.annotate(text, (x, y), (0, 0), textcoords="offset points", fontsize="x-small", color=INK)
        made.set_in_layout(False)
        box = _room(ax, made, taken, _PLACES if right else (_PLACES[1], _PLACES[0], *_PLACES[2:]))
        if box is None:
            made.remove()
        else:
            taken.append(box)
            n_written += 1


def _room(ax: Axes, made: Any, taken: Sequence[Any], places: Iterable[tuple[str, int, int]]) -> Any | None:
    """Move a name to the first place at which it covers nothing and stays in the panel, and return its box."""
    panel = ax.get_window_extent()
    for align, dx, dy in places:
        made.set(ha=align, position=(dx, dy))
        box = made.get_window_extent()
        inside = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
        around = box.padded(_APART * ax.figure.dpi / 72, 0.0)
        if inside and not any(around.overlaps(other) for other in taken):
            return box
    return None
