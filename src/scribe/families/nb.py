"""Negative binomial counts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from scribe._dist.cumulative import nb_below_and_at, nb_cdf
from scribe._dist.special import log_binomial, nb_log_pmf, softplus_both
from scribe._types import Array, Key, Natural
from scribe.families._base import Family, MoleculePosterior, Moments
from scribe.families._peaks import Part

__all__ = ["NegativeBinomial", "NegativeBinomialMolecules", "sample_gamma_poisson", "sample_log_gamma"]

_LOG_RATE_MAX = 20.0
"""Poisson rates are drawn below exp(20) = 4.9e8, where float32 and int32 samplers are still defined."""


def sample_log_gamma(key: Key, log_mean: Array, log_size: Array) -> Array:
    """Draw the logarithm of gamma rates of mean ``exp(log_mean)`` and shape ``exp(log_size)``.

    On the log scale shapes down to 1e-6 do not underflow.
    """
    log_mean, log_size = jnp.broadcast_arrays(log_mean, log_size)
    return jax.random.loggamma(key, jnp.exp(log_size)) - log_size + log_mean


def sample_gamma_poisson(key: Key, log_mean: Array, log_size: Array) -> Array:
    """Draw negative binomial counts of mean ``exp(log_mean)`` and size ``exp(log_size)`` as floats."""
    key_rate, key_count = jax.random.split(key)
    rate = jnp.exp(jnp.minimum(sample_log_gamma(key_rate, log_mean, log_size), _LOG_RATE_MAX))
    return jax.random.poisson(key_count, rate).astype(rate.dtype)


def _size(natural: Natural) -> Array:
    """Size ``r`` as a product, which does not round the sum of the logarithms."""
    return jnp.exp(natural["log_mean"]) * jnp.exp(natural["log_odds"])


@dataclass(frozen=True)
class NegativeBinomialMolecules(MoleculePosterior):
    """Posterior of the molecules of a cell given those observed.

    With odds ``phi = (1-p)/p`` and capture ``nu``, the unseen molecules ``d = m - u`` follow
    NB(size ``r + u``, probability ``p (1 - nu)``), that is mean ``(r + u) w`` and variance ``(r + u) w (1 + w)`` with
    ``w = (1 - nu)/(phi + nu)``.
    """

    u: Array
    log_size: Array
    log_odds: Array
    offset: Array

    def _size_and_weight(self) -> tuple[Array, Array]:
        capture = jnp.exp(self.offset)
        weight = -jnp.expm1(self.offset) / (jnp.exp(self.log_odds) + capture)
        return self.u + jnp.exp(self.log_size), weight

    def moments(self) -> Moments:
        """Mean ``u + (r+u) w`` and variance ``(r+u) w (1+w)``."""
        size, weight = self._size_and_weight()
        return Moments(self.u + size * weight, size * weight * (1.0 + weight))

    def parts(self) -> tuple[Part, ...]:
        """One peak, at ``u + floor(max(r+u-1, 0) w)``."""
        size, weight = self._size_and_weight()
        return self._alone(self.u + jnp.floor(jnp.maximum(size - 1.0, 0.0) * weight))

    def _log_mean_and_size(self) -> tuple[Array, Array]:
        """Logarithms of mean and size of the unseen molecules; a mean of zero becomes the smallest positive one."""
        size, weight = self._size_and_weight()
        log_size = jnp.log(size)
        return log_size + jnp.log(jnp.maximum(weight, jnp.finfo(weight.dtype).tiny)), log_size

    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m - u`` unseen molecules."""
        unseen = m - self.u
        return jnp.where(unseen >= 0.0, nb_log_pmf(jnp.maximum(unseen, 0.0), *self._log_mean_and_size()), -jnp.inf)

    def sample(self, key: Key) -> Array:
        """One draw."""
        unseen = sample_gamma_poisson(key, *self._log_mean_and_size())
        return self.u + jnp.where(self.offset < 0.0, unseen, 0.0)


