"""Genes and cells by name, number, slice or mask."""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scribe._model.checks import nearest
from scribe._settings import settings
from scribe._types import AnyArray, IntArray

__all__ = ["Selector", "check_dense", "check_draws", "index_of", "one_selector"]

Selector = Any
"""Genes or cells by name, list of names, integer, slice, boolean mask or integer array."""


@runtime_checkable
class Labelled(Protocol):
    """A Series: values and the labels that they go with."""

    index: Any

    def reindex(self, index: Any) -> Any:
        """The same in the order of other labels."""


def index_of(selector: Selector, size: int, names: AnyArray | None, *, what: str) -> IntArray:
    """Integer index from names, integers, a slice or a mask."""
    if isinstance(selector, slice):
        return np.arange(size)[selector]
    if isinstance(selector, Labelled):
        selector = _in_order(selector, names, what=what)
    array = np.atleast_1d(np.asarray(selector))
    array = array.astype(bool) if array.size and _is_mask(array) else array
    if array.dtype.kind not in "UOSTbiu" and array.size:
        msg = f"{what}s are chosen by names, whole numbers, a slice or a mask of True and False; got {array.dtype}."
        raise TypeError(msg)
    if array.dtype.kind in "UOST" and array.size:
        return _index_of_names([str(name) for name in array], names, what=what)
    if array.dtype == bool and array.shape != (size,):
        msg = f"The mask has {array.size:,} entries for {size:,} {what}s."
        raise IndexError(msg)
    if array.size == 0:
        msg = f"No {what} was selected; name at least one."
        raise IndexError(msg)
    return np.arange(size)[array]


def one_selector(selector: Selector) -> Selector:
    """The selector, of a tuple its list: results take a pair for genes and a component."""
    return list(selector) if isinstance(selector, tuple) else selector


def _in_order(mask: Labelled, names: AnyArray | None, *, what: str) -> AnyArray:
    """Values of a Series, a mask by name in the order of ``names`` whatever its own."""
    labels, values = np.asarray(mask.index), np.asarray(mask)
    if names is None or labels.dtype.kind in "iu" or not _is_mask(values):
        return values
    place = {str(label): i for i, label in enumerate(labels)}
    missing = [str(name) for name in names if str(name) not in place]
    if missing or len(place) < len(labels):
        msg = (
            f"The mask is a Series of other {what}s than the results have, or has some twice; missing are "
            f"{len(missing):,}, the first: {missing[:5]}. Pass it for these {what}s, or as an array in their order."
        )
        raise IndexError(msg)
    return values[[place[str(name)] for name in names]]


def _is_mask(values: AnyArray) -> bool:
    return values.dtype == bool or (values.dtype == object and all(isinstance(x, bool | np.bool_) for x in values))


def _index_of_names(wanted: list[str], names: AnyArray | None, *, what: str) -> IntArray:
    if names is None:
        msg = f"These results hold no {what} names; index with integers, a slice or a mask."
        raise KeyError(msg)
    position = {name: i for i, name in reversed(list(enumerate(names)))}
    missing = [name for name in wanted if name not in position]
    if missing:
        hint = nearest(missing[0], list(position))
        msg = f"{len(missing)} {what}(s) are not in the results, the first: {missing[:5]}.{hint}"
        raise KeyError(msg)
    return np.asarray([position[name] for name in wanted])


def check_draws(n_samples: int) -> None:
    """Raise at a negative number of draws."""
    if n_samples < 0:
        msg = f"n_samples must not be negative, got {n_samples}; 0 takes the most probable parameters."
        raise ValueError(msg)


def check_dense(shape: tuple[int, int, int], *, remedy: str) -> None:
    """Raise where arrays, cells and genes of this ``shape`` would not fit into ``settings.max_array_gb``."""
    n_arrays, n_cells, n_genes = shape
    size = math.prod(shape) * 4
    if size > settings.max_array_gb * 1e9:
        what = f"{n_arrays:,} x {n_cells:,} cells x {n_genes:,} genes take {size / 1e9:.2g} GB"
        msg = f"{what}, more than settings.max_array_gb={settings.max_array_gb:g}. {remedy} block by block."
        raise ValueError(msg)
