r"""How far two gamma laws are from each other: those of the rates at which a gene is expressed in two groups of cells.

A law is given by its shape :math:`\alpha` and rate :math:`\beta`; of negative binomial counts these are the size r and
:math:`r/\mu`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln

from scribe._types import FloatArray

__all__ = ["gamma_hellinger", "gamma_jeffreys"]


def gamma_jeffreys(shape_a: FloatArray, rate_a: FloatArray, shape_b: FloatArray, rate_b: FloatArray) -> FloatArray:
    r"""Jeffreys divergence, the sum of both Kullback-Leibler divergences, in nats.

    .. math:: (\alpha_a-\alpha_b)\{\psi(\alpha_a) - \log\beta_a - \psi(\alpha_b) + \log\beta_b\}
        + (\beta_b - \beta_a)\Bigl(\frac{\alpha_a}{\beta_a} - \frac{\alpha_b}{\beta_b}\Bigr)
    """
    mean_log = digamma(shape_a) - np.log(rate_a) - digamma(shape_b) + np.log(rate_b)
    return (shape_a - shape_b) * mean_log + (rate_b - rate_a) * (shape_a / rate_a - shape_b / rate_b)


def gamma_hellinger(shape_a: FloatArray, rate_a: FloatArray, shape_b: FloatArray, rate_b: FloatArray) -> FloatArray:
    r"""Hellinger distance, between 0 and 1.

    .. math:: H^2 = 1 - \frac{\Gamma(\bar\alpha)}{\sqrt{\Gamma(\alpha_a)\Gamma(\alpha_b)}}
        \frac{\beta_a^{\alpha_a/2}\beta_b^{\alpha_b/2}}{\bar\beta^{\bar\alpha}},\qquad
        \bar\alpha = \tfrac12(\alpha_a+\alpha_b),\ \bar\beta = \tfrac12(\beta_a+\beta_b)
    """
    shape, rate = 0.5 * (shape_a + shape_b), 0.5 * (rate_a + rate_b)
    overlap = gammaln(shape) - 0.5 * (gammaln(shape_a) + gammaln(shape_b))
    overlap = overlap + 0.5 * (shape_a * np.log(rate_a) + shape_b * np.log(rate_b)) - shape * np.log(rate)
    return np.sqrt(-np.expm1(np.minimum(overlap, 0.0)))
