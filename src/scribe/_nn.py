"""Small networks as functions of named arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from scribe._types import AnyArray, Array

__all__ = ["ACTIVATIONS", "MLP"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}
"""Activation functions by name."""

_EPSILON = 1e-6


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron from vectors to (outputs, channels), for one vector at a time.

    Kernels are divided by the number of their inputs. A step of Adam, which moves every entry by about the learning
    rate, then moves every unit by no more than that times its inputs, whatever the widths.

    With ``layer_norm`` every hidden layer is normalised before its activation, with ``residual`` it adds its input
    where widths match, and with ``zero_init`` the output is zero at the start.
    """

    name: ClassVar[str] = "mlp"

    hidden_dims: tuple[int, ...] = (64, 64)
    _: KW_ONLY
    activation: str = "relu"
    layer_norm: bool = True
    residual: bool = True
    zero_init: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))
        if not self.hidden_dims or not all(isinstance(n, int) and n > 0 for n in self.hidden_dims):
            msg = f"hidden_dims must be the widths of one layer or more, got {list(self.hidden_dims)}."
            raise ValueError(msg)
        if self.activation not in ACTIVATIONS:
            msg = f"Unknown activation {self.activation!r}: choose one of {', '.join(map(repr, ACTIVATIONS))}."
            raise ValueError(msg)

    def names(self, *, context: bool) -> tuple[str, ...]:
        """Names of the arrays, with or without those of a second input."""
        each = ("kernel", "bias", "gain", "shift") if self.layer_norm else ("kernel", "bias")
        hidden = (f"{part}_{i}" for i in range(len(self.hidden_dims)) for part in each)
        return (*hidden, "kernel_out", "bias_out", *(("kernel_context",) if context else ()))

    def init(
        self, rng: np.random.Generator, *, n_in: int, n_out: tuple[int, int], n_context: int = 0
    ) -> dict[str, AnyArray]:
        """Arrays at the start; an output is (outputs, channels)."""
        widths = (n_in, *self.hidden_dims)
        arrays: dict[str, AnyArray] = {}
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            arrays[f"kernel_{i}"] = rng.normal(0, math.sqrt(2 * before), (before, after))
            arrays[f"bias_{i}"] = rng.normal(0, 1, after) if i == 0 else np.zeros(after)
            arrays[f"gain_{i}"], arrays[f"shift_{i}"] = np.ones(after), np.zeros(after)
        out = rng.normal(0, 0.1 * math.sqrt(widths[-1]), (widths[-1], *n_out))
        arrays["kernel_out"], arrays["bias_out"] = np.zeros_like(out) if self.zero_init else out, np.zeros(n_out)
        arrays["kernel_context"] = rng.normal(0, math.sqrt(n_context), (n_context, widths[1]))
        return {name: arrays[name] for name in self.names(context=n_context > 0)}

    def first(self, arrays: Mapping[str, Array], context: Array | None) -> Array:
        """What enters the first hidden layer beside the first input."""
        bias = arrays["bias_0"]
        return bias if context is None else bias + context @ _kernel(arrays, "context")

    def hidden(self, arrays: Mapping[str, Array], entered: Array) -> Array:
        """Last hidden layer from what entered the first."""
        act = ACTIVATIONS[self.activation]
        x = act(self._normalised(arrays, entered, 0))
        for i in range(1, len(self.hidden_dims)):
            new = act(self._normalised(arrays, x @ _kernel(arrays, i) + arrays[f"bias_{i}"], i))
            x = x + new if self.residual and x.shape == new.shape else new
        return x

    def _normalised(self, arrays: Mapping[str, Array], x: Array, layer: int) -> Array:
        if not self.layer_norm:
            return x
        centred = x - jnp.mean(x)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(centred)) + _EPSILON)
        return centred * scale * arrays[f"gain_{layer}"] + arrays[f"shift_{layer}"]

    def __call__(self, arrays: Mapping[str, Array], x: Array, context: Array | None = None) -> Array:
        """Output for one vector, (outputs, channels)."""
        entered = self.first(arrays, context) + x @ _kernel(arrays, 0)
        return jnp.tensordot(self.hidden(arrays, entered), self.out(arrays), axes=1) + arrays["bias_out"]

    def enter(self, arrays: Mapping[str, Array]) -> Array:
        """Kernel from the first input, (inputs, units)."""
        return _kernel(arrays, 0)

    def out(self, arrays: Mapping[str, Array]) -> Array:
        """Kernel to the outputs, (units, outputs, channels)."""
        return _kernel(arrays, "out")


def _kernel(arrays: Mapping[str, Array], layer: int | str) -> Array:
    kernel = arrays[f"kernel_{layer}"]
    return kernel / kernel.shape[0]
