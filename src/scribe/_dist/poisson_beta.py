r"""Poisson-Beta counts, and the law of the share of time a promoter is on.

Everything is an integral :math:`I(a, b, \lambda) = \int_0^1 p^{a-1} q^{b-1} e^{-\lambda p}\,dp`, :math:`q = 1 - p`: up
to a factor Kummer's :math:`{}_1F_1(a; a+b; -\lambda)`. Shapes below one make it singular at both ends. Two exact steps
raise both by one: what does not vanish at :math:`p = 1` has a closed form, and at :math:`p = 0` one integrates by
parts,

.. math::

    I = e^{-\lambda} B(a,b) + \frac{1}{a}\int_0^1 p^{a} q^{b-1} e^{-\lambda p}
        \{(a+b)(1 - e^{-\lambda q}) + \lambda q\}\,dp.

Nothing is subtracted. In :math:`t = \operatorname{logit} p` what is left has one mode, the root of a quadratic, and
falls exponentially on both sides: the trapezoidal rule about the mode converges geometrically. The nodes are

.. math::

    t_j = t_0 + m s_j + R(e^{k s_j} - 1) + L(1 - e^{-k s_j}),

equidistant in :math:`s \in [-1, 1]`, with :math:`m, R, L` such that they are dense at the mode and end where the
integrand has fallen far enough on either side, be it a hundred times farther on one than on the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.typing import ArrayLike

from scribe._dist.special import deviance_term, digamma_difference, log_rising, stirling_error
from scribe._types import SLOPES, Array, Key

__all__ = ["TiltedBeta", "poisson_beta_log_pmf"]

T = TypeVar("T")

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_RATE_RANGE = (-40.0, 40.0)
_LEAST = 1e-30
_MIDDLE = 2.0
"""Largest half-width in t of the part where nodes are equidistant: beyond a few units the integrand is exponential."""


class _Rule(NamedTuple):
    """Number of nodes, fall of the log-integrand at the outermost, Newton steps that find them, and the growth k.

    Largest error of log P, and its 99.9 % and 99 % quantiles, over 3,000 cases with shapes in [0.05, 1e3], half of
    them with a shape at 0.05, rates in [1e-3, 1e4] and counts to 2,000:

    =====  =======  =======  =======
    nodes  largest  99.9 %   99 %
    =====  =======  =======  =======
    12     4e-3     4e-4     2e-4
    16     1e-4     7e-5     8e-6
    24     9e-6     6e-6     2e-7
    32     4e-7     6e-8     7e-10
    40     2e-8     4e-9     3e-11
    =====  =======  =======  =======

    Without the two steps that raise the shapes it takes 42 nodes to come to 7e-6. The worst cases are counts near the
    rate of a promoter that is nearly always on. Single precision has rounding errors of 1e-5.
    """

    n: int
    fall: float
    steps: int
    growth: float


_SINGLE = _Rule(16, 15.0, 2, 2.5)
_DOUBLE = _Rule(40, 26.0, 3, 3.0)
_TO_SAMPLE = _Rule(100, 18.0, 4, 6.0)
"""Between these nodes the density is nearly linear, also where a shape near zero gives it a long tail."""


def _rule(dtype: np.dtype) -> _Rule:
    return _DOUBLE if dtype == np.float64 else _SINGLE


class _Frame(NamedTuple):
    """The mode, and the three numbers that place the nodes."""

    p: Array
    q: Array
    middle: Array
    right: Array
    left: Array


class _Point(NamedTuple):
    """A node: its share in the integral, ``p`` less that of the mode, ``q``, and logarithms relative to the mode."""

    weight: Array
    shift: Array
    q: Array
    log_p: Array
    log_q: Array


class TiltedBeta(NamedTuple):
    r"""The law on [0, 1] with density proportional to :math:`p^{a-1} q^{b-1} e^{-\lambda p}`.

    A share of time with a Beta(a, b) law, given that Poisson events of rate :math:`\lambda p` did not occur; ``u``
    occurrences add ``u`` to :math:`a`.
    """

    a: Array
    b: Array
    rate: Array

    def moments(self) -> tuple[Array, Array]:
        r"""Mean and variance.

        From the mean :math:`m` of the law with :math:`a + 1`, which no singularity troubles, by parts:
        :math:`E[p] = a/\{a + b + \lambda(1-m)\}` and :math:`\mathrm{Var}[p] = E[p]\,(m - E[p])`. The last difference is
        written as a quadratic in the distance of :math:`m` from the mode, so that it does not cancel.
        """
        raised = TiltedBeta(self.a + 1.0, self.b + 1.0, self.rate)
        frame = _frame(raised, _rule(self.a.dtype))

        def term(point: _Point) -> tuple[Array, ...]:
            weight = point.weight * (-jnp.expm1(-self.rate * point.q) / point.q)
            return weight, weight * point.shift

        total, shifted = _sum_over_nodes(term, raised, frame, n_sums=2)
        log_ratio = _log_beta_density(self.a + 1.0, self.b, frame.p, frame.q) + jnp.log(frame.q * total)
        smooth = jax.nn.sigmoid(log_ratio + self.rate * frame.q)
        at_end = (self.a + 1.0) / (self.a + 1.0 + self.b) - frame.p
        distance = smooth * shifted / total + (1.0 - smooth) * at_end
        off = frame.q - distance
        scale = self.a + self.b + self.rate * off
        slope = self.a + self.b - self.rate * (frame.p - frame.q)
        difference = frame.q - frame.p + distance * (slope - self.rate * distance)
        mean = self.a / scale
        return mean, mean * difference / scale

    def sample(self, key: Key) -> Array:
        """One draw, by inversion of the distribution function between nodes, where the density is taken as linear."""
        key_origin, key_end, key_smooth = jax.random.split(key, 3)
        a, b, rate = jnp.broadcast_arrays(*self)
        # a Beta law with the weight of the part that has a closed form
        log_end = -rate - poisson_beta_log_pmf(jnp.zeros_like(a), jnp.log(rate), a, b)
        from_end = jnp.log(jax.random.uniform(key_origin, a.shape, a.dtype)) < log_end
        return jnp.where(
            from_end, jax.random.beta(key_end, a, b, dtype=a.dtype), TiltedBeta(a, b, rate)._sample_rest(key_smooth)
        )

    def _sample_rest(self, key: Key) -> Array:
        law, rule = self._replace(b=self.b + 1.0), _TO_SAMPLE
        frame = _frame(law, rule)

        def weigh(point: _Point) -> Array:
            return point.weight * (-jnp.expm1(-self.rate * point.q) / point.q)

        def add(total: Array, point: _Point, s: Array) -> Array:
            return total + weigh(point)

        zero = jnp.zeros_like(self.a)
        target = jax.random.uniform(key, zero.shape, zero.dtype) * _fold(add, zero, law, frame, rule)
        step = 2.0 / (rule.n - 1)

        def find(carry: tuple[Array, Array, Array], point: _Point, s: Array) -> tuple[Array, Array, Array]:
            left_over, before, found = carry
            here = weigh(point)
            mass = 0.5 * (before + here)
            ends = (left_over >= 0.0) & (left_over < mass)
            root = jnp.sqrt(jnp.maximum(before * before + 2.0 * (here - before) * left_over, 0.0))
            part = 2.0 * left_over / jnp.maximum(before + root, jnp.finfo(here.dtype).tiny)
            return left_over - mass, here, jnp.where(ends, s + (part - 1.0) * step, found)

        _, _, s = _fold(find, (target, zero, zero), law, frame, rule)
        x = frame.middle * s + frame.right * jnp.expm1(rule.growth * s) - frame.left * jnp.expm1(-rule.growth * s)
        sides = (_side(jnp.abs(x), law, frame, right=right)[1].shift for right in (False, True))
        left, right = sides
        return jnp.clip(frame.p + jnp.where(x < 0.0, left, right), 0.0, 1.0)


def _mode(law: TiltedBeta) -> tuple[Array, Array, Array]:
    """Mode in logit p, where the density is that of ``t``, and the distance of the two roots of its quadratic."""
    a, b, rate = law
    excess = a + b - rate
    root = jnp.hypot(rate - a + b, 2.0 * jnp.sqrt(a * b))
    p = 2.0 * a / (a + b + rate + root)
    far = jnp.abs(excess) + root
    return p, jnp.where(excess > 0.0, 2.0 * b / far, far / (2.0 * rate)), root


def _side(x: Array, law: TiltedBeta, frame: _Frame, *, right: bool) -> tuple[Array, _Point]:
    """Log-integrand relative to the mode at a distance ``x >= 0`` of logits from it, and where that is."""
    p, q = frame.p, frame.q
    share, rest = (q, p) if right else (p, q)
    fall = jnp.expm1(-x)
    remains = jnp.maximum(1.0 + fall, _LEAST)
    total = rest + share * remains
    inverse = 1.0 / total
    # log(1 + share * fall): near 1 the logarithm of the rounded sum is corrected by what rounding took away
    log_total = jnp.log(total) + jnp.where(total > 0.5, (share * fall - (total - 1.0)) * inverse, 0.0)
    shift = p * q * fall * inverse
    near, far = -log_total, -x - log_total
    if right:
        height = -law.b * x - (law.a + law.b) * log_total + law.rate * shift
        return height, _Point(height, -shift, q * remains * inverse, near, far)
    height = -law.a * x - (law.a + law.b) * log_total - law.rate * shift
    return height, _Point(height, shift, q * inverse, far, near)


def _reach(law: TiltedBeta, frame: _Frame, start: Array, rule: _Rule, *, right: bool) -> Array:
    """Distance from the mode at which the log-integrand has fallen far enough: Newton's rule on logarithms."""
    x = start
    for _ in range(rule.steps):
        height, point = _side(x, law, frame, right=right)
        fallen = jnp.maximum(-height, 1e-3)
        p, q = frame.p + point.shift, point.q
        slope = jnp.abs(law.a * q - law.b * p - law.rate * p * q) * x / fallen
        x = x * jnp.exp(jnp.clip(jnp.log(rule.fall / fallen) / jnp.maximum(slope, 1.0), -3.0, 3.0))
    return x


