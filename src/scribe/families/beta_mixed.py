r"""Beta-negative-binomial counts: the probability of a negative binomial varies between cells by a Beta distribution.

With size r and odds :math:`\phi`, every gene has an overdispersion :math:`\omega` of its own,

.. math::

    \kappa = 2 + (r+1)/\omega, \qquad \alpha = (\kappa-1)/\phi, \qquad
    q \sim \mathrm{Beta}(\alpha, \kappa), \qquad u \mid q \sim \mathrm{NB}(r, q),

which keeps the mean, multiplies the variance by :math:`1+\omega` and gives a power tail :math:`u^{-(\kappa+1)}`. The
negative binomial is the limit :math:`\omega \to 0`.

Write :math:`v = \operatorname{logit} q`. Seen through a capture that is :math:`e^{s}` times the one at which q is
mixed, a count has the logit :math:`v + s`, and

.. math::

    P(u) = \frac{\Gamma(u+r)}{\Gamma(r)\,u!} \int \mathrm{LogitBeta}(v; \alpha, \kappa)\,
        \sigma(v+s)^u\, \sigma(-v-s)^r\, dv,

an integral that is closed at :math:`s = 0`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy

from scribe._dist.special import log_binomial, nb_log_pmf
from scribe._types import Array, Key, Natural
from scribe.families._base import Family, Modifier, MoleculePosterior, Moments, Param, Population
from scribe.families._beta_mixture import (
    LOST,
    ChainDiagnostics,
    closed_integral,
    draw_logit,
    excess_of_mixing,
    log_chance,
    log_integral,
    log_integrand,
    rule_for,
    summarise,
    together,
)
from scribe.families._peaks import Part
from scribe.families.nb import sample_gamma_poisson, sample_log_gamma
from scribe.priors import LogNormal

__all__ = ["OVERDISPERSION", "BetaMixed", "BetaMixedMolecules", "beta_mixed", "deeper"]

OVERDISPERSION = Param(
    "omega",
    ("overdispersion",),
    "positive",
    ("gene",),
    LogNormal(-5.0, 1.0),
    (-5.0, 1.0),
    start=-3.0,
    populations=(
        ("gene", Population((-5.0, 1.0), (0.0, 1.0))),
        ("dataset", Population((-5.0, 1.0), (0.0, 1.0))),
    ),
)
"""Excess of the variance over that of the negative binomial, :math:`\\omega`."""

_LOG_RANGE = (-20.0, 20.0)
"""Range within which the logarithm of the overdispersion is used."""

_LARGEST = 1e10
"""Largest concentration: beyond, nothing of the mixing is left."""


def _excess(natural: Natural) -> Array:
    """The overdispersion within its range."""
    return jnp.exp(jnp.clip(natural[OVERDISPERSION.natural], *_LOG_RANGE))


def _mixing(natural: Natural, at: Array) -> ChainDiagnostics:
    """Concentrations where q is mixed at the log capture ``at``."""
    log_size = natural["log_mean"] + natural["log_odds"]
    size = jnp.exp(log_size)
    kappa = jnp.minimum(2.0 + (size + 1.0) / _excess(natural), _LARGEST)
    log_mean = natural["log_mean"] + at + jnp.log1p(-1.0 / kappa)
    mixed = jnp.broadcast_arrays(size, log_size, kappa * jnp.exp(log_mean - log_size), kappa, log_mean)
    return ChainDiagnostics(*mixed)


@dataclass(frozen=True)
class BetaMixedMolecules(MoleculePosterior):
    r"""Posterior of the molecules of a cell given those observed, under a varying probability.

    Given the probability of the cell, :math:`m - u` is negative binomial of size :math:`r+u` and mean :math:`(r+u)w`,
    :math:`w = (1-\nu)/(\phi+\nu)` with its odds :math:`\phi`. Averaged over it,
    :math:`P(m \mid u) = P(m)\,\mathrm{Bin}(u; m, \nu)/P(u)`, where P(m) and P(u) are two captures of one mixture.

    ``mixing`` are the concentrations at the log capture ``mixed_at`` (None is 0) where the probability is mixed,
    ``offset`` the log capture, ``seen`` the logarithm of the integral of ``u``, ``weight`` mean and variance of w given
    ``u``; ``posterior`` draws the logit of the mixed probability given ``u``.
    """

    u: Array
    mixing: ChainDiagnostics
    offset: Array
    mixed_at: Array | None
    seen: Array
    weight: Moments
    posterior: Callable[[Key, tuple[int, ...]], Array]

    def _molecules_at(self) -> Array | None:
        return None if self.mixed_at is None else -self.mixed_at

    def moments(self) -> Moments:
        """Law of total expectation and variance over the probability."""
        size, (mean, variance) = self.mixing.size + self.u, self.weight
        within = size * (mean + jnp.square(mean) + variance)
        return Moments(self.u + size * mean, within + jnp.square(size) * variance)

    def _rises(self, unseen: Array) -> Array:
        """Whether ``unseen`` molecules are at least as probable as one less."""
        before = self.u + unseen - 1.0
        growth = jnp.log((before + self.mixing.size) / unseen) + jnp.log(-jnp.expm1(self.offset))
        return growth + log_chance(before, self.mixing, self._molecules_at()) >= 0.0

    def parts(self) -> tuple[Part, ...]:
        """One peak, found bit by bit; it lies within sqrt(3) standard deviations of the mean."""
        mean, variance = self.moments()
        most = mean - self.u + jnp.sqrt(3.0 * variance) + 1.0

        def add(number: Array, unseen: Array) -> Array:
            more = unseen + jnp.left_shift(1, _BITS - 1 - number).astype(unseen.dtype)
            return jnp.where((more <= most) & self._rises(more), more, unseen)

        unseen: Array = jax.lax.fori_loop(0, _BITS, add, jnp.zeros_like(most))
        return self._alone(self.u + unseen)

    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m`` molecules."""
        u, size = self.u, self.mixing.size
        unseen = m - u
        d = jnp.maximum(unseen, 0.0)
        thinned = gammaln(u + d + 1.0) - gammaln(u + 1.0) - gammaln(d + 1.0) + xlogy(d, -jnp.expm1(self.offset))
        thinned = thinned + jnp.where(u > 0.0, u * jnp.maximum(self.offset, LOST), 0.0)
        molecules = log_binomial(u + d, size) + log_integral(u + d, self.mixing, self._molecules_at())
        value = molecules + thinned - log_binomial(u, size) - self.seen
        return jnp.where(unseen >= 0.0, value, -jnp.inf)

    def sample(self, key: Key) -> Array:
        """One draw: the probability, then the unseen molecules."""
        key_logit, key_count = jax.random.split(key)
        v = self.posterior(key_logit, jnp.broadcast_shapes(self.u.shape, self.offset.shape, self.mixing.size.shape))
        size = self.mixing.size + self.u
        log_weight = _log_weight(v, self.offset, self.mixed_at)
        tiny = jnp.log(jnp.finfo(v.dtype).tiny)
        unseen = sample_gamma_poisson(key_count, jnp.log(size) + jnp.maximum(log_weight, tiny), jnp.log(size))
        return self.u + jnp.where(self.offset < 0.0, unseen, 0.0)


