"""Prediction of molecules that were held out of a fit, element by element.

Molecular cross-validation splits every count binomially, fits one part and predicts the other (Batson, Royer and Webber
2019, doi:10.1101/786269). A model of counts says what the other part may be, not only what it is on average: its
distribution given the counts that were seen follows from Bayes' rule (`Family.log_further`) at every draw of the
parameters and is averaged over draws and, in mixtures, over the components a cell may be of.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.parameters import Parameters
from scribe._model.likelihood import Likelihood
from scribe._posterior.denoise import draw_of, with_responsibilities
from scribe._posterior.posterior import Posterior
from scribe._posterior.simulate import elements, in_pieces
from scribe._types import AnyArray, Array, FloatArray, Key, Natural
from scribe.families import Family

__all__ = ["HeldOutBlock", "held_out_blocks"]

_BLOCK_ELEMENTS = 2_000_000


class HeldOutBlock(NamedTuple):
    """Prediction for consecutive cells, (cells, genes) each.

    ``mean`` is that of the held-out counts; ``below`` and ``at`` are the probabilities of less than was held out, and
    of as much. With a uniform ``W`` the value ``below + W * at`` is uniform where the prediction is right.
    """

    cells: slice
    mean: FloatArray
    below: FloatArray
    at: FloatArray


def held_out_blocks(
    posterior: Posterior, seen: Counts, held_out: Counts, key: Key, *, share: float, n_samples: int = 50
) -> Iterator[HeldOutBlock]:
    """Predict the ``held_out`` counts, a ``share`` of all, from a posterior given the ``seen`` ones, block by block."""
    draws = jax.vmap(posterior.parameters)(posterior.draws(key, n_samples))
    if draws.log_weights is not None:
        draws = with_responsibilities(posterior, posterior.data(seen), draws)
    size = max(_BLOCK_ELEMENTS // max(seen.n_genes, 1), 1)
    for first in range(0, seen.n_cells, size):
        cells = slice(first, min(first + size, seen.n_cells))
        here = draws.map_cells(operator.itemgetter((slice(None), cells)))
        prediction = _predict(posterior.spec.family, seen.rows(cells), held_out.rows(cells), here, -np.log1p(-share))
        yield HeldOutBlock(cells, *prediction)


def _predict(
    family: Family, u: AnyArray, y: AnyArray, draws: Parameters, gain: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, probability of less than ``y`` and of ``y``, averaged over the draws stacked along the first axis."""
    cell, gene = np.nonzero(y)
    n_terms = y[cell, gene].astype(np.int64) + 1
    place = np.repeat(np.arange(len(cell)), n_terms)
    first = np.cumsum(n_terms) - n_terms
    t = (np.arange(len(place)) - first[place]).astype(np.float32)
    mean, p_zero, below, at = np.zeros(u.shape), np.zeros(u.shape), np.zeros(len(cell)), np.zeros(len(cell))
    n_draws, on_device = draws.log_exposure.shape[0], jnp.asarray(u, draws.log_exposure.dtype)
    pmf = functools.partial(_pmf, family, gain=jnp.asarray(gain, on_device.dtype))
    for parameters, weight in (c for i in range(n_draws) for c in _components(draw_of(draws, i))):
        share = weight / n_draws
        expected, nothing = _mean_and_zero(family, on_device, parameters, gain)
        mean, p_zero = mean + share * np.asarray(expected), p_zero + share * np.asarray(nothing)
        natural, x = elements(family, parameters, n_genes=u.shape[1])(cell, gene)
        given = jax.tree.map(lambda value: value[place], (natural, x, u[cell, gene]))
        terms = in_pieces(pmf, (t, *given)).astype(np.float64)
        last = terms[first + n_terms - 1]
        of_element = np.broadcast_to(share, (len(u), 1))[cell, 0]
        below += of_element * (np.add.reduceat(terms, first) - last if len(cell) else last)
        at += of_element * last
    less = np.zeros(u.shape)
    less[cell, gene], p_zero[cell, gene] = below, at
    return mean, less, p_zero


def _components(parameters: Parameters) -> Iterator[tuple[Parameters, AnyArray]]:
    """Parameters with all cells in one component after the other, and the probability of every cell, (cells, 1)."""
    if parameters.log_weights is None:
        yield parameters, np.ones((1, 1))
        return
    weights = np.exp(np.asarray(parameters.log_weights, np.float64))
    for k in range(weights.shape[1]):
        yield parameters._replace(component=jnp.full(len(weights), k)), weights[:, k, None]


@functools.partial(jax.jit, static_argnums=0)
def _mean_and_zero(family: Family, u: Array, parameters: Parameters, gain: Array) -> tuple[Array, Array]:
    """Mean of the counts held out, and the probability that there are none."""
    natural, x = Likelihood(family).elementwise(parameters)
    zero = jnp.zeros((1, 1), u.dtype)
    mean = family.mean_further(u, natural, x, x + gain)
    return mean, jnp.exp(family.log_further(zero, u, natural, x, x + gain))


@functools.partial(jax.jit, static_argnums=0)
def _pmf(family: Family, t: Array, natural: Natural, x: Array, u: Array, *, gain: Array) -> Array:
    return jnp.exp(family.log_further(t, u, natural, x, x + gain))
