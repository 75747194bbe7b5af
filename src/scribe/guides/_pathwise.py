"""A normal whose density is differentiated along its draws only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
import numpyro.distributions as dist

from scribe._types import Array, Key

__all__ = ["PathwiseNormal", "standard_normals", "to_normals"]

_LANES = 64


def standard_normals(key: Key, shapes: Sequence[tuple[int, ...]], dtype: np.dtype) -> list[Array]:
    """One array of standard normals per shape, drawn together: the generator is most of what there is to compile.

    A whole number of lanes is drawn, which compiles to twice faster code. They are those of `jax.random.normal`.
    """
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    n_drawn = -(-int(ends[-1]) // _LANES) * _LANES
    lowest = np.nextafter(dtype.type(-1), dtype.type(0))
    flat = to_normals(jax.random.uniform(key, (2, n_drawn // 2), dtype, lowest, 1.0)).ravel()
    return [flat[end - math.prod(shape) : end].reshape(shape) for end, shape in zip(ends, shapes, strict=True)]


def to_normals(uniforms: Array) -> Array:
    """Turn numbers that are uniform between -1 and 1 to standard normals, in a loop over the first axis.

    Without a loop XLA repeats the inverse error function in every operation that reads them, dozens of times in a step.
    """
    root = uniforms.dtype.type(math.sqrt(2))
    normals: Array = jax.lax.map(lambda part: root * jax.lax.erf_inv(part), uniforms)
    return normals


class PathwiseNormal(dist.Normal):
    r"""Normal for guides, drawn from given noise, with the "sticking the landing" gradient.

    The gradient of :math:`\log p(u, z_\lambda) - \log q_\lambda(z_\lambda)` has a part that comes from the subscript of
    :math:`q` alone; it is zero on average and left out here. What remains vanishes where the guide equals the
    posterior, so that noise fades as the fit converges instead of staying at the level of the number of parameters
    (Roeder, Wu and Duvenaud 2017, doi:10.48550/arXiv.1703.09194).
    """

    def __init__(self, loc: Array, scale: Array, noise: Array) -> None:
        super().__init__(loc, scale)
        self.noise = noise

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Turn the noise into a draw; the key played its part when the noise was drawn."""
        if sample_shape:
            msg = f"The noise of one draw is at hand, not of {sample_shape}."
            raise ValueError(msg)
        return self.loc + self.scale * self.noise

    def log_prob(self, value: Array) -> Array:
        """Log-density at ``value``, with ``loc`` and ``scale`` held constant in the gradient."""
        fixed = dist.Normal(jax.lax.stop_gradient(self.loc), jax.lax.stop_gradient(self.scale))
        return fixed.log_prob(value)
