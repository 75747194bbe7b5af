"""The posterior of a fit: arrays and a specification, nothing that needs the data or a traced model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._dist.pushed import PushedNormal
from scribe._model.spec import ModelSpec, Site
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key
from scribe.guides import Guide
from scribe.priors import latent_name

__all__ = ["Parameters", "Posterior", "Summary"]

_QUANTILES = (0.158655, 0.5, 0.841345)
"""A standard deviation below the median of a normal, the median, and one above."""

_DRAWS = 1000
"""Draws behind the distribution of a parameter that is no latent."""


class Parameters(NamedTuple):
    """What a likelihood needs: natural parameters per gene and the log capture of every cell (cells,)."""

    natural: dict[str, Array]
    offset: Array


class Summary(NamedTuple):
    """Posterior mean and standard deviation of one quantity."""

    mean: AnyArray
    sd: AnyArray


@dataclass(frozen=True)
class Posterior:
    """Variational posterior over the parameters of a model.

    Parameters
    ----------
    spec
        The model.
    guide
        The variational family.
    params
        Its arrays, on the host; those of per-gene sites start with the gene axis, those of per-cell sites with cells.
    n_genes, n_cells
        Lengths of the two axes.
    """

    spec: ModelSpec
    guide: Guide
    params: Mapping[str, AnyArray]
    n_genes: int
    n_cells: int

    def axes_of(self, name: str) -> tuple[str, ...]:
        """Axes of the latent a trainable array belongs to."""
        return next((latent.axes for latent in self.spec.latents if name.startswith(latent.name)), ())

    def subset(self, *, genes: IntArray | None = None, cells: IntArray | None = None) -> Posterior:
        """Posterior of some genes and cells, by integer index."""
        index = {"gene": genes, "cell": cells}
        params = {}
        for name, value in self.params.items():
            axes = self.axes_of(name)
            chosen = index[axes[0]] if axes else None
            params[name] = value if chosen is None else value[chosen]
        return replace(
            self,
            params=params,
            n_genes=self.n_genes if genes is None else len(genes),
            n_cells=self.n_cells if cells is None else len(cells),
        )

    def device_params(self) -> dict[str, Array]:
        """Arrays of the guide in JAX's current floating type."""
        dtype = jnp.zeros(()).dtype
        return {name: jnp.asarray(np.asarray(value, dtype)) for name, value in self.params.items()}

    def centre(self) -> dict[str, Array]:
        """Location of every site on the real line: the most probable value there."""
        return self.spec.values(self.guide.centre(self.device_params()))

    def draws(self, key: Key, n_draws: int) -> dict[str, Array]:
        """Draws of every site on the real line, (draws, ...) each."""
        return _draws(self.spec, self.guide, n_draws, self.device_params(), key)

    def draw_one_by_one(self, key: Key, n_draws: int) -> Iterator[dict[str, Array]]:
        """The draws of `draws` singly, so that no more than one is in memory; equal to none of its arrays."""
        params = self.device_params()
        for number in range(n_draws):
            draws = _draws(self.spec, self.guide, 1, params, jax.random.fold_in(key, number))
            yield {name: draw[0] for name, draw in draws.items()}

    def parameters(self, values: Mapping[str, Array]) -> Parameters:
        """Natural parameters and offsets from one value of every site on the real line."""
        return Parameters(self.spec.natural(self.spec.working(values)), self.spec.offset(values, self.n_cells))

    def readable(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Named quantities from values with any number of leading draw axes."""
        return _readable(self.spec, dict(values))

    def distributions(self) -> dict[str, dist.Distribution]:
        """Posterior distribution of every sampled parameter, on its own scale.

        Where a parameter is made of several latents, by a horseshoe for example, it is the normal on the real line with
        the median of draws and their central 68 percent.
        """
        params, names = self.device_params(), {latent.name for latent in self.spec.latents}
        made = [site.name for site in self.spec.sites if latent_name(site.name) not in names]
        draws = self.draws(jax.random.key(0), _DRAWS) if made else {}
        normals = {name: _normal_through(draws[name]) for name in made}
        return {
            site.name: _pushed(site, normals.get(site.name) or self.guide.marginal(latent_name(site.name), params))
            for site in self.spec.sites
        }

    def summaries(self, key: Key, *, n_draws: int = 1000, block: int = 50) -> dict[str, Summary]:
        """Posterior mean and standard deviation of every named quantity, streamed over draws."""
        params = self.device_params()
        centre = self.readable(self.centre())
        totals = {name: np.zeros(value.shape) for name, value in centre.items()}
        squares = {name: np.zeros(value.shape) for name, value in centre.items()}
        for first in range(0, n_draws, block):
            n_here = min(block, n_draws - first)
            values = _draws(self.spec, self.guide, n_here, params, jax.random.fold_in(key, first))
            for name, (total, square) in jax.device_get(_sums(self.spec, values, centre)).items():
                totals[name] += total
                squares[name] += square
        out = {}
        for name, total in totals.items():
            shift = total / n_draws
            variance = np.maximum(squares[name] / n_draws - np.square(shift), 0.0) * n_draws / max(n_draws - 1, 1)
            dtype = centre[name].dtype
            out[name] = Summary((np.asarray(centre[name]) + shift).astype(dtype), np.sqrt(variance).astype(dtype))
        return out

    def quantiles(self, key: Key, q: tuple[float, ...], *, n_draws: int, block: int = 2048) -> dict[str, FloatArray]:
        """Posterior quantiles of every named quantity, (q, ...), block by block of genes and cells."""
        parts: dict[str, list[FloatArray]] = {}
        for number, first in enumerate(range(0, max(self.n_genes, self.n_cells), block)):
            genes = np.arange(min(first, self.n_genes), min(first + block, self.n_genes))
            cells = np.arange(min(first, self.n_cells), min(first + block, self.n_cells))
            part = self.subset(genes=genes, cells=cells)
            values = part.readable(part.draws(jax.random.fold_in(key, number), n_draws))
            for name, draws in values.items():
                if draws.ndim > 1 or number == 0:
                    parts.setdefault(name, []).append(np.quantile(np.asarray(draws), q, axis=0))
        return {name: np.concatenate(p, axis=-1) if p[0].ndim > 1 else p[0] for name, p in parts.items()}


def _normal_through(draws: Array) -> dist.Normal:
    low, middle, high = jnp.quantile(draws, jnp.asarray(_QUANTILES, draws.dtype), axis=0)
    return dist.Normal(middle, 0.5 * (high - low))


def _pushed(site: Site, normal: dist.Normal) -> dist.Distribution:
    """Distribution of a parameter from that of its latent."""
    if site.link.name == "exp":
        return dist.LogNormal(normal.loc, normal.scale)
    return PushedNormal(normal.loc, normal.scale, site.link)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _draws(spec: ModelSpec, guide: Guide, n_draws: int, params: dict[str, Array], key: Key) -> dict[str, Array]:
    return jax.vmap(spec.values)(guide.draw(key, params, n_draws=n_draws))


@functools.partial(jax.jit, static_argnums=0)
def _readable(spec: ModelSpec, values: dict[str, Array]) -> dict[str, Array]:
    function: Callable[[dict[str, Array]], dict[str, Array]] = spec.readable
    first = spec.sites[0]
    for _ in range(values[first.name].ndim - len(first.axes)):
        function = jax.vmap(function)
    return function(values)


@functools.partial(jax.jit, static_argnums=0)
def _sums(spec: ModelSpec, values: dict[str, Array], centre: dict[str, Array]) -> dict[str, tuple[Array, Array]]:
    """Sums over draws of the distance to the centre and of its square, by quantity."""
    difference = {name: draw - centre[name][None] for name, draw in _readable(spec, values).items()}
    return {name: (jnp.sum(d, axis=0), jnp.sum(jnp.square(d), axis=0)) for name, d in difference.items()}
