"""Poisson counts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy

from scribe._dist.cumulative import nb_below_and_at, nb_cdf
from scribe._types import Array, Key, Natural
from scribe.families._base import Family, MoleculePosterior, Moments
from scribe.families._peaks import Part

__all__ = ["Poisson", "PoissonMolecules"]

_LOG_SIZE_PER_MEAN = 36.0
"""Of a negative binomial that is a Poisson law to rounding in float64."""


@dataclass(frozen=True)
class PoissonMolecules(MoleculePosterior):
    """Posterior of the molecules of a cell: the unseen ones are Poisson with mean ``mu (1 - nu)``."""

    u: Array
    log_mean: Array
    offset: Array

    def _unseen(self) -> Array:
        return -jnp.exp(self.log_mean) * jnp.expm1(self.offset)

    def moments(self) -> Moments:
        """Mean ``u + mu (1 - nu)`` and variance ``mu (1 - nu)``."""
        unseen = jnp.broadcast_to(self._unseen(), jnp.broadcast_shapes(self.u.shape, self._unseen().shape))
        return Moments(self.u + unseen, unseen)

    def parts(self) -> tuple[Part, ...]:
        """One peak, at ``u + floor(mu (1 - nu))``."""
        return self._alone(self.u + jnp.floor(self._unseen()))

    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m - u`` unseen molecules."""
        unseen, mean = m - self.u, self._unseen()
        d = jnp.maximum(unseen, 0.0)
        return jnp.where(unseen >= 0.0, xlogy(d, mean) - mean - gammaln(d + 1.0), -jnp.inf)

    def sample(self, key: Key) -> Array:
        """One draw."""
        unseen = self.moments().variance
        return self.u + jax.random.poisson(key, unseen).astype(self.u.dtype)


@dataclass(frozen=True)
class Poisson(Family):
    r"""Poisson: :math:`\log P(u) = u(\log\mu + x) - \mu e^x - \log u!`; the NB at :math:`r\to\infty`."""

    layers = ("poisson",)
    natural = ("log_mean",)
    linear = True

    def gene_term(self, u: Array, natural: Natural) -> Array:
        r""":math:`u\log\mu - \log u!`."""
        return u * natural["log_mean"] - gammaln(u + 1.0)

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        r""":math:`u x - \mu e^x`."""
        return u * offset - jnp.exp(natural["log_mean"] + offset)

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        r""":math:`u x`."""
        return u * offset

    def cdf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of a negative binomial of a size so large that nothing else is left of it."""
        log_mean = natural["log_mean"] + offset
        return nb_cdf(u, log_mean, log_mean + _LOG_SIZE_PER_MEAN)

    def below_and_at(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """As `cdf`."""
        log_mean = natural["log_mean"] + offset
        return nb_below_and_at(u, log_mean, log_mean + _LOG_SIZE_PER_MEAN)

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> Array | None:
        """Sums of the cell terms from the totals."""
        return totals * offset - jnp.sum(jnp.exp(natural["log_mean"])) * jnp.exp(offset)

    def slopes(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        r""":math:`u - \mu e^x` and :math:`-\mu e^x`."""
        mean = jnp.exp(natural["log_mean"] + offset)
        return u - mean, jnp.broadcast_to(-mean, offset.shape)

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """Poisson draw, as floats."""
        mean = jnp.exp(natural["log_mean"] + offset)
        return jax.random.poisson(key, mean).astype(mean.dtype)

    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """The mean: all cells have the same rate."""
        return natural["log_mean"]

    def moments(self, natural: Natural, offset: Array) -> Moments:
        """Mean and variance, both ``mu nu``."""
        mean = jnp.exp(natural["log_mean"] + offset)
        return Moments(mean, mean)

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the molecules before capture."""
        return PoissonMolecules(u, natural["log_mean"], offset)

    def named(self, natural: Natural) -> dict[str, Array]:
        """``mu``."""
        return {"mu": jnp.exp(natural["log_mean"])}
