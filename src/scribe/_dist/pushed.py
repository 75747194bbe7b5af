"""A normal pushed through a link, with its moments."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._dist.links import Link
from scribe._types import Array, FloatArray

__all__ = ["PushedNormal"]

_NODES = 101
_WIDTH = 8.0
"""Standard deviations to either side that moments are summed over."""


def _rule() -> tuple[FloatArray, FloatArray]:
    """Trapezoidal rule for the standard normal: it converges faster than any power for smooth functions."""
    nodes = np.linspace(-_WIDTH, _WIDTH, _NODES)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


class PushedNormal(dist.TransformedDistribution):
    r"""Distribution of :math:`h(z)` with :math:`z \sim N(\text{loc}, \text{scale})` and a link :math:`h`.

    Logit-normal for the sigmoid. Density and draws are those of numpyro's transformed distribution; mean and variance,
    :math:`\int h(z)\,N(z)\,dz` and :math:`\int \{h(z) - \text{mean}\}^2 N(z)\,dz`, are taken by the trapezoidal rule.
    """

    def __init__(self, loc: Array, scale: Array, link: Link) -> None:
        dist.TransformedDistribution.__init__(self, dist.Normal(loc, scale), link.transform)

    def _values(self) -> tuple[Array, Array]:
        nodes, weights = (jnp.asarray(x, self.base_dist.loc.dtype) for x in _rule())
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