def _frame(law: TiltedBeta, rule: _Rule) -> _Frame:
    """Place the nodes. They are constants to derivatives: those of the sum are sums of derivatives at fixed nodes."""
    law = TiltedBeta(*(jax.lax.stop_gradient(x) for x in law))
    p, q, root = _mode(law)
    frame = _Frame(p, q, p, p, p)
    normal = jnp.sqrt(2.0 * rule.fall / (p * q * root))
    left, right = (_reach(law, frame, normal, rule, right=side) for side in (False, True))
    middle = jnp.minimum(jnp.minimum(left, right), _MIDDLE)
    scale = 1.0 / math.expm1(rule.growth)
    # the map reaches (nearly) ``right`` at s = 1 and ``-left`` at s = -1
    return _Frame(p, q, middle, (right - middle) * scale, (left - middle) * scale)


def _fold(step: Callable[[T, _Point, Array], T], start: T, law: TiltedBeta, frame: _Frame, rule: _Rule) -> T:
    """Go through the nodes from left to right; ``step`` gets what it gave last, a node and its ``s``.

    One after the other: side by side they would take as many times the memory as there are nodes.
    """
    s = np.linspace(-1.0, 1.0, rule.n)
    k, width = rule.growth, s[1] - s[0]

    def through(carry: T, half: np.ndarray, *, right: bool) -> T:
        placed = (half, np.expm1(k * half), -np.expm1(-k * half))
        spaced = (np.full_like(half, width), width * k * np.exp(k * half), width * k * np.exp(-k * half))

        def body(carry: T, row: Array) -> tuple[T, None]:
            x = frame.middle * row[0] + frame.right * row[1] + frame.left * row[2]
            spacing = frame.middle * row[3] + frame.right * row[4] + frame.left * row[5]
            height, point = _side(x if right else -x, law, frame, right=right)
            return step(carry, point._replace(weight=jnp.exp(height) * spacing), row[0]), None

        table = jnp.asarray(np.stack([*placed, *spaced], axis=1), frame.p.dtype)
        return jax.lax.scan(body, carry, table)[0]

    return through(through(start, s[s < 0], right=False), s[s >= 0], right=True)


