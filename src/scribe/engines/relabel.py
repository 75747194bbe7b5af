r"""Components under one numbering: what a sampler leaves open, as a mixture is the same whatever the numbers are.

Every draw is renumbered so as to be nearest to the mean of all draws, which in turn is that of the renumbered draws,
until nothing changes (Stephens 2000, doi:10.1111/1467-9868.00265, for a quadratic loss). The first mean is a draw of
the first chain, whose numbering is therefore the one that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from scribe._counts.data import Known
from scribe._counts.design import Design
from scribe._model.sites import MIXING
from scribe._model.spec import ModelSpec
from scribe._types import AnyArray, Array, FloatArray, IntArray
from scribe.priors import Dirichlet

__all__ = ["exchangeable", "numbering", "relabel"]

_MOST_ROUNDS = 20


def exchangeable(spec: ModelSpec, design: Design) -> bool:
    """Whether renumbering the components changes nothing: no labels, no earlier fit and no weight tells them apart."""
    named = design.logits is not None or any("component" in known.axes for known in design.known.values())
    if "component" not in spec.levels or named:
        return False
    prior = spec.priors[MIXING.name]
    return isinstance(prior, Dirichlet) and np.ptp(prior.concentration) == 0


def relabel(
    spec: ModelSpec, draws: Mapping[str, AnyArray], known: Mapping[str, Known]
) -> tuple[dict[str, AnyArray], int]:
    """Draws of all latents, (chains, draws, ...), under one numbering of the components, and how many had another.

    ``known`` are the moments of frozen latents.
    """
    order = numbering(_features(spec, draws, known))
    moved = np.any(order != np.arange(order.shape[-1]), axis=-1)
    out = dict(draws)
    if moved.any():
        for latent in spec.latents:
            if "component" in latent.axes:
                position = 2 + latent.axes.index("component")
                shape = [n if axis in (0, 1, position) else 1 for axis, n in enumerate(draws[latent.name].shape)]
                out[latent.name] = np.take_along_axis(draws[latent.name], order.reshape(shape), axis=position)
    return out, int(moved.sum())


def _features(spec: ModelSpec, draws: Mapping[str, AnyArray], known: Mapping[str, Known]) -> FloatArray:
    """Everything that tells components apart, on the real line: (chains, draws, components, features)."""
    own = [site for site in spec.sites if "component" in site.axes]

    def one(latents: Mapping[str, Array]) -> Array:
        values = spec.values(latents, known)
        parts = [jnp.moveaxis(values[site.name], site.axes.index("component"), 0) for site in own]
        return jnp.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)

    dtype, run = jnp.zeros(()).dtype, jax.jit(jax.vmap(one))
    n_chains = next(iter(draws.values())).shape[0]
    chains = [run({name: jnp.asarray(x[chain], dtype) for name, x in draws.items()}) for chain in range(n_chains)]
    return np.stack([np.asarray(chain) for chain in chains])


def numbering(features: FloatArray) -> IntArray:
    """Which component comes first, second, ... in every draw, (chains, draws, components)."""
    n_chains, n_draws, n_components, n_features = features.shape
    flat = features.reshape(-1, n_components, n_features)
    order = np.tile(np.arange(n_components), (len(flat), 1))
    mean, spread = features[0, -1], np.var(features[0], axis=0).mean(axis=0)
    for _ in range(_MOST_ROUNDS):
        weight = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
        # squared distances, less what is the same for every assignment
        cost = np.square(mean) @ weight - 2.0 * flat @ (mean * weight).T
        before, order = order, np.stack([linear_sum_assignment(one.T)[1] for one in cost])
        sorted_ = np.take_along_axis(flat, order[:, :, None], axis=1)
        mean = sorted_.mean(axis=0)
        spread = np.square(sorted_ - mean).mean(axis=(0, 1))
        if np.array_equal(order, before):
            break
    return order.reshape(n_chains, n_draws, n_components)
