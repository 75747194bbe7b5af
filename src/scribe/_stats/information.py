r"""How well models predict observations that they have not seen, from pointwise log-likelihoods.

All functions take the log-likelihood :math:`\ell_{si}` of every observation at every draw from the posterior, (draws,
observations), or the expected log predictive density (elpd) of every observation, in nats. A constant added to
:math:`\ell` is added to the elpd and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from scribe._types import AnyArray, FloatArray

__all__ = [
    "GOOD",
    "K_HAT",
    "NATS",
    "Pointwise",
    "differences",
    "in_blocks",
    "log_mean_exp",
    "pseudo_bma",
    "psis_loo",
    "stacking",
    "told_apart",
    "waic",
]

K_HAT = {"good": 0.5, "ok": 0.7, "bad": 1.0, "very bad": np.inf}
"""Upper limits of the categories of the Pareto shape k."""

GOOD = K_HAT["ok"]
"""Largest k at which the estimate of an observation can be relied on."""

NATS = 4.0
"""Differences up to this size are small whatever their standard error (Sivula et al. 2020, arXiv:2008.10296)."""

_REPLICATES = 1000
_NOTHING = 1e-9
"""Weight that keeps the logarithm of the mixture finite; it counts as none."""

_AT_ONCE = 4096
"""Observations."""

_FLAT = 1e-9
"""Log-likelihoods that vary by less, in nats, are the same in all draws."""


class Pointwise(NamedTuple):
    """Elpd of every observation, (observations,), and what is said of it.

    ``penalty`` is by how much it lies below the log predictive density of the data at hand: what each observation adds
    to the effective number of parameters. ``k_hat`` is the Pareto shape of its importance weights. Both are None where
    observations were truly left out.
    """

    elpd: FloatArray
    penalty: FloatArray | None = None
    k_hat: FloatArray | None = None


def in_blocks(criterion: Callable[..., Pointwise], *matrices: AnyArray | None, size: int = _AT_ONCE) -> Pointwise:
    """Pointwise criterion of (draws, observations), some observations at a time, as it makes several copies of them."""
    n = next(x.shape[1] for x in matrices if x is not None)
    parts = [
        criterion(*(None if x is None else x[:, first : first + size] for x in matrices)) for first in range(0, n, size)
    ]
    return Pointwise._make(None if values[0] is None else np.concatenate(values) for values in zip(*parts, strict=True))


class Difference(NamedTuple):
    """Sum over observations of a difference of elpd and its standard error, by model."""

    elpd_diff: FloatArray
    dse: FloatArray


def log_mean_exp(log_likelihood: AnyArray) -> FloatArray:
    """Log of the mean likelihood over draws: the log predictive density of every observation."""
    return np.asarray(logsumexp(np.asarray(log_likelihood, np.float64), axis=0) - np.log(len(log_likelihood)))


def waic(log_likelihood: AnyArray, contribution: AnyArray | None = None) -> Pointwise:
    r"""Widely applicable information criterion (Watanabe 2010).

    .. math:: \mathrm{elpd}_i = \log \frac1S \sum_s e^{\ell_{si}} - \mathrm{Cov}_s(\ell_{si}, q_{si})

    with the ``contribution`` :math:`q` of an observation to the log posterior, which is :math:`\ell` unless given: then
    the penalty is the variance, known as :math:`p_{\mathrm{WAIC}2}`. :math:`\mathrm{WAIC} = -2\sum_i \mathrm{elpd}_i`.
    The covariance is what is left of leave-one-out to second order in the logarithms.
    """
    values = np.asarray(log_likelihood, np.float64)
    given = values if contribution is None else np.asarray(contribution, np.float64)
    penalty = np.mean((values - values.mean(axis=0)) * (given - given.mean(axis=0)), axis=0)
    return Pointwise(log_mean_exp(log_likelihood) - penalty, penalty)


def psis_loo(log_likelihood: AnyArray, contribution: AnyArray | None = None, *, r_eff: float = 1.0) -> Pointwise:
    r"""Leave-one-out cross-validation by Pareto-smoothed importance sampling [Vehtari24]_.

    Draws are weighted by :math:`e^{-q_{si}}` with the ``contribution`` :math:`q` of an observation to the log posterior
    (its log-likelihood unless given), as if it had not been there. The largest weights are replaced by quantiles of a
    generalised Pareto distribution, whose shape says whether that can work. ``r_eff`` is the effective number of draws
    as a share of their number.

    .. [Vehtari24] Vehtari et al., Pareto smoothed importance sampling, JMLR 25:72, 2024.
    """
    from arviz_stats.base.array import array_stats

    values = np.asarray(log_likelihood, np.float64)
    given = values if contribution is None else np.asarray(contribution, np.float64)
    # centred, so that the smoothing works on weights of ordinary size
    centred = given - np.max(given, axis=0)
    elpd, k_hat = values.mean(axis=0), np.full(values.shape[1], -np.inf)
    varied = np.ptp(centred, axis=0) > _FLAT
    if varied.any():
        log_weights, k_hat[varied] = array_stats.psislw(centred[:, varied].T, r_eff=r_eff)
        elpd[varied] = logsumexp(log_weights.T + values[:, varied], axis=0)
    return Pointwise(elpd, log_mean_exp(values) - elpd, k_hat)


def differences(elpd: FloatArray, reference: int) -> Difference:
    r"""Elpd of every model less that of a reference, from (observations, models).

    The standard error :math:`\sqrt{N\,\mathrm{Var}_i\,d_i}` is that of the sum of the differences :math:`d_i` over a
    sample of observations. What models have in common cancels: it is far smaller than the error of either elpd.
    """
    difference = elpd - elpd[:, [reference]]
    return Difference(difference.sum(axis=0), np.sqrt(len(elpd) * difference.var(axis=0)))


def told_apart(difference: AnyArray, dse: AnyArray) -> AnyArray:
    """Whether models predict differently beyond doubt: by more than 4 nats and by more than two standard errors."""
    return np.abs(np.asarray(difference)) > np.maximum(2 * np.asarray(dse), NATS)


def stacking(elpd: FloatArray) -> FloatArray:
    r"""Weights (models,) of the mixture of predictive distributions that predicts best (Yao et al. 2018).

    .. math:: \arg\max_w \sum_i \log \sum_m w_m e^{\mathrm{elpd}_{im}},\qquad w_m \ge 0,\ \sum_m w_m = 1,

    a concave problem. Of two models that predict alike one may get all the weight.
    """
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = density @ weights
        return -float(np.mean(np.log(mixed))), -np.mean(density / mixed[:, None], axis=0)

    n = elpd.shape[1]
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    options = {"ftol": 1e-12, "maxiter": 1000}
    start = np.full(n, 1 / n)
    found = minimize(
        loss, start, jac=True, bounds=[(_NOTHING, 1)] * n, constraints=simplex, method="SLSQP", options=options
    )
    weights = np.where(found.x > 10 * _NOTHING, found.x, 0.0)
    return np.asarray(weights / weights.sum())


def pseudo_bma(elpd: FloatArray, *, seed: int = 0, n_replicates: int = _REPLICATES) -> FloatArray:
    r"""Weights :math:`\propto e^{\mathrm{elpd}_m}`, averaged over a Bayesian bootstrap of the observations.

    Without the bootstrap a difference of a few nats, which may be noise, would leave nothing to the second model.
    """
    total, n = np.zeros(elpd.shape[1]), len(elpd)
    rng = np.random.default_rng(seed)
    for _ in range(n_replicates):
        shares = rng.standard_exponential(n)
        total += softmax(n * (shares @ elpd) / shares.sum())
    return total / n_replicates