def _sum_over_nodes(
    term: Callable[[_Point], tuple[Array, ...]], law: TiltedBeta, frame: _Frame, *, n_sums: int
) -> tuple[Array, ...]:
    """Integrals of several functions at once."""

    def add(sums: tuple[Array, ...], point: _Point, s: Array) -> tuple[Array, ...]:
        return tuple(total + more for total, more in zip(sums, term(point), strict=True))

    start = tuple(jnp.zeros_like(frame.p) for _ in range(n_sums))
    return _fold(add, start, law, frame, _rule(frame.p.dtype))


def _log_beta_density(a: Array, b: Array, p: Array, q: Array) -> Array:
    r"""Log-density of :math:`\operatorname{logit} p` under Beta(a, b), by deviances and Stirling errors."""
    total = a + b
    on, off = total * p, total * q
    deviance = on * deviance_term(a / on - 1.0) + off * deviance_term(b / off - 1.0)
    stirling = stirling_error(total) - stirling_error(a) - stirling_error(b)
    return stirling - deviance + 0.5 * jnp.log(a / total * b) - _HALF_LOG_2PI


def _poisson_log_pmf(u: Array, mean: Array) -> Array:
    """Poisson log-probability in the saddle-point form."""
    positive = jnp.where(u > 0.0, u, 1.0)
    excess = jnp.where(u > 0.0, (u - mean) / mean, 0.0)  # the deviance has no derivative at -1
    correction = 0.5 * jnp.log(positive) + _HALF_LOG_2PI + stirling_error(positive)
    return jnp.where(u > 0.0, -mean * deviance_term(excess) - correction, -mean)