_BITS = 24
"""Unseen molecules are counted up to 2 to this power."""


def _log_weight(v: Array, offset: Array, mixed_at: Array | None) -> Array:
    """Logarithm of w where the logit of the mixed probability is ``v``."""
    y = v if mixed_at is None else v - mixed_at
    return jnp.log(-jnp.expm1(offset)) + y - jax.nn.softplus(y + jnp.maximum(offset, LOST))


def _beta_posterior(a: Array, b: Array) -> Callable[[Key, tuple[int, ...]], Array]:
    """Draws of the logit of a Beta variable."""

    def draw(key: Key, shape: tuple[int, ...]) -> Array:
        up, down = jax.random.split(key)
        return jax.random.loggamma(up, jnp.broadcast_to(a, shape)) - jax.random.loggamma(
            down, jnp.broadcast_to(b, shape)
        )

    return draw


@dataclass(frozen=True)
class BetaMixed(Modifier):
    r"""Negative binomial counts whose probability varies by a Beta distribution: see the head of this module.

    The order of composition says where it varies. Around a captured family it is the probability with which counts are
    *observed* that does, and the pmf is closed: ``beta_mixed(with_capture(nb))``. Inside of capture it is that of the
    molecules, ``with_capture(beta_mixed(nb))``: coherent between cells of different capture, and a quadrature per
    count. Without capture the two are one.

    Adds the natural parameter ``log_omega``, :math:`\log\omega_g`. ``gain`` is set by `deeper` alone.
    """

    kind = "beta_mixed"
    adds = (OVERDISPERSION,)
    keyword = "overdispersion='bnb'"

    gain: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base.layers not in (("nb",), ("nb", "with_capture")):
            msg = f"beta_mixed needs a negative binomial, nb or with_capture(nb), and got {self.base.name}."
            raise ValueError(msg)

    def _split(self, natural: Natural, offset: Array) -> tuple[ChainDiagnostics, Array | None]:
        """Concentrations, and the capture relative to where they hold: None where that is here."""
        if self.captured:
            return _mixing(natural, offset - self.gain), jnp.full_like(offset, self.gain) if self.gain else None
        return _mixing(natural, jnp.zeros_like(offset)), offset

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Logarithm of the integral."""
        return log_integral(u, *self._split(natural, offset))

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Log-probability of the count; where closed, as the negative binomial's plus what the mixing adds."""
        m, s = self._split(natural, offset)
        if s is not None:
            return super().log_pmf(u, natural, offset)
        return nb_log_pmf(u, m.log_mean, m.log_size) + excess_of_mixing(u, m)

    def shifted(self, natural: Natural, field: Array) -> dict[str, Array]:
        """As the base, where the probability that varies is that of observed counts."""
        if not self.captured:
            msg = (
                f"{self.name} varies the probability of molecules, which has no mean of its own in every cell: mix "
                "around capture, beta_mixed(with_capture(nb))."
            )
            raise ValueError(msg)
        return self.base.shifted(natural, field)

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """Draw the probability, then the count."""
        key_logit, key_count = jax.random.split(key)
        m, s = self._split(natural, offset)
        shape = jnp.broadcast_shapes(m.size.shape, offset.shape)
        v = _beta_posterior(m.alpha, m.kappa)(key_logit, shape)
        return sample_gamma_poisson(key_count, m.log_size + v + (0.0 if s is None else s), m.log_size)

    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """Gamma rate at a probability of the cell's own, mixed at full capture."""
        key_logit, key_rate = jax.random.split(key)
        m = _mixing(natural, jnp.zeros(()))
        v = _beta_posterior(m.alpha, m.kappa)(key_logit, m.size.shape)
        return sample_log_gamma(key_rate, m.log_size + v, m.log_size)

    def moments(self, natural: Natural, offset: Array) -> Moments:
        r"""Mean :math:`\nu\mu`; variance :math:`1+\omega` times the base's, at the capture where it is mixed."""
        omega = _excess(natural)
        if self.captured:
            mean, variance = self.base.moments(natural, offset)
            return Moments(mean, variance * (1.0 + omega))
        mean, variance = self.base.moments(natural, jnp.zeros_like(offset))
        capture = jnp.exp(offset)
        thinned = jnp.square(capture) * variance * (1.0 + omega) - capture * jnp.expm1(offset) * mean
        return Moments(capture * mean, thinned)

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the molecules before capture."""
        m, s = self._split(natural, offset)
        if s is None:
            a, b, n = m.alpha + u, m.kappa + m.size, m.alpha + m.kappa + u + m.size
            per_chance = -jnp.expm1(offset) * jnp.exp(-offset)
            weight = Moments(per_chance * a / n, jnp.square(per_chance / n) * a * b / (n + 1.0))
            return BetaMixedMolecules(u, m, offset, offset, closed_integral(u, m), weight, _beta_posterior(a, b))
        k, s, m = together(u, s, m)
        rule, log_term = rule_for(k, m, s, power=2.0), functools.partial(log_integrand, k, m, s)
        middle = _log_weight(m.logit + rule.centre, s, None)

        def relative(distance: Array) -> Array:
            return jnp.expm1(_log_weight(m.logit + distance, s, None) - middle)

        # where everything is captured the logarithm of the weight is that of zero
        mean, square = summarise(rule, log_term, relative, lambda d: jnp.square(relative(d))).averages
        lost = s < 0.0
        scale = jnp.exp(middle)
        weight = Moments(
            jnp.where(lost, scale * (1.0 + mean), 0.0),
            jnp.where(lost, jnp.square(scale) * jnp.maximum(square - jnp.square(mean), 0.0), 0.0),
        )
        return BetaMixedMolecules(k, m, s, None, log_integral(k, m, s), weight, draw_logit(k, m, s))

    def unobserved(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Law of the molecules, with the concentrations of a cell of the given capture."""
        m, s = self._split(natural, offset)
        a, b = m.alpha, m.kappa
        mean, variance = a / (b - 1.0), a * (a + b - 1.0) / (jnp.square(b - 1.0) * (b - 2.0))
        at = None if s is not None else offset
        scale = jnp.ones_like(offset) if at is None else jnp.exp(-offset)
        weight = Moments(scale * mean, jnp.square(scale) * variance)
        nothing, zero = jnp.full_like(offset, -jnp.inf), jnp.zeros_like(u)
        return BetaMixedMolecules(zero, m, nothing, at, zero, weight, _beta_posterior(a, b))

    def named(self, natural: Natural) -> dict[str, Array]:
        r"""Those of the base, ``omega``, and ``bnb_concentration``, the :math:`\kappa` that it makes with the size."""
        kappa = _mixing(natural, jnp.zeros(())).kappa
        return {**super().named(natural), "bnb_concentration": kappa}


def deeper(family: Family, gain: float) -> Family:
    """Family of the counts of the same cells sequenced deeper, at offsets that are larger by ``gain``.

    It is the same but for a probability that varies around capture: there it stays what it was for the counts at first.
    """
    if isinstance(family, BetaMixed) and family.captured:
        return replace(family, gain=gain)
    return replace(family, base=deeper(family.base, gain)) if isinstance(family, Modifier) else family


def beta_mixed(base: Family) -> Family:
    """Let the probability of a negative binomial, captured or not, vary by a Beta distribution."""
    return BetaMixed(base)
