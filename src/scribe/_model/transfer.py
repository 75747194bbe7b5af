"""From the parameters of one fit to those of the same model in other coordinates."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from scribe._model.initial import capture_start
from scribe._model.spec import LEVELS_AND_GENES, ModelSpec, Site
from scribe._types import Array

__all__ = ["transfer"]

_CLOSEST = 1e-6
"""Captures stay so far below 1, where their logit ends."""


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames=("n_genes", "n_cells"))
def transfer(
    source: ModelSpec, target: ModelSpec, values: Mapping[str, Array], *, n_genes: int, n_cells: int
) -> dict[str, Array]:
    """Values of the sites of ``target`` on the real line that mean the same as ``values`` of those of ``source``.

    Both are models of one family with equal levels; they differ in coordinates, capture site and priors. What varies
    in the source but not in the target is averaged, on the scale of logarithms and logits.

    Raises
    ------
    ValueError
        If the models are not of one family, or have other levels.
    """
    if source.family != target.family:
        msg = f"A fit of {source.family.name} cannot be where one of {target.family.name} starts: fit the same model."
        raise ValueError(msg)
    levels, wanted = ({axis: spec.levels[axis].labels for axis in spec.level_axes} for spec in (source, target))
    if levels != wanted:
        msg = f"The fit to start from has the levels {levels}, and the model {wanted}: fit the same model."
        raise ValueError(msg)
    lengths = {**target.lengths, "gene": n_genes, "cell": n_cells}
    theirs = source.working(values)
    natural = {name: _mean_over(x, target.natural_axes[name]) for name, x in source.natural(theirs).items()}
    mine = {**target.coordinates.from_natural(natural), **{p.name: natural[p.natural] for p in target.family.params}}
    out = {}
    for site in target.sites:
        if site.name == target.capture_site:
            out[site.name] = capture_start(target, jnp.minimum(source.offset(values, n_cells), -_CLOSEST))
        elif site.name in mine:
            out[site.name] = site.link.from_working(_shaped(mine[site.name], site, lengths))
        else:
            out[site.name] = site.link.from_working(theirs[site.name])
    return out


def _mean_over(value: Array, axes: tuple[str, ...]) -> Array:
    """Average over the axes of levels and genes that are not among ``axes``, leaving length 1 there."""
    if value.ndim == 0:
        return value
    gone = tuple(i for i, axis in enumerate(LEVELS_AND_GENES[-value.ndim :]) if axis not in axes)
    return jnp.mean(value, axis=gone, keepdims=True)


def _shaped(value: Array, site: Site, lengths: Mapping[str, int]) -> Array:
    """Drop the axes that a site does not have and repeat the value along those that it does."""
    if value.ndim:
        full = LEVELS_AND_GENES[-value.ndim :]
        value = jnp.mean(value, axis=tuple(i for i, axis in enumerate(full) if axis not in site.axes))
    return jnp.broadcast_to(value, tuple(lengths[axis] for axis in site.axes))
