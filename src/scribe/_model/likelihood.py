"""Everything that may be asked of counts at given parameters."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from scribe._counts import likelihood
from scribe._counts.data import CountData
from scribe._counts.parameters import Parameters
from scribe._types import Array, Key
from scribe.families import Family, MoleculePosterior, Moments

__all__ = ["Curvature", "Likelihood"]

_compiled = functools.partial(jax.jit, static_argnums=0)


class Curvature(NamedTuple):
    """First and second derivative of the log-probability of every count by its log rate, (cells, genes) each."""

    gradient: Array
    curvature: Array


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a family.

    ``data`` are counts by their non-zeros, for sums over genes or cells; ``u`` are the counts of a block of cells as a
    dense array (cells, genes), for what is wanted of every count. Parameters are those of the same cells. In a mixture
    what is wanted of every count needs the component of every cell.
    """

    family: Family

    def log_prob(self, parameters: Parameters, data: CountData) -> Array:
        """Log-likelihood of all counts, a scalar, in nats; of a minibatch an estimate of that."""
        return likelihood.log_likelihood(self.family, parameters, data)

    @_compiled
    def by_cell(self, parameters: Parameters, data: CountData) -> Array:
        """Log-likelihood of every cell, (cells,), in mixtures over the components it may be of."""
        return likelihood.by_cell(self.family, parameters, data)

    @functools.partial(jax.jit, static_argnums=0, static_argnames="n_genes")
    def by_gene(self, parameters: Parameters, data: CountData, *, n_genes: int) -> Array:
        """Log-likelihood of every gene, (genes,), in mixtures averaged over the components of a cell."""
        gamma = None if parameters.log_weights is None else self.responsibilities(parameters, data)
        return likelihood.by_gene(self.family, parameters, data, n_genes=n_genes, gamma=gamma)

    @_compiled
    def by_component(self, parameters: Parameters, data: CountData) -> Array:
        """Log-likelihood of every cell in every component, (cells, components)."""
        return likelihood.by_component(self.family, parameters, data)

    @_compiled
    def joint(self, parameters: Parameters, data: CountData) -> Array:
        """Log-probability of component and counts of every cell, (cells, components)."""
        weights = jnp.zeros(()) if parameters.log_weights is None else parameters.log_weights
        return self.by_component(parameters, data) + weights

    @_compiled
    def responsibilities(self, parameters: Parameters, data: CountData) -> Array:
        r"""Posterior probability of every component in every cell, (cells, components).

        .. math:: \gamma_{ck} \propto w_{ck} \prod_g P(u_{cg} \mid \theta_{kg})
        """
        return jax.nn.softmax(self.joint(parameters, data), axis=1)

    def elementwise(self, parameters: Parameters) -> tuple[dict[str, Array], Array]:
        """Natural parameters of every cell and gene with its field, (cells or 1, genes or 1), and log captures."""
        natural, field = parameters.wide(), parameters.predictor.field()
        natural = natural if field is None else self.family.shifted(natural, field)
        return natural, parameters.log_exposure[:, None]

    def log_pmf(self, u: Array, parameters: Parameters) -> Array:
        """Log-probability of every count, (cells, genes)."""
        return self.family.log_pmf(u, *self.elementwise(parameters))

    def moments(self, parameters: Parameters) -> Moments:
        """Mean and variance of every count, (cells, genes)."""
        return self.family.moments(*self.elementwise(parameters))

    def sample(self, key: Key, parameters: Parameters) -> Array:
        """One draw of every count, (cells, genes), of random components where those are not known."""
        key_component, key_counts = jax.random.split(key)
        if parameters.log_weights is not None and parameters.component is None:
            component = jax.random.categorical(key_component, parameters.log_weights)
            parameters = parameters._replace(component=component)
        return self.family.sample(key_counts, *self.elementwise(parameters))

    def thinned(self, u: Array, parameters: Parameters) -> MoleculePosterior:
        """Posterior of the molecules before capture, of every count."""
        return self.family.denoise(u, *self.elementwise(parameters))

    def curvature(self, u: Array, parameters: Parameters) -> Curvature:
        """Slope and curvature of the log-probability of every count in the log rate of its cell and gene."""
        natural, offset = self.elementwise(parameters)
        return Curvature(*self.family.slopes(u, natural, jnp.broadcast_to(offset, u.shape)))
