"""Amortised guide: what belongs to a cell is predicted from its total."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._device import on_device
from scribe._model.build import plates
from scribe._model.checks import require_known
from scribe._nn import MLP
from scribe._types import AnyArray, Array, Params
from scribe.guides._base import LOC, LOG_SCALE, GuideFunction, Latents, param
from scribe.guides._pathwise import PathwiseNormal, standard_normals
from scribe.guides.mean_field import Normals
from scribe.priors import LATENT_SUFFIX, Latent

__all__ = ["Amortised"]

_TRANSFORMS = {"softplus": (jax.nn.softplus, math.log(math.expm1(1.0))), "exp": (jnp.exp, 0.0)}
"""Functions that make an output positive, and the output at which they are one."""

_CENTRE = 8.0
"""Logarithm of a usual total: networks see how far a cell is from it."""

_CUTOFF = 1e-2
"""Singular values below this share of the largest are left out of the fit of the output to the start: a close fit takes
large weights of either sign, which the first steps of an optimiser throw out of balance."""


@dataclass(frozen=True)
class Amortised(Normals):
    r"""Every per-cell latent is :math:`N(m(L_c), v(L_c)/\sqrt{1 + L_c})` with a network :math:`(m, v)` of the total L.

    The number of trainable arrays does not grow with that of the cells. The counts of a cell tell the logarithm of its
    capture with an error of about :math:`1/\sqrt{L_c}`, so that :math:`v` is of order one. The network starts at the
    least-squares fit to the values that the data suggest. When a fit ends it is evaluated for every cell, and results
    are those of a mean-field guide. Where all genes share their odds a table over totals is exact: see
    ``MeanField(by_total=True)``.

    Parameters
    ----------
    hidden_dims
        Widths of the hidden layers.
    activation
        Name of the activation function.
    output_transform
        ``"softplus"`` or ``"exp"``: makes v positive.
    clamp_min, clamp_max
        Bounds of v; None is no bound.
    """

    name: ClassVar[str] = "amortised"
    by_total = False

    hidden_dims: tuple[int, ...] = (64, 32)
    _: KW_ONLY
    activation: str = "leaky_relu"
    output_transform: str = "softplus"
    clamp_min: float | None = 0.1
    clamp_max: float | None = 50.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_dims", self.network.hidden_dims)
        require_known("output_transform", self.output_transform, _TRANSFORMS)
        low, high = self.clamp_min or 0.0, math.inf if self.clamp_max is None else self.clamp_max
        if not 0 <= low < 1 < high:
            found = f"got {self.clamp_min!r} and {self.clamp_max!r}"
            msg = f"clamp_min and clamp_max must lie on either side of 1, {found}."
            raise ValueError(msg)

    @property
    def network(self) -> MLP:
        """From the logarithm of a total to two numbers."""
        return MLP(tuple(self.hidden_dims), activation=self.activation, layer_norm=False, residual=False)

    def select(self, latents: Latents) -> Latents:
        """Those that run over cells."""
        return tuple(latent for latent in latents if latent.axes == ("cell",))

    def init(
        self, latents: Latents, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray
    ) -> Params:
        """Random hidden layers, and the output that comes nearest to the start."""
        params: Params = {}
        for latent in latents:
            rng = np.random.default_rng(zlib.crc32(latent.name.encode()))
            arrays = self.network.init(rng, n_in=1, n_out=(1, 2))
            where = np.unique(np.asarray(totals), return_index=True)[1]
            values = np.broadcast_to(start[latent.name], (lengths["cell"],))[where]
            at = {name: jnp.asarray(x) for name, x in arrays.items()}
            hidden = jax.vmap(lambda x, at=at: self.network.hidden(at, self._entered(at, x)))
            features = np.asarray(hidden(_inputs(jnp.asarray(np.asarray(totals)[where], jnp.zeros(()).dtype))))
            centred, mean = features - features.mean(0), values.mean()
            slopes = np.linalg.lstsq(centred, values - mean, rcond=_CUTOFF)[0]
            arrays["kernel_out"][:, 0, 0] = slopes * len(slopes)
            arrays["bias_out"][0] = mean - features.mean(0) @ slopes, _TRANSFORMS[self.output_transform][1]
            dtype = jnp.zeros(()).dtype
            params |= {_array(latent, name): jnp.asarray(x, dtype) for name, x in arrays.items()}
        return params

    def _entered(self, arrays: Mapping[str, Array], x: Array) -> Array:
        return self.network.first(arrays, None) + x @ self.network.enter(arrays)

    def _normal(self, latent: Latent, params: Mapping[str, Array], totals: Array) -> tuple[Array, Array]:
        """Location and scale of every cell."""
        arrays = {name: params[_array(latent, name)] for name in self.network.names(context=False)}
        out = jax.vmap(lambda x: self.network(arrays, x))(_inputs(totals))[:, 0]
        ratio = _TRANSFORMS[self.output_transform][0](out[:, 1])
        return out[:, 0], jnp.clip(ratio, self.clamp_min, self.clamp_max) / jnp.sqrt(1 + totals)

    def build(self, latents: Latents) -> GuideFunction:
        """One normal site per latent."""

        def guide(data: CountData) -> None:
            for latent in latents:
                names = [_array(latent, name) for name in self.network.names(context=False)]
                loc, scale = self._normal(latent, {name: param(name) for name in names}, data.cells.totals)
                key = numpyro.prng_key()
                noise = standard_normals(key, [loc.shape], loc.dtype)[0]
                with plates(latent.axes, loc.shape, data):
                    numpyro.sample(latent.name, PathwiseNormal(loc, scale, noise), rng_key=key)

        return guide

    def finalise(self, params: Mapping[str, Array], *, latents: Latents, counts: Counts) -> Params:
        """Add location and scale of every cell."""
        final = dict(params)
        for latent in latents:
            loc, scale = self._normal(latent, params, on_device(counts.totals))
            final |= {latent.name + LOC: loc, latent.name + LOG_SCALE: jnp.log(scale)}
        return final


def _array(latent: Latent, name: str) -> str:
    """Name of an array of a network, which belongs to no cell."""
    return f"amortised_{latent.name.removesuffix(LATENT_SUFFIX)}_{name}"


def _inputs(totals: Array) -> Array:
    """What networks see of the cells, (cells, 1)."""
    return (jnp.log1p(totals) - _CENTRE)[:, None]
