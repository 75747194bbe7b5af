"""What is pushed through a link, with its moments: a normal, and the kernel density of draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._dist.links import Link
from scribe._types import Array, Key

__all__ = ["PushedKernels", "PushedNormal", "kernel_density"]

_GRID = np.linspace(-8.0, 8.0, 101)
_SHARES = np.exp(-0.5 * _GRID**2) / np.sum(np.exp(-0.5 * _GRID**2))
"""Trapezoidal rule for the standard normal: it converges faster than any power for smooth functions."""


class PushedNormal(dist.TransformedDistribution):
    r"""Distribution of :math:`h(z)` with :math:`z \sim N(\text{loc}, \text{scale})` and a link :math:`h`.

    Logit-normal for the sigmoid. Density and draws are those of numpyro's transformed distribution; mean and variance,
    :math:`\int h(z)\,N(z)\,dz` and :math:`\int \{h(z) - \text{mean}\}^2 N(z)\,dz`, are taken by the trapezoidal rule.
    """

    def __init__(self, loc: Array, scale: Array, link: Link) -> None:
        dist.TransformedDistribution.__init__(self, dist.Normal(loc, scale), link.transform)

    def _values(self) -> tuple[Array, Array]:
        nodes, weights = (jnp.asarray(x, self.base_dist.loc.dtype) for x in (_GRID, _SHARES))
        values = self.transforms[0](self.base_dist.loc[..., None] + self.base_dist.scale[..., None] * nodes)
        return values, weights

    @property
    def mean(self) -> Array:
        """Mean."""
        values, weights = self._values()
        return jnp.sum(values * weights, axis=-1)

    @property
    def variance(self) -> Array:
        """Variance."""
        values, weights = self._values()
        return jnp.sum(jnp.square(values - self.mean[..., None]) * weights, axis=-1)


_MOST = 512
"""Most kernels per element: more draws than that are thinned."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


class _Kernels(dist.MixtureSameFamily):
    """Normal kernels of equal weight. A draw is of one kernel; numpyro's own would draw from all and keep one."""

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, ``sample_shape`` followed by the shape of the elements."""
        kernels, shape = self.component_distribution, (*sample_shape, *self.batch_shape)
        which, noise = jax.random.split(key)
        index = jax.random.randint(which, (*shape, 1), 0, self.mixture_size)
        lead = (None,) * len(sample_shape)
        loc, scale = (jnp.take_along_axis(x[lead], index, axis=-1)[..., 0] for x in (kernels.loc, kernels.scale))
        return loc + scale * jax.random.normal(noise, shape, loc.dtype)


def kernel_density(draws: Array) -> dist.MixtureSameFamily:
    r"""Gaussian kernel density of every element of (..., draws), with the mean and variance of the draws.

    The bandwidth is Silverman's, :math:`h = 0.9\,\min(s, \mathrm{IQR}/1.34)\,n^{-1/5}`. The draws are moved towards
    their mean by :math:`\sqrt{1 - h^2/s^2}`, without which the kernels would add :math:`h^2` to the variance (West
    1993, doi:10.1111/j.2517-6161.1993.tb01911.x).
    """
    thin = draws[..., :: -(-draws.shape[-1] // _MOST)]
    n = thin.shape[-1]
    mean, sd = jnp.mean(thin, axis=-1, keepdims=True), jnp.std(thin, axis=-1, keepdims=True)
    low, high = jnp.quantile(thin, jnp.asarray([0.25, 0.75], thin.dtype), axis=-1)
    width = 0.9 * jnp.minimum(sd[..., 0], (high - low) / 1.34) * n**-0.2
    # draws that are all equal make a narrow peak
    width = jnp.maximum(width, 1e-6 * (1.0 + jnp.abs(mean[..., 0])))[..., None]
    shrink = jnp.sqrt(jnp.maximum(1.0 - jnp.square(width / jnp.maximum(sd, width)), 0.0))
    centres = mean + shrink * (thin - mean)
    equal = dist.Categorical(logits=jnp.zeros_like(thin))
    return _Kernels(equal, dist.Normal(centres, jnp.broadcast_to(width, thin.shape)))


class PushedKernels(dist.TransformedDistribution):
    """What `kernel_density` gave, pushed through a link; moments are summed over the kernels."""

    def __init__(self, density: dist.MixtureSameFamily, link: Link) -> None:
        dist.TransformedDistribution.__init__(self, density, link.transform)

    def _expectation(self, power: int, about: Array) -> Array:
        """Mean of a power of the distance to ``about``, by quadrature in every kernel."""
        kernels = self.base_dist.component_distribution
        total = jnp.zeros_like(about)
        for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
            values = self.transforms[0](kernels.loc + node.astype(kernels.loc.dtype) * kernels.scale)
            total += weight.astype(about.dtype) * jnp.mean((values - about[..., None]) ** power, axis=-1)
        return total

    @property
    def mean(self) -> Array:
        """Mean."""
        return self._expectation(1, jnp.zeros(self.batch_shape, self.base_dist.component_distribution.loc.dtype))

    @property
    def variance(self) -> Array:
        """Variance."""
        return self._expectation(2, self.mean)
