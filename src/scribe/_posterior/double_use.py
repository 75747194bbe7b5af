r"""What priors that are centred by the data have learned from every cell.

A cell adds to the posterior its likelihood, and moves the centre of such a prior by what it contains of a gene. Leaving
it out takes away both, so that the importance weights of draws without cell c are

.. math:: w_c(\theta) \propto \frac{1}{p(u_c \mid \theta)}\,
    \frac{\pi(\theta \mid \bar u_{-c})}{\pi(\theta \mid \bar u)}.

The priors at hand (`scribe.priors.MeanAnchor`) are normal about the logarithm of the mean count :math:`\bar u_g`. The
logarithm of their ratio is then linear in the shift of that, up to a number that all draws share:
:math:`\partial\log\pi/\partial\log\bar u_g` times what the cell adds to it. A shift is a sparse matrix of cells and
genes, so that a draw costs the non-zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution
from scipy import sparse

from scribe._counts.container import Counts
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior
from scribe._types import Array, FloatArray, Key
from scribe.priors import Context, Latent, PriorFunction

__all__ = ["prior_shares"]


def prior_shares(posterior: Posterior, counts: Counts, key: Key, n_samples: int) -> Iterator[FloatArray]:
    """By how much every cell raised the log prior of a draw, (cells,), for one draw after the other.

    Up to a number for every cell that all draws share.
    """
    n, means, total = counts.n_cells, counts.gene_totals + 0.5, float(counts.totals.sum())
    cell, gene, value = counts.entries()
    terms = -np.log1p(-value.astype(np.float64) / means[gene])
    shift = sparse.csr_matrix((terms, (cell, gene)), counts.shape)
    # all means also change as there is one cell less
    of_all = np.log1p(-1.0 / n)
    of_total = of_all - np.log1p(-counts.totals / total)
    logs = jnp.log(jnp.asarray(means / n, jnp.zeros(()).dtype)), jnp.log(jnp.asarray(total / n, jnp.zeros(()).dtype))
    for latents in posterior.latent_blocks(key, n_samples):
        slopes, slope_of_total = (np.asarray(x, np.float64) for x in _slopes(posterior.spec, latents, *logs))
        shares = _times(shift, slopes) + of_all * slopes.sum(axis=1)[:, None] + of_total * slope_of_total[:, None]
        yield from shares


def _times(shift: sparse.csr_matrix, slopes: FloatArray) -> FloatArray:
    return np.asarray((shift @ slopes.T).T)


@functools.partial(jax.jit, static_argnums=0)
def _slopes(spec: ModelSpec, latents: Mapping[str, Array], log_means: Array, log_total: Array) -> tuple[Array, Array]:
    """Derivatives of the log prior in log mean counts, (draws, genes), and in that of totals, (draws,)."""

    def log_prior(logs: tuple[Array, Array], one: Mapping[str, Array]) -> Array:
        context = Context(jnp.zeros(1), jnp.exp(logs[0]), jnp.exp(logs[1]))
        terms: list[Array] = []

        def read(latent: Latent, law: PriorFunction) -> Array:
            distribution: Distribution = law(context)
            terms.append(jnp.sum(distribution.log_prob(one[latent.name])))
            return one[latent.name]

        for site in spec.centred_sites:
            site.prior(site.name, site.axes, read)
        return jnp.sum(jnp.stack(terms))

    return jax.vmap(jax.grad(log_prior), (None, 0))((log_means, log_total), dict(latents))
