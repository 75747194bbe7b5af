"""Deviations with heavy tails and a finite peak: normal, exponential, gamma."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.log_positive import LogGamma
from scribe._types import Array
from scribe.priors._base import Draw, Latent, latent_name
from scribe.priors._scatter import Scatter, check_positive, local_axes, own_scale, spread

__all__ = ["NormalExponentialGamma"]


@dataclass(frozen=True)
class NormalExponentialGamma(Scatter):
    r"""Members deviate by normal variables, each with a variance of its own.

    .. math::

        \theta_g = m + \sqrt{\psi_g} z_g, \quad z_g \sim N(0, 1), \qquad
        \psi_g \mid \zeta_g \sim \mathrm{Gamma}(u, \zeta_g), \quad \zeta_g \sim \mathrm{Gamma}(a, \tau)

    by shape and rate (Griffin and Brown 2011, doi:10.1111/j.1467-842X.2011.00641.x). The latents are
    :math:`\log\zeta_g`, :math:`\log\psi_g` and :math:`z_g`.

    Parameters
    ----------
    u
        Shape of the variances: 1 gives a finite peak, 1/2 the infinite one of the horseshoe.
    a, tau
        Shape and rate of their rates; a larger ``tau`` shrinks less.
    """

    kind = "neg"
    u: float = 1.0
    a: float = 1.0
    tau: float = 1.0

    def __post_init__(self) -> None:
        check_positive("NormalExponentialGamma(u, a, tau)", **vars(self))

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Draw rates and variances, then the standardised deviations."""
        local = local_axes(axes, axis)
        zeta = draw(Latent(latent_name(name + "_zeta"), local), lambda _: LogGamma(self.a, self.tau))
        psi = draw(Latent(latent_name(name + "_psi"), local), lambda _: LogGamma(self.u, jnp.exp(zeta)))
        raw = draw(Latent(latent_name(name + "_raw"), axes), lambda _: dist.Normal(0.0, 1.0))
        return loc + spread(jnp.exp(0.5 * psi), local, axes) * raw

    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """Every variance at the size of its own deviations, its rate at the mean given the variance."""
        local = local_axes(axes, axis)
        scale = own_scale(value - loc, axes, axis)
        psi = jnp.square(scale).reshape([n for a, n in zip(axes, scale.shape, strict=True) if a in local])
        zeta = (self.a + self.u) / (self.tau + psi)
        latents = {"_zeta": jnp.log(zeta), "_psi": jnp.log(psi), "_raw": (value - loc) / scale}
        return {latent_name(name + part): start for part, start in latents.items()}
