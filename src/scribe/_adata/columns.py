"""Arrays of one thing side by side, so that they stand in one slot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scribe._types import AnyArray

__all__ = ["join", "split"]


def join(arrays: Sequence[AnyArray], n_axes: int) -> tuple[AnyArray, list[list[int]]]:
    """Arrays that share their first axes as columns of one, and the axes that each has beyond them."""
    more = [list(x.shape[n_axes:]) for x in arrays]
    return np.concatenate([x.reshape(*x.shape[:n_axes], -1) for x in arrays], axis=-1), more


def split(columns: AnyArray, more_axes: Sequence[Sequence[int]]) -> list[AnyArray]:
    """Undo `join`."""
    ends = np.cumsum([math.prod(axes) for axes in more_axes])
    parts = np.split(columns, ends[:-1], axis=-1)
    return [part.reshape((*part.shape[:-1], *axes)) for part, axes in zip(parts, more_axes, strict=True)]