@jax.custom_jvp
def _log_beta_ratio(u: Array, a: Array, b: Array) -> Array:
    """Compute log B(a + u, b) - log B(a, b) from the shorter of two products."""
    k, more = jnp.minimum(u, b), jnp.maximum(u, b)
    return log_rising(k, a) - log_rising(k, a + more)


@_log_beta_ratio.defjvp
def _log_beta_ratio_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    u, a, b = primals
    by_a = digamma_difference(b, a) - digamma_difference(b, a + u)
    by_b = digamma_difference(a, b) - digamma_difference(a + u, b)
    return _log_beta_ratio(u, a, b), by_a * tangents[1] + by_b * tangents[2]


def _with_slopes(u: Array, log_rate: Array, a: Array, b: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Log-probability and its derivatives by log rate, a and b, from one pass over the nodes."""
    rate, shape = jnp.exp(log_rate), a + u
    raised = TiltedBeta(shape + 1.0, b + 1.0, rate)
    frame = _frame(raised, _rule(rate.dtype))

    def term(point: _Point) -> tuple[Array, ...]:
        gone = -jnp.expm1(-rate * point.q)
        per_q = point.weight / point.q
        weight = per_q * ((shape + b) * gone + rate * point.q)
        by_rate = point.weight * ((shape + b) * (1.0 - gone) + 1.0) - weight * point.shift
        return weight, by_rate, weight * point.log_p + per_q * gone, weight * point.log_q + per_q * gone

    total, by_rate, by_a, by_b = _sum_over_nodes(term, raised, frame, n_sums=4)
    end = _poisson_log_pmf(u, rate) + _log_beta_ratio(u, a, b)
    at_mode = _poisson_log_pmf(u, rate * frame.p) + _log_beta_density(a, b, frame.p, frame.q)
    smooth = at_mode + jnp.log(frame.p * frame.q / shape * total)
    value = jnp.logaddexp(end, smooth)
    of_end, of_smooth = jnp.exp(end - value), jnp.exp(smooth - value)
    mean_a = of_smooth * (by_a / total + jnp.log(frame.p) - 1.0 / shape) - of_end * digamma_difference(b, shape)
    mean_b = of_smooth * (by_b / total + jnp.log(frame.q)) - of_end * digamma_difference(shape, b)
    return value, (
        u + rate * (of_smooth * (by_rate / total - frame.p) - of_end),
        mean_a + digamma_difference(b, a),
        mean_b + digamma_difference(a, b),
    )


@jax.custom_jvp
def _log_pmf(u: Array, log_rate: Array, a: Array, b: Array) -> Array:
    return _with_slopes(u, log_rate, a, b)[0]


@_log_pmf.defjvp
def _log_pmf_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    value, slopes = checkpoint_name(_with_slopes(*primals), SLOPES)
    return value, functools.reduce(jnp.add, (slope * t for slope, t in zip(slopes, tangents[1:], strict=True)))


def poisson_beta_log_pmf(u: ArrayLike, log_rate: Array, a: Array, b: Array) -> Array:
    r"""Log-probability of a Poisson count whose rate has a Beta-distributed factor.

    .. math::

        p \sim \mathrm{Beta}(a, b),\quad u \mid p \sim \mathrm{Poisson}(\lambda p):\qquad
        P(u) = \frac{\lambda^u}{u!}\,\frac{B(a+u, b)}{B(a, b)}\,{}_1F_1(a+u;\, a+b+u;\, -\lambda).

    Parameters
    ----------
    u
        Counts. They are data: the derivative with respect to them is taken as zero.
    log_rate
        Logarithm of :math:`\lambda`; used within [-40, 40], beyond which the derivative is zero.
    a, b
        Shapes of the Beta distribution, positive.

    Returns
    -------
    Log-probabilities of the broadcast shape.

    Notes
    -----
    The derivatives are those of the sum at fixed nodes, expectations under the law of :math:`p` given :math:`u` such as
    :math:`\partial\log P/\partial\log\lambda = u - \lambda E[p]`, and differentiable again. For shapes in [0.05, 1e3],
    :math:`\lambda \in [10^{-3}, 10^4]` and counts to 2,000 the value is within 2e-8 of mpmath in float64, and within
    1e-4 max(1, abs(reference)) in float32.
    """
    log_rate = jnp.clip(log_rate, *_LOG_RATE_RANGE)
    return _log_pmf(jnp.asarray(u).astype(log_rate.dtype), log_rate, a, b)
