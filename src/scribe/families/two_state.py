"""Counts of a promoter that switches between two states."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from scribe._dist.poisson_beta import TiltedBeta, poisson_beta_log_pmf
from scribe._types import Array, Key, Natural
from scribe.families._base import Family, MoleculePosterior, Moments
from scribe.families._peaks import Part

__all__ = ["SHAPE_RANGE", "TwoState", "TwoStateMolecules"]

SHAPE_RANGE = (0.05, 1e3)
"""Range of the switching rates that the likelihood tells apart: beyond it they act as at its ends."""

_LOG_SHAPE_RANGE = (math.log(SHAPE_RANGE[0]), math.log(SHAPE_RANGE[1]))
_LOG_RATE_MAX = 20.0
_START_LOG_CONCENTRATION = 3.0
"""Where a fit starts: the median of the default prior."""


def _shapes(natural: Natural) -> tuple[Array, Array]:
    """Rates of switching on and off, within their range."""
    return (
        jnp.exp(jnp.clip(natural["log_k_on"], *_LOG_SHAPE_RANGE)),
        jnp.exp(jnp.clip(natural["log_k_off"], *_LOG_SHAPE_RANGE)),
    )


def _log_rate(log_mean: Array, on: Array, off: Array) -> Array:
    """Rate while on, such that the mean is kept whatever the clamps did."""
    return log_mean + jnp.log1p(off / on)


@dataclass(frozen=True)
class TwoStateMolecules(MoleculePosterior):
    r"""Posterior of the molecules of a cell given those observed.

    Given :math:`u`, the share of time on follows :math:`f(p) \propto p^{\alpha+u-1}(1-p)^{\beta-1} e^{-\nu\hat r p}`;
    the unseen molecules are Poisson with mean :math:`\rho p`, :math:`\rho = (1-\nu)\hat r`.
    """

    u: Array
    on: Array
    off: Array
    log_rate: Array
    offset: Array

    def _share_on(self, unseen: Array | float = 0.0, *, offset: Array | float = 0.0) -> TiltedBeta:
        """Law of the share of time on, given the observed and so many unseen molecules of those captured."""
        return TiltedBeta(self.on + self.u + unseen, self.off, jnp.exp(jnp.maximum(self.log_rate + offset, -40.0)))

    @property
    def _unseen_rate(self) -> Array:
        return -jnp.exp(self.log_rate) * jnp.expm1(self.offset)

    def moments(self) -> Moments:
        r"""Mean :math:`u + \rho E[p]` and variance :math:`\rho E[p] + \rho^2\mathrm{Var}[p]`."""
        mean, variance = self._share_on(offset=self.offset).moments()
        unseen = self._unseen_rate * mean
        return Moments(self.u + unseen, unseen + jnp.square(self._unseen_rate) * variance)

    def parts(self) -> tuple[Part, ...]:
        r"""One law with two peaks, which may be one.

        :math:`P(d+1)/P(d) = \rho E_d[p]/(d+1)`, with the expectation given that :math:`d` more were made. The law of
        :math:`p` has two peaks at most, and so has that of :math:`d`: where the quotient passes one is bisected on
        either side of the valley between them.
        """
        most = jnp.floor(self._unseen_rate) + 0.0 * self.u
        valley = jnp.floor(jnp.clip(self._valley(), 0.0, 1.0) * most)
        low = self._bisect(jnp.full_like(most, -1.0), valley)
        high = self._bisect(valley, most)
        return self._alone(self.u + low, self.u + high)

    def _valley(self) -> Array:
        """Least probable share between two peaks; one or more if there is no such valley."""
        law = self._share_on(offset=self.offset)
        a, b, rate = law.a - 1.0, law.b - 1.0, law.rate
        total = a + b + rate
        root = jnp.sqrt(jnp.maximum(jnp.square(total) - 4.0 * rate * a, 0.0))
        larger = jnp.where(total > 0.0, (total + root) / (2.0 * rate), 2.0 * a / jnp.minimum(total - root, -1e-30))
        return jnp.where(b < 0.0, larger, 1.0)

    def _bisect(self, rises: Array, falls: Array) -> Array:
        """Count up to ``falls`` from which on probabilities fall, if they rise above ``rises``."""

        def unsettled(ends: tuple[Array, Array]) -> Array:
            return jnp.any(ends[1] - ends[0] > 1.0)

        def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = jnp.where(high - low > 1.0, jnp.floor(0.5 * (low + high)), high)
            mean, _ = self._share_on(jnp.maximum(middle, 0.0)).moments()
            rising = self._unseen_rate * mean >= middle + 1.0
            return jnp.where(rising & (middle < high), middle, low), jnp.where(rising, high, middle)

        return jax.lax.while_loop(unsettled, halve, (rises, falls))[1]

    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m - u`` unseen molecules, Poisson-Beta with the observed ones in its shape."""
        unseen = jnp.maximum(m - self.u, 0.0)
        log_pmf = functools.partial(poisson_beta_log_pmf, a=self.on + self.u, b=self.off)
        lost = jnp.log(-jnp.expm1(self.offset))
        thinned = jnp.where(unseen > 0.0, unseen * jnp.where(self.offset < 0.0, lost, -jnp.inf), 0.0)
        value = log_pmf(unseen, self.log_rate) + thinned - log_pmf(0.0, self.log_rate + self.offset)
        return jnp.where(m >= self.u, value, -jnp.inf)

    def sample(self, key: Key) -> Array:
        """One draw: the share of time on, then the unseen molecules."""
        key_share, key_count = jax.random.split(key)
        share = self._share_on(offset=self.offset).sample(key_share)
        unseen = jnp.minimum(self._unseen_rate, math.exp(_LOG_RATE_MAX)) * share
        return self.u + jax.random.poisson(key_count, unseen).astype(share.dtype)


