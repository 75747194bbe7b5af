"""The posterior of a fit: arrays and a specification, nothing that needs the data or a traced model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._counts.data import CountData, Known
from scribe._counts.design import Design
from scribe._counts.parameters import Parameters
from scribe._device import on_device
from scribe._dist.pushed import PushedKernels, PushedNormal, kernel_density
from scribe._model.axes import at_levels
from scribe._model.build import data_for
from scribe._model.sites import Site
from scribe._model.spec import ModelSpec
from scribe._posterior.indexing import check_draws
from scribe._rng import Numbers, identities
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key
from scribe.guides import LOC, LOG_SCALE, Approximation, Draws, Ids, MeanField, Role, roles
from scribe.priors import LATENT_SUFFIX, latent_name

__all__ = ["Posterior", "Summary"]

_OF_FROZEN = 2**30
"""What the key of draws of frozen latents is numbered by."""

_KERNELS = 512
"""Draws behind a kernel density."""

_ENOUGH = 1000
"""Draws behind a summary, where any number can be made."""


_BLOCK_ELEMENTS = 2**20
"""Elements of the largest parameter in a block of draws."""


class Summary(NamedTuple):
    """Posterior mean and standard deviation of one quantity."""

    mean: AnyArray
    sd: AnyArray


@dataclass(frozen=True)
class Posterior:
    """Posterior over the parameters of a model.

    ``guide`` stands for it, a variational family or draws, and ``params`` are its arrays, on the host, those of a
    latent starting with its axes. ``design`` holds the covariates of the cells, ``chosen`` the levels that have been
    chosen, axis -> number. ``labels`` tell genes and cells apart, by axis: their names, or whole numbers, which are
    their places unless given.

    A draw is a function of the key and its number, counted from 0, whichever method it comes from, and what it has of a
    gene or cell a function of the label of that besides: draws of some genes and cells are those of all.
    """

    spec: ModelSpec
    guide: Approximation
    params: Mapping[str, AnyArray]
    n_genes: int
    n_cells: int
    design: Design = field(default_factory=Design)
    chosen: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, AnyArray] = field(default_factory=dict)

    @functools.cached_property
    def ids(self) -> dict[str, IntArray]:
        """Numbers that tell genes and cells apart, by axis."""
        places = {"gene": np.arange(self.n_genes), "cell": np.arange(self.n_cells)}
        return {axis: identities(self.labels.get(axis, place)) for axis, place in places.items()}

    @functools.cached_property
    def roles(self) -> dict[str, Role]:
        """What every array is for."""
        return roles(self.params, self.spec.latents)

    def subset(self, *, genes: IntArray | None = None, cells: IntArray | None = None) -> Posterior:
        """Posterior of some genes and cells, by integer index."""
        index = {"gene": genes, "cell": cells}
        params = {}
        for name, value in self.params.items():
            for position, axis in enumerate(self.roles[name].axes):
                chosen = index.get(axis)
                value = value if chosen is None else np.take(value, chosen, axis=position)  # noqa: PLW2901
            params[name] = value
        # places in the whole stay the labels of those that have no names
        every = {axis: self.labels[axis] if axis in self.labels else self.ids[axis] for axis in index}
        labels = {axis: every[axis][i] for axis, i in index.items() if i is not None}
        return replace(
            self,
            params=params,
            labels={**self.labels, **labels},
            n_genes=self.n_genes if genes is None else len(genes),
            n_cells=self.n_cells if cells is None else len(cells),
            design=self.design.subset(cells, genes=genes),
        )

    def device_params(self) -> dict[str, Array]:
        """Arrays of the guide in JAX's current floating type."""
        return {name: on_device(value) for name, value in self.params.items()}

    def known(self) -> dict[str, Known]:
        """Moments of latents that an earlier fit left behind, on the device."""
        return {name: Known(on_device(x.loc), on_device(x.scale)) for name, x in self.design.known.items()}

    def centre(self) -> dict[str, Array]:
        """Location of every site on the real line: the most probable value there."""
        return self.spec.values(self.guide.centre(self.device_params(), latents=self.spec.latents), self.known())

    def draws(self, key: Key, n_draws: int) -> dict[str, Array]:
        """Draws of every site on the real line, (draws, ...) each."""
        numbers = np.arange(n_draws, dtype=np.uint32)
        return _draws(self.spec, self.guide, self.device_params(), self.known(), key=key, numbers=numbers, ids=self.ids)

    def stored_draws(self) -> dict[str, Array]:
        """All draws of a posterior that consists of them, in the order in which they were made."""
        if not isinstance(self.guide, Draws):
            msg = f"A posterior by {self.guide.name!r} stores no draws: it makes new ones."
            raise TypeError(msg)
        stored = self.guide.stored(self.device_params())
        numbers = np.arange(self.guide.n_draws(self.params), dtype=np.uint32)
        frozen = _frozen(self.spec, self.known(), key=jax.random.key(0), numbers=numbers, ids=self.ids)
        return jax.vmap(self.spec.values)({**stored, **frozen})

    @property
    def n_draws(self) -> int | None:
        """Number of draws it consists of; None where new ones can be made without end."""
        return self.guide.n_draws(self.params)

    def draw_blocks(self, key: Key, n_draws: int, *, block: int = 50) -> Iterator[dict[str, Array]]:
        """The draws of `draws` in blocks of no more than ``block``."""
        return self._blocks(_draws, key, n_draws, block)

    def latent_blocks(self, key: Key, n_draws: int, *, block: int = 50) -> Iterator[dict[str, Array]]:
        """The same draws of everything that is sampled, of which the sites may be made."""
        return self._blocks(_latents, key, n_draws, block)

    def _blocks(
        self, draw: Callable[..., dict[str, Array]], key: Key, n_draws: int, block: int
    ) -> Iterator[dict[str, Array]]:
        params, known = self.device_params(), self.known()
        for first in range(0, n_draws, block):
            numbers = np.arange(first, min(first + block, n_draws), dtype=np.uint32)
            yield draw(self.spec, self.guide, params, known, key=key, numbers=numbers, ids=self.ids)

    def draw_one_by_one(self, key: Key, n_draws: int) -> Iterator[dict[str, Array]]:
        """The draws of `draws` singly, so that no more than one is in memory."""
        for draws in self.draw_blocks(key, n_draws, block=1):
            yield {name: draw[0] for name, draw in draws.items()}

    def values(self, key: Key, n_draws: int) -> Iterator[dict[str, Array]]:
        """The draws of `draws` singly; of no draws, the most probable values once."""
        check_draws(n_draws)
        return self.draw_one_by_one(key, n_draws) if n_draws else iter([self.centre()])

    def parameter_draws(self, key: Key, n_draws: int) -> Iterator[Parameters]:
        """Parameters at `values`."""
        return map(self.parameters, self.values(key, n_draws))

    def parameters(self, values: Mapping[str, Array]) -> Parameters:
        """Natural parameters and what is known of cells from one value of every site on the real line."""
        covariates = self.design.dataset, self.design.logits
        dataset, logits = (None if x is None else on_device(x, x.dtype) for x in covariates)
        return _parameters(self.spec, tuple(self.chosen.items()), self.n_cells, dict(values), dataset, logits)

    def data(self, counts: Counts) -> CountData:
        """Counts of the same cells and genes on the device, with all their non-zeros."""
        # of one dataset there are no columns to tell apart
        design = replace(self.design, dataset=None) if "dataset" in self.chosen else self.design
        return data_for(self.spec, counts, design, totals_suffice=False)

    @property
    def mixed(self) -> bool:
        """Whether cells may be of several components."""
        return "component" in self.spec.levels and "component" not in self.chosen

    @property
    def named_axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every named quantity, without those of chosen levels."""
        every = self.spec.named_axes.items()
        return {name: tuple(axis for axis in axes if axis not in self.chosen) for name, axes in every}

    def _at_chosen(self, name: str, value: Any, *, leading: int) -> Any:
        """A quantity at the chosen levels; its own axes follow ``leading`` ones."""
        axes = self.spec.named_axes[name]
        index = tuple(self.chosen.get(axis, slice(None)) for axis in axes)
        return value[(slice(None),) * leading + index]

    def responsibilities(self, parameters: Parameters, data: CountData) -> Array:
        """Posterior probability of every component in every cell at given parameters, (cells, components).

        Of some genes only, it is that known from all.
        """
        if self.design.responsibilities is not None:
            return jnp.asarray(self.design.responsibilities, parameters.log_exposure.dtype)
        return self.spec.likelihood.responsibilities(parameters, data)

    def named(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Named quantities at the chosen levels, from values with any number of leading draw axes."""
        first = self.spec.sites[0]
        leading = values[first.name].ndim - len(first.axes)
        every = _readable(self.spec, dict(values))
        return {name: self._at_chosen(name, value, leading=leading) for name, value in every.items()}

    def distributions(self) -> dict[str, dist.Distribution]:
        """Posterior distribution of every sampled parameter, on its own scale.

        Normal on the real line where it is, else a kernel density of draws; of weights, the Dirichlet with their mean
        and variance.
        """
        params, known = self.device_params(), _as_mean_field(self.spec, self.known())
        latents = {latent.name for latent in self.spec.latents}
        laws: dict[str, dist.Distribution | None] = {
            latent.name.removesuffix(LATENT_SUFFIX): MeanField().marginal(latent.name, known, latents=self.spec.frozen)
            for latent in self.spec.frozen
        }
        for site in self.spec.sites:
            name = latent_name(site.name)
            if site.name not in laws:
                # weights, and a parameter that is a function of several latents, are known by their draws alone
                alone = name in latents and site.link.name != "softmax"
                laws[site.name] = self.guide.marginal(name, params, latents=self.spec.latents) if alone else None
        draws = self.draws(jax.random.key(0), _KERNELS) if None in laws.values() else {}
        return {site.name: _law(site, laws[site.name], draws) for site in self.spec.sites}

    def summaries(self, key: Key, *, n_draws: int | None = None) -> dict[str, Summary]:
        """Posterior mean and standard deviation of every named quantity, streamed over draws."""
        n_draws = n_draws or self.n_draws or _ENOUGH
        block = int(np.clip(_BLOCK_ELEMENTS // max(x.size for x in self.params.values()), 1, 50))
        centre = _readable(self.spec, self.centre())
        totals = {name: np.zeros(value.shape) for name, value in centre.items()}
        squares = {name: np.zeros(value.shape) for name, value in centre.items()}
        for values in self.draw_blocks(key, n_draws, block=block):
            for name, (total, square) in jax.device_get(_sums(self.spec, values, centre)).items():
                totals[name] += total
                squares[name] += square
        out = {}
        for name, total in totals.items():
            shift = total / n_draws
            variance = np.maximum(squares[name] / n_draws - np.square(shift), 0.0) * n_draws / max(n_draws - 1, 1)
            dtype = centre[name].dtype
            both = (np.asarray(centre[name]) + shift).astype(dtype), np.sqrt(variance).astype(dtype)
            out[name] = Summary(*(self._at_chosen(name, value, leading=0) for value in both))
        return out

    def quantiles(
        self, key: Key, q: tuple[float, ...], *, n_draws: int | None = None, block: int = 2048
    ) -> dict[str, FloatArray]:
        """Posterior quantiles of every named quantity, (q, ...), block by block of genes and cells."""
        n_draws = n_draws or self.n_draws or _ENOUGH
        parts: dict[str, list[FloatArray]] = {}
        for first in range(0, max(self.n_genes, self.n_cells), block):
            genes = np.arange(min(first, self.n_genes), min(first + block, self.n_genes))
            cells = np.arange(min(first, self.n_cells), min(first + block, self.n_cells))
            part = self.subset(genes=genes, cells=cells)
            values = part.named(part.draws(key, n_draws))
            for name, draws in values.items():
                if first == 0 or {"gene", "cell"} & set(self.named_axes[name]):
                    parts.setdefault(name, []).append(np.quantile(np.asarray(draws), q, axis=0))
        return {name: np.concatenate(p, axis=-1) if len(p) > 1 else p[0] for name, p in parts.items()}


def _dirichlet(weights: Array) -> dist.Dirichlet:
    """Dirichlet with the mean and total variance of draws (draws, ..., components)."""
    mean, variance = jnp.mean(weights, axis=0), jnp.var(weights, axis=0)
    total = jnp.sum(mean * (1.0 - mean), axis=-1, keepdims=True) / jnp.sum(variance, axis=-1, keepdims=True) - 1.0
    return dist.Dirichlet(mean * total)


def _law(site: Site, marginal: dist.Distribution | None, draws: Mapping[str, Array]) -> dist.Distribution:
    """Distribution of a parameter from that of its value on the real line, or from draws of this."""
    if site.link.name == "softmax":
        return _dirichlet(site.link.value(draws[site.name]))
    law = kernel_density(jnp.moveaxis(draws[site.name], 0, -1)) if marginal is None else marginal
    if isinstance(law, dist.MixtureSameFamily):
        return PushedKernels(law, site.link)
    if not isinstance(law, dist.Normal):
        return dist.TransformedDistribution(law, site.link.transform)
    if site.link.name == "exp":
        return dist.LogNormal(law.loc, law.scale)
    return PushedNormal(law.loc, law.scale, site.link)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _parameters(
    spec: ModelSpec,
    chosen: tuple[tuple[str, int], ...],
    n_cells: int,
    values: dict[str, Array],
    *covariates: Array | None,
) -> Parameters:
    dataset, logits = covariates
    every = spec.parameters(values, n_cells=n_cells, dataset=dataset, logits=logits)
    axes = [axis for axis, _ in chosen]
    return every._replace(
        natural=at_levels(every.natural, chosen),
        dataset=None if "dataset" in axes else dataset,
        log_weights=None if "component" in axes else every.log_weights,
    )


def _as_mean_field(spec: ModelSpec, known: Mapping[str, Known]) -> dict[str, Array]:
    """Arrays of a mean-field guide of the frozen latents, as the earlier fit left them."""
    arrays = {}
    for latent in spec.frozen:
        arrays[latent.name + LOC], scale = known[latent.name]
        arrays[latent.name + LOG_SCALE] = jnp.log(scale)
    return arrays


def _frozen(spec: ModelSpec, known: Mapping[str, Known], *, key: Key, numbers: Numbers, ids: Ids) -> dict[str, Array]:
    """Draws of frozen latents, from what the earlier fit says of them."""
    if not spec.frozen:
        return {}
    arrays = _as_mean_field(spec, known)
    return MeanField().draw(jax.random.fold_in(key, _OF_FROZEN), arrays, latents=spec.frozen, numbers=numbers, ids=ids)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _latents(
    spec: ModelSpec,
    guide: Approximation,
    params: dict[str, Array],
    known: dict[str, Known],
    *,
    key: Key,
    numbers: Numbers,
    ids: Ids,
) -> dict[str, Array]:
    sampled = guide.draw(key, params, latents=spec.latents, numbers=numbers, ids=ids)
    return {**sampled, **_frozen(spec, known, key=key, numbers=numbers, ids=ids)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draws(
    spec: ModelSpec,
    guide: Approximation,
    params: dict[str, Array],
    known: dict[str, Known],
    *,
    key: Key,
    numbers: Numbers,
    ids: Ids,
) -> dict[str, Array]:
    return jax.vmap(spec.values)(_latents(spec, guide, params, known, key=key, numbers=numbers, ids=ids))


@functools.partial(jax.jit, static_argnums=0)
def _readable(spec: ModelSpec, values: dict[str, Array]) -> dict[str, Array]:
    function: Callable[[dict[str, Array]], dict[str, Array]] = spec.named
    first = spec.sites[0]
    for _ in range(values[first.name].ndim - len(first.axes)):
        function = jax.vmap(function)
    return function(values)


@functools.partial(jax.jit, static_argnums=0)
def _sums(spec: ModelSpec, values: dict[str, Array], centre: dict[str, Array]) -> dict[str, tuple[Array, Array]]:
    """Sums over draws of the distance to the centre and of its square, by quantity."""
    difference = {name: draw - centre[name][None] for name, draw in _readable(spec, values).items()}
    return {name: (jnp.sum(d, axis=0), jnp.sum(jnp.square(d), axis=0)) for name, d in difference.items()}
