"""Normal deviations with one scale for all, learned or given."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.special import softplus_inverse
from scribe._types import Array
from scribe.priors._base import Draw, Latent, latent_name
from scribe.priors._scatter import Scatter, check_positive, own_scale, spread

__all__ = ["Fixed", "Gaussian"]


class _Normal(dist.Normal):
    """Normal whose parameters are broadcast when it is expanded: numpyro would give its draws more axes."""

    def expand(self, batch_shape: tuple[int, ...]) -> dist.Normal:
        """Normal of the given shape."""
        return dist.Normal(jnp.broadcast_to(self.loc, batch_shape), jnp.broadcast_to(self.scale, batch_shape))


@dataclass(frozen=True)
class Gaussian(Scatter):
    r"""Members :math:`\theta_g \sim N(m, \sigma)` with :math:`\sigma = \log(1 + e^s)`, :math:`s \sim N(a, b)`.

    Centred: the members themselves are latents, which suits the many counts that each of them is known by.

    Parameters
    ----------
    loc, scale
        Mean a and standard deviation b of :math:`s`; at (-2, 0.5) members vary by some 13 percent.
    per
        Axes along which populations have scales of their own, such as ``("dataset",)``.
    """

    kind = "gaussian"
    loc: float = -2.0
    scale: float = 0.5
    per: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_positive("Gaussian(loc, scale)", scale=self.scale)
        object.__setattr__(self, "per", tuple(self.per))

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Draw the scale, then the members about the location."""
        z = draw(Latent(latent_name(name + "_scale"), self.per), lambda _: dist.Normal(self.loc, self.scale))
        scale = jax.nn.softplus(spread(z, self.per, axes) if self.per else z)
        return draw(Latent(latent_name(name), axes), lambda _: _Normal(loc, scale))

    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """The members at their values, the scale at their root mean square deviation."""
        others = tuple(number for number, name in enumerate(axes) if name not in self.per)
        scale = jnp.sqrt(jnp.mean(jnp.square(own_scale(value - loc, axes, axis)), axis=others))
        return {latent_name(name + "_scale"): softplus_inverse(scale), latent_name(name): value}


@dataclass(frozen=True)
class Fixed(Scatter):
    r"""Members :math:`\theta_g \sim N(m, s)` with a given scale: two members, say, cannot tell theirs.

    Parameters
    ----------
    scale
        The scale s, not learned.
    """

    kind = "fixed"
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Fixed(scale)", scale=self.scale)

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Draw the members about the location."""
        return draw(Latent(latent_name(name), axes), lambda _: _Normal(loc, self.scale))

    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """The members at their values."""
        return {latent_name(name): value}
