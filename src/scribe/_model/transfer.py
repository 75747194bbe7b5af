"""From the parameters of one fit to those of the same model in other coordinates."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from scribe._model.initial import capture_start, mean_over_others
from scribe._model.spec import ModelSpec
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
    natural = {
        name: mean_over_others(value, target.natural_axes[name], keepdims=True)
        for name, value in source.natural(theirs).items()
    }
    mine = {**target.coordinates.from_natural(natural), **{p.name: natural[p.natural] for p in target.family.params}}
    out = {}
    for site in target.sites:
        if site.name == target.capture_site:
            out[site.name] = capture_start(target, jnp.minimum(source.offset(values, n_cells), -_CLOSEST))
        elif site.name in mine:
            value = mean_over_others(mine[site.name], site.axes)
            shape = tuple(lengths[axis] for axis in site.axes)
            out[site.name] = site.link.from_working(jnp.broadcast_to(value, shape))
        else:
            out[site.name] = site.link.from_working(theirs[site.name])
    return out