@dataclass(frozen=True)
class TwoState(Family):
    r"""Two-state promoter at steady state (Poisson-Beta; Peccoud & Ycart 1995, Raj et al. 2006).

    .. math::

        p \sim \mathrm{Beta}(\alpha, \beta),\qquad u \mid p \sim \mathrm{Poisson}(\hat r\,\nu\,p),\qquad
        \hat r = \mu\,\frac{\alpha+\beta}{\alpha},

    with the rates of switching on and off :math:`\alpha = k_{on}` and :math:`\beta = k_{off}` in units of the decay
    rate of the transcript. Natural parameters are ``log_mean`` (the mean before capture, :math:`\log\mu`),
    ``log_k_on`` and ``log_k_off``. Both rates act within [0.05, 1000]; the mean does not depend on them. With
    :math:`k_{off} \to \infty` and :math:`\mu/k_{on}` fixed the counts are negative binomial of size :math:`k_{on}`.
    """

    layers = ("two_state",)
    natural = ("log_mean", "log_k_on", "log_k_off")

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """All of the log-pmf: a saddle-point form that no split improves."""
        on, off = _shapes(natural)
        return poisson_beta_log_pmf(u, _log_rate(natural["log_mean"] + offset, on, off), on, off)

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """Draw the share of time on, then the count."""
        key_share, key_count = jax.random.split(key)
        captured = {**natural, "log_mean": natural["log_mean"] + offset}
        rate = jnp.exp(jnp.minimum(self.sample_log_rate(key_share, captured), _LOG_RATE_MAX))
        return jax.random.poisson(key_count, rate).astype(rate.dtype)

    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """Share of time on, by its logarithm as a quotient of gamma variables, times the rate while on."""
        key_on, key_off = jax.random.split(key)
        on, off = _shapes(natural)
        log_rate = _log_rate(natural["log_mean"], on, off)
        shape = jnp.broadcast_shapes(log_rate.shape, on.shape)
        log_on = jax.random.loggamma(key_on, jnp.broadcast_to(on, shape))
        log_off = jax.random.loggamma(key_off, jnp.broadcast_to(off, shape))
        return log_rate - jax.nn.softplus(log_off - log_on)

    def moments(self, natural: Natural, offset: Array) -> Moments:
        r"""Mean :math:`\nu\mu`, variance :math:`\nu\mu(1+\nu F)`, :math:`F = \mu\beta/(\alpha(\alpha+\beta+1))`."""
        on, off = _shapes(natural)
        mean = jnp.exp(natural["log_mean"] + offset)
        return Moments(mean, mean * (1.0 + mean * off / (on * (on + off + 1.0))))

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the molecules before capture."""
        on, off = _shapes(natural)
        return TwoStateMolecules(u, on, off, _log_rate(natural["log_mean"], on, off), offset)

    def from_moments(self, log_mean: Array, log_odds: Array) -> dict[str, Array]:
        """At the given mean and excess of the variance, with rates that sum to 20 where that leaves both in range."""
        log_concentration = _START_LOG_CONCENTRATION
        # of the rate while on, mu + F (concentration + 1), as in the coordinates
        excess = jax.nn.softplus(log_concentration) - log_odds
        log_share_on = -jax.nn.softplus(excess - log_mean)
        log_share_off = -jax.nn.softplus(log_mean - excess)
        inside = (_LOG_SHAPE_RANGE[0] + 0.1, _LOG_SHAPE_RANGE[1] - 0.1)
        return {
            "log_mean": log_mean,
            "log_k_on": jnp.clip(log_concentration + log_share_on, *inside),
            "log_k_off": jnp.clip(log_concentration + log_share_off, *inside),
        }

    def named(self, natural: Natural) -> dict[str, Array]:
        """``mu``, the rates ``k_on`` (also ``alpha``), ``k_off`` (``beta``) and ``r_hat``, and what coordinates sample.

        They are as the likelihood uses them, after the clamps.
        """
        on, off = _shapes(natural)
        mu = jnp.exp(natural["log_mean"])
        concentration = on + off
        return {
            "mu": mu,
            "k_on": on,
            "alpha": on,
            "k_off": off,
            "beta": off,
            "r_hat": mu * (concentration / on),
            "burst_size": mu / on,
            "switching_ratio": off / on,
            "excess_fano": mu * (off / on) / (concentration + 1.0),
            "concentration": concentration,
            "inv_concentration": 1.0 / (concentration + 1.0),
        }
