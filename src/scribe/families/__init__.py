"""Count distributions and the modifiers that compose them."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from scribe.families._base import Family, Modifier, MoleculePosterior, Moments, Param, Population
from scribe.families._peaks import Highest, Part, highest_peak, most_probable
from scribe.families.beta_mixed import BetaMixed, beta_mixed, deeper
from scribe.families.capture import WithCapture, with_capture
from scribe.families.nb import NegativeBinomial
from scribe.families.poisson import Poisson
from scribe.families.two_state import TwoState
from scribe.families.zero_inflated import ZeroInflated, zero_inflated

nb = NegativeBinomial()
poisson = Poisson()
two_state = TwoState()

ALL: dict[str, Family] = {"nb": nb, "poisson": poisson, "two_state": two_state}
"""Every base family by name."""

MODIFIERS: dict[str, type[Modifier]] = {one.kind: one for one in (WithCapture, BetaMixed, ZeroInflated)}
"""Every modifier by name."""


def from_layers(layers: Iterable[str], settings: Mapping[str, Mapping[str, Any]] | None = None) -> Family:
    """Compose a family from the names of its base and modifiers, innermost first; ``settings`` as `Family.settings`."""
    base, *modifiers = layers
    given = {} if settings is None else settings
    return functools.reduce(lambda family, name: MODIFIERS[name](family, **given.get(name, {})), modifiers, ALL[base])


def added_params() -> tuple[Param, ...]:
    """Every parameter that a modifier adds."""
    return tuple(param for one in MODIFIERS.values() for param in (*one.adds, *one.shifts))


__all__ = [
    "ALL",
    "MODIFIERS",
    "BetaMixed",
    "Family",
    "Highest",
    "Modifier",
    "MoleculePosterior",
    "Moments",
    "NegativeBinomial",
    "Param",
    "Part",
    "Poisson",
    "Population",
    "TwoState",
    "WithCapture",
    "ZeroInflated",
    "added_params",
    "beta_mixed",
    "deeper",
    "from_layers",
    "highest_peak",
    "most_probable",
    "nb",
    "poisson",
    "two_state",
    "with_capture",
    "zero_inflated",
]
