"""Latents that a guide draws together: a law of their noise, and linear regressions of some on others."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._model.axes import LEVEL_AXES
from scribe._types import AnyArray, Array, Params
from scribe.guides._base import LOC, LOG_SCALE, Ids, Latents
from scribe.guides._core import Core, CoreArrays, Density
from scribe.guides._noise import Counters, loose, of_latent
from scribe.guides.mean_field import MeanField
from scribe.priors import LATENT_SUFFIX, Latent

__all__ = ["Block"]


@dataclass(frozen=True)
class Block:
    r"""Latents of one joint law.

    The residuals :math:`e` of the ``dense`` latents come from the core, those of the ``linear`` ones are independent
    normals, and every latent depends on the residuals of those before it by slopes of its own for every element:

    .. math::

        z_j = \text{loc}_j + e_j + \sum_{i<j} a_{ji}\,\bar e_i .

    Linear latents without a gene axis come first, then dense ones, then the other linear ones in their order.
    :math:`\bar e_i` is the residual of the same gene, component and data set, or its mean over the axes that :math:`j`
    does not have. The map from residuals to latents has determinant one. Slopes between dense latents are left out:
    the core has them. Every residual starts with the standard deviation ``init_scale``.
    """

    core: Core
    dense: Latents
    linear: Latents = ()
    init_scale: float = 0.1

    @cached_property
    def order(self) -> Latents:
        """In which the latents are drawn."""
        scalars = tuple(latent for latent in self.linear if "gene" not in latent.axes)
        return (*scalars, *self.dense, *(latent for latent in self.linear if latent not in scalars))

    def parents(self, latent: Latent) -> Latents:
        """Latents on whose residuals one depends."""
        if "gene" not in latent.axes:
            return ()
        before = self.order[: self.order.index(latent)]
        return tuple(one for one in before if one not in self.dense or latent not in self.dense)

    @cached_property
    def _common(self) -> tuple[str, ...]:
        """Axes over which vectors of the core are independent."""
        return tuple(axis for axis in LEVEL_AXES if all(axis in latent.axes for latent in self.dense))

    @property
    def _weights(self) -> tuple[str, ...]:
        """Names of the arrays of the core that belong to no latent."""
        return self.core.weights(len(self.dense), batched=bool(self._common))

    @property
    def label(self) -> str:
        """Start of the names of arrays that belong to no latent, and name of the density."""
        return "_".join(("joint", *(_stem(latent) for latent in self.order)))

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the trainable arrays."""
        own = [latent.name + suffix for latent in self.order for suffix in (LOC, LOG_SCALE)]
        slopes = [_slope(latent, parent) for latent in self.order for parent in self.parents(latent)]
        weights = self._weights if self.dense else ()
        rows = [latent.name + self.core.suffix for latent in self.dense] if self.core.trains_rows else []
        return (*own, *slopes, *rows, *(f"{self.label}_{name}" for name in weights))

    def init(self, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray) -> Params:
        """Trainable arrays; slopes start at zero."""
        mean_field = MeanField(self.init_scale)
        params = mean_field.init(self.order, start, lengths=lengths, totals=totals)
        for latent in self.order:
            for parent in self.parents(latent):
                params[_slope(latent, parent)] = jnp.zeros_like(params[latent.name + LOC])
        for latent in self.dense:
            loc = params[latent.name + LOC]
            rng = np.random.default_rng(zlib.crc32(latent.name.encode()))
            rows = self.core.init_rows(loc.shape, rng)
            if rows is not None:
                params[latent.name + self.core.suffix] = jnp.asarray(rows, loc.dtype)
        if self.dense:
            batch, sizes = self._sizes(params)
            weights = self.core.init_weights(sizes, batch=batch)
            params |= {f"{self.label}_{name}": value for name, value in weights.items()}
        return params

    def finalise(self, params: Mapping[str, Array]) -> Params:
        """Add the rows that the core needs for draws of a part of the elements."""
        batch, sizes = self._sizes(params)
        rows = self.core.settled_rows(sizes, batch=batch) if self.dense else None
        added = {} if rows is None else self._unflat(rows, params)
        return {**params, **{name + self.core.suffix: value for name, value in added.items()}}

    def push(self, params: Mapping[str, Array], noise: list[Array]) -> tuple[dict[str, Array], Array]:
        """Latents from standard normals, and the logarithm of their density."""
        residuals: dict[str, Array] = {}
        density: Density | None = None
        if self.dense:
            drawn, density = self.core.draw(self._arrays(params), noise[len(self.linear) :])
            residuals = self._unflat(drawn, params)
        for latent, normal in zip(self.linear, noise, strict=False):
            residuals[latent.name] = jnp.exp(params[latent.name + LOG_SCALE]) * normal
        values = {
            latent.name: params[latent.name + LOC] + residuals[latent.name] + self._shift(latent, params, residuals)
            for latent in self.order
        }
        return values, self._log_density(values, jax.lax.stop_gradient(dict(params)), density)

    def _log_density(self, values: Mapping[str, Array], fixed: Params, density: Density | None) -> Array:
        """That of the residuals which the values have at parameters held constant: see `PathwiseNormal`."""
        residuals: dict[str, Array] = {}
        for latent in self.order:
            shift = self._shift(latent, fixed, residuals)
            residuals[latent.name] = values[latent.name] - fixed[latent.name + LOC] - shift
        total = jnp.zeros((), jnp.zeros(()).dtype) if density is None else density(self._flat(residuals, ""))
        for latent in self.linear:
            residual = residuals[latent.name]
            normal = dist.Normal(jnp.zeros_like(residual), jnp.exp(fixed[latent.name + LOG_SCALE]))
            total += jnp.sum(normal.log_prob(residual))
        return total

    def noise(self, params: Mapping[str, Array]) -> list[tuple[int, ...]]:
        """Shapes of the standard normals that `push` needs."""
        shapes = [params[latent.name + LOC].shape for latent in self.linear]
        return [*shapes, *(self.core.noise(self._arrays(params)) if self.dense else [])]

    def counters(self, params: Mapping[str, Array], ids: Ids) -> list[Counters]:
        """What tells the numbers of `noise` apart."""
        each = {one.name: of_latent(one, params[one.name + LOC].shape, ids) for one in self.order}
        found = [each[latent.name] for latent in self.linear]
        if self.dense:
            element, use = ({name: one[i] for name, one in each.items()} for i in range(2))
            own = Counters(self._flat(element, ""), self._flat(use, ""))
            for number, shape in enumerate(self.core.noise(self._arrays(params))):
                by_element = number == self.core.by_element
                found.append(own if by_element else loose(f"{self.label} {number}", shape))
        return found

    def marginal(self, name: str, params: Mapping[str, Array]) -> dist.Normal | None:
        """Distribution of every element of a latent by itself; None where it is not normal."""
        latent = next(one for one in self.order if one.name == name)
        variance = jnp.exp(2 * params[name + LOG_SCALE])
        terms = [(parent, params[_slope(latent, parent)]) for parent in self.parents(latent)]
        for source, slope in terms:
            n = math.prod(params[source.name + LOC].shape[i] for i in _gone(source, latent))
            own = jnp.exp(2 * params[source.name + LOG_SCALE])
            variance += jnp.square(slope) * _onto(own, source, latent) / n
        shared = []
        for source, slope in [(latent, jnp.ones_like(variance)), *terms]:
            if source in self.dense:
                rows = params.get(source.name + self.core.suffix)
                loadings = None if rows is None else self.core.loadings(rows)
                if loadings is None:
                    return None
                scaled = loadings * jnp.exp(params[source.name + LOG_SCALE])[..., None]
                shared.append(self._loadings_onto(scaled, source, latent) * slope[..., None])
        if shared:
            variance += jnp.sum(jnp.square(sum(shared[1:], shared[0])), axis=-1)
        return dist.Normal(params[name + LOC], jnp.sqrt(variance))

    def _loadings_onto(self, loadings: Array, source: Latent, onto: Latent) -> Array:
        """Loadings of a mean over axes; vectors that are independent have normals of their own."""
        places = [i for i in _gone(source, onto) if source.axes[i] in self._common]
        n = math.prod(loadings.shape[i] for i in places)
        last = jnp.moveaxis(loadings, places, range(-1 - len(places), -1))
        kept = Latent(source.name, tuple(axis for i, axis in enumerate(source.axes) if i not in places))
        return _onto(last.reshape(*last.shape[: len(kept.axes)], -1) / n, kept, onto)

    def _shift(self, latent: Latent, params: Mapping[str, Array], residuals: Mapping[str, Array]) -> Array:
        shift = jnp.zeros_like(params[latent.name + LOC])
        for parent in self.parents(latent):
            shift += params[_slope(latent, parent)] * _onto(residuals[parent.name], parent, latent)
        return shift

    def _arrays(self, params: Mapping[str, Array]) -> CoreArrays:
        has_rows = self.dense[0].name + self.core.suffix in params
        log_scale = self._flat(params, LOG_SCALE)
        return CoreArrays(
            log_scale,
            self._flat(params, self.core.suffix) if has_rows else log_scale[:, :0],
            {name: params[f"{self.label}_{name}"] for name in self._weights},
        )

    def _sizes(self, params: Mapping[str, Array]) -> tuple[int, tuple[int, ...]]:
        """Number of vectors, and elements of every dense latent in one of them."""
        shapes = [self._vectors(jnp.shape(params[latent.name + LOC]), latent) for latent in self.dense]
        return (shapes[0][0] if shapes else 1), tuple(shape[1] for shape in shapes)

    def _vectors(self, shape: tuple[int, ...], latent: Latent) -> tuple[int, int]:
        batch = math.prod(n for axis, n in zip(latent.axes, shape, strict=False) if axis in self._common)
        return batch, math.prod(shape[: len(latent.axes)]) // batch

    def _flat(self, arrays: Mapping[str, Array], suffix: str) -> Array:
        """Arrays of the dense latents as vectors, (batch, elements, ...)."""
        parts = []
        for latent in self.dense:
            value = arrays[latent.name + suffix]
            first = jnp.moveaxis(value, [latent.axes.index(a) for a in self._common], range(len(self._common)))
            parts.append(first.reshape(*self._vectors(value.shape, latent), *value.shape[len(latent.axes) :]))
        return jnp.concatenate(parts, axis=1)

    def _unflat(self, vectors: Array, params: Mapping[str, Array]) -> dict[str, Array]:
        """Undo `_flat` for vectors (batch, elements)."""
        ends = np.cumsum(self._sizes(params)[1])[:-1]
        out = {}
        for latent, part in zip(self.dense, jnp.split(vectors, ends, axis=1), strict=True):
            shape = params[latent.name + LOC].shape
            places = [latent.axes.index(a) for a in self._common]
            moved = [*(shape[i] for i in places), *(n for i, n in enumerate(shape) if i not in places)]
            out[latent.name] = jnp.moveaxis(part.reshape(moved), range(len(places)), places)
        return out


def _stem(latent: Latent) -> str:
    return latent.name.removesuffix(LATENT_SUFFIX)


def _slope(latent: Latent, parent: Latent) -> str:
    return f"{latent.name}_slope_{_stem(parent)}"


def _gone(source: Latent, onto: Latent) -> tuple[int, ...]:
    """Places of the axes that are averaged over."""
    return tuple(i for i, axis in enumerate(source.axes) if axis not in onto.axes)


def _onto(value: Array, source: Latent, onto: Latent) -> Array:
    """Mean over the axes that ``onto`` lacks, with axes of length one where ``source`` has none."""
    mean = jnp.mean(value, axis=_gone(source, onto))
    kept = [axis for axis in source.axes if axis in onto.axes]
    own = [mean.shape[kept.index(axis)] if axis in kept else 1 for axis in onto.axes]
    return mean.reshape(*own, *mean.shape[len(kept) :])
