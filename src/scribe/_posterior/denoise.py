r"""Counts before capture: the posterior of the molecules of a cell given those that were observed.

At given parameters the posterior is the family's own (`Family.denoise`). Integrated over the posterior of the
parameters, mean and variance follow from the laws of total expectation and variance over draws,
:math:`E[m] = E_\theta E[m|\theta]` and :math:`\mathrm{Var}[m] = E_\theta\mathrm{Var}[m|\theta] +
\mathrm{Var}_\theta E[m|\theta]`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.likelihood import expand
from scribe._posterior.posterior import Parameters, Posterior
from scribe._posterior.simulate import block_size
from scribe._types import Array, Key
from scribe.families import Family

__all__ = ["METHODS", "DenoisedBlock", "denoise_blocks"]

Method = Literal["mean", "mode", "sample"]
METHODS = ("mean", "mode", "sample")


_Sums = tuple[Array, Array, Array]


class DenoisedBlock(NamedTuple):
    """Denoised counts of consecutive cells, (cells, genes), and their posterior standard deviation."""

    cells: slice
    value: np.ndarray[Any, Any]
    sd: np.ndarray[Any, Any]


def denoise_blocks(
    posterior: Posterior, counts: Counts, key: Key, *, method: Method = "mean", n_samples: int = 100
) -> Iterator[DenoisedBlock]:
    """Denoise block by block of cells.

    Parameters
    ----------
    posterior
        Posterior of the parameters, for the genes and cells of ``counts``.
    counts
        Observed counts.
    key
        Random key.
    method
        ``"mean"`` and ``"sd"`` of the posterior of the count, its ``"mode"``, or one ``"sample"``.
    n_samples
        Draws of the parameters to integrate over; 0 takes them at their most probable values. A mode is always taken
        there, a sample always from one draw (or there, with 0).
    """
    key_parameters, key_counts = jax.random.split(key)
    if n_samples and method != "mode":
        n_draws = 1 if method == "sample" else n_samples
        draws = posterior.draws(key_parameters, n_draws)
        stacked = jax.vmap(posterior.parameters)(draws)
    else:
        stacked = jax.tree.map(lambda x: x[None], posterior.parameters(posterior.centre()))
    size = block_size(counts.n_genes) // 4 or 1
    for first in range(0, counts.n_cells, size):
        cells = slice(first, min(first + size, counts.n_cells))
        u = jnp.asarray(counts.rows(cells), stacked.offset.dtype)
        here = Parameters(stacked.natural, stacked.offset[:, cells])
        value, sd = _block(posterior.spec.family, method, u, here, jax.random.fold_in(key_counts, first))
        yield DenoisedBlock(cells, np.asarray(value), np.asarray(sd))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _block(family: Family, method: Method, u: Array, stacked: Parameters, key: Key) -> tuple[Array, Array]:
    """Value and standard deviation, (cells, genes), over the draws stacked along the first axis."""

    def thinned(parameters: Parameters) -> Any:
        return family.denoise(u, expand(parameters.natural, 2), parameters.offset[:, None])

    def accumulate(
        carry: tuple[Array, Array, Array], parameters: Parameters
    ) -> tuple[tuple[Array, Array, Array], None]:
        mean, square, variance = carry
        moments = thinned(parameters).moments()
        # relative to the observed count, so that squares do not cancel
        difference = moments.mean - u
        return (mean + difference, square + jnp.square(difference), variance + moments.variance), None

    n = stacked.offset.shape[0]
    zero = jnp.zeros_like(u)
    (total, square, within), _ = jax.lax.scan(accumulate, (zero, zero, zero), stacked)
    mean = total / n
    sd = jnp.sqrt(within / n + jnp.maximum(square / n - jnp.square(mean), 0.0))
    if method == "mean":
        return u + mean, sd
    first = thinned(jax.tree.map(lambda x: x[0], stacked))
    return (first.mode() if method == "mode" else first.sample(key)), sd
