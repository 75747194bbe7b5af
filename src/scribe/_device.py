"""Arrays from the host to the device, and a compiler that keeps to itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import Array

__all__ = ["on_device", "quiet_compiler"]


def on_device(value: Any, dtype: Any = None) -> Array:
    """Put a host array that nobody writes to on the device, as JAX's current floating type unless told.

    Nothing is compiled for it, as for the copy and the conversion of ``jnp.asarray``, one each per shape.
    """
    return jax.device_put(np.asarray(value, jnp.zeros(()).dtype if dtype is None else dtype))


_LEVEL, _FATAL = "TF_CPP_MIN_LOG_LEVEL", 3
"""Variable with the level from which on XLA writes messages, 1 unless it is set, and the highest one."""

_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)


@contextmanager
def quiet_compiler() -> Iterator[None]:
    """Keep XLA from asking for a bug report where it compiles for minutes; what goes wrong raises all the same.

    It stays as it is where the level of its messages was lowered, or set by ``jax_logging_level``.
    """
    level, asked = os.environ.get(_LEVEL, "1"), jax.config.jax_logging_level  # type: ignore[attr-defined]  # is there
    if _is_quiet.get() or level not in ("1", "2") or asked not in (None, "NOTSET"):
        yield
        return
    from jaxlib import utils

    token = _is_quiet.set(True)
    utils.absl_set_min_log_level(_FATAL)
    try:
        yield
    finally:
        utils.absl_set_min_log_level(int(level))
        _is_quiet.reset(token)
