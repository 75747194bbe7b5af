"""The gate through which everything in ``uns`` passes, so that every file of it can be written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from scribe._types import AnyArray

__all__ = ["clean_uns"]

_KINDS = "biufU"
"""Kinds of NumPy arrays that every reader knows: bool, integers, floats and text."""

_INTEGERS = range(-(2**63), 2**64)


def clean_uns(value: Any, path: str = "uns") -> Any:
    """Turn a value into what every h5ad and zarr reader gets back unchanged, or say why it cannot be.

    Arrays of any library become NumPy arrays and NumPy scalars Python ones; None is refused (files with it cannot be
    opened by anndata <= 0.11), as are lists, tuples and keys with a slash: those belong into the JSON string.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or "/" in name or not name:
                msg = f"{path} has the key {name!r}; keys must be strings without '/'."
                raise TypeError(msg)
        return {name: clean_uns(item, f"{path}[{name!r}]") for name, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return _table(value, path)
    if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
        return clean_uns(value.item(), path)
    if isinstance(value, str):
        return value if "\0" not in value else _refuse(value, path, "text with a NUL character")
    if isinstance(value, (bool, float)) or (isinstance(value, int) and value in _INTEGERS):
        return value
    if value is None or isinstance(value, (list, tuple, set, int, np.ma.MaskedArray, pd.Series, pd.Index)):
        _refuse(value, path, f"of type {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.names is not None:
        _check_fields(array, path)
    elif array.dtype.kind not in _KINDS:
        _refuse(value, path, f"of type {type(value).__name__} and dtype {array.dtype}")
    return array if array.ndim else clean_uns(array.item(), path)


def _check_fields(array: AnyArray, path: str) -> None:
    """Raise where a named field of an array is neither of one kind of value nor text."""
    for name in array.dtype.names or ():
        column = array[name]
        if column.dtype.kind not in _KINDS and not all(isinstance(item, str) for item in column):
            _refuse(array, f"{path}[{name!r}]", f"a field of dtype {column.dtype} that is not all text")


def _table(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """A table whose columns and rows have text names and whose columns each hold one kind of value."""
    if not all(isinstance(column, str) and "/" not in column for column in table.columns):
        msg = f"{path} is a table whose column names are not all strings without '/'."
        raise TypeError(msg)
    for name, column in table.items():
        kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else ""
        text = kind in ("O", "") and all(isinstance(item, str) for item in column)
        if kind not in ("b", "i", "u", "f") and not text and not isinstance(column.dtype, pd.CategoricalDtype):
            _refuse(table, f"{path}[{name!r}]", f"a column of dtype {column.dtype} that is not all text")
    return table


def _refuse(value: Any, path: str, what: str) -> NoReturn:
    msg = f"{path} is {what}, which cannot be stored: use an array or the JSON configuration. Found {value!r:.60}."
    raise TypeError(msg)
