"""Guides whose latents fall into independent blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._rng import Numbers
from scribe._types import AnyArray, Array, Key, Params
from scribe.guides._base import Guide, GuideFunction, Ids, Latents, param
from scribe.guides._block import Block
from scribe.guides._noise import normals
from scribe.guides._pathwise import standard_normals

__all__ = ["Blocks"]


class Blocks(Guide):
    """A guide whose latents fall into independent blocks. Cells belong to other guides."""

    by_total = False

    @abstractmethod
    def blocks(self, latents: Latents) -> tuple[Block, ...]:
        """The blocks that the latents form."""

    def select(self, latents: Latents) -> Latents:
        """Those of its blocks."""
        mine = {latent for block in self.blocks(latents) for latent in block.order}
        return tuple(latent for latent in latents if latent in mine)

    def init(
        self, latents: Latents, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray
    ) -> Params:
        """Arrays of all blocks."""
        params: Params = {}
        for block in self.blocks(latents):
            params |= block.init(start, lengths=lengths, totals=totals)
        return params

    def build(self, latents: Latents) -> GuideFunction:
        """Latents that are given their values, and the density of each block as a factor."""
        blocks = self.blocks(latents)

        def guide(data: CountData) -> None:
            for block in blocks:
                params = {name: param(name) for name in block.trained}
                noise = standard_normals(numpyro.prng_key(), block.noise(params), jnp.zeros(()).dtype)
                values, log_density = block.push(params, noise)
                for name, value in values.items():
                    numpyro.sample(name, dist.Delta(value))
                numpyro.factor(f"{block.label}_density", log_density)

        return guide

    def finalise(self, params: Mapping[str, Array], *, latents: Latents, counts: Counts) -> Params:
        """What the cores add."""
        final = dict(params)
        for block in self.blocks(latents):
            final |= block.finalise(params)
        return final

    def centre(self, params: Mapping[str, Array], *, latents: Latents) -> dict[str, Array]:
        """Where the noise is zero."""
        centres: dict[str, Array] = {}
        for block in self.blocks(latents):
            noise = [jnp.zeros(shape, jnp.zeros(()).dtype) for shape in block.noise(params)]
            centres |= block.push(params, noise)[0]
        return centres

    def marginal(self, latent: str, params: Mapping[str, Array], *, latents: Latents) -> dist.Normal | None:
        """In closed form where the core is normal."""
        block = next(b for b in self.blocks(latents) if latent in {one.name for one in b.order})
        return block.marginal(latent, params)

    def draw(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, numbers: Numbers, ids: Ids
    ) -> dict[str, Array]:
        """Draws of every block."""
        draws: dict[str, Array] = {}
        for block in self.blocks(latents):
            noise = normals(key, numbers, block.counters(params, ids), jnp.zeros(()).dtype)
            draws |= jax.vmap(lambda one, block=block: block.push(params, one)[0])(noise)
        return draws
