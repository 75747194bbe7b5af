r"""Where a fit takes cells for more alike than they are, so that denoising draws each towards the others.

*Dispersion*: the mean over cells of :math:`(u - m)^2 / v`, with the predicted mean and variance of every count, is one
for a gene that the model describes (Pearson). Genes of one cell type vary more than a ratio of variance to mean allows
that all genes share.

*Common variation*: given mean and capture, counts of different genes are independent in every model here. Where cells
are of types that the fit does not know, standardised residuals of many genes go together: their largest principal
component exceeds the edge of independent genes, :math:`(1 + \sqrt{G/C})^2` for G genes and C cells (Marchenko and
Pastur 1967).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.likelihood import by_gene
from scribe._counts.parameters import Parameters
from scribe._posterior.posterior import Posterior
from scribe._types import AnyArray, Array, FloatArray, Natural
from scribe.families import Family

__all__ = ["WIDE", "Misfit", "misfit"]

_CELLS, _GENES, _LEAST_MEAN = 1000, 300, 0.05
"""Cells and genes that common variation is looked for in, the most expressed ones, and their least mean count."""

_CLIP = 10.0
"""Residuals are cut here: one extreme count is no common variation."""

WIDE, _ERRORS = 2.0, 5.0
"""A gene is wide whose dispersion is so many times what is predicted, and above it by so many standard errors."""


class Misfit(NamedTuple):
    """Observed over predicted dispersion of every gene, (genes,), with its standard error under the model.

    ``common`` is the largest principal component of the residuals over the edge of independent genes.
    """

    dispersion: FloatArray
    error: FloatArray
    common: float

    @property
    def wide(self) -> AnyArray:
        """Genes that vary clearly more than is predicted, (genes,), boolean."""
        return self.dispersion > np.maximum(WIDE, 1.0 + _ERRORS * self.error)


def misfit(posterior: Posterior, counts: Counts) -> Misfit:
    """Compare counts with what a fit predicts of them, at its most probable parameters."""
    data, parameters = posterior.data(counts), posterior.parameters(posterior.centre())
    gamma = posterior.responsibilities(parameters, data) if posterior.mixed else jnp.ones((counts.n_cells, 1))
    found = _pearson(posterior.spec.family, counts.n_genes, parameters, data, gamma)
    squares, fourth = (np.asarray(x, np.float64) / counts.n_cells for x in found)
    error = np.sqrt(np.maximum(fourth, 0.0) / counts.n_cells)
    return Misfit(squares, error, _common_variation(posterior, counts, jnp.argmax(gamma, axis=1).astype(jnp.int32)))


@dataclass(frozen=True)
class _Pearson:
    """What the sum over all counts is made of, in the place of a log-probability: a function of count and moments."""

    family: Family
    spread: bool = False

    def gene_term(self, u: Array, natural: Natural) -> Array:
        """Nothing is free of the offset."""
        return jnp.zeros_like(u)

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Squared residual, or with ``spread`` the variance that it has under the model."""
        mean, variance = self.family.moments(natural, offset)
        if not self.spread:
            return jnp.square(u - mean) / variance
        # excess kurtosis of a negative binomial with these moments: 6/r + 1/v
        return 2.0 + 6.0 * jnp.maximum(variance - mean, 0.0) / jnp.square(mean) + 1.0 / variance + jnp.zeros_like(u)

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        """What a non-zero adds."""
        change = self.cell_term(u, natural, offset) - self.cell_term(jnp.zeros_like(u), natural, offset)
        return jnp.where(u > 0.0, change, 0.0)

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> None:
        """No closed form."""


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pearson(family: Family, n_genes: int, parameters: Parameters, data: CountData, gamma: Array) -> tuple[Array, ...]:
    observed = data._replace(scale=jnp.ones_like(data.scale))
    terms = (_Pearson(family), _Pearson(family, spread=True))
    return tuple(by_gene(term, parameters, observed, n_genes=n_genes, gamma=gamma) for term in terms)


def _common_variation(posterior: Posterior, counts: Counts, component: Array) -> float:
    means = counts.gene_totals / counts.n_cells
    genes = np.sort(np.argsort(-means, kind="stable")[:_GENES])
    genes = genes[means[genes] >= _LEAST_MEAN]
    cells = np.unique(np.linspace(0, counts.n_cells - 1, _CELLS).astype(int))
    if min(len(genes), len(cells)) < 3:
        return 0.0
    part = posterior.subset(genes=genes, cells=cells)
    parameters = part.parameters(part.centre())
    known = parameters._replace(component=component[cells]) if posterior.mixed else parameters
    mean, variance = (np.asarray(x) for x in posterior.spec.likelihood.moments(known))
    observed = counts.subset(cells=cells, genes=genes).rows(slice(None))
    residuals = np.clip((observed - mean) / np.sqrt(variance), -_CLIP, _CLIP)
    residuals -= residuals.mean(axis=0)
    residuals /= np.maximum(residuals.std(axis=0), 1e-6)
    largest = np.square(np.linalg.norm(residuals, 2)) / len(cells)
    return float(largest / np.square(1.0 + np.sqrt(len(genes) / len(cells))))
