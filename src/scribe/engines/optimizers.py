"""Optimisers by the names users pass in ``optimizer_config``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import optax

from scribe._model.checks import known_settings, require_known

__all__ = ["OPTIMIZERS", "Optimizer"]

_CLIP = 10.0
_START = 0.1


@dataclass(frozen=True)
class Optimizer:
    """An optimiser and its settings.

    Parameters
    ----------
    name
        One of ``"adam"``, ``"clipped_adam"`` (gradients clipped element by element at 10), ``"adagrad"``,
        ``"rmsprop"``, ``"sgd"``, ``"momentum"``.
    step_size
        Learning rate, kept for the whole fit. None needs no tuning: it starts at 0.1 and falls each time the loss
        stops improving. For ``"sgd"`` and ``"momentum"``, whose steps are as large as the gradient and so grow with
        the data, it starts at 0.1 over the sum of all counts.
    b1, b2, eps
        Decay rates and damping of the Adam family. ``b2`` is also the decay of RMSprop; None is 0.999, and 0.9 for
        RMSprop.
    momentum
        Decay of the velocity of ``"momentum"``.
    weight_decay
        Multiple of the parameters added to the direction, as in AdamW.
    grad_clip_norm
        Largest global norm of the gradient; None leaves it.
    """

    name: str = "adam"
    _: KW_ONLY
    step_size: float | None = None
    b1: float = 0.9
    b2: float | None = None
    eps: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    grad_clip_norm: float | None = None

    def __post_init__(self) -> None:
        require_known("optimizer", self.name, OPTIMIZERS)
        for key, allowed, what in _RANGES:
            value = vars(self)[key]
            if value is not None and not (isinstance(value, Real) and allowed(float(value))):
                msg = f"optimizer_config[{key!r}] must be {what}, got {value!r}."
                raise ValueError(msg)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Optimizer | str | None) -> Optimizer:
        """Build from what users pass: a dictionary of settings, a name, or None for Adam."""
        if isinstance(config, Optimizer):
            return config
        given = {"name": config} if isinstance(config, str) else {} if config is None else config
        expected = 'a dictionary such as {"name": "adam", "step_size": 1e-3}'
        return cls(**known_settings("optimizer_config", given, cls, expected=expected))

    @property
    def adaptive(self) -> bool:
        """Whether the learning rate falls when the loss stops improving."""
        return self.step_size is None

    def initial_step(self, total_count: float) -> float:
        """Learning rate of the first step on data that sum to ``total_count``."""
        if self.step_size is not None:
            return float(self.step_size)
        return _START / max(total_count, 1.0) if self.name in {"sgd", "momentum"} else _START

    def transformation(self) -> optax.GradientTransformation:
        """Optax transformation of gradients into directions; the learning rate is applied by the engine."""
        before = [] if self.grad_clip_norm is None else [optax.clip_by_global_norm(self.grad_clip_norm)]
        after = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        return optax.chain(*before, _SCALINGS[self.name](self), *after)


def _adam(o: Optimizer) -> optax.GradientTransformation:
    return optax.scale_by_adam(o.b1, 0.999 if o.b2 is None else o.b2, o.eps)


_SCALINGS: dict[str, Callable[[Optimizer], optax.GradientTransformation]] = {
    "adam": _adam,
    "clipped_adam": lambda o: optax.chain(optax.clip(_CLIP), _adam(o)),
    "adagrad": lambda o: optax.scale_by_rss(eps=o.eps),
    "rmsprop": lambda o: optax.scale_by_rms(0.9 if o.b2 is None else o.b2, o.eps),
    "sgd": lambda _: optax.identity(),
    "momentum": lambda o: optax.trace(o.momentum),
}

OPTIMIZERS = tuple(_SCALINGS)
"""Names of the optimisers."""

_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("step_size", lambda v: 0 < v < float("inf"), "a number above 0, or None for a schedule that needs no tuning"),
    ("b1", lambda v: 0 <= v < 1, "in [0, 1)"),
    ("b2", lambda v: 0 <= v < 1, "in [0, 1)"),
    ("eps", lambda v: v > 0, "above 0"),
    ("momentum", lambda v: 0 <= v < 1, "in [0, 1)"),
    ("weight_decay", lambda v: v >= 0, "0 or above"),
    ("grad_clip_norm", lambda v: v > 0, "above 0"),
)
