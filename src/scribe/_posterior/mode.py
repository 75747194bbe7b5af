"""The most probable counts before capture, whatever the component and the gate they are of."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.parameters import Parameters
from scribe._model.likelihood import Likelihood
from scribe._posterior.simulate import elements, in_pieces
from scribe._types import Array, FloatArray, Natural
from scribe.families import Family, Highest, Part, highest_peak, most_probable

__all__ = ["most_probable_counts"]


_AT_ONCE = 4096
"""Elements that are searched together."""


def most_probable_counts(family: Family, u: Array, parameters: Parameters) -> FloatArray:
    r"""Argmax over m of :math:`\sum_k \gamma_{ck}\, p(m \mid u_{cg}, k)`, (cells, genes).

    Where the peaks of all parts that matter are the same count there is nothing to search, which is nearly everywhere.
    """
    mode, low, high = map(np.array, _highest(family, u, parameters))
    cell, gene = np.nonzero(low < high)
    if not cell.size:
        return mode
    of = [elements(family, one, n_genes=u.shape[1]) for one in _by_component(parameters)]
    log_weights = np.asarray(_log_weights(parameters))[..., 0]
    search = functools.partial(_search, family)
    # all that are searched at once wait for the longest
    order = np.argsort((high - low)[cell, gene])
    for some in np.array_split(order, -(-order.size // _AT_ONCE)):
        c, g = cell[some], gene[some]
        given = [at(c, g) for at in of]
        arrays = ([natural for natural, _ in given], given[0][1], list(log_weights[:, c]), np.asarray(u)[c, g])
        mode[c, g] = in_pieces(search, arrays)
    return mode


@functools.partial(jax.jit, static_argnums=0)
def _highest(family: Family, u: Array, parameters: Parameters) -> Highest:
    naturals, offsets = zip(*(Likelihood(family).elementwise(one) for one in _by_component(parameters)), strict=True)
    parts = _parts(family, u, naturals, offsets[0], _log_weights(parameters))
    return Highest(*(jnp.broadcast_to(x, u.shape) for x in highest_peak(parts, axes=(0,))))


@functools.partial(jax.jit, static_argnums=0)
def _search(family: Family, naturals: list[Natural], offset: Array, log_weights: list[Array], u: Array) -> Array:
    return most_probable(_parts(family, u, naturals, offset, jnp.stack(log_weights)), axes=(0,))


def _parts(
    family: Family, u: Array, naturals: Sequence[Natural], offset: Array, log_weights: Array
) -> tuple[Part, ...]:
    """Parts of the law of a count before capture: stacks over the components, with their weights."""
    natural = {n: x if x.ndim == 0 else jnp.stack([one[n] for one in naturals]) for n, x in naturals[0].items()}
    law = family.denoise(u[None], natural, offset[None])
    return tuple(part._replace(log_weight=part.log_weight + log_weights) for part in law.parts())


def _by_component(parameters: Parameters) -> list[Parameters]:
    """The parameters with all cells in one component, for every component that they may be of."""
    if parameters.n_components == 1:
        return [parameters]
    n_cells = parameters.n_cells
    return [parameters._replace(component=jnp.full(n_cells, k)) for k in range(parameters.n_components)]


def _log_weights(parameters: Parameters) -> Array:
    """Logarithms of the probabilities of the components that a cell may be of, (components, cells, 1)."""
    if parameters.n_components == 1 or parameters.log_weights is None:
        return jnp.zeros((1, parameters.n_cells, 1), parameters.log_exposure.dtype)
    return parameters.log_weights.T[..., None]
