"""Natural parameters of models with components and datasets.

Their arrays have three axes, (components, datasets, genes), of length 1 along what they do not vary with; numbers that
vary with nothing are scalars. Without components and datasets arrays are (genes,) or scalars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from scribe._types import Array, Natural

Result = TypeVar("Result")

__all__ = [
    "at_cells",
    "at_elements",
    "at_rows",
    "map_components",
    "map_datasets",
    "n_levels",
    "single_dataset",
    "spread",
    "take_level",
    "tells",
    "without_components",
]


def n_levels(natural: Natural, axis: int) -> int:
    """Number of components (axis 0) or datasets (axis 1) that parameters tell apart.

    Without an axis of components, parameters are (datasets, genes).
    """
    return max((value.shape[axis - 3] for value in natural.values() if value.ndim >= 3 - axis), default=1)


def tells(natural: Natural, axis: str) -> bool:
    """Whether parameters have an axis of components, or one of datasets: (components, datasets, genes)."""
    return any(value.ndim >= (3 if axis == "component" else 2) for value in natural.values())


def take_level(natural: Natural, axis: int, number: Array | int) -> dict[str, Array]:
    """Parameters of one component (axis 0) or dataset (axis 1); the axis stays, with a length of 1."""

    def take(value: Array) -> Array:
        own = value.ndim == 3 and value.shape[axis] > 1
        return jax.lax.dynamic_index_in_dim(value, number, axis) if own else value

    return {name: take(value) for name, value in natural.items()}


def without_components(natural: Natural) -> dict[str, Array]:
    """Parameters of the first or only component, without their axis of components."""
    return {name: value[0] if value.ndim == 3 else value for name, value in natural.items()}


def map_components(function: Callable[[Natural], Array], natural: Natural) -> Array:
    """Apply a function to the parameters of every component in turn, (components, ...).

    What it needs for the gradient is computed anew for every component rather than kept.
    """
    mapped = {name: value for name, value in natural.items() if value.ndim == 3 and value.shape[0] > 1}
    fixed = without_components({name: value for name, value in natural.items() if name not in mapped})
    result: Array = jax.lax.map(jax.checkpoint(lambda one: function(fixed | one)), mapped)
    return result


def single_dataset(natural: Natural) -> dict[str, Array]:
    """Parameters (datasets, genes) of a model whose genes are the same in all datasets, as (genes,) or scalars."""
    return {name: _scalar_if_shared(value[0]) if value.ndim == 2 else value for name, value in natural.items()}


def _scalar_if_shared(value: Array) -> Array:
    return value[0] if value.shape == (1,) else value


def map_datasets(function: Callable[[Natural, Array], Result], natural: Natural) -> Result:
    """Apply a function to the parameters of every dataset and its number; arrays it returns are stacked.

    ``natural`` holds (datasets, genes) arrays; the function sees (genes,) or scalars.
    """
    n = max(value.shape[0] for value in natural.values() if value.ndim == 2)
    mapped = {name: value for name, value in natural.items() if value.ndim == 2 and value.shape[0] > 1}
    fixed = {name: value[0] if value.ndim == 2 else value for name, value in natural.items() if name not in mapped}

    def one(some: Natural, number: Array) -> Result:
        return function({name: _scalar_if_shared(v) for name, v in {**fixed, **some}.items()}, number)

    result: Result = jax.vmap(one)(mapped, jnp.arange(n, dtype=jnp.int32))
    return result


def spread(natural: Natural) -> dict[str, Array]:
    """Parameters (datasets, genes) as one row over the genes of all datasets, as `Counts.spread` has them."""
    arrays = [value for value in natural.values() if value.ndim == 2]
    if not arrays:
        return dict(natural)
    shape = (max(value.shape[0] for value in arrays), max(value.shape[1] for value in arrays))
    return {name: jnp.broadcast_to(v, shape).ravel() if v.ndim == 2 else v for name, v in natural.items()}


def at_cells(natural: Natural, component: Array | None, dataset: Array | None) -> dict[str, Array]:
    """Parameters of every cell, (cells or 1, genes or 1) and scalars.

    ``component`` and ``dataset`` are those of every cell, (cells,); None where the model has no such levels.
    """

    def pick(value: Array) -> Array:
        if value.ndim < 2:
            return value[None] if value.ndim else value
        k = jnp.zeros((1,), jnp.int32) if component is None or value.shape[0] == 1 else component
        d = jnp.zeros((1,), jnp.int32) if dataset is None or value.shape[1] == 1 else dataset
        return value[k, d]

    return {name: pick(value) for name, value in natural.items()}


def at_rows(natural: Natural, dataset: Array | None) -> Natural:
    """Parameters (datasets, genes) or (genes,) in some cells, (cells, genes), (1, genes) and scalars."""
    if dataset is None:
        return {name: value[0] if value.ndim == 2 else value for name, value in natural.items()}
    return {n: v[dataset if v.shape[0] > 1 else dataset * 0] if v.ndim == 2 else v for n, v in natural.items()}


def at_elements(natural: Natural, dataset: Array | None, gene: Array) -> dict[str, Array]:
    """Parameters (datasets, genes) or (genes,) at single elements, (elements,), and scalars.

    ``gene`` and ``dataset`` (elements,) are numbers; the latter is None where the model tells no datasets apart.
    """

    def pick(value: Array) -> Array:
        if value.ndim == 0:
            return value
        g = jnp.zeros((1,), jnp.int32) if value.shape[-1] == 1 else gene
        if value.ndim == 1:
            return value[g]
        return value[0 if dataset is None or value.shape[0] == 1 else dataset, g]

    return {name: pick(value) for name, value in natural.items()}
