r"""Empirical Bayes over genes: effects as draws from a population learned from all of them.

It is adaptive shrinkage (Stephens 2017, doi:10.1093/biostatistics/kxw041) with a population of more than one hump,

.. math:: \Delta_g \sim \pi_0\,\delta_0 + \sum_{k>0} \pi_k N(m_k, \sigma_k^2)

The normals stand side by side, on both sides of zero and ever wider away from it, so that the population may have any
number of humps: where most genes respond by a factor of two, few respond by less, and a single hump about zero would
take a gene without effect for one with a small effect of certain sign.

Effects far below the errors cannot be told from none, and the likelihood alone splits the genes without effect among
those. Nine genes are therefore added to :math:`\pi_0`, as is the rule for one hump.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from scribe._stats.laws import NormalMixture
from scribe._stats.population import population_weights
from scribe._types import FloatArray

__all__ = ["WEAK", "EffectPopulation", "Shrunk", "grid_of_effects", "posterior_under", "shrink"]

_WITHOUT_EFFECT = 9.0
"""Genes beside that are without effect: a Dirichlet prior of 10 on their share, and of 1 on all others."""

_RATIO = 1.25
"""Distance from zero of a normal of the population over that of the one before it."""

_OVERLAP = 0.7
"""Standard deviation of a normal of the population, in distances to the next."""

_BLOCK = 256
"""Genes worked on at a time."""


class EffectPopulation(NamedTuple):
    """Normals with means, standard deviations and weights, (normals,) each; one without spread is a point."""

    means: FloatArray
    sds: FloatArray
    weights: FloatArray


WEAK = EffectPopulation(np.zeros(1), np.full(1, 3.0 * np.sqrt(2.0)), np.ones(1))
"""Difference of two log means whose prior has the standard deviation 3, as expression has it in a fit."""


class Shrunk(NamedTuple):
    """Shrunken effects: their law, and the population."""

    law: NormalMixture
    population: EffectPopulation

    @property
    def null_proportion(self) -> float:
        """Share of effects that are exactly zero."""
        return float(self.population.weights[0])


def grid_of_effects(seen: NormalMixture) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of a population: zero, then normals from the smallest errors to the largest effect.

    Below the errors no effect can be told from zero, and weight that is split among points there would not be found at
    zero. The largest effect is that under a weak prior: genes that one group lacks set no limit.
    """
    first = max(float(np.quantile(seen.sd, 0.1)), 1e-3)
    last = max(1.2 * float(np.max(np.abs(posterior_under(seen, WEAK).mean))), 2 * first)
    means = first * _RATIO ** np.arange(np.ceil(np.log(last / first) / np.log(_RATIO)) + 1)
    sds = _OVERLAP * np.append(np.diff(means), means[-1] * (_RATIO - 1.0))
    return np.concatenate([[0.0], means, -means]), np.concatenate([[0.0], sds, sds])


def shrink(
    seen: NormalMixture, *, sds: FloatArray | None = None, max_iterations: int = 2000, tolerance: float = 1e-8
) -> Shrunk:
    """Posterior of effects under a population that is learned from all of them.

    ``seen`` are the effects under a flat prior, mixtures of narrow normals. ``sds``, beginning with zero, makes the
    population one of normals about zero with these standard deviations.
    """
    if sds is None:
        means, sds = grid_of_effects(seen)
    else:
        means, sds = np.zeros(len(sds)), np.asarray(sds, np.float64)
    likelihood = np.concatenate([_log_likelihood(part, means, sds) for part in _blocks(seen)])
    prior = np.append(_WITHOUT_EFFECT, np.zeros(len(sds) - 1))
    weights = population_weights(likelihood, prior, max_iterations=max_iterations, tolerance=tolerance)
    population = EffectPopulation(means, sds, weights)
    return Shrunk(posterior_under(seen, population), population)


def posterior_under(seen: NormalMixture, population: EffectPopulation) -> NormalMixture:
    """Posterior of effects seen under a flat prior, when they are drawn from a population.

    Each normal of the population meets each of ``seen``. Of the products those in which ``seen`` is the narrower are
    added up to one normal for each of its normals, the others to one for each normal of the population.
    """
    parts = [_posterior(part, population) for part in _blocks(seen)]
    return NormalMixture(*(np.concatenate(x) for x in zip(*((p.weights, p.locs, p.sds) for p in parts), strict=True)))


def _blocks(seen: NormalMixture) -> list[NormalMixture]:
    starts = range(0, len(seen.locs), _BLOCK)
    return [NormalMixture(*(x[i : i + _BLOCK] for x in (seen.weights, seen.locs, seen.sds))) for i in starts]


def _joint(seen: NormalMixture, means: FloatArray, sds: FloatArray) -> FloatArray:
    """Log of the weight of every product of normals, (genes, normals of ``seen``, normals of the population)."""
    # a gene that is the reference is zero for certain
    variance = np.maximum(np.square(seen.sds)[..., None] + np.square(sds), 1e-12)
    with np.errstate(divide="ignore"):
        weights = np.log(seen.weights)[..., None]
    return weights - 0.5 * (np.log(variance) + np.square(seen.locs[..., None] - means) / variance)


def _log_likelihood(seen: NormalMixture, means: FloatArray, sds: FloatArray) -> FloatArray:
    return logsumexp(_joint(seen, means, sds), axis=1)


def _posterior(seen: NormalMixture, population: EffectPopulation) -> NormalMixture:
    joint = _joint(seen, population.means, population.sds) + np.log(np.maximum(population.weights, 1e-300))
    shape = joint.shape
    weights = softmax(joint.reshape(len(joint), -1), axis=1).reshape(shape)
    error, spread = np.square(seen.sds)[..., None], np.square(population.sds)
    total = np.maximum(error + spread, 1e-12)
    locs = (spread * seen.locs[..., None] + error * population.means) / total
    variances = np.broadcast_to(spread * error / total, shape)
    narrow = np.broadcast_to(error < spread, shape)
    by_seen = _added(np.where(narrow, weights, 0.0), locs, variances, axis=2)
    by_population = _added(np.where(narrow, 0.0, weights), locs, variances, axis=1)
    return NormalMixture(*(np.concatenate(pair, axis=1) for pair in zip(by_seen, by_population, strict=True)))


def _added(
    weights: FloatArray, locs: FloatArray, variances: FloatArray, *, axis: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One normal with the moments of a mixture along an axis: weight, mean and standard deviation."""
    total = weights.sum(axis=axis)
    share = weights / np.expand_dims(np.maximum(total, 1e-300), axis)
    mean = np.sum(share * locs, axis=axis)
    spread = variances + np.square(locs - np.expand_dims(mean, axis))
    return total, mean, np.sqrt(np.sum(share * spread, axis=axis))
