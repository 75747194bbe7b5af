"""Where a loss that is not finite comes from: the site, the gene and the cell."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._model.build import data_for
from scribe._types import Array, IntArray, Key, Params
from scribe.engines.problem import Problem
from scribe.guides import roles
from scribe.priors import LATENT_SUFFIX

__all__ = ["where_not_finite"]

_MOST = 4
"""Most places named."""


class _Place(NamedTuple):
    """Elements of something that runs over an axis (gene, cell or none) and are not finite."""

    what: str
    axis: str | None
    bad: IntArray
    size: int


def where_not_finite(problem: Problem, params: Params, key: Key, *, step: int) -> str:
    """Name what is not finite in the loss of a step, the most specific first.

    Looked at are the gradient of every site, the values drawn, and the likelihood gene by gene and cell by cell. A
    single bad cell makes the gradient of every gene bad, so what is bad everywhere is named only if nothing else is.
    """
    step_key = jax.random.fold_in(key, step)
    places = [*_gradients(problem, params, step_key, step=step), *_likelihood(problem, params, step_key)]
    places = [place for place in places if place.bad.size]
    some = [place for place in places if place.axis is not None and place.bad.size < place.size]
    named = sorted(some or places, key=lambda place: place.bad.size)
    # a site is named once, though it has several trainable arrays
    described = dict.fromkeys(_describe(problem, place) for place in named)
    return "; ".join(list(described)[:_MOST]) or "the loss as a whole"


def _gradients(problem: Problem, params: Params, key: Key, *, step: int) -> list[_Place]:
    _, gradients = problem.loss_and_gradient(params, key, problem.example(step))
    places = []
    for name, role in roles(gradients, problem.spec.latents).items():
        gradient, axes = gradients[name], role.axes
        site = name if role.latent is None else role.latent.name.removesuffix(LATENT_SUFFIX)
        axis, place = (axes[-1], len(axes) - 1) if axes else (None, 0)
        # only whether they are finite is looked at, so that sums serve
        bad = _bad(jnp.sum(gradient, axis=tuple(i for i in range(gradient.ndim) if i != place)))
        if axis == "cell" and problem.first is not None:
            bad = np.unique(problem.first[bad])
        places.append(_Place(f"site {site!r}", axis, bad, gradient.shape[place] if axes else 1))
    return places


def _likelihood(problem: Problem, params: Params, key: Key) -> list[_Place]:
    """Genes and cells whose parameters or log-likelihood at one draw are not finite."""
    counts, likelihood = problem.counts, problem.spec.likelihood
    latents, first = problem.spec.latents, jnp.zeros(1, jnp.uint32)
    draw = problem.guide.draw(key, problem.per_cell(params), latents=latents, numbers=first, ids={})
    data = data_for(problem.spec, counts, problem.design, totals_suffice=False)
    values = problem.spec.values({name: value[0] for name, value in draw.items()}, data.known)
    known = {"dataset": data.cells.dataset, "logits": data.cells.logits}
    parameters = problem.spec.parameters(values, n_cells=counts.n_cells, **known)
    places = [
        _Place(f"parameter {name!r}", "gene", _bad(jnp.sum(x, axis=tuple(range(x.ndim - 1)))), x.shape[-1])
        for name, x in parameters.natural.items()
        if x.ndim
    ]
    places.append(_Place("capture", "cell", _bad(parameters.log_exposure), counts.n_cells))
    if "component" in problem.spec.levels:
        by_cell = jnp.sum(likelihood.by_component(parameters, data), axis=1)
    else:
        by_gene = likelihood.by_gene(parameters, data, n_genes=counts.n_genes)
        places.append(_Place("likelihood", "gene", _bad(by_gene), counts.n_genes))
        by_cell = likelihood.by_cell(parameters, data)
    return [*places, _Place("likelihood", "cell", _bad(by_cell), counts.n_cells)]


def _bad(array: Array) -> IntArray:
    return np.flatnonzero(~np.asarray(jnp.isfinite(array)))


def _describe(problem: Problem, place: _Place) -> str:
    if place.axis is None:
        return place.what
    names = problem.counts.gene_names if place.axis == "gene" else problem.counts.cell_names
    first = int(place.bad[0])
    name = first if names is None else str(names[first])
    more = f" and {place.bad.size - 1:,} more" if place.bad.size > 1 else ""
    return f"{place.what}, {place.axis} {name!r}{more}"
