"""Count distributions and the modifiers that compose them."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scribe.families._base import Family, Modifier, Moments, Param, Thinned
from scribe.families._peaks import Highest, Part, highest_peak, most_probable
from scribe.families.beta_mixed import OVERDISPERSION, BetaMixed, beta_mixed, deeper
from scribe.families.capture import WithCapture, with_capture
from scribe.families.nb import NegativeBinomial
from scribe.families.poisson import Poisson
from scribe.families.two_state import TwoState
from scribe.families.zero_inflated import GATE, ZeroInflated, zero_inflated

nb = NegativeBinomial()
poisson = Poisson()
two_state = TwoState()

ALL: dict[str, Family] = {"nb": nb, "poisson": poisson, "two_state": two_state}
"""Every base family by name."""

MODIFIERS: dict[str, Callable[..., Family]] = {
    "with_capture": with_capture,
    "beta_mixed": beta_mixed,
    "zero_inflated": zero_inflated,
}
"""Every modifier by name."""

PARAMS: tuple[Param, ...] = (GATE, OVERDISPERSION)
"""Every parameter that a modifier may add."""


def from_layers(layers: Iterable[str], settings: Mapping[str, Mapping[str, Any]] | None = None) -> Family:
    """Compose a family from the names of its base and modifiers, innermost first; ``settings`` as `Family.settings`."""
    base, *modifiers = layers
    given = {} if settings is None else settings
    return functools.reduce(lambda family, name: MODIFIERS[name](family, **given.get(name, {})), modifiers, ALL[base])


__all__ = [
    "ALL",
    "GATE",
    "MODIFIERS",
    "PARAMS",
    "BetaMixed",
    "Family",
    "Highest",
    "Modifier",
    "Moments",
    "NegativeBinomial",
    "Param",
    "Part",
    "Poisson",
    "Thinned",
    "TwoState",
    "WithCapture",
    "ZeroInflated",
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
