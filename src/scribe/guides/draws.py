"""Draws that stand for a posterior: what a sampler leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._dist.pushed import kernel_density
from scribe._rng import Numbers
from scribe._types import Array, Key
from scribe.guides._base import Approximation, Ids, Latents

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

    def stored(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """All draws in the order in which they were made, chain after chain."""
        return {name.removesuffix(DRAWS): jnp.moveaxis(value, -1, 0) for name, value in params.items()}

    def draw(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, numbers: Numbers, ids: Ids
    ) -> dict[str, Array]:
        """Draws in an order of which every start is spread over the chains, none twice before all have had a turn.

        The order goes on by the golden section of all draws, from a random one: what is left between any number of
        those given out are gaps of three lengths at most, of similar size (the three-gap theorem). Neighbours in a
        chain, which depend on each other, come far apart.
        """
        total = self.n_draws(params)
        order = jnp.asarray(np.arange(total) * _golden(total) % total)
        start = jax.random.randint(key, (), 0, total, order.dtype)
        chosen = (order[(numbers % total).astype(order.dtype)] + start) % total
        return {name: value[chosen] for name, value in self.stored(params).items()}

    def n_draws(self, params: Mapping[str, Any]) -> int:
        """Draws of all chains."""
        return int(next(iter(params.values())).shape[-1])


def _golden(total: int) -> int:
    """Whole number nearest to the golden section of a total that has no divisor in common with it."""
    section = round(total * (math.sqrt(5) - 1) / 2)
    near = (section + sign * distance for distance in range(total + 1) for sign in (1, -1))
    return next(step for step in near if math.gcd(step, total) == 1)
