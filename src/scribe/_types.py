"""Types shared by all layers; imports nothing of the package and starts no JAX backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SLOPES",
    "AnyArray",
    "Array",
    "FloatArray",
    "IntArray",
    "Key",
    "Label",
    "Labels",
    "Natural",
    "Params",
    "Rng",
]

Array = jax.Array
"""An array on the device (or a tracer of one)."""

AnyArray = NDArray[Any]
"""An array on the host, of any type."""

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

Key = jax.Array
"""A JAX pseudo-random key."""

Natural = Mapping[str, Array]
"""Natural parameters of a family by name; per-gene arrays end in the gene axis, shared ones are scalars."""

Params = dict[str, Array]
"""Trainable arrays by name."""

Rng = int | np.random.Generator | jax.Array | None
"""What a user may pass as ``rng``: a seed, a NumPy generator, a JAX key or None."""

Label = str | int | float
"""A label of a group of cells as it stands in a column: text, a number, True or False."""

Labels = Label | Sequence[Label]
"""One label or several."""

SLOPES = "slopes"
"""Name under which a function saves derivatives that a gradient computed anew is to keep (``jax.checkpoint``)."""
