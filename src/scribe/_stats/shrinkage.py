r"""Empirical Bayes over genes: effects, and their spread between samples, as draws from a population learned from all.

A population is a mixture over a grid whose weights maximise the likelihood of all genes together, by EM,

.. math:: \pi_k \propto a_k + \sum_g \frac{\pi_k L_{gk}}{\sum_j \pi_j L_{gj}},

with :math:`L_{gk}` the likelihood of gene :math:`g` at point :math:`k` of the grid and :math:`a_k` genes beside that
speak for this point alone.

*Shrinkage* (Stephens 2017, doi:10.1093/biostatistics/kxw041): effects are
:math:`\Delta_g \sim \sum_k \pi_k N(0, \sigma_k^2)` with :math:`\sigma_0 = 0`, of which
:math:`\hat\Delta_g \sim N(\Delta_g, s_g^2)` has been seen. Effects far below the errors cannot be told from none, and
the likelihood alone takes most genes without any for genes with such, of a certain sign: of ten calls at an expected
share of wrong signs of 5 % one had no effect. Nine genes are added to :math:`\sigma_0`, as is the rule there.

*Samples*: the log expression :math:`\theta_{g\ell}` of gene :math:`g` in sample :math:`\ell` is known as
:math:`m_{g\ell}` up to :math:`v_{g\ell}`, and samples vary beyond that,

.. math:: m_{g\ell} \sim N\{(X\beta_g)_\ell,\ v_{g\ell} + \tau_g^2\},\qquad \tau_g \sim \sum_k \pi_k \delta(\tau_k),

with a flat prior on :math:`\beta_g`. Given :math:`\tau_g` everything is normal; the posterior of a contrast is a
mixture of normals over the grid, with the tails that few samples leave it. Like a t test it does not take the
variance for known; the population lends it what degrees of freedom the samples lack (as in limma, Smyth 2004,
doi:10.2202/1544-6115.1027).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax, xlogy

from scribe._stats.laws import NormalMixture
from scribe._types import FloatArray

__all__ = ["Shrunk", "grid_of_effects", "population", "sample_effects", "shrink"]

_WITHOUT_EFFECT = 9.0
"""Genes beside that are without effect: a Dirichlet prior of 10 on their share, and of 1 on all others."""

_NEGLIGIBLE = 1e-4
"""Weight of parts of a mixture that may be left out, all together, in any gene."""


def population(
    log_likelihood: FloatArray, prior: FloatArray, *, max_iterations: int = 2000, tolerance: float = 1e-8
) -> FloatArray:
    """Weights of the points of a grid, (points,), from log-likelihoods (genes, points).

    ``prior`` (points,) are numbers of genes beside, of which each speaks for one point.
    """
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    n_genes, n_points = likelihood.shape
    weights, last = np.full(n_points, 1.0 / n_points), -np.inf
    for _ in range(max_iterations):
        joint = likelihood * weights
        total = joint.sum(axis=1, keepdims=True)
        now = float(np.sum(np.log(total)) + np.sum(xlogy(prior, weights)))
        weights = (np.sum(joint / total, axis=0) + prior) / (n_genes + prior.sum())
        if now - last < tolerance * abs(now) + 1e-12:
            break
        last = now
    return weights


class Shrunk(NamedTuple):
    """Shrunken effects: their law, the standard deviations of the population, and the weights of these."""

    law: NormalMixture
    sds: FloatArray
    weights: FloatArray

    @property
    def null_proportion(self) -> float:
        """Share of effects that are exactly zero."""
        return float(self.weights[0])


def grid_of_effects(estimates: FloatArray, errors: FloatArray, *, n_points: int = 26) -> FloatArray:
    """Zero, and a geometric grid from a tenth of the smallest error to three times the largest effect.

    Below that no effect can be told from zero, and weight that is split among points there would not be found at zero.
    """
    low = float(np.min(errors[errors > 0], initial=np.inf)) / 10
    low = low if np.isfinite(low) else 1.0
    high = max(3 * float(np.max(np.abs(estimates))), 10 * low)
    return np.append(0.0, np.geomspace(low, high, n_points - 1))


def shrink(
    seen: NormalMixture, *, sds: FloatArray | None = None, max_iterations: int = 2000, tolerance: float = 1e-8
) -> Shrunk:
    """Posterior of effects under a population about zero that is learned from all of them.

    ``seen`` are the effects under a flat prior, (genes, parts): one normal each, or mixtures of several. ``sds`` is the
    grid of the standard deviations of the population, which begins with zero.
    """
    grid = grid_of_effects(seen.mean, seen.sd) if sds is None else np.asarray(sds, np.float64)
    # a gene that is the reference is zero for certain
    locs, error = seen.locs[:, None, :], np.square(np.maximum(seen.sds, 1e-3 * grid[1]))[:, None, :]
    scale = np.square(grid)[:, None]
    total = scale + error
    with np.errstate(divide="ignore"):
        joint = np.log(seen.weights)[:, None, :] - 0.5 * (np.log(total) + np.square(locs) / total)
    log_likelihood = logsumexp(joint, axis=2)
    prior = np.append(_WITHOUT_EFFECT, np.zeros(len(grid) - 1))
    weights = population(log_likelihood, prior, max_iterations=max_iterations, tolerance=tolerance)
    joint += np.log(np.maximum(weights, 1e-300))[:, None]
    share, n = scale / total, len(locs)
    flat = (softmax(joint.reshape(n, -1), axis=1), (share * locs).reshape(n, -1), np.sqrt(share * error).reshape(n, -1))
    return Shrunk(_without_idle_parts(*flat), grid, weights)


def _without_idle_parts(weights: FloatArray, locs: FloatArray, sds: FloatArray) -> NormalMixture:
    """Mixture of the parts that any gene makes use of: quantiles cost as much as there are parts."""
    largest = weights.max(axis=0)
    order = np.argsort(largest)
    used = np.ones(len(order), bool)
    used[order[np.cumsum(largest[order]) < _NEGLIGIBLE]] = False
    # that of a gene which says most of an effect stays, however sure it is that there is none: genes keep their order
    used[np.argmax(np.where(sds > 0, weights, -1.0), axis=1)] = True
    return NormalMixture(weights[:, used] / weights[:, used].sum(axis=1, keepdims=True), locs[:, used], sds[:, used])


_SPREADS = np.append(0.0, np.geomspace(0.02, 4.0, 31))
"""Standard deviations between samples, on the log scale: from 2 % to a factor of fifty."""

_PRIOR = 0.5
"""Genes that speak for every spread alike, so that few genes do not make it certain."""


def sample_effects(
    means: FloatArray, variances: FloatArray, design: FloatArray, contrast: FloatArray, *, prior: float = _PRIOR
) -> NormalMixture:
    """Posterior of ``contrast`` (columns,) of the coefficients of a ``design`` (samples, columns) in every gene.

    ``means`` and ``variances`` (genes, samples) are those of log expression in every sample.
    """
    parts = [_given_spread(means, variances, design, contrast, spread) for spread in _SPREADS]
    log_likelihood, locs, sds = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
    weights = population(log_likelihood, np.full(len(_SPREADS), prior))
    return _without_idle_parts(softmax(log_likelihood + np.log(weights), axis=1), locs, sds)


def _given_spread(
    means: FloatArray, variances: FloatArray, design: FloatArray, contrast: FloatArray, spread: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log-likelihood with the coefficients integrated out, and mean and sd of the contrast, (genes,) each."""
    precision = 1.0 / (variances + spread**2)
    weighted = design.T * precision[:, None, :]
    information = weighted @ design
    right = (weighted @ means[..., None])[..., 0]
    solved = np.linalg.solve(information, np.stack([right, np.broadcast_to(contrast, right.shape)], axis=-1))
    coefficients, direction = solved[..., 0], solved[..., 1]
    left_over = np.sum(precision * np.square(means - coefficients @ design.T), axis=1)
    log_det = np.linalg.slogdet(information)[1]
    log_likelihood = 0.5 * (np.sum(np.log(precision), axis=1) - log_det - left_over)
    return log_likelihood, coefficients @ contrast, np.sqrt(direction @ contrast)
