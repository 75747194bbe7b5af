r"""Which component a cell belongs to, and how sure that is.

A draw of the parameters gives a cell the log-likelihood ratio :math:`\ell_{ab}` of two components. Parameters were
learned from the same cells, which they separate better than cells they have not seen: the ratio is that of the true
parameters, plus noise. As with any measurement with noise, what it says of the truth is its *reliability* times itself,

.. math:: \lambda_{ab} = 1 - \frac{\overline{\mathrm{Var}_\theta\, \ell_{ab}}}{\mathrm{Var}_c\, \ell_{ab}},

with the variance over draws of the parameters, averaged over the cells of both components, and the variance over the
cells within a component. It is near one where many cells determine the parameters of a component, and falls with the
number of genes.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import entr, softmax

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.parameters import Parameters
from scribe._posterior.doublets import shares_of, with_pairs
from scribe._posterior.posterior import Posterior
from scribe._types import FloatArray, IntArray, Key

__all__ = ["Assignment", "assign"]

_DRAWS = 20
"""Most draws from which reliabilities are estimated."""

_LEAST = 0.05
"""Least reliability: what would be below is not known."""


class Assignment(NamedTuple):
    """Components of cells.

    ``probabilities`` (cells, components) are the posterior ones, averaged over draws of the parameters, ``component``
    (cells,) is the most probable, ``entropy`` (cells,) that of the probabilities in nats, and ``weights`` (components,)
    the share of each component among the cells, the mean of their probabilities. ``reliability`` (cells,) is by how
    much the log-likelihood ratio of the two most probable components was tempered: 1 where it was not. ``doublet``
    (cells,) is the probability of two components in a cell, which then counts for both by their shares in it.
    """

    probabilities: FloatArray
    component: IntArray
    entropy: FloatArray
    weights: FloatArray
    reliability: FloatArray
    doublet: FloatArray


def assign(
    posterior: Posterior,
    counts: Counts,
    *,
    key: Key | None = None,
    n_samples: int = 0,
    temper: bool = True,
    doublet_rate: float = 0.0,
) -> Assignment:
    """Posterior probability of every component of a mixture in every cell, averaged over draws of the parameters.

    Log-likelihoods are tempered by their reliability, unless ``temper`` is False or there are fewer than two draws.
    ``doublet_rate`` is the prior probability of two components in a cell.
    """
    if not 0.0 <= doublet_rate < 1.0:
        msg = f"doublet_rate is the share of cells with two types in them, from 0 to below 1; got {doublet_rate!r}."
        raise ValueError(msg)
    key, n = jax.random.key(0) if key is None else key, posterior.spec.lengths["component"]
    known = posterior.design.responsibilities
    reliability: FloatArray = np.ones(counts.n_cells)
    doublet = np.zeros(counts.n_cells)
    if known is None:
        data, shares = posterior.data(counts), shares_of(n)
        if temper and n_samples > 1:
            reliability = _reliability(posterior, data, key, min(n_samples, _DRAWS))
        total = np.zeros((counts.n_cells, n))
        for drawn in posterior.parameter_draws(key, n_samples):
            parameters = with_pairs(drawn, shares, rate=doublet_rate)
            log_likelihood, log_weights = _by_component(posterior, parameters, data)
            found = softmax(reliability[:, None] * log_likelihood + log_weights, axis=1)
            total += found @ shares[: found.shape[1]]
            doublet += found[:, n:].sum(axis=1)
    else:
        total = np.asarray(known, np.float64)
    n_total = total.sum(axis=1)
    probabilities = total / n_total[:, None]
    component, weights = np.argmax(probabilities, axis=1), probabilities.mean(axis=0)
    entropy = entr(probabilities).sum(axis=1)
    return Assignment(probabilities, component, entropy, weights, reliability, doublet / n_total)


def _by_component(posterior: Posterior, parameters: Parameters, data: CountData) -> tuple[FloatArray, FloatArray]:
    """Log-likelihood and log prior probability of every component in every cell, (cells, components) each."""
    found = posterior.spec.likelihood.by_component(parameters, data), parameters.log_weights
    log_likelihood, log_weights = (np.asarray(x, np.float64) for x in found)
    return log_likelihood, log_weights


def _reliability(posterior: Posterior, data: CountData, key: Key, n_samples: int) -> FloatArray:
    """Reliability of the log-likelihood ratio of the two components a cell is most likely of, (cells,)."""
    centre = posterior.parameters(posterior.centre())
    log_likelihood, log_weights = _by_component(posterior, centre, data)
    gamma = softmax(log_likelihood + log_weights, axis=1)
    first, rows = np.argmax(gamma, axis=1), np.arange(len(gamma))
    mean, square = np.zeros_like(gamma), np.zeros_like(gamma)
    for parameters in posterior.parameter_draws(key, n_samples):
        ratio, _ = _by_component(posterior, parameters, data)
        ratio -= ratio[rows, first][:, None]
        mean += ratio / n_samples
        square += np.square(ratio) / n_samples
    noise = np.maximum(square - np.square(mean), 0.0) * n_samples / (n_samples - 1)
    table = np.ones((gamma.shape[1],) * 2)
    for a, b in itertools.combinations(range(len(table)), 2):
        table[a, b] = table[b, a] = _of_pair(mean[:, a] - mean[:, b], noise, gamma, first, pair=(a, b))
    others = mean + log_weights
    others[rows, first] = -np.inf
    return table[first, np.argmax(others, axis=1)]


def _of_pair(
    ratio: FloatArray, noise: FloatArray, gamma: FloatArray, first: IntArray, *, pair: tuple[int, int]
) -> float:
    """Reliability of the log-likelihood ratio of two components, (cells,), over the cells of both."""
    a, b = pair
    weight = gamma[:, pair]
    means = (weight * ratio[:, None]).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-9)
    between = (weight * np.square(ratio[:, None] - means)).sum() / max(weight.sum(), 1e-9)
    mine = np.concatenate([noise[first == a, b], noise[first == b, a]])
    if not mine.size or between <= 0.0:
        return 1.0
    return float(np.clip(1.0 - mine.mean() / between, _LEAST, 1.0))
