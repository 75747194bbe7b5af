r"""When a fit has converged: one rule for every engine that optimises.

Every ``check_every`` steps the loss is averaged over the last ``smoothing_window`` steps; with minibatches it is
evaluated on all cells instead, and 100 steps are no less than two epochs, in which every cell is met once. Progress is
an average that lies below the last one that was progress by more than a tolerance, so that a slow drift counts as soon
as it adds up. Without progress for ``patience`` steps the fit has converged. The tolerance is relative to the loss by
default, because the loss grows with cells and genes, and never below twice the standard error of the average, so that
noise is not taken for progress.

With the schedule (no ``step_size`` given) the learning rate falls when progress ends, and only at the lowest rate has
the fit converged: at a high rate the loss stands still above its minimum, because the steps are too long to reach it.

A loss that stands still is no evidence of a minimum. The verdict rests on an estimate of what is left to gain, too
(`scribe.engines.probe`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import numpy as np

from scribe._model.checks import known_settings
from scribe._types import FloatArray
from scribe.engines.outcome import Outcome

__all__ = ["RATES", "EarlyStopping", "Remaining", "Smoothed", "Tracker", "Verdict", "most_left"]

_RELATIVE_PERCENT = 1e-4
_NOISE = 2.0
_RISE = 10.0
_STAGE_CHECKS = 2
_EPOCH = 50
_CHANGES = 6
_RISE_SHARE = 1e-4
_MOST_LEFT, _MOST_LEFT_SHARE, _NOISE_SHARE = 10.0, 1e-4, 1e-2

_CONTINUE = "continue the fit (resume=True in tl.fit, resume=results in fit) or raise n_steps"
_LOWER = "lower the step_size in optimizer_config, or leave it out"
_LARGER = "leave batch_size out, or make it larger"

_LEAVE_OUT = "leave step_size out of optimizer_config, for rates that fall by rule"

RATES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Learning rates of the schedule, as parts of the first one."""


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Settings of the convergence rule.

    Parameters
    ----------
    enabled
        Whether the fit may stop before ``n_steps``.
    patience
        Steps without progress after which the fit stops. With the schedule, the learning rate falls after as many, but
        no more than two checks.
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
    smoothing_window: int = 100
    restore_best: bool = True
    checkpoint_every: int = 2500
    resume: bool = True

    def __post_init__(self) -> None:
        for names, allowed, what in _FIELDS:
            for name in names:
                value = vars(self)[name]
                if not allowed(value):
                    msg = f"early_stopping[{name!r}] must be {what}, got {value!r}."
                    raise ValueError(msg)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | EarlyStopping | Literal[True, False] | None, *, restore_best: bool = False
    ) -> EarlyStopping:
        """Build from what users pass; ``restore_best=True`` holds even where early stopping is disabled."""
        if isinstance(config, EarlyStopping):
            return replace(config, restore_best=config.restore_best or restore_best)
        if config is False:
            return cls(enabled=False, restore_best=restore_best)
        given = {} if config is None or config is True else config
        expected = 'a dictionary such as {"patience": 500}, or False'
        built = cls(**known_settings("early_stopping", given, cls, expected=expected))
        return replace(built, restore_best=built.restore_best or restore_best)

    def stretched(self, epoch: int) -> EarlyStopping:
        """Give every cell time: as many steps as given, but no less than one epoch for every 50 of them."""
        times = max(epoch / _EPOCH, 1.0)
        steps = ("patience", "check_every", "warmup")
        return replace(self, **{name: math.ceil(times * vars(self)[name]) for name in steps})

    def tolerance(self, loss: float) -> float:
        """Smallest improvement of a loss that counts as progress."""
        if self.min_delta_pct is None and self.min_delta is not None:
            return self.min_delta
        percent = _RELATIVE_PERCENT if self.min_delta_pct is None else self.min_delta_pct
        return abs(loss) * percent / 100


_FIELDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("patience", "check_every", "smoothing_window", "checkpoint_every"), lambda v: _whole(v) and v >= 1, "at least 1"),
    (("warmup",), lambda v: _whole(v) and v >= 0, "a number of steps"),
    (("min_delta", "min_delta_pct"), lambda v: v is None or (isinstance(v, Real) and float(v) >= 0), "0 or above"),
    (("enabled", "restore_best", "resume"), lambda v: isinstance(v, (bool, np.bool_)), "True or False"),
)


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class Verdict(Outcome):
    """How an optimisation ended.

    ``steps`` is the number of steps so far, ``loss`` the best average, ``slope`` the change of the loss per step at the
    end, ``retries`` how often a loss that was not finite made the fit go back, ``rate`` the last learning rate,
    ``remaining`` the nats that an estimate says are left to gain, infinite where the loss had not come to rest.
    """

    steps: int
    loss: float
    slope: float
    retries: int = 0
    rate: float = 0.0
    remaining: float = np.inf


class Remaining(NamedTuple):
    """Estimate of the nats that are left to gain, its standard error, and what found it.

    Engines have estimates of their own: a probe at other rates, or the decrement of Newton's steps.
    """

    nats: float
    error: float
    found_by: str

    @property
    def clear(self) -> bool:
        """Whether there is something to gain beyond the error of the estimate."""
        return np.isfinite(self.nats) and self.nats > 2.0 * self.error

    def negligible(self, gained: float) -> bool:
        """Whether a fit that has gained so much may end; an estimate too noisy to tell is no evidence."""
        return self.nats + 2.0 * self.error <= most_left(gained)


def most_left(gained: float) -> float:
    """Nats that may be left of a fit that has converged and has ``gained`` so many since its start."""
    return max(_MOST_LEFT, _MOST_LEFT_SHARE * gained)


class Smoothed(NamedTuple):
    """Average of the last losses, and its standard error."""

    average: float
    error: float


