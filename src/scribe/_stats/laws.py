"""What is known of one real number per gene: draws, normals with their covariance, or mixtures of normals.

Everything that is asked of an effect follows from a few probabilities, which every law answers in its own way.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from scribe._types import AnyArray, FloatArray

__all__ = ["Drawn", "Law", "LinearLaw", "LowRankNormal", "NormalMixture"]


class Law(ABC):
    """Distributions of one number per gene; all arrays are (genes,)."""

    @property
    @abstractmethod
    def mean(self) -> FloatArray:
        """Means."""

    @property
    @abstractmethod
    def sd(self) -> FloatArray:
        """Standard deviations."""

    @property
    def skewness(self) -> FloatArray:
        """Third standardised moments, 0 of symmetric laws."""
        return np.zeros_like(self.mean)

    @property
    def resolution(self) -> float:
        """Least probability that it can tell from zero."""
        return float(np.finfo(np.float64).tiny)

    @abstractmethod
    def above(self, threshold: float) -> FloatArray:
        """Probability of a value above a threshold."""

    @abstractmethod
    def below(self, threshold: float) -> FloatArray:
        """Probability of a value below a threshold."""

    def not_above(self, threshold: float) -> FloatArray:
        """Probability of a value up to a threshold."""
        return 1.0 - self.above(threshold)

    def not_below(self, threshold: float) -> FloatArray:
        """Probability of a value from a threshold on."""
        return 1.0 - self.below(threshold)

    @abstractmethod
    def quantile(self, q: float) -> FloatArray:
        """Quantiles."""


class LinearLaw(Law):
    """Joint distribution of numbers (parts,) of which differences are taken: log expression, of which ratios count."""

    @abstractmethod
    def __sub__(self, other: Self) -> Self:
        """Law of the difference."""

    @abstractmethod
    def contrast(self, weights: FloatArray) -> Self:
        """Law of weighted sums over parts; ``weights`` are (parts, sums)."""

    @abstractmethod
    def relative(self, weights: FloatArray, error: float = 0.0) -> Self:
        """Law of the log-ratios to a reference with the given weights (parts,), which sum to one.

        ``error`` is the standard error of the reference beyond those of its parts.
        """

    @abstractmethod
    def pooled(self, kept: AnyArray) -> Self:
        """Law of the parts that are kept and, where it can be said, of all others together as the last part."""

    @abstractmethod
    def take(self, parts: slice) -> Self:
        """Law of some parts."""

    @abstractmethod
    def rows(self) -> Iterator[FloatArray]:
        """Draws (parts,) of the whole, one after the other."""


@dataclass(frozen=True)
class Drawn(LinearLaw):
    """Draws, (draws, parts). A difference is taken draw by draw."""

    draws: FloatArray

    @functools.cached_property
    def mean(self) -> FloatArray:
        """Means of the draws."""
        return np.mean(self.draws, axis=0, dtype=np.float64)

    @functools.cached_property
    def sd(self) -> FloatArray:
        """Standard deviations of the draws, with one degree of freedom less than there are."""
        return np.std(self.draws, axis=0, ddof=1, dtype=np.float64)

    @property
    def skewness(self) -> FloatArray:
        """Skewness of the draws, 0 of constants."""
        spread = np.where(self.sd > 0, self.sd, 1.0)
        return np.mean(np.power((self.draws - self.mean) / spread, 3), axis=0)

    @property
    def resolution(self) -> float:
        """One over the number of draws."""
        return 1.0 / len(self.draws)

    def above(self, threshold: float) -> FloatArray:
        """Share of the draws."""
        return np.mean(self.draws > threshold, axis=0)

    def below(self, threshold: float) -> FloatArray:
        """Share of the draws."""
        return np.mean(self.draws < threshold, axis=0)

    def quantile(self, q: float) -> FloatArray:
        """Quantiles of the draws."""
        return np.quantile(self.draws, q, axis=0)

    def __sub__(self, other: Self) -> Drawn:
        """Law of the difference, draw by draw."""
        return Drawn(self.draws - other.draws)

    def rows(self) -> Iterator[FloatArray]:
        """Those there are."""
        yield from self.draws

    def contrast(self, weights: FloatArray) -> Drawn:
        """Law of weighted sums over parts."""
        return Drawn(self.draws @ weights.astype(self.draws.dtype))

    def relative(self, weights: FloatArray, error: float = 0.0) -> Drawn:
        """Law of the log-ratios to a reference, whose draws are spread until they have its error."""
        common = self.contrast(weights[:, None])
        stretch = np.hypot(common.sd, error) / np.maximum(common.sd, 1e-30) if error else 1.0
        centre = common.mean.astype(self.draws.dtype)
        return Drawn(self.draws - (centre + (common.draws - centre) * np.asarray(stretch, self.draws.dtype)))

    def pooled(self, kept: AnyArray) -> Drawn:
        """Law of the parts that are kept and of the logarithm of the sum of all others."""
        if kept.all():
            return self
        other = logsumexp(self.draws[:, ~kept], axis=1, keepdims=True)
        return Drawn(np.concatenate([self.draws[:, kept], other], axis=1))

    def take(self, parts: slice) -> Drawn:
        """Law of some parts."""
        return Drawn(self.draws[:, parts])


@dataclass(frozen=True)
class LowRankNormal(LinearLaw):
    """Normal with the covariance ``W W^T + diag(d)``: ``loc`` (parts,), ``factors`` W (parts, rank), ``noise`` d."""

    loc: FloatArray
    factors: FloatArray
    noise: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Means."""
        return self.loc

    @functools.cached_property
    def sd(self) -> FloatArray:
        """Standard deviations."""
        return np.sqrt(np.sum(np.square(self.factors), axis=1) + self.noise)

    def above(self, threshold: float) -> FloatArray:
        """Upper tails."""
        return ndtr(_distance(self.mean, threshold, self.sd))

    def below(self, threshold: float) -> FloatArray:
        """Lower tails."""
        return ndtr(_distance(threshold, self.mean, self.sd))

    def not_above(self, threshold: float) -> FloatArray:
        """Lower tails, to full relative accuracy."""
        return self.below(threshold)

    def not_below(self, threshold: float) -> FloatArray:
        """Upper tails, to full relative accuracy."""
        return self.above(threshold)

    def quantile(self, q: float) -> FloatArray:
        """Quantiles."""
        return self.mean + self.sd * ndtri(q)

    def __sub__(self, other: Self) -> LowRankNormal:
        """Law of the difference of two that are independent."""
        factors = np.concatenate([self.factors, other.factors], axis=1)
        return LowRankNormal(self.loc - other.loc, factors, self.noise + other.noise)

    def contrast(self, weights: FloatArray) -> LowRankNormal:
        """Law of weighted sums over parts; of several together only their marginals are kept."""
        noise = np.square(weights).T @ self.noise
        return LowRankNormal(weights.T @ self.loc, weights.T @ self.factors, noise)

    def relative(self, weights: FloatArray, error: float = 0.0) -> LowRankNormal:
        """Law of the log-ratios to a reference; the noise is that of their marginals."""
        common = self.contrast(weights[:, None])
        noise = self.noise * (1.0 - 2.0 * weights) + common.noise + error**2
        return LowRankNormal(self.loc - common.loc, self.factors - common.factors, noise)

    def rows(self) -> Iterator[FloatArray]:
        """A thousand draws, the same whenever asked for."""
        rng = np.random.default_rng(0)
        for _ in range(1000):
            own = rng.standard_normal(len(self.loc)) * np.sqrt(self.noise)
            yield self.loc + self.factors @ rng.standard_normal(self.factors.shape[1]) + own

    def pooled(self, kept: AnyArray) -> LowRankNormal:
        """Law of the parts that are kept: the sum of the others is not normal, and ratios do not need it."""
        return LowRankNormal(self.loc[kept], self.factors[kept], self.noise[kept])

    def take(self, parts: slice) -> LowRankNormal:
        """Law of some parts."""
        return LowRankNormal(self.loc[parts], self.factors[parts], self.noise[parts])


