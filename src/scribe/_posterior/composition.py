r"""Compositions: the shares of genes among the molecules of cells, and the Dirichlet law that fits them best.

Where all genes share their odds, the rates of a cell are gamma variables of one scale and its composition is exactly
Dirichlet with the sizes r; otherwise it is that of gamma variables of different scales, or of whatever rates the
family has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, log_softmax, polygamma

from scribe._types import FloatArray

__all__ = ["Composition", "compositions", "fit_dirichlet"]

_ITERATIONS = 1000
_EULER = 0.5772156649015329


@dataclass(frozen=True)
class Composition:
    """Shares of genes among the molecules of a cell.

    Parameters
    ----------
    mean_probabilities
        Posterior mean of the shares, (genes,).
    sd
        Standard deviation of the shares, (genes,): over draws and, of cells, between them.
    concentrations
        Of the Dirichlet law that was fitted to the draws, (genes,); None where it was not asked for.
    samples
        The draws, (draws, genes); None where they were not to be kept.
    """

    mean_probabilities: FloatArray
    sd: FloatArray
    concentrations: FloatArray | None = None
    samples: FloatArray | None = None


def compositions(log_expression: FloatArray) -> FloatArray:
    """Shares from draws of log expression, (draws, genes)."""
    return np.exp(log_softmax(log_expression, axis=1))


def fit_dirichlet(log_shares: FloatArray) -> FloatArray:
    r"""Concentrations of the Dirichlet law that is most likely given draws of logarithms of shares, (draws, parts).

    Solves :math:`\psi(\alpha_g) = \psi(\sum_h\alpha_h) + \overline{\log\rho_g}` by fixed-point steps (Minka 2000), from
    the total that the variances of the shares give.
    """
    mean_log = np.mean(log_shares, axis=0, dtype=np.float64)
    shares = np.exp(np.asarray(log_shares, np.float64))
    mean, variance = shares.mean(axis=0), shares.var(axis=0)
    total = np.sum(mean * (1.0 - mean)) / max(float(np.sum(variance)), 1e-12) - 1.0
    alpha = mean * max(total, 1e-2)
    for _ in range(_ITERATIONS):
        new = _inverse_digamma(digamma(alpha.sum()) + mean_log)
        done = np.max(np.abs(new - alpha) / alpha) < 1e-7
        alpha = new
        if done:
            break
    return alpha


def _inverse_digamma(value: FloatArray) -> FloatArray:
    """By Newton's method from its limits at both ends."""
    x = np.where(value >= -2.22, np.exp(value) + 0.5, -1.0 / (value + _EULER))
    for _ in range(6):
        x = x - (digamma(x) - value) / polygamma(1, x)
    return x
