"""The logarithm of a gamma variable."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from scribe._dist._kernels import as_floats, promote
from scribe._types import Array, Key

__all__ = ["LogGamma"]


class LogGamma(dist.Distribution):
    r"""Distribution of :math:`z = \log g` with :math:`g \sim \mathrm{Gamma}(a, \text{rate})`, a the concentration.

    .. math:: \log P(z) = a(z + \log\text{rate}) - \text{rate}\,e^z - \log\Gamma(a)

    Drawn on the log scale, so that small shapes do not underflow.
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.real

    def __init__(self, concentration: ArrayLike, rate: ArrayLike = 1.0) -> None:
        self.concentration, self.rate = as_floats(concentration, rate)
        super().__init__(self.concentration.shape)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws."""
        shape = (*sample_shape, *self.batch_shape)
        return jax.random.loggamma(key, self.concentration, shape) - jnp.broadcast_to(jnp.log(self.rate), shape)

    def log_prob(self, value: Array) -> Array:
        """Log-density."""
        z, a, rate = promote(value, self.concentration, self.rate)
        return a * (z + jnp.log(rate)) - rate * jnp.exp(z) - gammaln(a)
