"""What a likelihood needs of one draw from a posterior, and which component a cell may come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from scribe._counts.data import CountData
from scribe._counts.levels import at_cells
from scribe._counts.likelihood import (
    ElementwisePmf,
    log_likelihood_by_cell,
    log_likelihood_by_component,
    log_likelihood_by_gene,
)
from scribe._types import Array
from scribe.families import Family

__all__ = ["Parameters", "by_cell", "by_component", "by_gene", "by_gene_and_component", "joint", "responsibilities"]


class Parameters(NamedTuple):
    """Natural parameters and what is known of every cell.

    ``offset`` (cells,) is log capture. ``dataset`` (cells,) is the number of a cell's dataset and ``log_weights``
    (cells, components) the log prior probability of components, where the model has them; ``component`` (cells,) that
    which a cell has been assigned to.
    """

    natural: dict[str, Array]
    offset: Array
    dataset: Array | None = None
    log_weights: Array | None = None
    component: Array | None = None

    def map_cells(self, function: Callable[[Array], Array]) -> Parameters:
        """Apply a function to everything that runs over cells."""
        rest = (self.dataset, self.log_weights, self.component)
        return Parameters(self.natural, function(self.offset), *(None if x is None else function(x) for x in rest))

    def wide(self, component: Array | None = None) -> dict[str, Array]:
        """Natural parameters of every cell and gene, (cells or 1, genes or 1), of its component or of given ones."""
        return at_cells(self.natural, self.component if component is None else component, self.dataset)

    @property
    def n_components(self) -> int:
        """Number of components a cell may come from: one where it is known or there are none."""
        return 1 if self.log_weights is None or self.component is not None else self.log_weights.shape[-1]


@functools.partial(jax.jit, static_argnums=0)
def by_component(family: Family, parameters: Parameters, data: CountData) -> Array:
    """Log-likelihood of every cell in every component, (cells, components), in nats."""
    return log_likelihood_by_component(family, parameters.natural, parameters.offset, data)


def joint(family: Family, parameters: Parameters, data: CountData) -> Array:
    """Log-probability of component and counts of every cell, (cells, components)."""
    weights = jnp.zeros(()) if parameters.log_weights is None else parameters.log_weights
    return by_component(family, parameters, data) + weights


@functools.partial(jax.jit, static_argnums=0)
def responsibilities(family: Family, parameters: Parameters, data: CountData) -> Array:
    r"""Posterior probability of every component in every cell at given parameters, (cells, components).

    .. math:: \gamma_{ck} \propto w_{ck} \prod_g P(u_{cg} \mid \theta_{kg})
    """
    return jax.nn.softmax(joint(family, parameters, data), axis=1)


@functools.partial(jax.jit, static_argnums=0)
def by_cell(family: Family, parameters: Parameters, data: CountData) -> Array:
    """Log-likelihood of every cell, (cells,), summed over genes and, in mixtures, over the components it may be of."""
    if parameters.log_weights is None:
        return log_likelihood_by_cell(family, parameters.natural, parameters.offset, data)
    return jax.nn.logsumexp(joint(family, parameters, data), axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def by_gene(family: Family, n_genes: int, parameters: Parameters, data: CountData) -> Array:
    r"""Log-likelihood of every gene, (genes,), summed over cells.

    In mixtures a cell is of one component for all its genes: theirs are averaged with the cell's responsibilities,
    :math:`\sum_c \sum_k \gamma_{ck} \log P(u_{cg} \mid \theta_{kg})`.
    """
    if parameters.log_weights is None:
        return log_likelihood_by_gene(family, parameters.natural, parameters.offset, data, n_genes=n_genes)
    gamma = responsibilities(family, parameters, data)
    return by_gene_and_component(family, parameters.natural, parameters.offset, (data, gamma), n_genes=n_genes)


def by_gene_and_component(
    family: ElementwisePmf,
    natural: dict[str, Array],
    offset: Array,
    observed: tuple[CountData, Array],
    *,
    n_genes: int,
) -> Array:
    r"""Sum over cells of what a family says of their counts, (genes,), shared among components by responsibilities.

    ``observed`` are counts and responsibilities (cells, components).
    """
    data, gamma = observed
    total = jnp.zeros(n_genes, offset.dtype)
    for k in range(gamma.shape[1]):
        here = {n: v[min(k, v.shape[0] - 1)][None] if v.ndim == 3 else v for n, v in natural.items()}
        weighted = data._replace(cells=data.cells._replace(weight=data.cells.weight * gamma[:, k]))
        total = total + log_likelihood_by_gene(family, here, offset, weighted, n_genes=n_genes)
    return total
