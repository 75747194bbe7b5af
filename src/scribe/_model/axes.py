"""The axes of a model beside genes and cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scribe._counts.levels import take_level
from scribe._types import Array

__all__ = ["LEVELS_AND_GENES", "LEVEL_AXES", "Levels", "at_levels"]

LEVEL_AXES = ("component", "dataset")
"""Axes of a model beside genes and cells, in the order in which arrays have them."""

LEVELS_AND_GENES = (*LEVEL_AXES, "gene")
"""Axes of the natural parameters of a model with levels."""


@dataclass(frozen=True)
class Levels:
    """The levels of an axis, and the parameters that have a value of their own at each of them.

    ``factors`` are what levels are combinations of, as donor and condition: pairs of a name and the label of every
    level.
    """

    labels: tuple[str, ...]
    params: tuple[str, ...]
    factors: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        if (len(self.labels) < 2 and self.params) or len(set(self.labels)) < len(self.labels):
            msg = f"An axis needs two different levels or more, got {list(self.labels)}."
            raise ValueError(msg)


def at_levels(natural: Mapping[str, Array], chosen: Iterable[tuple[str, int]]) -> dict[str, Array]:
    """Natural parameters at chosen levels, pairs of an axis and a number; the axes stay, with a length of 1."""
    out = dict(natural)
    for axis, number in chosen:
        out = take_level(out, LEVEL_AXES.index(axis), number)
    return out
