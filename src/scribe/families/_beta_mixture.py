r"""Integrals of negative binomial probabilities over a Beta distribution of their logit.

.. math::

    I(k, s) = \int \mathrm{LogitBeta}(v; \alpha, \kappa)\, \sigma(v+s)^k\, \sigma(-v-s)^r\, dv

At :math:`s = 0` this is a ratio of two Beta functions. Otherwise the integrand is log-concave, with its mode where a
quadratic in :math:`e^v` vanishes; it is summed on nodes about the mode that spread exponentially.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._dist._kernels import count_residual, log1pmx_of_log, log1pmx_ratio
from scribe._dist.logit_beta import excesses
from scribe._dist.special import stirling_error
from scribe._types import Array, Key

__all__ = [
    "LOST",
    "ChainDiagnostics",
    "closed_integral",
    "draw_logit",
    "excess_of_mixing",
    "log_chance",
    "log_integral",
    "log_integrand",
    "rule_for",
    "summarise",
    "together",
]

LOST = -36.0
"""Logarithm of the smallest capture that is told from none; the inverse is the largest ratio of two."""


class ChainDiagnostics(NamedTuple):
    """Size r and concentrations of q at the capture where it is mixed; ``log_mean`` is log(r alpha / kappa)."""

    size: Array
    log_size: Array
    alpha: Array
    kappa: Array
    log_mean: Array

    @property
    def logit(self) -> Array:
        """Logit of the mean of q, alpha / (alpha + kappa)."""
        return self.log_mean - self.log_size


def excess_of_mixing(k: Array, m: ChainDiagnostics) -> Array:
    r"""Logarithm of the mixture's probability of ``k`` over that of the negative binomial of the same ``logit``.

    With :math:`q' = (\alpha+k)/(\alpha+\kappa+k+r)` it is the deviance :math:`N' \mathrm{KL}(q' \| q)`, and Stirling's
    formula for the rest: every term vanishes with the overdispersion, and none cancels another.
    """
    n, up, down, right = m.alpha + m.kappa, m.alpha + k, m.kappa + m.size, jax.nn.sigmoid(-m.logit)
    total = n + k + m.size
    residual = right * count_residual(k, m.log_mean)
    grown = 1.0 + (k + m.size) / n
    deviance = -up * log1pmx_ratio(-residual / up, grown / (1.0 + k / m.alpha))
    deviance = deviance - down * log1pmx_ratio(residual / down, grown / (1.0 + m.size / m.kappa))
    logs = jnp.log1p(k / m.alpha) + jnp.log1p(m.size / m.kappa) - jnp.log1p((k + m.size) / n)
    errors = stirling_error(up) - stirling_error(m.alpha) + stirling_error(down) - stirling_error(m.kappa)
    return deviance - 0.5 * logs + errors - (stirling_error(total) - stirling_error(n))


def closed_integral(k: Array, m: ChainDiagnostics) -> Array:
    """Logarithm of the integral at s = 0."""
    return -k * jax.nn.softplus(-m.logit) - m.size * jax.nn.softplus(m.logit) + excess_of_mixing(k, m)


class Rule(NamedTuple):
    """Nodes ``centre + width sinh(low + (high - low) t)`` for t in (0, 1), relative to the logit of the mean of q."""

    centre: Array
    width: Array
    low: Array
    high: Array

    def at(self, t: Array) -> tuple[Array, Array]:
        """Node and the logarithm of its weight per unit of ``t``."""
        x = self.low + (self.high - self.low) * t
        slope = self.width * (self.high - self.low)
        return self.centre + self.width * jnp.sinh(x), jnp.log(slope) + jnp.logaddexp(x, -x) - np.log(2.0)


def rule_for(k: Array, m: ChainDiagnostics, s: Array, *, power: float = 0.0) -> Rule:
    """Nodes for the integrand with ``k``, and for as much as ``exp(power v)`` times it before that saturates."""
    # where the left tail is long it is the bend to the right of the mode that asks for close nodes
    left, right = jnp.maximum(m.alpha, 1.0 - k), m.kappa
    a = left + k
    log_capture = _bounded(s)
    # alpha + k + b z - nu (kappa + r) z^2 = 0 for z = exp(v), here in w = z sqrt(nu)
    root = jnp.exp(0.5 * log_capture)
    b = (left - m.size) * root + (k - m.kappa) / root
    c = m.kappa + m.size
    square = jnp.sqrt(b * b + 4.0 * a * c)
    w = jnp.where(b >= 0.0, (b + square) / (2.0 * c), 2.0 * a / (square - b))
    mode = jnp.log(w) - 0.5 * log_capture
    shifted = mode + log_capture
    curvature = (left + right) * _bell(mode) + (k + m.size) * _bell(shifted)
    width = jnp.minimum(1.0 / jnp.sqrt(curvature), 1.0)
    drop = -np.log(np.finfo(k.dtype).eps) + 4.0
    bulk = np.sqrt(2.0 * drop) / jnp.sqrt(curvature) + jnp.abs(log_capture)
    low = -jnp.arcsinh((drop / (m.alpha + k) + bulk) / width)
    high = jnp.arcsinh((drop / jnp.maximum(right - power, 1e-3) + bulk) / width)
    fixed: Rule = jax.lax.stop_gradient(Rule(mode - m.logit, width, low, high))
    return fixed


def _bell(v: Array) -> Array:
    return jax.nn.sigmoid(v) * jax.nn.sigmoid(-v)


def log_integrand(k: Array, m: ChainDiagnostics, s: Array, distance: Array) -> Array:
    """Logarithm of the integrand at ``v = logit + distance``, over its Beta part's at the centre.

    The Beta part is written as deviances, which keep their digits where it is narrow.
    """
    excess, shortfall = excesses(distance, m.alpha, m.kappa)
    v = m.logit + distance
    grown = jax.nn.softplus(v) - jax.nn.softplus(m.logit)
    beta = m.alpha * log1pmx_of_log(excess, distance - grown) + m.kappa * log1pmx_of_log(shortfall, -grown)
    shifted = v + _bounded(s)
    return beta - k * jax.nn.softplus(-shifted) - m.size * jax.nn.softplus(shifted)


def _log_peak(m: ChainDiagnostics) -> Array:
    """Logarithm of the density of the logit at the centre."""
    n = m.alpha + m.kappa
    errors = stirling_error(n) - stirling_error(m.alpha) - stirling_error(m.kappa)
    return 0.5 * (jnp.log(m.alpha) - jnp.log1p(m.alpha / m.kappa) - np.log(2 * np.pi)) + errors


def _bounded(log_capture: Array) -> Array:
    return jnp.clip(log_capture, LOST, -LOST)


class Averages(NamedTuple):
    """Logarithm of an integral, and averages of functions under it."""

    log_integral: Array
    averages: tuple[Array, ...]


def summarise(rule: Rule, log_term: Callable[[Array], Array], *functions: Callable[[Array], Array]) -> Averages:
    """Integral of ``exp(log_term)`` over the distance, and averages of functions of it.

    Node after node, so that memory does not grow with their number; the gradient computes them anew.
    """
    top = jax.lax.stop_gradient(log_term(rule.centre))
    n = 128 if top.dtype == np.float64 else 48
    nodes = jnp.asarray((np.arange(n) + 0.5) / n, top.dtype)

    @jax.checkpoint
    def add(totals: tuple[Array, ...], t: Array) -> tuple[tuple[Array, ...], None]:
        distance, log_weight = rule.at(t)
        mass = jnp.exp(log_term(distance) + log_weight - top)
        here = (mass, *(mass * function(distance) for function in functions))
        return tuple(total + value for total, value in zip(totals, here, strict=True)), None

    totals, _ = jax.lax.scan(add, (jnp.zeros_like(top),) * (1 + len(functions)), nodes)
    return Averages(top + jnp.log(totals[0] / n), tuple(total / totals[0] for total in totals[1:]))


def together(k: Array, s: Array, m: ChainDiagnostics) -> tuple[Array, Array, ChainDiagnostics]:
    k, s, *mixed = jnp.broadcast_arrays(k, s, *m)
    return k, s, ChainDiagnostics(*mixed)


def log_integral(k: Array, m: ChainDiagnostics, s: Array | None) -> Array:
    """Logarithm of the integral; None stands for s = 0, which is also recognised in values."""
    if s is None:
        return closed_integral(k, m)
    k, s, m = together(k, s, m)

    def integral() -> Array:
        found = summarise(rule_for(k, m, s), functools.partial(log_integrand, k, m, s))
        return found.log_integral + _log_peak(m)

    mixed: Array = jax.lax.cond(jnp.all(s == 0.0), lambda: closed_integral(k, m), integral)
    return mixed


def log_chance(k: Array, m: ChainDiagnostics, s: Array | None) -> Array:
    """Logarithm of the average probability of one more after ``k``: that of the ratio of two integrals."""
    if s is None:
        return jnp.log((m.alpha + k) / (m.alpha + m.kappa + k + m.size))
    k, s, m = together(k, s, m)
    up = m.logit + _bounded(s)
    chance = summarise(
        rule_for(k, m, s), functools.partial(log_integrand, k, m, s), lambda distance: jax.nn.sigmoid(up + distance)
    )
    return jnp.log(chance.averages[0])


def draw_logit(k: Array, m: ChainDiagnostics, s: Array) -> Callable[[Key, tuple[int, ...]], Array]:
    """Draws of the logit by inversion of the cumulative sum over nodes."""

    def draw(key: Key, shape: tuple[int, ...]) -> Array:
        rule, log_term = rule_for(k, m, s), functools.partial(log_integrand, k, m, s)
        top = log_term(rule.centre)
        nodes = jnp.arange(_CELLS, dtype=top.dtype)

        def mass(number: Array) -> Array:
            distance, log_weight = rule.at((number + 0.5) / _CELLS)
            return jnp.exp(log_term(distance) + log_weight - top)

        total, _ = jax.lax.scan(lambda sum_, j: (sum_ + mass(j), None), jnp.zeros_like(top), nodes)
        target = jnp.broadcast_to(total, shape) * jax.random.uniform(key, shape, top.dtype)

        def find(carry: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
            reached, position = carry
            here = mass(number)
            inside = (target >= reached) & (target < reached + here)
            return (reached + here, jnp.where(inside, (number + (target - reached) / here) / _CELLS, position)), None

        (_, position), _ = jax.lax.scan(find, (jnp.zeros_like(top), jnp.full_like(target, 0.5)), nodes)
        return m.logit + rule.at(position)[0]

    return draw


_CELLS = 128
"""Cells in which a logit is drawn."""
