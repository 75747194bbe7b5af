"""Priors that an earlier fit leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpyro.distributions as dist

from scribe._types import AnyArray, Array
from scribe.priors._base import Context, Draw, Latent, Prior, latent_name

__all__ = ["Informed"]


@dataclass(frozen=True)
class Informed(Prior):
    r"""Independent normals on the real line, with the moments that an earlier fit gave the parameter, or these alone.

    The moments are data of the fit (`Context.known`), so that models which differ in them share compiled code.

    Parameters
    ----------
    base
        The prior in whose place this one is. Its link and its axes stay, and the scale that it fixes as an anchor.
    frozen
        Whether the parameter stays at the mean instead, with nothing to infer. Its draws then are those of the earlier
        fit, as independent normals.
    """

    kind = "informed"
    base: Prior
    frozen: bool = False

    @property
    def link(self) -> str:
        """That of the prior that was there."""
        return self.base.link

    @property
    def adds(self) -> tuple[str, ...]:
        """Those of the prior that was there."""
        return self.base.adds

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw) -> Array:
        """One latent, which is the parameter."""
        latent = Latent(latent_name(name), axes, self.frozen)

        def normal(context: Context) -> dist.Distribution:
            return dist.Normal(*context.known[latent.name])

        return draw(latent, normal)

    def start(self, name: str, axes: tuple[str, ...], value: AnyArray | Array) -> dict[str, Any]:
        """The value itself; nothing of a frozen parameter."""
        return {} if self.frozen else {latent_name(name): value}
