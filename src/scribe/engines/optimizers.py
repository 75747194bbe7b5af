"""Optimisers by the names users pass in ``optimizer_config``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import optax

__all__ = ["OPTIMIZERS", "Optimizer"]

OPTIMIZERS = ("adam", "clipped_adam", "adagrad", "rmsprop", "sgd", "momentum")
"""Names of the optimisers."""

_ADAPTIVE_STEP = 2e-2
_FIXED_STEP = 1e-3
_CLIP = 10.0


@dataclass(frozen=True)
class Optimizer:
    """An optimiser and its settings.

    Parameters
    ----------
    name
        One of ``"adam"``, ``"clipped_adam"`` (gradients clipped element by element at 10), ``"adagrad"``,
        ``"rmsprop"``, ``"sgd"``, ``"momentum"``.
    step_size
        Learning rate. None starts at 0.02 and divides by three each time the loss stops improving, which needs no
        tuning; a number is kept for the whole fit.
    b1, b2, eps
        Decay rates and damping of the Adam family; ``b2`` is also the decay of RMSprop.
    momentum
        Decay of the velocity of ``"momentum"``.
    weight_decay
        Added multiple of the parameters.
    grad_clip_norm
        Largest global norm of the gradient; None leaves it.
    """

    name: str = "adam"
    step_size: float | None = None
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    grad_clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            msg = f"Unknown optimizer {self.name!r}. Choose one of: {', '.join(map(repr, OPTIMIZERS))}."
            raise ValueError(msg)
        if self.step_size is not None and not self.step_size > 0:
            msg = f"step_size must be above 0, got {self.step_size!r}."
            raise ValueError(msg)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> Optimizer:
        """Build from the dictionary users pass; a dictionary without ``step_size`` uses 1e-3."""
        if config is None:
            return cls()
        allowed = [f.name for f in fields(cls)]
        unknown = [k for k in config if k not in allowed]
        if unknown:
            msg = f"Unknown optimizer_config keys {unknown}. Allowed: {', '.join(map(repr, allowed))}."
            raise ValueError(msg)
        return cls(**{"step_size": _FIXED_STEP, **config})

    @property
    def adaptive(self) -> bool:
        """Whether the learning rate falls when the loss stops improving."""
        return self.step_size is None

    @property
    def initial_step(self) -> float:
        """Learning rate of the first step."""
        return _ADAPTIVE_STEP if self.step_size is None else self.step_size

    def transformation(self) -> optax.GradientTransformation:
        """Optax transformation of gradients into directions; the learning rate is applied by the engine."""
        scale = {
            "adam": lambda: optax.scale_by_adam(self.b1, self.b2, self.eps),
            "clipped_adam": lambda: optax.chain(optax.clip(_CLIP), optax.scale_by_adam(self.b1, self.b2, self.eps)),
            "adagrad": lambda: optax.scale_by_rss(eps=self.eps),
            "rmsprop": lambda: optax.scale_by_rms(self.b2, self.eps),
            "sgd": optax.identity,
            "momentum": lambda: optax.trace(self.momentum),
        }[self.name]()
        before = [] if self.grad_clip_norm is None else [optax.clip_by_global_norm(self.grad_clip_norm)]
        after = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        return optax.chain(*before, scale, *after)
