"""Distribution on the real line of a parameter whose logarithm is normal, whatever its link."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from scribe._dist._kernels import as_floats, promote
from scribe._dist.links import Link
from scribe._types import Array, Key

__all__ = ["WorkingNormal"]


class WorkingNormal(dist.Distribution):
    r"""Distribution of z where the working scale :math:`w(z)` of a link, such as the logarithm, is normal.

    .. math:: \log P(z) = \log N(w(z); \text{loc}, \text{scale}) + \log w'(z)
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: ArrayLike, scale: ArrayLike, link: Link) -> None:
        self.loc, self.scale = as_floats(loc, scale)
        self.link = link
        super().__init__(self.loc.shape)

    def expand(self, batch_shape: tuple[int, ...]) -> WorkingNormal:
        """Broadcast the parameters."""
        loc, scale = (jnp.broadcast_to(value, batch_shape) for value in (self.loc, self.scale))
        return WorkingNormal(loc, scale, self.link)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws."""
        normal = jax.random.normal(key, (*sample_shape, *self.batch_shape), self.loc.dtype)
        loc, scale = (jnp.broadcast_to(value, normal.shape) for value in (self.loc, self.scale))
        return self.link.from_working(loc + scale * normal)

    def log_prob(self, value: Array) -> Array:
        """Log-density."""
        z, loc, scale = promote(value, self.loc, self.scale)
        working, slope = jax.jvp(self.link.working, (z,), (jnp.ones_like(z),))
        density: Array = dist.Normal(loc, scale).log_prob(working) + jnp.log(slope)
        return density
