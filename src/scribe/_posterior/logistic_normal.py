r"""Compositions whose log-ratios are normal (Aitchison and Shen 1980, doi:10.2307/2335470).

.. math:: \log(\rho_j / \rho_{ref}) \sim N(\mu, W W^\top + \operatorname{diag} d)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.sparse.linalg import svds

from scribe._posterior.expression import Estimand
from scribe._types import AnyArray, Array, FloatArray, Key

__all__ = ["LogisticNormal", "fit_logistic_normal"]


@dataclass(frozen=True, eq=False)
class LogisticNormal:
    """Logistic-normal law of a composition with a covariance of low rank.

    Parameters
    ----------
    loc
        Means of the log-ratios of the other parts to the reference, (parts - 1,).
    factors
        W, (parts - 1, rank).
    noise
        d, the variances beyond those of the factors, (parts - 1,).
    reference
        Number of the part that log-ratios are relative to.
    estimand
        Whether it is the law of the ``"mean"`` over cells or of one ``"cell"``.
    """

    loc: FloatArray
    factors: FloatArray
    noise: FloatArray
    reference: int
    estimand: Estimand = "mean"

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> LogisticNormal:
        """From arrays by name: ``loc``, ``cov_factor``, ``cov_diag`` and, unless it is the last part, ``reference``."""
        missing = [name for name in ("loc", "cov_factor", "cov_diag") if name not in given]
        if missing:
            msg = (
                f"A logistic-normal law needs loc, cov_factor and cov_diag of its log-ratios; {missing} is missing "
                f"among {list(given)}."
            )
            raise ValueError(msg)
        loc, factors, noise = (np.asarray(given[name], np.float64) for name in ("loc", "cov_factor", "cov_diag"))
        if factors.ndim != 2 or len(factors) != len(loc) or noise.shape != loc.shape:
            msg = f"loc {loc.shape}, cov_factor {factors.shape} and cov_diag {noise.shape} do not belong together."
            raise ValueError(msg)
        return cls(loc, factors, noise, int(given.get("reference", len(loc))))

    @property
    def log_ratios(self) -> dist.LowRankMultivariateNormal:
        """Law of the log-ratios, as a numpyro distribution."""
        return dist.LowRankMultivariateNormal(*map(jnp.asarray, (self.loc, self.factors, self.noise)))

    def of_parts(self, values: AnyArray) -> FloatArray:
        """Rows of the parts, (parts, ...), from those of the log-ratios: zero for the reference."""
        return np.insert(values, self.reference, 0.0, axis=0)

    def log_prob(self, composition: AnyArray) -> Array:
        """Log-density of compositions (..., parts) with respect to all their parts but the reference."""
        logs = np.log(np.asarray(composition, np.float64))
        ratios = np.delete(logs, self.reference, axis=-1) - logs[..., self.reference, None]
        # |d ratios / d parts| = 1 / product of all parts
        log_prob: Array = self.log_ratios.log_prob(jnp.asarray(ratios, self.log_ratios.loc.dtype))
        return log_prob - jnp.asarray(logs.sum(axis=-1), log_prob.dtype)

    def sample(self, key: Key, n_samples: int) -> FloatArray:
        """Compositions, (draws, parts)."""
        logs = self.of_parts(np.asarray(self.log_ratios.sample(key, (n_samples,)), np.float64).T).T
        parts = np.exp(logs - logs.max(axis=1, keepdims=True))
        return parts / parts.sum(axis=1, keepdims=True)


def fit_logistic_normal(
    log_expression: FloatArray,
    *,
    rank: int | None = None,
    reference: int | None = None,
    estimand: Estimand = "mean",
) -> LogisticNormal:
    """Fit a logistic-normal law to draws of log expression (draws, parts), by their moments.

    Factors are the ``rank`` (50 or fewer) largest principal components; what they leave of the variance of a part is
    its noise, so that variances are those of the draws. The ``reference`` is the part whose centred log-ratio varies
    least, unless given; the ``estimand`` is what the draws are of.
    """
    n_draws, n_parts = log_expression.shape
    rank = min(50, n_draws - 1, n_parts - 1) if rank is None else rank
    if not 1 <= rank < min(n_draws, n_parts):
        msg = f"rank must be between 1 and {min(n_draws, n_parts) - 1} with {n_draws} draws of {n_parts} parts: {rank}."
        raise ValueError(msg)
    logs = np.asarray(log_expression, np.float64)
    if reference is None:
        reference = int(np.argmin(np.var(logs - logs.mean(axis=1, keepdims=True), axis=0)))
    ratios = np.delete(logs, reference, axis=1) - logs[:, reference, None]
    loc = ratios.mean(axis=0)
    scaled = (ratios - loc) / np.sqrt(n_draws - 1)
    if rank < min(scaled.shape):
        _, singular, right = svds(scaled, k=rank, v0=np.ones(min(scaled.shape)))
    else:
        _, singular, right = np.linalg.svd(scaled, full_matrices=False)
    factors = right.T * singular
    noise = np.maximum(np.sum(np.square(scaled), axis=0) - np.sum(np.square(factors), axis=1), 1e-12)
    return LogisticNormal(loc, factors, noise, reference, estimand)
