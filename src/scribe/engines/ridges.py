"""Directions in which many arrays move together, and the likelihood hardly changes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._device import on_device
from scribe._types import AnyArray, Array, Params

__all__ = ["Preconditioner", "along", "precondition", "ridges_of"]

_LARGEST_VARIANCE = 10.0
"""Where the log-density is flat at the start, the prior still holds, which is hardly ever wider."""

_LEAST_CURVATURE = 1e-4
"""Of a shared ridge, in units of the width of its latents: more than a hundred widths are not believed."""


def along(ridges: Mapping[str, Array], vector: Mapping[str, Array]) -> Array:
    """Inner product, (ridges,), of a vector with every ridge; ridges, (..., ridges), by the arrays that they move."""
    products = [vector[name].ravel() @ ridge.reshape(-1, ridge.shape[-1]) for name, ridge in ridges.items()]
    return sum(products, jnp.zeros(products[0].shape if products else (0,), jnp.zeros(()).dtype))


def ridges_of(ridges: Mapping[str, AnyArray], points: Params) -> Params:
    """Directions in which latents move together, (..., ridges), for all latents."""
    n_ridges = max((ridge.shape[-1] for ridge in ridges.values()), default=1)
    none = np.zeros(n_ridges)
    shapes = {name: (*x.shape[1:], n_ridges) for name, x in points.items()}
    every = {name: np.broadcast_to(ridges.get(name, none), shape) for name, shape in shapes.items()}
    return {name: on_device(x) for name, x in every.items()}


class Preconditioner(NamedTuple):
    """Linear map to the latents from the space that is sampled, where the posterior is about as wide in all directions.

    ``scale`` is the width of every latent. ``directions``, (..., ridges) and orthonormal in units of the scale, are
    those in which many latents move together, and ``stretch`` how many widths further the posterior extends there.
    """

    scale: Params
    directions: Params
    stretch: Array

    def latents(self, sampled: Params) -> Params:
        """Latents at a point."""
        return {name: self.scale[name] * x for name, x in self._stretched(sampled, self.stretch).items()}

    def sampled(self, latents: Params) -> Params:
        """Point with the given latents."""
        unit = {name: x / self.scale[name] for name, x in latents.items()}
        return self._stretched(unit, -self.stretch / (1.0 + self.stretch))

    def _stretched(self, point: Params, stretch: Array) -> Params:
        length = stretch * along(self.directions, point)
        return {name: x + self.directions[name] @ length for name, x in point.items()}


def precondition(
    points: Params, gradients: Params, ridges: Params, curvature: Callable[[Params], Params]
) -> Preconditioner:
    r"""Preconditioner from points near the posterior, gradients there, and the product of the Hessian with a vector.

    The scales are those of Seyboldt, Carlson and Carpenter (2026, doi:10.48550/arXiv.2603.18845), variances
    :math:`\sqrt{\operatorname{var}(z) / \operatorname{var}(\nabla U)}` over points, which read the curvature around the
    start: half of the work of the warm-up was to find them. Along the shared ridges the posterior is wider than those
    say, by what their own curvature tells; no diagonal mass matrix can learn that, and the odds that all genes share
    would mix slowest of all.
    """
    ratio = {name: jnp.sqrt(jnp.var(x, axis=0) / jnp.var(gradients[name], axis=0)) for name, x in points.items()}
    scale = {name: jnp.sqrt(jnp.minimum(x, _LARGEST_VARIANCE)) for name, x in ratio.items()}
    per_ridge = functools.partial(jax.vmap, in_axes=-1, out_axes=-1)
    units = {name: ridge / scale[name][..., None] for name, ridge in ridges.items()}
    size, vectors = jnp.linalg.eigh(per_ridge(functools.partial(along, units))(units))
    positive = size > 1e-6 * jnp.max(size)
    normal = vectors * jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, size, 1.0)), 0.0)[None]
    basis = {name: ridge @ normal for name, ridge in units.items()}

    def curved(direction: Params) -> Array:
        slopes = curvature({name: scale[name] * x for name, x in direction.items()})
        return along(basis, {name: scale[name] * x for name, x in slopes.items()})

    value, turn = jnp.linalg.eigh(per_ridge(curved)(basis))
    width = jnp.where(value > 0.0, jax.lax.rsqrt(jnp.clip(value, _LEAST_CURVATURE, 1.0)), 1.0)
    return Preconditioner(scale, {name: x @ turn for name, x in basis.items()}, width - 1.0)
