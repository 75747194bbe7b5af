"""Mean-field guide: independent normals on the real line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

from scribe._counts.data import CountData
from scribe._types import AnyArray, Array, Key, Params
from scribe.guides._base import Guide, GuideFunction, Latent, param
from scribe.guides._pathwise import PathwiseNormal

__all__ = ["LOC", "LOG_SCALE", "MeanField"]

LOC, LOG_SCALE = "_loc", "_log_scale"
"""Suffixes of the two trainable arrays of a site."""


@dataclass(frozen=True)
class MeanField(Guide):
    r"""Independent :math:`z \sim N(\text{loc}, \text{scale})` for every element of every latent site.

    Pushed through the links these are log-normals and logit-normals on the parameters. Cheap and robust; correlations
    between parameters are not represented, so intervals are those at fixed values of the others.

    Parameters
    ----------
    init_scale
        Standard deviation every element starts with.
    """

    init_scale: float = 0.1

    def init(self, sites: tuple[Latent, ...], start: Mapping[str, AnyArray], *, n_cells: int) -> Params:
        """Locations at the start values, scales at ``init_scale``."""
        params: Params = {}
        for site in sites:
            shape = (n_cells,) if site.plate == "cells" else site.shape
            loc = np.broadcast_to(start[site.name], shape)
            params[site.name + LOC] = jnp.asarray(loc)
            params[site.name + LOG_SCALE] = jnp.asarray(np.full_like(loc, math.log(self.init_scale)))
        return params

    def build(self, sites: tuple[Latent, ...]) -> GuideFunction:
        """One normal site per latent site; per-cell ones read the rows of the cells at hand."""

        def guide(data: CountData) -> None:
            for site in sites:
                loc, log_scale = param(site.name + LOC), param(site.name + LOG_SCALE)
                if site.plate == "cells":
                    loc, log_scale = loc[data.cells.rows], log_scale[data.cells.rows]
                    with (
                        numpyro.plate("cells", loc.shape[0]),
                        handlers.scale(scale=data.scale * data.cells.weight),
                    ):
                        numpyro.sample(site.name, PathwiseNormal(loc, jnp.exp(log_scale)))
                elif site.plate is not None:
                    with numpyro.plate(site.plate, site.shape[-1]):
                        numpyro.sample(site.name, PathwiseNormal(loc, jnp.exp(log_scale)))
                else:
                    numpyro.sample(site.name, PathwiseNormal(loc, jnp.exp(log_scale)))

        return guide

    def to_json(self) -> dict[str, object]:
        """Name and settings."""
        return {"type": "mean_field", "settings": {"init_scale": self.init_scale}}

    def draw(self, key: Key, params: Mapping[str, Array], *, n_draws: int) -> dict[str, Array]:
        """Independent normal draws."""
        names = sorted(name.removesuffix(LOC) for name in params if name.endswith(LOC))
        draws = {}
        for name, site_key in zip(names, jax.random.split(key, len(names)), strict=True):
            loc, log_scale = params[name + LOC], params[name + LOG_SCALE]
            noise = jax.random.normal(site_key, (n_draws, *loc.shape), loc.dtype)
            draws[name] = loc[None] + jnp.exp(log_scale)[None] * noise
        return draws
