"""Mean-field guide: independent normals on the real line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._device import on_device
from scribe._model.build import plates
from scribe._rng import Numbers
from scribe._types import AnyArray, Array, Key, Params
from scribe.guides._base import LOC, LOG_SCALE, Guide, GuideFunction, Ids, Latents, param
from scribe.guides._noise import normals, of_latent
from scribe.guides._pathwise import PathwiseNormal, standard_normals
from scribe.priors import Latent

__all__ = ["MeanField", "Normals"]


class Normals(Guide):
    """A guide of independent normals, whose locations and log-scales are arrays of their own once it has final."""

    def centre(self, params: Mapping[str, Array], *, latents: Latents) -> dict[str, Array]:
        """The locations."""
        return {latent.name: params[latent.name + LOC] for latent in latents}

    def marginal(self, latent: str, params: Mapping[str, Array], *, latents: Latents) -> dist.Normal:
        """The normals."""
        return dist.Normal(params[latent + LOC], jnp.exp(params[latent + LOG_SCALE]))

    def draw(
        self, key: Key, params: Mapping[str, Array], *, latents: Latents, numbers: Numbers, ids: Ids
    ) -> dict[str, Array]:
        """Independent normal draws."""
        locs = [params[latent.name + LOC] for latent in latents]
        counters = [of_latent(latent, loc.shape, ids) for latent, loc in zip(latents, locs, strict=True)]
        return {
            latent.name: loc[None] + jnp.exp(params[latent.name + LOG_SCALE])[None] * noise
            for latent, loc, noise in zip(latents, locs, normals(key, numbers, counters, locs[0].dtype), strict=True)
        }


@dataclass(frozen=True)
class MeanField(Normals):
    r"""Independent :math:`z \sim N(\text{loc}, \text{scale})` for every element of every latent site.

    Pushed through the links these are log-normals and logit-normals on the parameters. Cheap and robust; correlations
    between parameters are not represented, so intervals are those at fixed values of the others.

    Parameters
    ----------
    init_scale
        Standard deviation every element starts with.
    by_total
        Whether cells of equal totals share one distribution, in minibatches too: a table over totals in place of one
        over cells. Exact where all genes share their odds, as the total is then all that the counts of a cell say of
        its capture.
    """

    name: ClassVar[str] = "mean_field"

    init_scale: float = 0.1
    _: KW_ONLY
    by_total: bool = False

    def select(self, latents: Latents) -> Latents:
        """All."""
        return latents

    def init(
        self, latents: Latents, start: Mapping[str, AnyArray], *, lengths: Mapping[str, int], totals: AnyArray
    ) -> Params:
        """Locations at the start values, scales at ``init_scale``."""
        params: Params = {}
        for latent in latents:
            loc = np.broadcast_to(start[latent.name], tuple(lengths[axis] for axis in latent.axes))
            params[latent.name + LOC] = on_device(loc, loc.dtype)
            params[latent.name + LOG_SCALE] = on_device(np.full_like(loc, math.log(self.init_scale)), loc.dtype)
        return params

    def build(self, latents: Latents) -> GuideFunction:
        """One normal site per latent; per-cell ones read the rows of the cells at hand."""

        def guide(data: CountData) -> None:
            def read(latent: Latent, suffix: str) -> Array:
                value = param(latent.name + suffix)
                return value[data.cells.rows] if "cell" in latent.axes else value

            key = numpyro.prng_key()
            arrays = [(read(latent, LOC), read(latent, LOG_SCALE)) for latent in latents]
            noises = standard_normals(key, [loc.shape for loc, _ in arrays], arrays[0][0].dtype)
            for latent, (loc, log_scale), noise in zip(latents, arrays, noises, strict=True):
                with plates(latent.axes, loc.shape, data):
                    numpyro.sample(latent.name, PathwiseNormal(loc, jnp.exp(log_scale), noise), rng_key=key)

        return guide

    def finalise(self, params: Mapping[str, Array], *, latents: Latents, counts: Counts) -> Params:
        """Nothing more is needed."""
        return dict(params)
