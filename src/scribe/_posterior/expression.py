r"""Draws of the expression of genes in a group of cells: of its mean, or of one of its cells.

Only ratios between genes are known without an anchor of capture, and in them capture cancels: thinning multiplies the
mean of every gene by the same factor. What is drawn are logarithms, so that a composition is their softmax and a
log-ratio a difference. The gate of zero inflation silences a gene in a cell and takes no part.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from scribe._counts.levels import at_cells
from scribe._counts.predictors import Predictor
from scribe._model.axes import LEVEL_AXES
from scribe._model.sites import MIXING
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior
from scribe._rng import stream
from scribe._types import AnyArray, Array, FloatArray, Key
from scribe.families import Family

__all__ = ["ESTIMANDS", "Estimand", "Level", "Population", "Quantity", "draws_at_levels"]

Estimand = Literal["mean", "cell"]
ESTIMANDS: tuple[str, ...] = get_args(Estimand)

Quantity = Literal["mean", "cell", "variance"]

Level = tuple[int, int]
"""Component and dataset, by number; 0 of an axis that a model does not have."""

_ELEMENTS = 8_000_000
"""Numbers in a block of draws."""


class LevelDraws(NamedTuple):
    """A block of draws at some levels.

    ``values`` holds one array (draws, levels, genes) per quantity, ``log_weights`` (draws, levels) what the model says
    of the shares of components, zero where it has none.
    """

    values: dict[str, FloatArray]
    log_weights: FloatArray


def draws_at_levels(
    posterior: Posterior,
    key: Key,
    n_draws: int,
    *,
    levels: tuple[Level, ...],
    quantities: tuple[Quantity, ...],
    key_cells: Key | None = None,
) -> Iterator[LevelDraws]:
    """Logarithms of quantities of every gene at some levels, in blocks of draws.

    Equal keys give equal draws of the parameters; ``key_cells`` is that of cells, which differ between draws of chains
    that are taken again. ``"mean"`` is the mean over cells before capture, ``"variance"`` that of the
    molecules, and ``"cell"`` the rate of one cell, which differs from cell to cell however well the mean is known.
    """
    one, spec = posterior.subset(cells=np.asarray([0])), posterior.spec
    widest = posterior.n_genes * max(int(np.prod([spec.lengths.get(axis, 1) for axis in LEVEL_AXES])), len(levels))
    component, dataset = jnp.asarray(np.asarray(levels, np.int32).T)
    key_cells = stream(key, "cells") if key_cells is None else key_cells
    size = int(np.clip(_ELEMENTS // widest, 1, 50))
    for number, values in enumerate(one.draw_blocks(key, n_draws, block=size)):
        noise = {"key": key_cells, "number": np.uint32(number * size)}
        found, log_weights = _at_levels(
            spec, quantities, (component, dataset), values, **noise, n_genes=posterior.n_genes
        )
        yield LevelDraws({name: np.asarray(value) for name, value in found.items()}, np.asarray(log_weights))


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="n_genes")
def _at_levels(
    spec: ModelSpec,
    quantities: tuple[Quantity, ...],
    levels: tuple[Array, Array],
    values: dict[str, Array],
    *,
    key: Key,
    number: Array,
    n_genes: int,
) -> tuple[dict[str, Array], Array]:
    component, dataset = levels
    shape = (component.shape[0], n_genes)

    def of_draw(one: dict[str, Array], key: Key) -> tuple[dict[str, Array], Array]:
        wide = at_cells(spec.natural(spec.working(one)), component, dataset)
        wide = {name: jnp.broadcast_to(value, shape) if value.ndim else value for name, value in wide.items()}
        wide = spec.family.expressed(wide)
        law = _Cells(spec.family, spec.family.predictor(spec.working(one), jnp.zeros(1)), wide)
        make = {"mean": law.log_mean, "cell": lambda: law.sample_log_rate(key), "variance": law.log_variance}
        return {name: make[name]() for name in quantities}, _log_shares(one, component, dataset)

    first = spec.sites[0]
    numbers = number + jnp.arange(values[first.name].shape[0], dtype=jnp.uint32)
    return jax.vmap(of_draw)(values, jax.vmap(jax.random.fold_in, (None, 0))(key, numbers))


class _Cells(NamedTuple):
    """Cells at some levels, drawn from the population: ``natural`` are (levels, genes) and scalars."""

    family: Family
    predictor: Predictor
    natural: dict[str, Array]

    def log_mean(self) -> Array:
        """Log of the mean molecules of a cell: a log-normal field of variance v adds v / 2."""
        sd = self.predictor.field_sd()
        return self.natural["log_mean"] if sd is None else self.natural["log_mean"] + jnp.square(sd)[None] / 2

    def log_variance(self) -> Array:
        """Log of the variance of the molecules, within cells of one field and between fields."""
        zero, sd = jnp.zeros_like(self.natural["log_mean"]), self.predictor.field_sd()
        if sd is None:
            return jnp.log(self.family.moments(self.natural, zero).variance)
        nodes, weights = (jnp.asarray(x, zero.dtype) for x in _FIELD)
        at = [self.family.moments(self.family.shifted(self.natural, node * sd[None]), zero) for node in nodes]
        mean = sum(weight * m.mean for weight, m in zip(weights, at, strict=True))
        within = sum(weight * m.variance for weight, m in zip(weights, at, strict=True))
        between = sum(weight * jnp.square(m.mean - mean) for weight, m in zip(weights, at, strict=True))
        return jnp.log(within + between)

    def sample_log_rate(self, key: Key) -> Array:
        """Log rate of one cell at every level."""
        rate = self.family.sample_log_rate(key, self.natural)
        field = self.predictor.sample_field(stream(key, "field"), rate.shape[0])
        return rate if field is None else rate + field


_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_FIELD = _NODES, _WEIGHTS / _WEIGHTS.sum()
"""Rule for means over the field of cells."""


def _log_shares(values: dict[str, Array], component: Array, dataset: Array) -> Array:
    """Log weight that the model gives the component of every level, (levels,)."""
    if MIXING.name not in values:
        return jnp.zeros(component.shape)
    logs = jax.nn.log_softmax(values[MIXING.name])
    return logs[dataset, component] if logs.ndim == 2 else logs[component]


@dataclass(frozen=True)
class Population:
    """A group of cells as a fit knows it: some levels of the model and their weights.

    Where there are several levels, the composition of the group is the average of theirs, by the ``weights``, or by
    those that the model gives its components.
    """

    posterior: Posterior
    levels: tuple[Level, ...]
    weights: tuple[float, ...] | None = None

    def shares(self) -> FloatArray:
        """Shares of the levels, (levels,), at the most probable parameters where the model gives them."""
        if self.weights is not None:
            return np.asarray(self.weights) / np.sum(self.weights)
        component, dataset = jnp.asarray(np.asarray(self.levels, np.int32).T)
        return softmax(np.asarray(_log_shares(self.posterior.centre(), component, dataset), np.float64))

    def log_expression(
        self, key: Key, n_draws: int, *, estimand: Estimand = "mean", key_cells: Key | None = None
    ) -> FloatArray:
        """Logarithm of expression, (draws, genes): of one level in its own unit, of several that of a composition."""
        out = np.empty((n_draws, self.posterior.n_genes), np.float32)
        blocks = draws_at_levels(
            self.posterior, key, n_draws, levels=self.levels, quantities=(estimand,), key_cells=key_cells
        )
        first = 0
        for block in blocks:
            value = block.values[estimand]
            if len(self.levels) > 1:
                value = logsumexp(log_softmax(value, axis=2) + self._log_weights(block)[..., None], axis=1)[:, None]
            out[first : first + len(value)] = value[:, 0]
            first += len(value)
        return out

    def log_moments(self, key: Key, n_draws: int) -> tuple[FloatArray, FloatArray]:
        """Logarithms of mean and variance of the molecules of a cell, (draws, genes) each."""
        out = np.empty((2, n_draws, self.posterior.n_genes), np.float32)
        first = 0
        for block in draws_at_levels(self.posterior, key, n_draws, levels=self.levels, quantities=("mean", "variance")):
            mean, variance = block.values["mean"], block.values["variance"]
            here = slice(first, first + len(mean))
            out[0, here], out[1, here] = mean[:, 0], variance[:, 0]
            if len(self.levels) > 1:
                weights = self._log_weights(block)[..., None]
                out[0, here] = logsumexp(mean + weights, axis=1)
                # law of total variance, about the common mean
                between = 2 * np.log(np.maximum(np.abs(np.expm1(mean - out[0, here][:, None])), 1e-30))
                square = logsumexp(between + weights, axis=1) + 2 * out[0, here]
                out[1, here] = np.logaddexp(logsumexp(variance + weights, axis=1), square)
            first += len(mean)
        return out[0], out[1]

    def _log_weights(self, block: LevelDraws) -> AnyArray:
        """Logarithms of the shares of levels, (draws, levels), which sum to one."""
        if self.weights is not None:
            logs = np.broadcast_to(np.log(np.maximum(self.weights, 1e-300)), block.log_weights.shape)
        else:
            logs = block.log_weights
        return log_softmax(logs, axis=1)
