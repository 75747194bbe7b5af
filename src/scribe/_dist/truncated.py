"""Normal distribution truncated to the positive axis, written on the inverse softplus of the variable."""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import validate_sample

from scribe._dist._kernels import as_floats, promote
from scribe._dist.special import softplus_inverse
from scribe._types import Array, FloatArray, Key

__all__ = ["SoftplusTruncatedNormal"]

_TAIL = -4.0
"""Below this many standard deviations from the truncation point the mean is far outside the support."""
_REACH = 8.5
_LEVELS_SINGLE, _LEVELS_DOUBLE = 10, 24
_NODES = 64
_NEWTON_STEPS = 3


@jax.custom_jvp
def _mills_excess(x: Array) -> Array:
    r"""Excess of the reciprocal of Mills' ratio over ``x``, for ``x >= 4``.

    Laplace's continued fraction :math:`1/R(x) - x = 1/(x + 2/(x + 3/(x + \dots)))`, to rounding error in 10 levels in
    float32 and 24 in float64. Its derivative follows from :math:`R' = xR - 1`.
    """
    tail = x
    for level in range(_LEVELS_DOUBLE if x.dtype == jnp.float64 else _LEVELS_SINGLE, 1, -1):
        tail = x + level / tail
    return 1.0 / tail


_mills_excess.defjvps(lambda t, excess, x: (excess * (x + excess) - 1.0) * t)


def _log_mills(x: Array) -> Array:
    r"""Logarithm of Mills' ratio, the upper tail of the standard normal over its density, for ``x >= 4``."""
    return -jnp.log(x + _mills_excess(x))


@jax.jit
def _log_normal_density(y: Array, beta: Array) -> Array:
    r"""Log-density of :math:`y \sim N(\beta, 1)` truncated to positive values.

    In the tail (``beta`` far below 0) the squares of the density and of its normaliser are cancelled in closed form:
    :math:`\beta y - y^2/2 - \log R(-\beta)` with Mills' ratio R.
    """
    tail = beta < _TAIL
    direct = -0.5 * (jnp.square(y - beta) + math.log(2 * math.pi)) - log_ndtr(jnp.where(tail, 0.0, beta))
    in_tail = y * (beta - 0.5 * y) - _log_mills(jnp.where(tail, -beta, -_TAIL))
    return jnp.where(tail, in_tail, direct)


@jax.jit
def _log_survival(y: Array, beta: Array) -> Array:
    """Log-probability of exceeding ``y`` under the truncated unit normal centred at ``beta``."""
    tail = beta < _TAIL
    inside = jnp.where(tail, 0.0, beta)
    direct = log_ndtr(inside - y) - log_ndtr(inside)
    depth = jnp.where(tail, -beta, -_TAIL)
    in_tail = _log_mills(depth + y) - _log_mills(depth) - y * (depth + 0.5 * y)
    return jnp.where(tail, in_tail, direct)


@jax.jit
def _quantile(log_survival: Array, beta: Array) -> Array:
    """Point exceeded with the given log-probability: the normal quantile, or Newton's method in the tail."""
    tail = beta < _TAIL
    inside = jnp.where(tail, 0.0, beta)
    direct = inside - ndtri(jnp.exp(log_survival) * ndtr(inside))
    depth = jnp.where(tail, -beta, -_TAIL)
    y = -2.0 * log_survival / (depth + jnp.sqrt(depth * depth - 2.0 * log_survival))
    for _ in range(_NEWTON_STEPS):
        y = y + (_log_survival(y, -depth) - log_survival) * jnp.exp(_log_mills(depth + y))
    return jnp.where(tail, y, direct)


@functools.cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on [0, 1] in t, for integrals over t^3: the cube absorbs a log at the origin."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    return nodes**3, 3.0 * weights * nodes**2


class SoftplusTruncatedNormal(Distribution):
    r"""Distribution of :math:`z` with :math:`\eta = \log(1+e^z)` normal and truncated to :math:`\eta > 0`.

    .. math::
        \log f(z) = \log N(\eta; \text{loc}, \text{scale}) - \log\Phi(\text{loc}/\text{scale}) + \log\sigma(z),
        \qquad z \in \mathbb{R}.

    Use it for a positive quantity whose logarithm of a ratio is roughly normal but cannot be negative, such as the log
    inverse capture efficiency, when it must be inferred on the real line. Far tails (:math:`\text{loc} \ll
    -\text{scale}`) keep their digits. ``loc`` and ``scale`` are mean and standard deviation before truncation.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    reparametrized_params: ClassVar[list[str]] = ["loc", "scale"]
    pytree_data_fields = ("loc", "scale")

    def __init__(self, loc: ArrayLike, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = as_floats(loc, scale)
        super().__init__(batch_shape=self.loc.shape, validate_args=validate_args)

    def _from_log_survival(self, log_survival: Array) -> Array:
        log_survival, loc, scale = promote(log_survival, self.loc, self.scale)
        eta = scale * _quantile(log_survival, loc / scale)
        return softplus_inverse(jnp.maximum(eta, jnp.finfo(eta.dtype).tiny))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Inverse of the survival function at a uniform draw; differentiable in both parameters."""
        shape = sample_shape + self.batch_shape
        return self._from_log_survival(-jax.random.exponential(key, shape, self.loc.dtype))

    @validate_sample
    def log_prob(self, value: ArrayLike) -> Array:
        r"""Log-density of the truncated normal at :math:`\eta(z)` plus the log-Jacobian :math:`\log\sigma(z)`."""
        z, loc, scale = promote(value, self.loc, self.scale)
        density = _log_normal_density(jax.nn.softplus(z) / scale, loc / scale)
        return density - jnp.log(scale) + jax.nn.log_sigmoid(z)

    def _moments(self) -> tuple[Array, Array]:
        """Mean and variance by 64-point Gauss-Legendre quadrature over the bulk of eta, self-normalised."""
        loc, scale = self.loc[..., None], self.scale[..., None]
        beta = loc / scale
        below, above = jnp.minimum(beta, 0.0), jnp.maximum(beta, 0.0)
        low = jnp.maximum(beta - _REACH, 0.0)
        high = jnp.where(beta > 0.0, above + _REACH, below + jnp.sqrt(below * below + _REACH**2))
        shape = (1,) * self.loc.ndim + (_NODES,)
        nodes, weights = (jnp.asarray(a, loc.dtype).reshape(shape) for a in _quadrature())
        y = low + (high - low) * nodes
        mass = weights * jnp.exp(_log_normal_density(y, jnp.broadcast_to(beta, y.shape)) + jnp.log(high - low))
        mass = mass / jnp.sum(mass, axis=-1, keepdims=True)
        z = softplus_inverse(scale * y)
        mean = jnp.sum(mass * z, axis=-1, keepdims=True)
        return mean[..., 0], jnp.sum(mass * jnp.square(z - mean), axis=-1)

    @property
    def mean(self) -> Array:
        """Mean of z by quadrature over 64 nodes."""
        return self._moments()[0]

    @property
    def variance(self) -> Array:
        """Variance of z by quadrature over 64 nodes."""
        return self._moments()[1]

    def cdf(self, value: ArrayLike) -> Array:
        r"""Distribution function :math:`1 - \Phi((\text{loc}-\eta)/\text{scale})/\Phi(\text{loc}/\text{scale})`."""
        z, loc, scale = promote(value, self.loc, self.scale)
        return -jnp.expm1(_log_survival(jax.nn.softplus(z) / scale, loc / scale))

    def icdf(self, q: ArrayLike) -> Array:
        """Quantile function."""
        return self._from_log_survival(jnp.log1p(-jnp.asarray(q)))
