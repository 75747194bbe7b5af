r"""What the counts of every level of a model say of the mean of every gene, free of the prior.

Given dispersion and capture at their most probable values, the log-likelihood of the log mean :math:`\theta` of a gene
at a level (a component in a dataset) is that of one negative binomial count,

.. math:: \ell(\theta) = n\,\theta - (n + s)\,\log\{s + E e^{\theta}\} + \text{const},

with the molecules :math:`n` that were observed, their exposure :math:`E` (so that :math:`n / E` is the mean that fits
best) and a size :math:`s` that gives the curvature at the maximum, :math:`1/I = 1/n + 1/s`. For negative binomial cells
of equal capture this is exact, with :math:`s` the number of cells times :math:`r`; for other families slope far below
the maximum, maximum and curvature agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.likelihood import by_gene
from scribe._counts.parameters import Parameters
from scribe._device import on_device
from scribe._model.axes import LEVEL_AXES
from scribe._model.spec import ModelSpec
from scribe._posterior.expression import Level
from scribe._posterior.posterior import Posterior
from scribe._types import AnyArray, Array, FloatArray, IntArray

__all__ = ["LevelCounts", "count_levels", "joined"]

_NEWTON_STEPS = 6
_LONGEST_STEP = 2.0
_FOLD = 0.02
"""Log fold change over which slopes are compared for the curvature."""

_FAR_BELOW = -12.0
"""Log fold change at which a gene without counts has a likelihood linear in its mean."""

_EXPECTED = 5.0
"""Molecules expected of a gene without counts where its size is found."""

_POISSON = 1e8
"""Size of a count that varies no more than a Poisson count does."""

_LEAST_COUNT = 0.05
"""Molecules of cells that are hardly of a component, up to which it has none."""

_LEAST_EXPECTED = 1e-12
"""Molecules that a level without cells may be said to expect far below the maximum."""

_TOLERATED = 0.1
"""Standard deviation of log means between levels of genes that hardly differ."""

_TINY = 1e-100


class LevelCounts(NamedTuple):
    """Observed molecules, exposure and size of every gene at some levels, (levels, genes) each."""

    molecules: FloatArray
    exposure: FloatArray
    size: FloatArray

    @property
    def log_mean(self) -> FloatArray:
        """Log mean that fits best, of genes without counts that of half a molecule."""
        return np.log(np.maximum(self.molecules, 0.5) / self.exposure)

    @property
    def variance(self) -> FloatArray:
        """Variance of the log mean, half a molecule added to the counts."""
        return 1.0 / (self.molecules + 0.5) + 1.0 / self.size

    def take(self, levels: Sequence[int] | AnyArray) -> LevelCounts:
        """Some levels, by number or mask."""
        return LevelCounts(*(x[np.asarray(levels)] for x in self))

    def genes(self, kept: AnyArray) -> LevelCounts:
        """Some genes."""
        return LevelCounts(*(x[:, kept] for x in self))

    def as_shares(self) -> LevelCounts:
        """Means as shares of the molecules of every level."""
        total = np.sum(self.molecules / self.exposure, axis=1, keepdims=True)
        return self._replace(exposure=self.exposure * np.where(total > 0, total, 1.0))

    def aligned(self) -> LevelCounts:
        """Means in units in which the levels agree in the median gene: depth and capture of levels cancel."""
        profile = np.log(np.maximum(self.molecules.sum(axis=0), 0.5) / self.exposure.sum(axis=0))
        ratios, precision = self.log_mean - profile, 1.0 / (self.variance + _TOLERATED**2)
        order = np.argsort(ratios, axis=1)
        reached = np.cumsum(np.take_along_axis(precision, order, axis=1), axis=1)
        middle = np.argmax(reached >= reached[:, -1:] / 2, axis=1)[:, None]
        median = np.take_along_axis(ratios, np.take_along_axis(order, middle, axis=1), axis=1)
        return self._replace(exposure=self.exposure * np.exp(median))

    def pooled(self, weights: AnyArray) -> LevelCounts:
        r"""All levels as one, (1, genes), whose mean is the average of theirs with the ``weights`` (levels,).

        :math:`m = \sum_\ell w_\ell n_\ell/E_\ell` has the variance
        :math:`\sum_\ell (w_\ell n_\ell/E_\ell)^2(1/n_\ell + 1/s_\ell)`.
        """
        if len(self.molecules) == 1:
            return self
        share = (np.asarray(weights) / np.sum(weights))[:, None]
        count, means = self.molecules.sum(axis=0), share * self.molecules / self.exposure
        mean, seen = np.maximum(means.sum(axis=0), _TINY), count > 0
        variance = np.sum(np.square(means) * (1.0 / np.maximum(self.molecules, _TINY) + 1.0 / self.size), axis=0)
        excess = variance / np.square(mean) - 1.0 / np.maximum(count, _TINY)
        size = np.where(seen, 1.0 / np.clip(excess, 1.0 / _POISSON, 1e6), self.size.sum(axis=0))
        # of a gene without counts the level that says least of it sets the limit
        exposure = np.where(seen, count / mean, np.min(self.exposure / np.maximum(share, _TINY), axis=0))
        return LevelCounts(*(x[None] for x in (count, exposure, size)))


def joined(parts: Sequence[LevelCounts]) -> LevelCounts:
    """Levels of several, one after the other."""
    return LevelCounts(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def count_levels(posterior: Posterior, counts: Counts, levels: Sequence[Level]) -> LevelCounts:
    """Counts of some levels of a fit, cells of a mixture shared among components by their responsibilities."""
    whole = replace(posterior, chosen={})
    spec, centre, n_genes = whole.spec, whole.centre(), counts.n_genes
    data, parameters, working = whole.data(counts), whole.parameters(centre), spec.working(centre)
    gamma = whole.responsibilities(parameters, data) if whole.mixed else jnp.ones((counts.n_cells, 1))
    shape = tuple(spec.lengths.get(axis, 1) for axis in LEVEL_AXES)
    observed = _observed(counts, np.asarray(gamma), whole.design.datasets(counts.n_cells), shape)

    def slope(fold: FloatArray) -> FloatArray:
        """Derivative of the log-likelihood in the log mean of every gene and level, at a log fold change of it."""
        at = on_device(fold if spec.level_axes else fold[0, 0])
        found = _slopes(spec, working, at, (parameters, data), gamma)
        return np.asarray(found, np.float64).reshape(*shape, n_genes)

    fold, information = _maximise(slope, observed)
    seen, log_mean = observed > 0, fold + np.asarray(spec.natural(working)["log_mean"], np.float64)
    exposure = np.maximum(np.where(seen, observed, -slope(fold)), _LEAST_EXPECTED) * np.exp(-log_mean)
    # genes without counts: the slope where so many molecules are expected is that of a count of the size sought
    expected = np.where(seen, observed, _EXPECTED)
    slope_there = -slope(np.where(seen, fold, fold + np.log(_EXPECTED / exposure) - log_mean))
    variance = np.where(seen, 1.0 / np.maximum(information, _TINY), 1.0 / np.maximum(slope_there, _TINY))
    size = 1.0 / np.clip(variance - 1.0 / np.maximum(expected, _TINY), 1.0 / _POISSON, 1e6)
    at = tuple(np.asarray(levels).T)
    return LevelCounts(*(x[at] for x in (observed, exposure, size)))


def _observed(counts: Counts, gamma: AnyArray, dataset: IntArray, shape: tuple[int, ...]) -> FloatArray:
    """Molecules of every gene, (components, datasets, genes)."""
    members = np.eye(shape[1])[dataset]
    observed = np.stack([counts.sums(weight[:, None] * members) for weight in gamma.T.astype(np.float64)])
    return np.where(observed < _LEAST_COUNT, 0.0, observed)


def _maximise(slope: Callable[[FloatArray], FloatArray], observed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log fold changes at which slopes vanish, by Newton's steps, and the curvature there.

    Genes without counts have their maximum at minus infinity; they stay far below.
    """
    fold = np.where(observed > 0, 0.0, _FAR_BELOW)
    for _ in range(_NEWTON_STEPS):
        below, above = slope(fold - _FOLD / 2), slope(fold + _FOLD / 2)
        # a gene cannot tell more of its mean than its molecules do, however many cells there are
        information = np.clip((below - above) / _FOLD, 1e-3 * observed, observed)
        step = 0.5 * (below + above) / np.maximum(information, _TINY)
        fold = fold + np.where(observed > 0, np.clip(step, -_LONGEST_STEP, _LONGEST_STEP), 0.0)
    return fold, information


@functools.partial(jax.jit, static_argnums=0)
def _slopes(
    spec: ModelSpec, working: dict[str, Array], fold: Array, given: tuple[Parameters, CountData], gamma: Array
) -> Array:
    """Slopes of the log-likelihood; ``gamma`` are the responsibilities of cells, (cells, components)."""
    parameters, data = given

    def total(fold: Array) -> Array:
        here = parameters._replace(natural=spec.natural(working, log_fold=fold))
        return jnp.sum(by_gene(spec.family, here, data, n_genes=fold.shape[-1], gamma=gamma))

    return jax.grad(total)(fold)
