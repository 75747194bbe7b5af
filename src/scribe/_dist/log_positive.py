"""Logarithms of gamma and half-Cauchy variables."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from numpyro.distributions import constraints

from scribe._dist._kernels import as_floats, promote
from scribe._types import Array, Key

__all__ = ["LogGamma", "LogHalfCauchy"]


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


class LogHalfCauchy(dist.Distribution):
    r"""Distribution of :math:`z = \log x` with x half-Cauchy: the hyperbolic secant, symmetric about log scale.

    .. math:: \log P(z) = -\log\pi - \log\cosh(z - \log\text{scale})

    The scale is the median of x.
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.real

    def __init__(self, scale: ArrayLike = 1.0) -> None:
        (self.scale,) = as_floats(scale)
        super().__init__(self.scale.shape)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        r"""Draws :math:`\log\lvert N_1\rvert - \log\lvert N_2\rvert`, which is exact in both tails."""
        normals = jax.random.normal(key, (2, *sample_shape, *self.batch_shape), self.scale.dtype)
        size = jnp.log(jnp.maximum(jnp.abs(normals), jnp.finfo(normals.dtype).tiny))
        return jnp.broadcast_to(jnp.log(self.scale), size.shape[1:]) + size[0] - size[1]

    def log_prob(self, value: Array) -> Array:
        """Log-density."""
        z, scale = promote(value, self.scale)
        distance = jnp.abs(z - jnp.log(scale))
        return math.log(2 / math.pi) - distance - jnp.log1p(jnp.exp(-2.0 * distance))