@dataclass(frozen=True)
class NegativeBinomial(Family):
    r"""Negative binomial: :math:`P(u) = \Gamma(u+r)/(\Gamma(r)\,u!)\,(1-\hat p)^r \hat p^u`.

    Natural parameters are ``log_mean`` (the mean before capture, :math:`\log\mu`) and ``log_odds``
    (:math:`\log\phi = \log\{(1-p)/p\} = \log r - \log\mu`), a scalar where all genes share their odds. Thinning by
    :math:`\nu = e^x` keeps :math:`r` and shifts the logit: :math:`\operatorname{logit}\hat p = x - \log\phi`.

    With shared odds the sum of the cell terms has a closed form in the totals :math:`U_c` alone,
    :math:`\sum_c U_c \log\hat p_c + (\sum_g r_g)\sum_c\log(1-\hat p_c)`.
    """

    layers = ("nb",)
    natural = ("log_mean", "log_odds")
    linear = True

    def gene_term(self, u: Array, natural: Natural) -> Array:
        r"""Binomial coefficient :math:`\log\Gamma(u+r) - \log\Gamma(r) - \log u!`."""
        return log_binomial(u, _size(natural))

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        r""":math:`u\log\hat p + r\log(1-\hat p)`, both logarithms taken on the logit."""
        rise, fall = softplus_both(offset - natural["log_odds"])
        return -u * fall - _size(natural) * rise

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        r""":math:`u\log\hat p`."""
        return -u * softplus_both(offset - natural["log_odds"])[1]

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Saddle-point form, free of the cancellation between the two terms at large counts."""
        return nb_log_pmf(u, natural["log_mean"] + offset, natural["log_mean"] + natural["log_odds"])

    def cdf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Incomplete beta function."""
        return nb_cdf(u, natural["log_mean"] + offset, natural["log_mean"] + natural["log_odds"])

    def below_and_at(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """By recursion for small counts."""
        return nb_below_and_at(u, natural["log_mean"] + offset, natural["log_mean"] + natural["log_odds"])

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> Array | None:
        """Sums of the cell terms from the totals, where the odds are shared."""
        if natural["log_odds"].ndim > 0:
            return None
        rise, fall = softplus_both(offset - natural["log_odds"])
        return -totals * fall - jnp.sum(_size(natural)) * rise

    def shifted(self, natural: Natural, field: Array) -> dict[str, Array]:
        """The same sizes at other means."""
        return {**natural, "log_mean": natural["log_mean"] + field, "log_odds": natural["log_odds"] - field}

    def slopes(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        r""":math:`u - (u + r)\,\hat p` and :math:`-(u + r)\,\hat p\,(1 - \hat p)`."""
        logit, every = offset - natural["log_odds"], u + _size(natural)
        p, rest = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
        # u(1-p) - rp keeps its digits where all but few are seen
        return u * rest - _size(natural) * p, -every * p * rest

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """Gamma-Poisson draw."""
        log_size = natural["log_mean"] + natural["log_odds"]
        return sample_gamma_poisson(key, natural["log_mean"] + offset, log_size)

    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """Gamma rate of mean mu and shape r."""
        return sample_log_gamma(key, natural["log_mean"], natural["log_mean"] + natural["log_odds"])

    def moments(self, natural: Natural, offset: Array) -> Moments:
        r"""Mean :math:`\nu\mu` and variance :math:`\nu\mu(1 + \nu/\phi)`."""
        mean = jnp.exp(natural["log_mean"] + offset)
        return Moments(mean, mean * (1.0 + jnp.exp(offset - natural["log_odds"])))

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the molecules before capture."""
        log_size = natural["log_mean"] + natural["log_odds"]
        return NegativeBinomialMolecules(u, log_size, natural["log_odds"], offset)

    def named(self, natural: Natural) -> dict[str, Array]:
        """``mu``, ``r``, ``p`` and ``phi``."""
        log_odds = natural["log_odds"]
        return {
            "mu": jnp.exp(natural["log_mean"]),
            "r": jnp.exp(natural["log_mean"] + log_odds),
            "p": jax.nn.sigmoid(-log_odds),
            "phi": jnp.exp(log_odds),
        }