@dataclass
class Tracker:
    """Follows the loss of one fit and decides; holds nothing but numbers, so that it can be saved and restored.

    ``best`` is the lowest average and the one whose parameters are kept, ``reference`` the last one that was progress,
    ``waited`` the steps since, ``stage`` the place in the schedule; ``measured`` are the losses over all cells, where
    steps are made on minibatches.
    """

    rule: EarlyStopping
    adaptive: bool
    best: float = np.inf
    best_step: int = 0
    reference: float = np.inf
    waited: int = 0
    stage: int = 0
    measured: Sequence[float] = ()
    losses: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def rate(self) -> float:
        """Factor on the first learning rate."""
        return RATES[self.stage]

    def add(self, losses: FloatArray, step: int, *, measured: float | None = None) -> bool:
        """Take in the losses of the steps up to ``step``; True where their average, or ``measured``, is the best."""
        self.losses = np.concatenate([self.losses, losses])
        if measured is not None:
            self.measured = (*self.measured, measured if np.isfinite(measured) else np.inf)
        average, error = self.smoothed()
        if self.reference - average > self._threshold(self.reference, error):
            self.reference, self.waited = average, 0
        else:
            self.waited += len(losses)
        improved = average < self.best
        if improved:
            self.best, self.best_step = average, step
        return improved

    def start_again(self) -> None:
        """Go on at the second rate of the schedule, as if nothing had been waited for."""
        self.stage, self.waited, self.reference = 1, 0, np.inf

    def lower_rate(self) -> None:
        """Lower the learning rate where there is a schedule and progress has ended."""
        left = self.adaptive and self.stage < len(RATES) - 1
        if left and self.waited >= min(self.rule.patience, _STAGE_CHECKS * self.rule.check_every):
            self.stage, self.waited = self.stage + 1, 0

    def done(self, step: int) -> bool:
        """Whether to stop after ``step``."""
        return self.rule.enabled and self.flat and step >= self.rule.warmup

    @property
    def flat(self) -> bool:
        """Whether the loss has stopped improving, at the lowest rate if there is a schedule."""
        return self.waited >= self.rule.patience and (not self.adaptive or self.stage == len(RATES) - 1)

    def smoothed(self) -> Smoothed:
        """Loss over all cells, or its average over the last window without losses that are not finite."""
        if self.measured:
            changes = np.abs(np.diff(self.measured[-_CHANGES:]))
            return Smoothed(self.measured[-1], float(np.median(changes) / np.sqrt(2)) if changes.size else 0.0)
        recent = self.losses[-self.rule.smoothing_window :]
        finite = recent[np.isfinite(recent)]
        if not finite.size:
            return Smoothed(np.inf, 0.0)
        return Smoothed(float(np.mean(finite)), float(np.std(finite)) / np.sqrt(len(finite)))

    def _threshold(self, loss: float, error: float) -> float:
        """Difference of averages that is neither too small to matter nor noise."""
        return max(self.rule.tolerance(loss), _NOISE * error) if np.isfinite(loss) else 0.0

    @property
    def gained(self) -> float:
        """Nats from the start to the best average; with minibatches from the average of the first steps."""
        finite = self.losses[np.isfinite(self.losses)]
        first = finite[: self.rule.check_every] if self.measured else finite[:1]
        return float(np.mean(first) - self.best) if first.size else 0.0

    def verdict(self, step: int, *, retries: int, rate: float, remaining: Remaining | None = None) -> Verdict:
        """Sum up a fit that ended at ``step``, where ``remaining`` nats are left if the loss has come to rest."""
        (average, error), slope = self.smoothed(), self._slope()
        fault = self._fault(step, remaining)
        back = f"; the loss was not finite {retries} times and the rate was lowered each time" if retries else ""
        if fault is not None:
            reason = fault
        elif self.flat:
            reason = (
                f"at step {step:,}, no improvement above {self._threshold(self.best, error):.3g} "
                f"(loss {self.best:.7g}) in {self.rule.patience:,} steps"
            )
            if remaining is not None:
                reason += f"; by {remaining.found_by} {max(remaining.nats, 0.0):.2g} nats are left"
        else:
            reason = f"all {step:,} steps used, loss {average:.7g} changing by {slope:.3g} per step; {_CONTINUE}"
        nats = np.inf if remaining is None else remaining.nats
        return Verdict(fault is None and self.flat, reason + back, step, self.best, slope, retries, rate, nats)

    def _fault(self, step: int, remaining: Remaining | None) -> str | None:
        """What speaks against the end of a fit, and what to do; None where nothing does."""
        average, error = self.smoothed()
        gained = self.gained
        if average - self.best > max(_RISE * self._threshold(self.best, error), _RISE_SHARE * abs(self.best)):
            where = f"{self.best:.7g} at step {self.best_step:,} to {average:.7g} at step {step:,}"
            return f"the loss rose from {where}; {_LOWER}"
        if not self.measured and gained < -_MOST_LEFT - _NOISE * error:
            return f"the loss, {self.best:.7g}, is higher than at the start by {-gained:.3g}; {_LOWER}"
        if not self.flat:
            return None
        remedy = _LEAVE_OUT if not self.adaptive else _LARGER if self.measured else _CONTINUE
        still = f"the loss stands still at {self.best:.7g} at step {step:,}, but"
        if remaining is not None and not remaining.negligible(gained):
            left = f"{remaining.nats:.3g} nats are left, and {most_left(gained):.3g} may be"
            return f"{still} by {remaining.found_by} {left}: {remedy}"
        if _NOISE * error > max(_MOST_LEFT, _NOISE_SHARE * gained):
            return f"{still} it is known to {_NOISE * error:.3g} nats only, and {gained:.3g} have been gained: {remedy}"
        return None

    def _slope(self) -> float:
        tail = self.losses[-2 * self.rule.patience :]
        at = np.flatnonzero(np.isfinite(tail))
        return float(np.polyfit(at, tail[at], 1)[0]) if len(at) > 1 else 0.0
