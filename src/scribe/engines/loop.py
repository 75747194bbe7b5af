"""The loop of every engine that optimises: steps until the loss comes to rest, with recoveries and checkpoints.

What is optimised is an `Objective`. Whether and when a loop ends is decided by `scribe.engines.convergence`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from scribe._progress import Progress, progress
from scribe._types import FloatArray, Key, Params
from scribe.engines.checkpoints import Checkpoints, Snapshot, fingerprint
from scribe.engines.contract import Fitted, State
from scribe.engines.convergence import RATES, EarlyStopping, Remaining, Tracker, Verdict, most_left

__all__ = ["Ended", "Loop", "NonFiniteError", "Objective"]

_log = logging.getLogger("scribe")

_MAX_RETRIES = 5
_MAX_SKIPPED = 0.5
_LINE_EVERY = 500

_PROBES = 2**30
"""Keys of estimates of what is left are numbered from here on, by the step they are made at."""


class NonFiniteError(FloatingPointError):
    """The loss became NaN or infinite and lowering the learning rate did not help."""


class Objective(Protocol):
    """What a loop optimises, in nats.

    A state holds the parameters and whatever else the next step needs: the memory of an optimiser, where Newton steps
    start, the number of a step where that matters. Keys and minibatches depend on the number of a step alone, so that
    a loop may be interrupted and continued.
    """

    @property
    def epoch(self) -> int:
        """Steps in which every cell is met once on average."""

    @property
    def goes_on(self) -> bool:
        """Whether steps can go on from where `remaining` ends."""

    def begin(self, params: Params | None = None) -> State:
        """State before the first step, from the start or from given parameters."""

    def steps(self, state: State, key: Key, *, first: int, n: int, rate: float) -> tuple[State, FloatArray]:
        """Run ``n`` steps from number ``first`` on; their losses are NaN where one was skipped."""

    def is_finite(self, state: State) -> bool:
        """Whether a state is usable."""

    def loss(self, params: Params) -> float | None:
        """Loss over all cells, the same in every call; None where the losses of steps say as much."""

    def remaining(self, params: Params, key: Key, *, most_left: float) -> tuple[Remaining, Params]:
        """Estimate of what is left to gain, good to ``most_left`` nats if that can be had, and where it ended."""

    def where_not_finite(self, params: Params, key: Key, *, step: int) -> str:
        """What is not finite in the loss of a step."""

    def lower(self, rate: float) -> str:
        """What to do for a lower learning rate, for messages."""

    def fingerprint(self) -> Mapping[str, Any]:
        """What must agree for a checkpoint to be continued."""

    def finish(self, params: Params) -> Params:
        """Arrays that a fit leaves behind, from those that were optimised."""


@dataclass(frozen=True)
class Ended:
    """What a loop ends with: arrays of the approximation, the loss of every step, and how it ended."""

    params: Params
    losses: FloatArray
    verdict: Verdict


@dataclass(frozen=True)
class Loop:
    """One run.

    ``first_rate`` is the learning rate to start at, which falls by the rule if it is ``adaptive``; ``stable`` says
    whether the objective skips steps that are not finite. Lines on progress are logged at a ``level``, if at all.
    """

    objective: Objective
    seed: int
    _: KW_ONLY
    n_steps: int
    early_stopping: EarlyStopping
    first_rate: float
    adaptive: bool = True
    stable: bool = True
    checkpoint_dir: str | Path | None = None
    level: int | None = None

    @property
    def rule(self) -> EarlyStopping:
        """The rule of convergence, in steps."""
        return self.early_stopping.stretched(self.objective.epoch)

    def run(self, earlier: Fitted | None = None) -> Ended:
        """Loop until converged or out of steps, from a checkpoint where there is one.

        Where the loss comes to rest and a probe finds more to gain, a fit with a schedule goes on from there.
        """
        start = self._begin(earlier)
        if self.checkpoint_dir is None:
            return self._loop(start, start, None)
        mark = fingerprint(self.objective.fingerprint(), seed=self.seed, earlier=earlier)
        with Checkpoints(Path(self.checkpoint_dir).expanduser(), mark).reserved(start) as checkpoints:
            return self._loop(start, self._load(checkpoints, start), checkpoints)

    def _loop(self, start: Snapshot, now: Snapshot, checkpoints: Checkpoints | None) -> Ended:
        limit, remaining = self.n_steps + start.step, None
        with progress(limit, desc="fit", unit="step") as bar:
            bar.update(now.step)
            while True:
                now = self._until_rest(now, limit, bar, checkpoints)
                if not now.tracker.flat:
                    break
                key, bound = self._key(now.step + _PROBES), most_left(now.tracker.gained)
                remaining, found = self.objective.remaining(self._result(now), key, most_left=bound)
                more = remaining.clear and not remaining.negligible(now.tracker.gained)
                if not (more and self.adaptive and self.objective.goes_on and now.step < limit):
                    break
                now = self._go_on(now, found)
        verdict = now.tracker.verdict(now.step, retries=now.retries, rate=self._rate(now), remaining=remaining)
        return Ended(self.objective.finish(self._result(now)), now.tracker.losses, verdict)

    def _until_rest(self, now: Snapshot, limit: int, bar: Progress, checkpoints: Checkpoints | None) -> Snapshot:
        """Run until the loss comes to rest, or out of steps."""
        safe: Snapshot | None = None
        while now.step < limit and not now.tracker.done(now.step):
            # steps are cut at multiples of check_every, wherever a run starts
            n = min(self.rule.check_every - now.step % self.rule.check_every, limit - now.step)
            key = self._key(now.retries)
            state, losses = self.objective.steps(now.state, key, first=now.step, n=n, rate=self._rate(now))
            if self._failed(losses, state):
                now = self._back(now, safe, losses)
                continue
            safe, now = now, self._next(now, state, losses)
            bar.update(n, elbo=f"{-now.tracker.smoothed().average:.7g}", learning_rate=f"{self._rate(now):.2g}")
            self._log_line(now, n, limit)
            if checkpoints is not None and self._worth_saving(now, n, limit):
                checkpoints.save(now)
        return now

    def _result(self, now: Snapshot) -> Params:
        """Parameters that the fit would end with."""
        return now.best if self.rule.restore_best else now.state.params

    def _go_on(self, now: Snapshot, params: Params) -> Snapshot:
        """Continue from where a probe has led."""
        tracker = replace(now.tracker)
        tracker.start_again()
        return now._replace(state=self.objective.begin(params), best=params, tracker=tracker)

    def _begin(self, earlier: Fitted | None) -> Snapshot:
        """Where the loop starts without a checkpoint; a continued fit keeps its numbering and its place."""
        tracker = Tracker(self.rule, self.adaptive)
        state = self.objective.begin()
        if earlier is None:
            return Snapshot(state, state.params, tracker, 0)
        tracker.losses = np.asarray(earlier.losses, np.float64)
        ended = earlier.verdict
        if not isinstance(ended, Verdict):
            msg = f"A fit can go on from where steps have led, not from one that ended with {ended!r}."
            raise TypeError(msg)
        tracker.best, tracker.best_step = ended.loss, len(earlier.losses)
        lower = (i for i, r in enumerate(RATES) if self.first_rate * r <= ended.rate * 1.01)
        tracker.stage = next(lower, len(RATES) - 1)
        return Snapshot(state, state.params, tracker, len(earlier.losses))

    def _rate(self, now: Snapshot) -> float:
        return self.first_rate * (now.tracker.rate if self.adaptive else 1.0) * now.slow_down

    def _key(self, retries: int) -> Key:
        """Key of the run; another one after every recovery, lest the same draw fails again."""
        key = jax.random.key(self.seed)
        return key if retries == 0 else jax.random.fold_in(key, 2**31 + retries)

    def _next(self, now: Snapshot, state: State, losses: FloatArray) -> Snapshot:
        """Take in a chunk of steps; lowers the rate where it is time to."""
        tracker, step = replace(now.tracker), now.step + len(losses)
        best = state.params if tracker.add(losses, step, measured=self.objective.loss(state.params)) else now.best
        tracker.lower_rate()
        return now._replace(state=state, best=best, tracker=tracker, step=step)

    def _failed(self, losses: FloatArray, state: State) -> bool:
        bad = ~np.isfinite(losses)
        if np.mean(bad) > (_MAX_SKIPPED if self.stable else 0.0):
            return True
        return not self.objective.is_finite(state)

    def _back(self, now: Snapshot, safe: Snapshot | None, losses: FloatArray) -> Snapshot:
        """Go back to the last good state at half the learning rate, or give up with a diagnosis."""
        bad = np.flatnonzero(~np.isfinite(losses))
        failed = now.step + int(bad[0] if bad.size else len(losses) - 1)
        hopeless = bad.size == len(losses) and safe is None
        if hopeless or now.retries >= _MAX_RETRIES:
            raise NonFiniteError(self._diagnosis(now, failed))
        # with no finite loss at all the state is bad already, not only where its steps lead
        target = safe if bad.size == len(losses) and safe is not None else now
        retries, slow_down = now.retries + 1, now.slow_down / 2
        back = f"back to step {target.step:,} at half the learning rate (retry {retries} of {_MAX_RETRIES})"
        _log.warning("the loss was not finite at step %s: %s", f"{failed + 1:,}", back)
        return target._replace(retries=retries, slow_down=slow_down)

    def _diagnosis(self, now: Snapshot, failed: int) -> str:
        key = self._key(now.retries)
        state, _ = self.objective.steps(now.state, key, first=now.step, n=failed - now.step, rate=self._rate(now))
        where = self.objective.where_not_finite(state.params, key, step=failed)
        tried = f"and {now.retries} retries at lower learning rates" if now.retries else "before any step was possible"
        return (
            f"The loss is not finite at step {failed + 1:,} {tried}. Not finite: {where}. Check these genes and cells "
            f"(scribe expects raw counts), try enable_x64=True, or {self.objective.lower(self._rate(now) / 10)}."
        )

    def _log_line(self, now: Snapshot, n: int, limit: int) -> None:
        if self.level is not None and now.step // _LINE_EVERY != (now.step - n) // _LINE_EVERY:
            elbo, where = -now.tracker.smoothed().average, f"step {now.step:,} of {limit:,}"
            _log.log(self.level, "%s: ELBO %.7g, learning rate %.2g", where, elbo, self._rate(now))

    def _worth_saving(self, now: Snapshot, n: int, limit: int) -> bool:
        every = self.rule.checkpoint_every
        crossed = now.step // every != (now.step - n) // every
        # a last chunk that n_steps cut short is not saved: a longer fit would not have paused there
        whole = now.step % self.rule.check_every == 0
        return whole and (crossed or now.step >= limit or now.tracker.done(now.step))

    def _load(self, checkpoints: Checkpoints, start: Snapshot) -> Snapshot:
        loaded = checkpoints.load(start) if self.rule.resume else None
        if loaded is None or loaded.step < start.step:
            return start
        ended = loaded.tracker.done(loaded.step) or loaded.step >= self.n_steps + start.step
        what = "already finished at" if ended else "continuing from"
        _log.info("%s step %s of the checkpoint %s", what, f"{loaded.step:,}", checkpoints.path)
        return loaded
