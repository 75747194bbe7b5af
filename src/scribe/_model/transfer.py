"""From the parameters of one fit to those of the same model in other coordinates."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from scribe._model.axes import at_levels
from scribe._model.initial import capture_start, mean_over_others
from scribe._model.spec import ModelSpec
from scribe._types import Array

__all__ = ["transfer", "transferred"]

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
    found = transferred(source, target, values, same_cells=True)
    shapes = {**target.lengths, "gene": n_genes, "cell": n_cells}
    return {
        site.name: jnp.broadcast_to(found[site.name], tuple(shapes[axis] for axis in site.axes))
        if site.name in found
        else site.link.from_working(source.working(values)[site.name])
        for site in target.sites
    }


def transferred(
    source: ModelSpec,
    target: ModelSpec,
    values: Mapping[str, Array],
    *,
    chosen: tuple[tuple[str, int], ...] = (),
    same_cells: bool,
) -> dict[str, Array]:
    """Values of those sites of ``target`` of which ``source`` knows, (...) over their axes; not of weights.

    ``chosen`` are levels of the source, by axis. Latents of cells are known where the two have the ``same_cells``.
    """
    theirs = source.working(values)
    natural = at_levels(source.natural(theirs), chosen)
    n_genes = max(value.shape[-1] for value in natural.values() if value.ndim)
    mine = target.coordinates.from_natural(
        {n: mean_over_others(x, target.natural_axes.get(n, ()), keepdims=True) for n, x in natural.items()}
    )
    mine |= {p.name: natural[p.natural] for p in target.family.params if p.natural in natural}
    lengths, out = {**target.lengths, "gene": n_genes}, {}
    sites = {site.name: site for site in source.sites}
    for site in target.sites:
        if "cell" in site.axes and not same_cells:
            continue
        if site.name == target.capture_site:
            log_capture = source.offset(values, values[str(source.capture_site)].shape[-1])
            out[site.name] = capture_start(target, jnp.minimum(log_capture, -_CLOSEST))
        elif site.name in mine:
            value = mean_over_others(mine[site.name], site.axes)
            shape = tuple(lengths[axis] for axis in site.axes)
            out[site.name] = site.link.from_working(jnp.broadcast_to(value, shape))
        elif site.name in sites and sites[site.name].axes == site.axes and site.link.name != "softmax":
            out[site.name] = site.link.from_working(theirs[site.name])
    return out
