"""Genes and cells by name, number, slice or mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from scribe._model.checks import nearest
from scribe._settings import settings
from scribe._types import AnyArray, IntArray

__all__ = ["Selector", "check_dense", "check_draws", "index_of"]

Selector = Any
"""Genes or cells by name, list of names, integer, slice, boolean mask or integer array."""


def index_of(selector: Selector, size: int, names: AnyArray | None, *, what: str) -> IntArray:
    """Integer index from names, integers, a slice or a mask."""
    if isinstance(selector, slice):
        return np.arange(size)[selector]
    if isinstance(selector, pd.Series):
        selector = _in_order(selector, names, what=what)
    array = np.atleast_1d(np.asarray(selector))
    if array.dtype == object and all(isinstance(x, bool | np.bool_) for x in array):
        array = array.astype(bool)
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


def _in_order(mask: pd.Series, names: AnyArray | None, *, what: str) -> pd.Series:
    """A mask by name in the order of ``names``, whatever its own."""
    named = names is not None and not isinstance(mask.index, pd.RangeIndex)
    if not named or not pd.api.types.is_bool_dtype(mask.dtype):
        return mask
    mine, wanted = mask.index.astype(str), np.asarray(names, str)
    missing = wanted[~np.isin(wanted, mine)]
    if missing.size or not mine.is_unique:
        msg = (
            f"The mask is a Series of other {what}s than the results have, or has some twice; missing are "
            f"{len(missing):,}, the first: {list(map(str, missing[:5]))}. Pass it for these {what}s, or as an array in "
            "their order."
        )
        raise IndexError(msg)
    return mask.set_axis(mine).loc[wanted]


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
