r"""Counts before capture: the posterior of the molecules of a cell given those that were observed.

At given parameters the posterior is the family's own (`Family.denoise`). Integrated over the posterior of the
parameters, mean and variance follow from the laws of total expectation and variance over draws,
:math:`E[m] = E_\theta E[m|\theta]` and :math:`\mathrm{Var}[m] = E_\theta\mathrm{Var}[m|\theta] +
\mathrm{Var}_\theta E[m|\theta]`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.parameters import Parameters
from scribe._model.likelihood import Likelihood
from scribe._posterior.indexing import check_draws
from scribe._posterior.mode import most_probable_counts
from scribe._posterior.posterior import Posterior
from scribe._posterior.simulate import LARGE_MEAN, Noise, draw_elements, elements
from scribe._rng import categorical, keys_of_elements, stream
from scribe._types import AnyArray, Array, FloatArray, Key, Natural
from scribe.families import Family

__all__ = ["METHODS", "DenoisedBlock", "Method", "by_count", "denoise_blocks", "draw_of", "with_responsibilities"]

_One = Literal["mean", "mode", "sample"]
METHODS: tuple[str, ...] = get_args(_One)

Method = _One | tuple[_One, _One]
"""What to take of the posterior of a count, or of that of observed counts and of that of zeros."""

_BLOCK_ELEMENTS = 500_000
"""Elements of a block: small enough that the running sums of a block stay in cache."""

_UNROLL = 4
"""Draws per pass over a block, for the same reason."""


class DenoisedBlock(NamedTuple):
    """Denoised counts of consecutive cells, (cells, genes), and their posterior standard deviation if asked for."""

    cells: slice
    value: AnyArray
    sd: AnyArray | None


def by_count(method: Method) -> tuple[str, str]:
    """Check ``method``, and return it for positive counts and for zeros."""
    both = (method, method) if isinstance(method, str) else tuple(method)
    if len(both) != 2 or not set(both) <= set(METHODS):
        allowed = ", ".join(map(repr, METHODS))
        msg = f"method must be one of {allowed}, got {method!r}. A pair of them is for counts above zero and for zeros."
        raise ValueError(msg)
    return both


def denoise_blocks(
    posterior: Posterior,
    counts: Counts,
    key: Key,
    *,
    method: Method = "mean",
    n_samples: int = 100,
    with_sd: bool = True,
) -> Iterator[DenoisedBlock]:
    """Denoise block by block of cells.

    Mean and standard deviation integrate over ``n_samples`` draws of the parameters; 0 takes them at their most
    probable values. The mode is always that at the most probable values; a sample is taken at the first draw. A pair
    of methods is for positive counts and for zeros. What is said of a cell depends neither on the block it is in nor on
    the order of cells and genes.
    """
    methods = by_count(method)
    only_sample = set(methods) == {"sample"} and not with_sd
    check_draws(n_samples)
    noise = Noise(stream(key, "molecules"), **posterior.ids)
    centre = jax.tree.map(lambda x: x[None], posterior.parameters(posterior.centre()))
    if n_samples:
        draws = jax.vmap(posterior.parameters)(posterior.draws(key, 1 if only_sample else n_samples))
    else:
        draws = centre
    if draws.log_weights is not None:
        data = posterior.data(counts)
        if "mode" in methods:
            centre = with_responsibilities(posterior, data, centre)
        if set(methods) != {"mode"} or with_sd:
            draws = with_responsibilities(posterior, data, draws)
    elements = _BLOCK_ELEMENTS * 4 if only_sample else _BLOCK_ELEMENTS
    size = max(elements // max(counts.n_genes, 1), 1)
    for first in range(0, counts.n_cells, size):
        cells = slice(first, min(first + size, counts.n_cells))
        here = operator.itemgetter((slice(None), cells))
        u = jnp.asarray(counts.rows(cells), draws.log_exposure.dtype)
        own = noise.of_cells(cells)
        values: dict[str, Any] = {}
        sd: Any = None
        if "mean" in methods or with_sd:
            values["mean"], sd = _moments(posterior.spec.family, u, draws.map_cells(here))
        if "mode" in methods:
            values["mode"] = most_probable_counts(posterior.spec.family, u, draw_of(centre.map_cells(here), 0))
        if "sample" in methods:
            values["sample"] = _sample(posterior.spec.family, u, _decided(draws.map_cells(here), own), own)
        value = np.asarray(values[methods[0]])
        if methods[0] != methods[1]:
            value = np.where(np.asarray(u) > 0, value, np.asarray(values[methods[1]]))
        yield DenoisedBlock(cells, value, np.asarray(sd) if with_sd else None)


def with_responsibilities(posterior: Posterior, data: CountData, stacked: Parameters) -> Parameters:
    """Replace the prior weights of components by their posterior probabilities, draw by draw."""
    gamma = [posterior.responsibilities(draw_of(stacked, i), data) for i in range(stacked.log_exposure.shape[0])]
    return stacked._replace(log_weights=jnp.log(jnp.stack(gamma)))


def _decided(stacked: Parameters, noise: Noise) -> Parameters:
    """First draw, every cell in one component at random."""
    first = draw_of(stacked, 0)
    if first.log_weights is None:
        return first
    return first._replace(component=categorical(stream(noise.key, "components"), noise.cell, first.log_weights))


def draw_of(stacked: Parameters, number: int) -> Parameters:
    """One of the draws stacked along the first axis."""
    return jax.tree.map(lambda x: x[number], stacked)


def _sample(family: Family, u: Array, parameters: Parameters, noise: Noise) -> FloatArray:
    """One draw of every count before capture, as in `scribe._posterior.simulate`: most have nothing to invert."""
    screened, out = _unseen(family, u, parameters, noise), np.array(u)
    pmf, draw = functools.partial(_pmf_at, family), functools.partial(_draw_at, family)
    of = elements(family, parameters, n_genes=u.shape[1])
    few, unseen, many, drawn = draw_elements(pmf, draw, of, screened, out, noise=noise)
    out[few] += unseen
    out[many] = drawn
    return out


@functools.partial(jax.jit, static_argnums=0)
def _unseen(family: Family, u: Array, parameters: Parameters, noise: Noise) -> tuple[Array, Array, Array]:
    """A uniform per element, the probability that nothing went unseen, and whether much is expected to."""
    thinned = Likelihood(family).thinned(u, parameters)
    is_large = thinned.moments().mean - u > LARGE_MEAN
    return noise.uniforms(u.dtype), jnp.exp(thinned.log_prob(u)), is_large


@functools.partial(jax.jit, static_argnums=0)
def _pmf_at(family: Family, unseen: Array, natural: Natural, x: Array, u: Array) -> Array:
    return jnp.exp(family.denoise(u, natural, x).log_prob(u + unseen))


@functools.partial(jax.jit, static_argnums=0)
def _draw_at(family: Family, key: Key, ids: tuple[Array, Array], *at: Any) -> Array:
    def one(key: Key, natural: Natural, x: Array, u: Array) -> Array:
        return family.denoise(u, natural, x).sample(key)

    return jax.vmap(one)(keys_of_elements(key, *ids), *at)


def _moments_of_draw(family: Family, u: Array, parameters: Parameters) -> tuple[Array, Array]:
    """Mean less the observed count, so that squares do not cancel, and variance, over the components of a cell."""
    if parameters.n_components == 1:
        moments = Likelihood(family).thinned(u, parameters).moments()
        return moments.mean - u, moments.variance
    mean, square, within = jnp.zeros_like(u), jnp.zeros_like(u), jnp.zeros_like(u)
    weights = jnp.exp(jnp.zeros(()) if parameters.log_weights is None else parameters.log_weights)
    for k in range(parameters.n_components):
        moments = Likelihood(family).thinned(u, parameters._replace(component=jnp.full(u.shape[0], k))).moments()
        difference, share = moments.mean - u, weights[:, k, None]
        mean, square = mean + share * difference, square + share * jnp.square(difference)
        within = within + share * moments.variance
    return mean, within + jnp.maximum(square - jnp.square(mean), 0.0)


@functools.partial(jax.jit, static_argnums=0)
def _moments(family: Family, u: Array, stacked: Parameters) -> tuple[Array, Array]:
    """Mean and standard deviation, (cells, genes), over the draws stacked along the first axis."""

    def accumulate(
        carry: tuple[Array, Array, Array], parameters: Parameters
    ) -> tuple[tuple[Array, Array, Array], None]:
        mean, square, variance = carry
        difference, within = _moments_of_draw(family, u, parameters)
        return (mean + difference, square + jnp.square(difference), variance + within), None

    n = stacked.log_exposure.shape[0]
    zero = jnp.zeros_like(u)
    (total, square, within), _ = jax.lax.scan(accumulate, (zero, zero, zero), stacked, unroll=min(_UNROLL, n))
    mean = total / n
    return u + mean, jnp.sqrt(within / n + jnp.maximum(square / n - jnp.square(mean), 0.0))
