"""Beta distribution of a probability, written on its logit."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, digamma, polygamma
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from scribe._dist._kernels import as_floats, log1pmx_of_log, promote
from scribe._dist.special import digamma_difference, stirling_error
from scribe._types import Array, Key

__all__ = ["LogitBeta", "excesses"]


def excesses(distance: Array, a: Array, b: Array) -> tuple[Array, Array]:
    r"""Relative excess of :math:`p` over :math:`a/(a+b)` and of :math:`1-p` over :math:`b/(a+b)`.

    Both are written with :math:`e^{-|d|}`, where d is the distance :math:`z - \log(a/b)`, so that neither cancels near
    the centre nor overflows in the tails.
    """
    centre, complement = a / (a + b), b / (a + b)
    above = distance >= 0.0
    magnitude = jnp.where(above, distance, -distance)
    shrink = jnp.exp(-magnitude)
    scale = jnp.where(above, complement * shrink + centre, complement + centre * shrink)
    signed = jnp.where(above, 1.0, -1.0) * -jnp.expm1(-magnitude) / scale
    return complement * signed, -centre * signed


@jax.custom_jvp
def _log_density(z: Array, a: Array, b: Array) -> Array:
    excess, shortfall = excesses(z - jnp.log(a / b), a, b)
    deviance = a * log1pmx_of_log(excess, jax.nn.log_sigmoid(z) + jnp.log1p(b / a))
    deviance = deviance + b * log1pmx_of_log(shortfall, jax.nn.log_sigmoid(-z) + jnp.log1p(a / b))
    remainder = stirling_error(a + b) - stirling_error(a) - stirling_error(b)
    return deviance + remainder + 0.5 * (jnp.log(a) - jnp.log1p(a / b) - math.log(2 * math.pi))


@_log_density.defjvp
def _log_density_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    z, a, b = primals
    slope = -a * excesses(z - jnp.log(a / b), a, b)[0] * tangents[0]
    slope = slope + (jax.nn.log_sigmoid(z) + digamma_difference(b, a)) * tangents[1]
    slope = slope + (jax.nn.log_sigmoid(-z) + digamma_difference(a, b)) * tangents[2]
    return _log_density(z, a, b), slope


def _lower_tail(z: Array, a: Array, b: Array) -> Array:
    r"""Probability below ``z``; where p is tiny (and may underflow) by :math:`\frac{f(z)}{a}\{1+\frac{a+b}{a+1}p\}`."""
    p = jax.nn.sigmoid(z)
    first_order = (a + b) / (a + 1.0) * p
    far = first_order < math.sqrt(jnp.finfo(z.dtype).eps)
    return jnp.where(far, jnp.exp(_log_density(z, a, b)) / a * (1.0 + first_order), betainc(a, b, p))


class LogitBeta(Distribution):
    r"""Distribution of :math:`z = \operatorname{logit} p` for :math:`p \sim \mathrm{Beta}(a, b)`.

    .. math::
        \log f(z) = a\log\sigma(z) + b\log\sigma(-z) - \log B(a, b), \qquad z \in \mathbb{R}.

    Also the distribution of :math:`\log\theta` for a beta-prime :math:`\theta`. Use it in place of a Beta wherever
    the probability may come close to 0 or 1: on the logit nothing rounds. The density is evaluated as
    :math:`a L(p/\bar p - 1) + b L((1-p)/(1-\bar p) - 1)` plus Stirling errors, :math:`L(x) = \log(1+x) - x`,
    :math:`\bar p = a/(a+b)`, and so keeps its digits for large concentrations too (Johnson, Kotz and Balakrishnan
    1995, chapter 25, with Loader 2000 for the evaluation). As in numpyro's Beta, :math:`a` is ``concentration1``, the
    weight of :math:`p`, and :math:`b` ``concentration0``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.real
    reparametrized_params: ClassVar[list[str]] = ["concentration1", "concentration0"]
    pytree_data_fields = ("concentration1", "concentration0")

    def __init__(
        self, concentration1: ArrayLike, concentration0: ArrayLike, *, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = as_floats(concentration1, concentration0)
        super().__init__(batch_shape=self.concentration1.shape, validate_args=validate_args)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        r"""Difference of two log-gamma draws, which is exact in both tails and differentiable in the shapes."""
        key1, key0 = jax.random.split(key)
        shape, dtype = sample_shape + self.batch_shape, self.concentration1.dtype
        first = jax.random.loggamma(key1, jnp.broadcast_to(self.concentration1, shape), dtype=dtype)
        return first - jax.random.loggamma(key0, jnp.broadcast_to(self.concentration0, shape), dtype=dtype)

    @validate_sample
    def log_prob(self, value: ArrayLike) -> Array:
        r"""Log-density :math:`a\log\sigma(z) + b\log\sigma(-z) - \log B(a, b)`."""
        return _log_density(*promote(value, self.concentration1, self.concentration0))

    @property
    def mean(self) -> Array:
        r""":math:`\psi(a) - \psi(b)`."""
        return digamma(self.concentration1) - digamma(self.concentration0)

    @property
    def variance(self) -> Array:
        r""":math:`\psi_1(a) + \psi_1(b)`."""
        return polygamma(1, self.concentration1) + polygamma(1, self.concentration0)

    def cdf(self, value: ArrayLike) -> Array:
        r"""Regularised incomplete beta function :math:`I_{\sigma(z)}(a, b)`, from the smaller of p and 1-p."""
        z, a, b = promote(value, self.concentration1, self.concentration0)
        return jnp.where(z < 0.0, _lower_tail(z, a, b), 1.0 - _lower_tail(-z, b, a))
