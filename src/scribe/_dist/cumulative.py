"""Cumulative probabilities of counts: of a negative binomial in closed form, of others by sums of the pmf."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from scribe._dist._kernels import promote
from scribe._dist._negative_binomial import LOG_MEAN_RANGE, LOG_SIZE_RANGE, nb_log_pmf
from scribe._types import Array

__all__ = ["nb_below_and_at", "nb_cdf", "sum_of_pmf"]

_MOST_TERMS = 1000
"""Of the continued fraction, which takes up to sqrt(u) of them and mostly few."""


def nb_cdf(u: ArrayLike, log_mean: ArrayLike, log_size: ArrayLike) -> Array:
    r"""Probability that a negative binomial count is at most ``u``; zero below zero.

    With mean :math:`m`, size :math:`r` and :math:`p = m/(r+m)` it is an incomplete beta function,
    :math:`P(U \le u) = I_{1-p}(r, u+1)`. One step raises small sizes,

    .. math:: I_{1-p}(r, u+1) = I_{1-p}(r+1, u+1) + P(u)\,\frac{(u+r)\,p}{r},

    and what is left, or its complement :math:`I_p(u+1, r+1)` where that is on the far side of the mean, is

    .. math::

        I_x(a, b) = \frac{x^a (1-x)^b}{B(a,b)} \bigg/
            \Bigl\{B_0 + \cfrac{A_1}{B_1 + \cfrac{A_2}{B_2 + \dots}}\Bigr\},\qquad
        A_n = \frac{(a+n-1)(a+b+n-1)\,n\,(b-n)\,x^2}{(a+2n-1)^2},\\
        B_n = n + \frac{n(b-n)x}{a+2n-1} + \frac{a+n}{a+2n+1}\{1 + \lambda + n(2-x)\},\qquad \lambda = a - (a+b)x:

    the even part of the continued fraction DLMF 8.17.22. On that side :math:`\lambda` is not negative, neither p nor
    1 - p is a difference, and the power in front is the pmf: the form holds from the Poisson limit
    :math:`r \to \infty` to the smallest sizes.

    Parameters
    ----------
    u
        Counts.
    log_mean, log_size
        As in `nb_log_pmf`.

    Returns
    -------
    Probabilities of the broadcast shape.
    """
    u, log_mean, log_size = promote(u, log_mean, log_size)
    log_mean, log_size = jnp.clip(log_mean, *LOG_MEAN_RANGE), jnp.clip(log_size, *LOG_SIZE_RANGE)
    k, size = jnp.maximum(u, 0.0), jnp.exp(log_size)
    p, q = jax.nn.sigmoid(log_mean - log_size), jax.nn.sigmoid(log_size - log_mean)
    step = jnp.exp(nb_log_pmf(k, log_mean, log_size)) * p * (1.0 + k / size)
    # q (k + 1) - p (r + 1), of which p r = q m
    excess = q * (k + 1.0 - jnp.exp(log_mean)) - p
    above = excess >= 0.0
    a, b = jnp.where(above, k + 1.0, size + 1.0), jnp.where(above, size + 1.0, k + 1.0)
    fraction = _fraction(a, b, jnp.where(above, p, q), jnp.where(above, q, p), jnp.abs(excess))
    tail = step * q * (k + size + 1.0) / fraction
    raised = jnp.where(above, 1.0 - tail, tail)
    return jnp.where(u < 0.0, 0.0, jnp.clip(raised + step, 0.0, 1.0))


def nb_below_and_at(u: Array, log_mean: Array, log_size: Array) -> tuple[Array, Array]:
    r"""Probabilities of less than a count and of the count itself, of arrays of one shape.

    Up to 16 molecules, nearly all of single-cell data, both come from :math:`P(k+1) = P(k)\,(k+r)\,p/(k+1)`, in
    as many steps as the largest count has.
    """

    def few() -> tuple[Array, Array]:
        size, p = jnp.exp(log_size), jax.nn.sigmoid(log_mean - log_size)

        def add(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            chance, below, at = carry
            here = k.astype(size.dtype)
            below = below + jnp.where(u >= here, chance, 0.0)
            chance = chance * (here - 1.0 + size) * p / here
            return chance, below, jnp.where(u == here, chance, at)

        zero = jnp.exp(-size * jax.nn.softplus(log_mean - log_size))
        largest = jnp.max(u, initial=0.0).astype(jnp.int32)
        return jax.lax.fori_loop(1, largest + 1, add, (zero, jnp.zeros_like(zero), zero))[1:]

    def many() -> tuple[Array, Array]:
        return nb_cdf(u - 1.0, log_mean, log_size), jnp.exp(nb_log_pmf(u, log_mean, log_size))

    # counts need not be whole
    return jax.lax.cond(jnp.all((u <= _FEW) & (u == jnp.floor(u))), few, many)


_FEW = 16.0


def _fraction(a: Array, b: Array, x: Array, y: Array, excess: Array) -> Array:
    """Continued fraction of `nb_cdf`, ``y = 1 - x``, by the modified rule of Lentz (Thompson and Barnett 1986)."""
    eps, tiny = jnp.finfo(a.dtype).eps, jnp.finfo(a.dtype).tiny
    Carry = tuple[Array, Array, Array, Array, Array]

    def more(carry: Carry) -> Array:
        n, *_, change = carry
        return jnp.any(jnp.abs(change - 1.0) > 2.0 * eps) & (n < _MOST_TERMS)

    def add(carry: Carry) -> Carry:
        n, value, c, d, _ = carry
        ratio = n * (b - n) * x / (a + 2.0 * n - 1.0)
        above = (a + n - 1.0) * ((a + b + n - 1.0) * x / (a + 2.0 * n - 1.0)) * ratio
        below = n + ratio + (a + n) / (a + 2.0 * n + 1.0) * (1.0 + excess + n * (1.0 + y))
        d = below + above * d
        d = 1.0 / jnp.where(jnp.abs(d) < tiny, tiny, d)
        c = below + above / c
        c = jnp.where(jnp.abs(c) < tiny, tiny, c)
        return n + 1.0, value * c * d, c, d, c * d

    first = a / (a + 1.0) * (1.0 + excess)
    start = jnp.ones((), a.dtype), first, first, jnp.zeros_like(a), jnp.zeros_like(a)
    return jax.lax.while_loop(more, add, start)[1]


def sum_of_pmf(log_pmf: Callable[[Array], Array], u: Array) -> Array:
    r"""Probability that a count is at most ``u``, by summation of its pmf; zero below zero.

    For mixtures of Poisson laws: their pmf is smooth on the scale of :math:`\sqrt{k}`, and the sum over a panel of
    :math:`w = \max(3, \lfloor\sqrt{k}\rfloor)` counts is that over three of them,

    .. math::

        \sum_{j=-(w-1)/2}^{(w-1)/2} f(j) \approx W f(-s) + (w - 2W) f(0) + W f(s),\qquad
        s^2 = \frac{3w^2 - 7}{20},\quad W = \frac{w(w^2-1)}{24 s^2},

    exact for polynomials of degree five, and, where :math:`w = 3`, for any pmf. It costs :math:`6\sqrt{u}` values of
    the pmf rather than ``u``, and elements of an array wait for the largest. For Poisson laws, the narrowest there
    are, the sum is within 2e-6.

    ``log_pmf`` takes counts of the shape of ``u``, real ones, too.
    """
    Carry = tuple[Array, Array]

    def more(carry: Carry) -> Array:
        return jnp.any(carry[0] >= 0.0)

    def add(carry: Carry) -> Carry:
        last, total = carry
        width = jnp.maximum(jnp.floor(jnp.sqrt(jnp.maximum(last, 0.0))), 3.0)
        middle, apart = last - 0.5 * (width - 1.0), jnp.sqrt((3.0 * width * width - 7.0) / 20.0)
        outer = width * (width * width - 1.0) / (24.0 * apart * apart)

        def node(total: Array, side: Array) -> tuple[Array, None]:
            k = middle + side * apart
            weight = jnp.where(side == 0.0, width - 2.0 * outer, outer)
            probability = jnp.exp(log_pmf(jnp.maximum(k, 0.0)))
            return total + jnp.where(k >= 0.0, weight * probability, 0.0), None

        return last - width, jax.lax.scan(node, total, jnp.asarray([-1.0, 0.0, 1.0], u.dtype))[0]

    return jnp.minimum(jax.lax.while_loop(more, add, (u, jnp.zeros_like(u)))[1], 1.0)
