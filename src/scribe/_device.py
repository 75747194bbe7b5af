"""Arrays from the host to the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import Array

__all__ = ["on_device"]


def on_device(value: Any, dtype: Any = None) -> Array:
    """Put a host array that nobody writes to on the device, as JAX's current floating type unless told.

    Nothing is compiled for it, as for the copy and the conversion of ``jnp.asarray``, one each per shape.
    """
    return jax.device_put(np.asarray(value, jnp.zeros(()).dtype if dtype is None else dtype))
