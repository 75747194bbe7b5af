"""A guide made of parts, each for the latents it is made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._rng import Numbers
from scribe._types import AnyArray, Array, Key, Params
from scribe.guides._base import Guide, GuideFunction, Ids, Latents
from scribe.guides.mean_field import MeanField

__all__ = ["Composed", "whole"]


@dataclass(frozen=True)
class Composed(Guide):
    """Independent guides: every latent belongs to the first part that is made for it.

    Parameters
    ----------
    parts
        The guides. What none before it takes goes to the last one.
    """

    name: ClassVar[str] = "composed"

    parts: tuple[Guide, ...]

    def _split(self, latents: Latents) -> list[tuple[Guide, Latents]]:
        """Every part with its latents, without the parts that have none."""
        rest, split = latents, []
        for part in self.parts:
            mine = part.select(rest)
            rest = tuple(latent for latent in rest if latent not in mine)
            split.append((part, mine))
        if rest:
            names = ", ".join(latent.name for latent in rest)
            msg = f"No part of the guide is made for {names}: add scribe.guides.MeanField() as the last part."
            raise ValueError(msg)
        return [(part, mine) for part, mine in split if mine]

    def select(self, latents: Latents) -> Latents:
        """All."""
        return latents

    def init(
        self, latents: Latents, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray
    ) -> Params:
        """Arrays of all parts."""
        params: Params = {}
        for part, mine in self._split(latents):
            params |= part.init(mine, start, lengths=lengths, totals=totals)
        return params

    def build(self, latents: Latents) -> GuideFunction:
        """One part after the other."""
        functions = [part.build(mine) for part, mine in self._split(latents)]

        def guide(data: CountData) -> None:
            for function in functions:
                function(data)

        return guide

    def finalise(self, params: Mapping[str, Array], *, latents: Latents, counts: Counts) -> Params:
        """What every part adds."""
        final = dict(params)
        for part, mine in self._split(latents):
            final |= part.finalise(params, latents=mine, counts=counts)
        return final

    def centre(self, params: Mapping[str, Array], *, latents: Latents) -> dict[str, Array]:
        """Those of the parts."""
        centres = [part.centre(params, latents=mine) for part, mine in self._split(latents)]
        return {name: value for centre in centres for name, value in centre.items()}

    def marginal(self, latent: str, params: Mapping[str, Array], *, latents: Latents) -> dist.Normal | None:
        """That of the part the latent belongs to."""
        part, mine = next((p, m) for p, m in self._split(latents) if latent in {one.name for one in m})
        return part.marginal(latent, params, latents=mine)

    def draw(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, numbers: Numbers, ids: Ids
    ) -> dict[str, Array]:
        """Draws of the parts, independent as their latents are others."""
        draws: dict[str, Array] = {}
        for part, mine in self._split(latents):
            draws |= part.draw(key, params, latents=mine, numbers=numbers, ids=ids)
        return draws

    @property
    def by_total(self) -> bool:
        """Whether it is so in one of the parts."""
        return any(part.by_total for part in self.parts)


def whole(guide: Guide) -> Guide:
    """The guide itself where it takes all latents, else with a mean-field guide for the rest."""
    return guide if isinstance(guide, (MeanField, Composed)) else Composed((guide, MeanField()))
