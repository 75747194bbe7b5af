r"""Cells that are of two components at once: doublets, or wells that hold two types.

With a share s of its molecules from component a and the rest from b, a cell expresses every gene as much as
:math:`s\mu_a + (1-s)\mu_b`; of the other natural parameters it has the means with the same shares. For negative
binomials with shared odds that is exact: the sum of two has the sum of their sizes.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.parameters import Parameters
from scribe._types import Array, FloatArray

__all__ = ["shares_of", "with_pairs"]

_SHARES = (0.25, 0.5, 0.75)
"""Shares of the first component of a pair."""


def shares_of(n_components: int) -> FloatArray:
    """Shares of every component in the components themselves, then in all pairs, (components and pairs, components)."""
    single = np.eye(n_components)
    pairs = itertools.combinations(range(n_components), 2)
    mixed = [share * single[a] + (1 - share) * single[b] for a, b in pairs for share in _SHARES]
    return np.stack([*single, *mixed])


def with_pairs(parameters: Parameters, shares: FloatArray, *, rate: float) -> Parameters:
    """Parameters of a mixture with the rows of ``shares`` as components, all pairs together of the weight ``rate``.

    A pair of components is met in proportion to the weights of both.
    """
    weights = parameters.log_weights
    if weights is None or rate == 0.0:
        return parameters
    n = weights.shape[1]
    share = jnp.asarray(shares[n:], weights.dtype)
    both = jnp.where(share > 0.0, 1.0, 0.0).astype(weights.dtype)
    of_pairs = jax.nn.log_softmax(weights @ both.T, axis=1) + np.log(rate)
    natural = {name: _paired(name, value, share) for name, value in parameters.natural.items()}
    every = jnp.concatenate([weights + np.log1p(-rate), of_pairs], axis=1)
    return parameters._replace(natural=natural, log_weights=every)


def _paired(name: str, value: Array, share: Array) -> Array:
    """A natural parameter (components, datasets, genes) of the components and of the pairs."""
    if value.ndim < 3 or value.shape[0] == 1:
        return value
    # the mean of expression, not of its logarithm
    scale = jnp.exp(value) if name == "log_mean" else value
    mixed = jnp.tensordot(share, scale, axes=1)
    return jnp.concatenate([value, jnp.log(mixed) if name == "log_mean" else mixed])
