r"""When a fit has converged: one rule for every engine that optimises.

Every ``check_every`` steps the loss is averaged over the last ``smoothing_window`` steps. An average that is lower than
the best one so far by more than a tolerance counts as progress. Without progress for ``patience`` steps the learning
rate falls, if it may; when it cannot fall further the fit has converged. The tolerance is relative to the loss by
default, because the loss grows with cells and genes, and never below the standard error of the average itself, so
that noise is not taken for progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from scribe._types import FloatArray

__all__ = ["EarlyStopping", "Tracker", "Verdict"]

_RELATIVE_PERCENT = 1e-4
_RATES = (1.0, 1 / 3, 1 / 9, 1 / 27)


@dataclass(frozen=True)
class EarlyStopping:
    """Settings of the convergence rule.

    Parameters
    ----------
    enabled
        Whether the fit may stop before ``n_steps``.
    patience
        Steps without progress after which the learning rate falls or the fit stops.
    min_delta
        Progress in units of the loss; None for the relative criterion.
    min_delta_pct
        Progress in percent of the loss, 1e-4 unless set; takes precedence over ``min_delta``.
    check_every
        Steps between two looks at the loss.
    warmup
        Steps before which the fit never stops.
    smoothing_window
        Steps the loss is averaged over.
    restore_best
        Whether to return the parameters of the best average rather than the last ones.
    checkpoint_every
        Steps between two checkpoints, where a checkpoint directory is given.
    resume
        Whether to continue from a checkpoint found in that directory.
    """

    enabled: bool = True
    patience: int = 500
    min_delta: float | None = None
    min_delta_pct: float | None = None
    check_every: int = 100
    warmup: int = 1000
    smoothing_window: int = 50
    restore_best: bool = True
    checkpoint_every: int = 2500
    resume: bool = True

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in {"patience", "check_every", "smoothing_window", "checkpoint_every"} and value < 1:
                msg = f"early_stopping[{name!r}] must be at least 1, got {value!r}."
                raise ValueError(msg)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | EarlyStopping | Literal[False] | None, *, restore_best: bool = False
    ) -> EarlyStopping:
        """Build from what users pass; ``restore_best=True`` holds even where early stopping is disabled."""
        if isinstance(config, EarlyStopping):
            return replace(config, restore_best=config.restore_best or restore_best)
        if config is False:
            return cls(enabled=False, restore_best=restore_best)
        given = dict(config) if isinstance(config, Mapping) else {}
        allowed = [f.name for f in fields(cls)]
        unknown = [k for k in given if k not in allowed]
        if unknown:
            msg = f"Unknown early_stopping keys {unknown}. Allowed: {', '.join(map(repr, allowed))}."
            raise ValueError(msg)
        built = cls(**given)
        return replace(built, restore_best=built.restore_best or restore_best)

    def tolerance(self, best: float) -> float:
        """Smallest improvement of the loss that counts as progress."""
        if self.min_delta_pct is None and self.min_delta is not None:
            return self.min_delta
        percent = _RELATIVE_PERCENT if self.min_delta_pct is None else self.min_delta_pct
        return abs(best) * percent / 100


@dataclass(frozen=True)
class Verdict:
    """How a fit ended: whether it converged, at which step, by which rule, and what to do if it did not."""

    converged: bool
    reason: str
    steps: int
    loss: float
    slope: float
    retries: int = 0

    def __str__(self) -> str:
        """One line for logs and plots."""
        return ("converged: " if self.converged else "NOT converged: ") + self.reason


@dataclass
class Tracker:
    """Follows the loss of one fit and decides; holds nothing but numbers, so that it can be checkpointed."""

    rule: EarlyStopping
    adaptive: bool
    best: float = np.inf
    best_step: int = 0
    waited: int = 0
    stage: int = 0
    losses: list[FloatArray] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Factor on the initial learning rate."""
        return _RATES[self.stage]

    @property
    def history(self) -> FloatArray:
        """Loss of every step so far."""
        return np.concatenate(self.losses) if self.losses else np.zeros(0)

    def add(self, losses: FloatArray, step: int) -> bool:
        """Take in the losses of the steps up to ``step``; True where their average is the best so far."""
        self.losses.append(losses)
        window = self._window()
        average = float(np.mean(window))
        noise = float(np.std(window)) / np.sqrt(len(window))
        tolerance = max(self.rule.tolerance(self.best), noise) if np.isfinite(self.best) else 0.0
        self.waited = 0 if self.best - average > tolerance else self.waited + len(losses)
        improved = average < self.best
        if improved:
            self.best, self.best_step = average, step
        return improved

    def done(self, step: int) -> bool:
        """Whether to stop; lowers the learning rate first where that is left to try."""
        if self.waited < self.rule.patience:
            return False
        if self.adaptive and self.stage < len(_RATES) - 1:
            self.stage, self.waited = self.stage + 1, 0
            return False
        return self.rule.enabled and step >= self.rule.warmup

    def _window(self) -> FloatArray:
        take = [self.losses[-1]]
        for earlier in reversed(self.losses[:-1]):
            if sum(map(len, take)) >= self.rule.smoothing_window:
                break
            take.insert(0, earlier)
        recent = np.concatenate(take)[-self.rule.smoothing_window :]
        finite = recent[np.isfinite(recent)]
        return finite if finite.size else recent

    def verdict(self, step: int, *, retries: int) -> Verdict:
        """Sum up a fit that ended at ``step``."""
        flat = self.waited >= self.rule.patience and (not self.adaptive or self.stage == len(_RATES) - 1)
        history = self.history
        span = min(len(history), 2 * self.rule.patience)
        tail = history[-span:]
        tail = tail[np.isfinite(tail)]
        slope = float(np.polyfit(np.arange(len(tail)), tail, 1)[0]) if len(tail) > 1 else 0.0
        tolerance = self.rule.tolerance(self.best)
        if flat:
            reason = (
                f"at step {step:,}, no improvement above {tolerance:.3g} (loss {self.best:.6g}) "
                f"in {self.rule.patience:,} steps"
            )
        else:
            reason = (
                f"all {step:,} steps used, loss {self.best:.6g} still changing by {slope:.3g} per step; "
                "continue with resume=True or raise n_steps"
            )
        return Verdict(flat, reason, step, self.best, slope, retries)
