"""Links between the real line, on which everything is inferred, and the scale a parameter lives on.

Every latent of a model is a real number ``z``. A link turns it into the value a user reads and, without ever
forming ``1 - p`` or the logarithm of a rounded value, into the *working scale* on which the likelihoods are written:
the logarithm of a positive parameter, the logit of a probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from numpyro.distributions import transforms

from scribe._dist.special import log_softplus, softplus_inverse
from scribe._types import Array

__all__ = ["EXP", "IDENTITY", "LINKS", "SIGMOID", "SOFTMAX", "SOFTPLUS", "Link"]


@dataclass(frozen=True)
class Link:
    """A strictly increasing map from the real line to the support of a parameter.

    ``name`` is that under which it is stored with a fit. ``value`` maps ``z`` to the parameter itself, ``inverse`` the
    parameter to ``z``; ``working`` maps ``z`` to the log of a positive parameter or the logit of a probability, and
    ``from_working`` back. ``transform`` is ``value`` as a numpyro transform.
    """

    name: str
    value: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    working: Callable[[Array], Array]
    from_working: Callable[[Array], Array]
    transform: transforms.Transform


def _identity(z: Array) -> Array:
    return z


def _logit(p: Array) -> Array:
    return jnp.log(p) - jnp.log1p(-p)


def _softplus_inverse_of_exp(y: Array) -> Array:
    """Solve softplus(z) = exp(y): z = y below y = -40 and z = exp(y) above y = 5, to rounding in float64."""
    middle = softplus_inverse(jnp.exp(jnp.clip(y, -40.0, 5.0)))
    return jnp.where(y < -40.0, y, jnp.where(y > 5.0, jnp.exp(jnp.minimum(y, 80.0)), middle))


EXP = Link("exp", jnp.exp, jnp.log, _identity, _identity, transforms.ExpTransform())
SOFTPLUS = Link(
    "softplus",
    jax.nn.softplus,
    softplus_inverse,
    log_softplus,
    _softplus_inverse_of_exp,
    transforms.SoftplusTransform(),
)
SIGMOID = Link("sigmoid", jax.nn.sigmoid, _logit, _identity, _identity, transforms.SigmoidTransform())
SOFTMAX = Link("softmax", jax.nn.softmax, jnp.log, jax.nn.log_softmax, _identity, transforms.ExpTransform())
"""Weights along the last axis from the logarithms of positive numbers, of which the transform is the exponential."""
IDENTITY = Link("identity", _identity, _identity, _identity, _identity, transforms.IdentityTransform())
"""Of a parameter that is itself a real number."""

LINKS: dict[str, Link] = {link.name: link for link in (EXP, SOFTPLUS, SIGMOID, SOFTMAX, IDENTITY)}
