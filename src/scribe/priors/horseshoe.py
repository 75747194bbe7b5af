"""Deviations of which most are next to nothing and a few are large: the regularised horseshoe."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.log_positive import LogGamma, LogHalfCauchy
from scribe._types import Array
from scribe.priors._base import Draw, Latent, latent_name
from scribe.priors._scatter import Scatter, check_positive, local_axes, own_scale, spread

__all__ = ["Horseshoe"]


@dataclass(frozen=True)
class Horseshoe(Scatter):
    r"""Members deviate by normal variables, each with a scale of its own that is bounded by a slab.

    .. math::

        \theta_g = m + s_g z_g, \quad z_g \sim N(0, 1), \qquad s_g^{-2} = (\tau\lambda_g)^{-2} + c^{-2}, \qquad
        \tau \sim C^+(\tau_0), \quad \lambda_g \sim C^+(1), \quad c^2 \sim \mathrm{InvGamma}(\nu/2, \nu s^2/2)

    (Piironen and Vehtari 2017, doi:10.1214/17-EJS1337SI). The latents are :math:`\log\tau`, :math:`\log\lambda_g`,
    :math:`\log c^{-2}` and :math:`z_g`.

    Parameters
    ----------
    tau0
        Scale of the global :math:`\tau`; smaller shrinks more.
    slab_df, slab_scale
        Degrees of freedom and scale of the slab :math:`c`, which bounds the scales.
    """

    kind = "horseshoe"
    tau0: float = 1.0
    slab_df: float = 4.0
    slab_scale: float = 2.0

    def __post_init__(self) -> None:
        check_positive("Horseshoe(tau0, slab_df, slab_scale)", **vars(self))

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw, *, axis: str, loc: Array) -> Array:
        """Draw the scales, then the standardised deviations."""
        local = local_axes(axes, axis)
        shape, rate = 0.5 * self.slab_df, 0.5 * self.slab_df * self.slab_scale**2
        tau = draw(Latent(latent_name(name + "_tau"), ()), lambda _: LogHalfCauchy(self.tau0))
        lambda_ = draw(Latent(latent_name(name + "_lambda"), local), lambda _: LogHalfCauchy(1.0))
        slab = draw(Latent(latent_name(name + "_slab"), ()), lambda _: LogGamma(shape, rate))
        raw = draw(Latent(latent_name(name + "_raw"), axes), lambda _: dist.Normal(0.0, 1.0))
        scale = jnp.exp(-0.5 * jnp.logaddexp(-2.0 * (tau + lambda_), slab))
        return loc + spread(scale, local, axes) * raw

    def start(self, name: str, axes: tuple[str, ...], value: Array, *, axis: str, loc: Array) -> dict[str, Array]:
        """Every scale at the size of its own deviations, within the slab."""
        scale = own_scale(value - loc, axes, axis, most=0.9 * self.slab_scale)
        free = -0.5 * jnp.log(scale**-2 - self.slab_scale**-2)
        tau = jnp.median(free)
        raw = (value - loc) / scale
        lambda_ = (free - tau).reshape(
            [n for a, n in zip(axes, free.shape, strict=True) if a in local_axes(axes, axis)]
        )
        slab = jnp.full_like(tau, self.slab_scale**-2)
        latents = {"_tau": tau, "_lambda": lambda_, "_slab": jnp.log(slab), "_raw": raw}
        return {latent_name(name + part): start for part, start in latents.items()}
