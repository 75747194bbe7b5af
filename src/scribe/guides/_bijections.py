"""Invertible maps of the line, element by element, and how they depend on other elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from scribe._nn import MLP
from scribe._types import Array

__all__ = ["Bijection", "affine", "autoregressive", "coupling", "inverse_autoregressive", "loft", "rational_quadratic"]

Bijection = Callable[[Array, Array], tuple[Array, Array]]
"""Values (n,) and unrestricted parameters (n, channels) to images and log-derivatives, (n,) each."""

_GROW, _SHRINK = 0.1, 2.0
"""Bounds of the soft clamp on a log-scale above and below zero."""

_HARD = 5.0
_DOMAIN = 3.0
_LEAST = 1e-3
"""Least width, height (as shares of the domain) and derivative of a piece of a spline."""

_TAU = 100.0


def affine(x: Array, raw: Array, *, soft_clamp: bool) -> tuple[Array, Array]:
    r""":math:`x e^{c(s)} + t` with a bounded log-scale.

    The soft clamp is :math:`c(s) = \frac{2}{\pi}\alpha\arctan(s/\alpha)` with :math:`\alpha` 0.1 where s is positive
    and 2 elsewhere (Andrade 2024, doi:10.48550/arXiv.2402.16408), the hard one cuts at 5.
    """
    s = raw[:, 0]
    if soft_clamp:
        alpha = jnp.where(s >= 0, _GROW, _SHRINK).astype(s.dtype)
        s = 2 / math.pi * alpha * jnp.arctan(s / alpha)
    else:
        s = jnp.clip(s, -_HARD, _HARD)
    return x * jnp.exp(s) + raw[:, 1], s


def rational_quadratic(x: Array, raw: Array) -> tuple[Array, Array]:
    """Monotonic spline on [-3, 3], the identity elsewhere (Durkan et al. 2019, doi:10.48550/arXiv.1906.04032)."""
    bins = (raw.shape[1] + 1) // 3
    widths = _pieces(raw[:, :bins])
    heights = _pieces(raw[:, bins : 2 * bins])
    # softplus(b) + least = 1 at raw zero: the identity
    inner = _LEAST + jax.nn.softplus(raw[:, 2 * bins :] + math.log(math.expm1(1 - _LEAST)))
    slopes = jnp.pad(inner, ((0, 0), (1, 1)), constant_values=1.0)
    left = jnp.cumsum(widths, axis=1) - widths - _DOMAIN
    low = jnp.cumsum(heights, axis=1) - heights - _DOMAIN
    inside = jnp.abs(x) < _DOMAIN
    at = jnp.where(inside, x, jnp.zeros_like(x))
    piece = jnp.sum(at[:, None] >= left[:, 1:], axis=1, keepdims=True)

    def here(values: Array) -> Array:
        return jnp.take_along_axis(values, piece, axis=1)[:, 0]

    width, height, start, end = here(widths), here(heights), here(slopes[:, :-1]), here(slopes[:, 1:])
    share = (at - here(left)) / width
    steep, mixed = height / width, share * (1 - share)
    below = steep + (start + end - 2 * steep) * mixed
    image = here(low) + height * (steep * jnp.square(share) + start * mixed) / below
    rise = end * jnp.square(share) + 2 * steep * mixed + start * jnp.square(1 - share)
    log_slope = 2 * jnp.log(steep) + jnp.log(rise) - 2 * jnp.log(below)
    return jnp.where(inside, image, x), jnp.where(inside, log_slope, jnp.zeros_like(x))


def _pieces(raw: Array) -> Array:
    """Lengths that add up to the domain, none of them tiny."""
    least = _LEAST * jnp.ones((), raw.dtype)
    return 2 * _DOMAIN * (least + (1 - raw.shape[1] * least) * jax.nn.softmax(raw, axis=1))


def loft(x: Array) -> tuple[Array, Array]:
    r"""The identity up to 100 and logarithmic beyond, against outliers (Andrade 2024).

    :math:`\operatorname{sign}(x)(\log(\max(|x| - \tau, 0) + 1) + \min(|x|, \tau))`.
    """
    size = jnp.abs(x)
    log = jnp.log1p(jnp.maximum(size - _TAU, 0))
    return jnp.sign(x) * (log + jnp.minimum(size, _TAU)), -log


def coupling(
    network: MLP, arrays: Mapping[str, Array], bijection: Bijection, *, x: Array, context: Array | None
) -> tuple[Array, Array]:
    """Transform every second element given the others (Dinh et al. 2017, doi:10.48550/arXiv.1605.08803)."""
    image, log_slope = bijection(x[::2], network(arrays, x[1::2], context))
    return x.at[::2].set(image), log_slope


def inverse_autoregressive(
    network: MLP, arrays: Mapping[str, Array], bijection: Bijection, *, x: Array, context: Array | None
) -> tuple[Array, Array]:
    """Transform every element given the values of those before it *before* they were transformed.

    What enters the first hidden layer is a running sum, as in NADE (Uria et al. 2016, doi:10.48550/arXiv.1605.02226):
    all layers are shared by the elements but the output, and a pass costs as much as one of a network per element.
    """
    terms = x[:, None] * network.enter(arrays)
    entered = network.first(arrays, context)[None] + jnp.cumsum(terms, axis=0) - terms
    hidden = jax.vmap(lambda row: network.hidden(arrays, row))(entered)
    raw = jnp.einsum("nh,hnk->nk", hidden, network.out(arrays)) + arrays["bias_out"]
    return bijection(x, raw)


def autoregressive(
    network: MLP, arrays: Mapping[str, Array], bijection: Bijection, *, x: Array, context: Array | None
) -> tuple[Array, Array]:
    """As `inverse_autoregressive`, given their values *after*: one element after the other."""

    def step(entered: Array, here: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        value, kernel, out, bias = here
        raw = network.hidden(arrays, entered) @ out + bias
        image, log_slope = bijection(value[None], raw[None])
        return entered + image * kernel, (image[0], log_slope[0])

    out = jnp.moveaxis(network.out(arrays), 1, 0)
    rows = (x, network.enter(arrays), out, arrays["bias_out"])
    _, images = jax.lax.scan(step, network.first(arrays, context), rows)
    return images
