"""Coordinate systems of every base family; the first of a family is its default."""

from scribe.coordinates._base import Coordinates
from scribe.coordinates.nb import CANONICAL, MEAN_DISP, MEAN_ODDS, MEAN_PROB
from scribe.coordinates.poisson import MEAN
from scribe.coordinates.two_state import MEAN_FANO, MOMENT_DELTA, NATURAL, RATIO

ALL: tuple[Coordinates, ...] = (
    *(CANONICAL, MEAN_PROB, MEAN_ODDS, MEAN_DISP),
    MEAN,
    *(MOMENT_DELTA, MEAN_FANO, NATURAL, RATIO),
)
"""Every coordinate system."""


def of_family(family: str) -> list[Coordinates]:
    """Coordinate systems of a base family, its default first."""
    return [coordinates for coordinates in ALL if coordinates.family == family]


def find(name: str | None, *, family: str) -> Coordinates:
    """Return the coordinates of ``family`` called ``name`` (or an alias); None gives the default of the family."""
    mine = of_family(family)
    if name is None:
        return mine[0]
    for coordinates in mine:
        if name == coordinates.name or name in coordinates.aliases:
            return coordinates
    allowed = ", ".join(f"{c.name!r}" + "".join(f" (alias {a!r})" for a in c.aliases) for c in mine)
    msg = f"parameterization={name!r} is not defined for the {family!r} family. Choose one of: {allowed}."
    raise ValueError(msg)


__all__ = ["ALL", "Coordinates", "find", "of_family"]
