"""Dirichlet weights, as gamma variables divided by their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.log_positive import LogGamma
from scribe.priors._base import Base, Context

__all__ = ["Dirichlet"]


@dataclass(frozen=True)
class Dirichlet(Base):
    r"""Weights of components, :math:`w \sim \mathrm{Dirichlet}(a_1, \ldots, a_K)`.

    The latents are :math:`z_k = \log g_k` with :math:`g_k \sim \mathrm{Gamma}(a_k, 1)` and
    :math:`w = \operatorname{softmax}(z)`: exactly the Dirichlet, the same in every component, and a proper density on
    all of :math:`\mathbb{R}^K`.

    Parameters
    ----------
    concentration
        One number for all components, or one for each.
    """

    concentration: float | Sequence[float]
    kind = "dirichlet"
    link = "softmax"

    def __post_init__(self) -> None:
        values = self._values
        if isinstance(self.concentration, Sequence):
            object.__setattr__(self, "concentration", values)
        if not all(value > 0 for value in values):
            msg = f"Dirichlet(concentration) needs concentrations above 0, got {self.concentration!r}."
            raise ValueError(msg)

    @property
    def _values(self) -> tuple[float, ...]:
        return tuple(self.concentration) if isinstance(self.concentration, Sequence) else (self.concentration,)

    def distribution(self, context: Context) -> dist.Distribution:
        """Logarithm of a gamma variable per component."""
        return LogGamma(jnp.asarray(self.concentration, jnp.zeros(()).dtype))
