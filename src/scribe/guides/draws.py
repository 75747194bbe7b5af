"""Draws that stand for a posterior: what a sampler leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.pushed import kernel_density
from scribe._types import Array, Key
from scribe.guides._base import Approximation, Latents

__all__ = ["DRAWS", "Draws"]

DRAWS = "_draws"
"""Suffix of the array of a latent."""


@dataclass(frozen=True)
class Draws(Approximation):
    """The draws themselves, (..., draws) of every latent, chain after chain. There is nothing to train.

    Parameters
    ----------
    n_chains
        Number of chains, of equal length.
    """

    n_chains: int = 1
    name: ClassVar[str] = "draws"

    def centre(self, params: Mapping[str, Array], *, latents: Latents) -> dict[str, Array]:
        """The medians."""
        return {name.removesuffix(DRAWS): jnp.median(value, axis=-1) for name, value in params.items()}

    def marginal(self, latent: str, params: Mapping[str, Array], *, latents: Latents) -> dist.Distribution:
        """Kernel densities."""
        return kernel_density(params[latent + DRAWS])

    def draw(self, key: Key, params: Mapping[str, Array], *, latents: Latents, n_draws: int) -> dict[str, Array]:
        """Some of the draws; see `draw_part`."""
        return self.draw_part(
            key, params, latents=latents, n_draws=n_draws, first=jnp.asarray(0), of=jnp.asarray(n_draws)
        )

    def draw_part(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, n_draws: int, first: Array, of: Array
    ) -> dict[str, Array]:
        """Draws at equal distances from a random start, none twice; all in turn where more are asked for than exist."""
        total = jnp.asarray(self.n_draws(params), jnp.uint32)
        shift = jax.random.randint(key, (), 0, self.n_draws(params)).astype(jnp.uint32)
        number, n = first.astype(jnp.uint32) + jnp.arange(n_draws, dtype=jnp.uint32), of.astype(jnp.uint32)
        # floor((number total + shift) / n) without forming the product of two large numbers
        spaced = number * (total // n) + (number * (total % n) + shift) // n
        chosen = jnp.where(n > total, (number + shift) % total, spaced)
        return {name.removesuffix(DRAWS): jnp.moveaxis(value[..., chosen], -1, 0) for name, value in params.items()}

    def n_draws(self, params: Mapping[str, Any]) -> int:
        """Draws of all chains."""
        return int(next(iter(params.values())).shape[-1])
