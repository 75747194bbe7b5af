"""Kernel densities of draws, on the real line and pushed through a link."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._dist.links import Link
from scribe._types import Array

__all__ = ["PushedKernels", "kernel_density"]

_MOST = 512
"""Most kernels per element: more draws than that are thinned."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)


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
    return dist.MixtureSameFamily(equal, dist.Normal(centres, jnp.broadcast_to(width, thin.shape)))


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