@dataclass(frozen=True)
class NormalMixture(Law):
    """Mixtures of normals, (genes, parts) each; a part without spread is a point."""

    weights: FloatArray
    locs: FloatArray
    sds: FloatArray

    def relative(self, weights: FloatArray, centre: float, error: float) -> NormalMixture:
        """Law of the differences to a reference, the sum of ``weights`` (genes,) times the genes.

        ``centre`` is its mean and ``error`` its standard deviation, in which genes are independent.
        """
        own = (1.0 - weights)[:, None]
        others = np.maximum(error**2 - np.square(weights * self.sd), 0.0)[:, None]
        locs = (self.mean - centre)[:, None] + own * (self.locs - self.mean[:, None])
        return NormalMixture(self.weights, locs, np.sqrt(np.square(own * self.sds) + others))

    @functools.cached_property
    def mean(self) -> FloatArray:
        """Means."""
        return np.sum(self.weights * self.locs, axis=1)

    @functools.cached_property
    def sd(self) -> FloatArray:
        """Standard deviations."""
        spread = np.square(self.sds) + np.square(self.locs - self.mean[:, None])
        return np.sqrt(np.sum(self.weights * spread, axis=1))

    def above(self, threshold: float) -> FloatArray:
        """Upper tails."""
        return np.sum(self.weights * ndtr(_distance(self.locs, threshold, self.sds)), axis=1)

    def below(self, threshold: float | FloatArray) -> FloatArray:
        """Lower tails."""
        return np.sum(self.weights * ndtr(_distance(threshold, self.locs, self.sds)), axis=1)

    def not_above(self, threshold: float) -> FloatArray:
        """Lower tails with the points at the threshold, to full relative accuracy."""
        return np.sum(self.weights * ndtr(-_distance(self.locs, threshold, self.sds)), axis=1)

    def not_below(self, threshold: float) -> FloatArray:
        """Upper tails with the points at the threshold, to full relative accuracy."""
        return np.sum(self.weights * ndtr(-_distance(threshold, self.locs, self.sds)), axis=1)

    def quantile(self, q: float) -> FloatArray:
        """Quantiles, by bisection between those of the parts."""
        ends = self.locs + self.sds * ndtri(q)
        low, high = ends.min(axis=1), ends.max(axis=1)
        least = (high - low) * 2.0**-38
        for _ in range(40):
            middle = 0.5 * (low + high)
            under = self.below(middle[:, None]) < q
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        # a point at zero is met exactly
        return np.where(np.abs(low + high) <= 2.0 * least, 0.0, 0.5 * (low + high))


def _distance(upper: AnyArray | float, lower: AnyArray | float, sd: FloatArray) -> FloatArray:
    """Difference in standard deviations; infinite for a point, and without probability where it is the threshold."""
    difference = np.asarray(upper - lower, np.float64)
    safe = np.where(sd > 0, sd, 1.0)
    point = np.where(difference > 0, np.inf, -np.inf)
    return np.where(sd > 0, difference / safe, point)
