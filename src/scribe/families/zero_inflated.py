"""Zero inflation: a gene is silent in a cell with its own probability."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from scribe._types import Array, Key, Natural
from scribe.families._base import Family, Modifier, MoleculePosterior, Moments, Param, Population
from scribe.families._peaks import Part
from scribe.priors import Beta

__all__ = ["GATE", "ZeroInflated", "ZeroInflatedMolecules", "zero_inflated"]

GATE = Param(
    "gate",
    ("zero_inflation",),
    "unit",
    ("gene",),
    Beta(1.0, 9.0),
    (-2.0, 1.0),
    start=-3.0,
    populations=(
        ("gene", Population((-5.0, 1.0), (-2.0, 0.5))),
        ("dataset", Population((-2.0, 1.0), (-2.0, 0.5))),
    ),
)
"""Probability of a gene to be silent in a cell."""


@dataclass(frozen=True)
class ZeroInflatedMolecules(MoleculePosterior):
    r"""Posterior of the count before capture under zero inflation.

    A zero came from the gate with probability
    :math:`w = \pi / \{\pi + (1-\pi) P(0)\}`; then nothing is known of the count and it follows the family at full
    capture. Otherwise, and for every positive count, the base rule holds.
    """

    gated: Array
    seen: MoleculePosterior
    prior: MoleculePosterior

    def moments(self) -> Moments:
        """Law of total expectation and variance over the two origins of a zero."""
        seen, prior = self.seen.moments(), self.prior.moments()
        mean = self.gated * prior.mean + (1.0 - self.gated) * seen.mean
        between = self.gated * (1.0 - self.gated) * jnp.square(prior.mean - seen.mean)
        return Moments(mean, self.gated * prior.variance + (1.0 - self.gated) * seen.variance + between)

    def parts(self) -> tuple[Part, ...]:
        """The two origins of a zero, one after the other."""
        origins = (self.prior, jnp.log(self.gated)), (self.seen, jnp.log1p(-self.gated))
        return tuple(
            part._replace(log_weight=log_weight + part.log_weight)
            for law, log_weight in origins
            for part in law.parts()
        )

    def log_prob(self, m: Array) -> Array:
        """Mixture of the two origins of a zero."""
        prior = jnp.log(self.gated) + self.prior.log_prob(m)
        return jnp.logaddexp(prior, jnp.log1p(-self.gated) + self.seen.log_prob(m))

    def sample(self, key: Key) -> Array:
        """One draw: the origin, then the count."""
        key_gate, key_seen, key_prior = jax.random.split(key, 3)
        gate = jax.random.uniform(key_gate, self.gated.shape, self.gated.dtype) < self.gated
        return jnp.where(gate, self.prior.sample(key_prior), self.seen.sample(key_seen))


@dataclass(frozen=True)
class ZeroInflated(Modifier):
    r"""Zero-inflated counts: :math:`P(0) = \pi + (1-\pi)P_0(0)`, :math:`P(u) = (1-\pi)P_0(u)` for :math:`u > 0`.

    Adds the natural parameter ``gate_logit``, :math:`\operatorname{logit}\pi_g`, to those of the base.
    """

    kind = "zero_inflated"
    adds = (GATE,)
    keyword = "zero_inflation=True"

    def _mix(self, u: Array, base: Array, gate_logit: Array) -> Array:
        open_gate = -jax.nn.softplus(gate_logit) + base
        return jnp.where(u > 0, open_gate, jnp.logaddexp(-jax.nn.softplus(-gate_logit), open_gate))

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Base term behind an open gate, mixed with the closed gate at zero."""
        return self._mix(u, self.base.cell_term(u, natural, offset), natural["gate_logit"])

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        r"""Base correction, plus :math:`\log\{(1-\pi)P_0(0)\} - \log\{\pi + (1-\pi)P_0(0)\}` where ``u > 0``."""
        silent = self.base.cell_term(jnp.zeros_like(u), natural, offset)
        gate = -jax.nn.softplus(natural["gate_logit"] - silent)
        return jnp.where(u > 0, gate, 0.0) + self.base.correction(u, natural, offset)

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Log-probability of the count."""
        return self._mix(u, self.base.log_pmf(u, natural, offset), natural["gate_logit"])

    def cdf(self, u: Array, natural: Natural, offset: Array) -> Array:
        r""":math:`\pi + (1-\pi)F_0(u)` for :math:`u \ge 0`."""
        gate, open_gate = jax.nn.sigmoid(natural["gate_logit"]), jax.nn.sigmoid(-natural["gate_logit"])
        return jnp.where(u < 0, 0.0, gate + open_gate * self.base.cdf(u, natural, offset))

    def below_and_at(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """Those of the base behind an open gate; a closed one adds to zeros and to what is below the rest."""
        below, at = self.base.below_and_at(u, natural, offset)
        gate, open_gate = jax.nn.sigmoid(natural["gate_logit"]), jax.nn.sigmoid(-natural["gate_logit"])
        above = u > 0
        return jnp.where(above, gate, 0.0) + open_gate * below, jnp.where(above, 0.0, gate) + open_gate * at

    def expressed(self, natural: Natural) -> dict[str, Array]:
        """All gates open."""
        out = self.base.expressed(natural)
        return {**out, "gate_logit": jnp.full_like(natural["gate_logit"], -jnp.inf)}

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """Draw the base and close the gate at random."""
        key_base, key_gate = jax.random.split(key)
        counts = self.base.sample(key_base, natural, offset)
        closed = jax.random.uniform(key_gate, counts.shape, counts.dtype) < jax.nn.sigmoid(natural["gate_logit"])
        return jnp.where(closed, 0.0, counts)

    def moments(self, natural: Natural, offset: Array) -> Moments:
        r"""Mean :math:`(1-\pi)m` and variance :math:`(1-\pi)(v + \pi m^2)`."""
        mean, variance = self.base.moments(natural, offset)
        gate = jax.nn.sigmoid(natural["gate_logit"])
        open_gate = jax.nn.sigmoid(-natural["gate_logit"])
        return Moments(open_gate * mean, open_gate * (variance + gate * jnp.square(mean)))

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the molecules before capture and before the gate."""
        zero = jnp.zeros_like(u)
        silent = self.base.cell_term(zero, natural, offset)
        gated = jnp.where(u > 0, 0.0, jax.nn.sigmoid(natural["gate_logit"] - silent))
        return ZeroInflatedMolecules(
            gated, seen=self.base.denoise(u, natural, offset), prior=self.base.unobserved(u, natural, offset)
        )


def zero_inflated(base: Family) -> Family:
    """Give every gene of ``base`` a probability of being silent."""
    return ZeroInflated(base)
