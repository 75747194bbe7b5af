"""Stochastic variational inference: gradient steps on the evidence lower bound until it stops improving."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Integral
from pathlib import Path

import jax
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._counts.interpolation import n_nodes
from scribe._model.checks import require_whole
from scribe._model.spec import ModelSpec
from scribe._progress import Progress, progress
from scribe._types import FloatArray, Key, Params
from scribe.engines.checkpoints import Checkpoints, Snapshot, fingerprint
from scribe.engines.convergence import RATES, EarlyStopping, Tracker, Verdict, most_left
from scribe.engines.diagnosis import where_not_finite
from scribe.engines.fit import Fit
from scribe.engines.optimizers import Optimizer
from scribe.engines.probe import probe
from scribe.engines.problem import Problem, State, make_problem
from scribe.engines.sweeps import suit, sweep
from scribe.guides import Guide

__all__ = ["SVI", "NonFiniteError"]

_log = logging.getLogger("scribe")

_MAX_RETRIES = 5
_MAX_SKIPPED = 0.5
_LINE_EVERY = 500

_DEAR = 2**21
"""Elements of the likelihood, non-zeros and genes at nodes, from which on a fit of thousands of steps takes minutes."""
_MOST_SWEEPS = 50

_PROBES = 2**30
"""Keys of probes are numbered from here on, by the step they are made at."""


class NonFiniteError(FloatingPointError):
    """The loss became NaN or infinite and lowering the learning rate did not help."""


@dataclass(frozen=True)
class SVI:
    """Maximise the evidence lower bound by stochastic gradients.

    Parameters
    ----------
    n_steps
        Largest number of steps; when a fit is continued, of further steps.
    batch_size
        Cells per step; None uses all of them, which the sparse likelihood makes cheap.
    optimizer
        Optimiser and learning rate.
    early_stopping
        Convergence rule.
    stable_update
        Whether a step with a non-finite loss or gradient is skipped; otherwise it triggers the recovery at once.
    log_progress_lines
        Whether to log a line of plain text every 500 steps, for log files.
    checkpoint_dir
        Where to save the state every ``early_stopping.checkpoint_every`` steps; a later call with the same arguments
        continues from there, to the same result as if it had not been interrupted. One fit at a time may use it.
    n_restarts
        Number of runs, each from a start of its own (seeds ``seed``, ``seed + 1``, ...; components of a mixture start
        from other clusters); the one with the best evidence lower bound is kept.
    """

    n_steps: int = 50_000
    _: KW_ONLY
    batch_size: int | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    stable_update: bool = True
    log_progress_lines: bool = False
    checkpoint_dir: str | Path | None = None
    n_restarts: int = 1

    def __post_init__(self) -> None:
        require_whole("n_steps", self.n_steps, 1)
        require_whole("n_restarts", self.n_restarts, 1)
        if self.batch_size is not None and not (isinstance(self.batch_size, Integral) and self.batch_size >= 1):
            msg = f"batch_size must be a whole number of at least 1, or None for all cells; got {self.batch_size!r}."
            raise ValueError(msg)

    def fit(
        self,
        spec: ModelSpec,
        counts: Counts,
        guide: Guide,
        *,
        seed: int,
        start: Fit | None = None,
        design: Design | None = None,
    ) -> Fit:
        """Fit ``spec`` to ``counts`` of cells with the covariates ``design``; ``start`` continues an earlier fit."""
        if start is not None and self.n_restarts > 1:
            msg = f"n_restarts={self.n_restarts} starts anew, but an earlier fit is to be continued: leave it out."
            raise ValueError(msg)
        swept = self._swept(spec, counts, guide, seed) if start is None else None
        if swept is not None:
            return swept
        problem = functools.partial(
            make_problem,
            spec,
            counts,
            guide,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            stable_update=self.stable_update,
            design=design,
        )
        if self.n_restarts > 1:
            return self._best(problem, seed)
        begun = problem(seed=seed)
        if start is not None:
            begun = replace(begun, start=begun.from_cells(start.params))
        return _Run(self, begun, seed).run(start)

    def _swept(self, spec: ModelSpec, counts: Counts, guide: Guide, seed: int) -> Fit | None:
        """A fit by sweeps where gradients are dear, unless the settings say how steps are to be made."""
        free = (
            self.batch_size is None
            and self.n_restarts == 1
            and self.checkpoint_dir is None
            and (self.optimizer, self.early_stopping) == (Optimizer(), EarlyStopping())
        )
        dear = counts.nnz + n_nodes(np.dtype(np.float32)) * counts.n_genes >= _DEAR
        if not (free and dear and suit(spec, guide)):
            return None
        found = sweep(spec, counts, most=min(self.n_steps, _MOST_SWEEPS), level=self.level)
        if found is None:
            return None
        (losses, remaining), n = found[1:], len(found.losses)
        reason = f"after {n} sweeps of Newton steps; by {remaining.found_by} {remaining.nats:.2g} nats are left"
        rate = self.optimizer.initial_step(float(counts.totals.sum())) * RATES[-1]
        slope, loss = float(losses[-1] - losses[max(n - 2, 0)]), float(losses[-1])
        converged = remaining.negligible(float(losses[0]) - loss)
        return Fit(found.params, losses, Verdict(converged, reason, n, loss, slope, 0, rate, remaining.nats), seed)

    @property
    def level(self) -> int:
        """Level at which lines on progress are logged: where they were asked for, shown whatever the verbosity."""
        return max(logging.INFO, _log.getEffectiveLevel()) if self.log_progress_lines else logging.DEBUG

    def _best(self, problem: Callable[..., Problem], seed: int) -> Fit:
        """The best of several runs; it records the losses with which all of them ended."""
        fits = []
        for number in range(self.n_restarts):
            directory = None if self.checkpoint_dir is None else Path(self.checkpoint_dir) / f"run_{number}"
            one = replace(self, checkpoint_dir=directory)
            fits.append(_Run(one, problem(seed=seed + number, restart=number > 0), seed + number).run(None))
            _log.info("run %d of %d: ELBO %.7g", number + 1, self.n_restarts, -fits[-1].verdict.loss)
        losses = np.asarray([fit.verdict.loss for fit in fits])
        best = fits[int(np.argmin(losses))]
        behind = np.sort(losses)[1:] - losses.min()
        spread = (
            f"best of {len(fits)} runs, the ELBO of the others is lower by {behind[0]:.3g} to {behind[-1]:.3g} nats"
        )
        verdict = replace(best.verdict, reason=f"{best.verdict.reason}; {spread}")
        return replace(best, verdict=verdict, restart_losses=losses)


@dataclass(frozen=True)
class _Run:
    """One run of the loop."""

    engine: SVI
    problem: Problem
    seed: int

    @property
    def rule(self) -> EarlyStopping:
        return self.engine.early_stopping.stretched(self.problem.epoch)

    def run(self, earlier: Fit | None) -> Fit:
        """Loop until converged or out of steps, from a checkpoint where there is one.

        Where the loss comes to rest and a probe finds more to gain, a fit with a schedule goes on from there.
        """
        start = self._begin(earlier)
        if self.engine.checkpoint_dir is None:
            return self._loop(start, start, None)
        mark = fingerprint(self.problem, seed=self.seed, batch_size=self.engine.batch_size, earlier=earlier)
        with Checkpoints(Path(self.engine.checkpoint_dir).expanduser(), mark).reserved(start) as checkpoints:
            return self._loop(start, self._load(checkpoints, start), checkpoints)

    def _loop(self, start: Snapshot, now: Snapshot, checkpoints: Checkpoints | None) -> Fit:
        limit, remaining = self.engine.n_steps + start.step, None
        with progress(limit, desc="fit", unit="step") as bar:
            bar.update(now.step)
            while True:
                now = self._until_rest(now, limit, bar, checkpoints)
                if not now.tracker.flat:
                    break
                key, bound = self._key(now.step + _PROBES), most_left(now.tracker.gained)
                remaining, found = probe(self.problem, self._result(now), key, most_left=bound)
                more = remaining.clear and not remaining.negligible(now.tracker.gained)
                # what a probe over all cells finds, minibatches would lose again
                able = self.engine.optimizer.adaptive and self.problem.batches is None and now.step < limit
                if not (more and able):
                    break
                now = self._go_on(now, found)
        params = self.problem.per_cell(self._result(now))
        verdict = now.tracker.verdict(now.step, retries=now.retries, rate=self._rate(now), remaining=remaining)
        return Fit(params, now.tracker.losses, verdict, self.seed)

    def _until_rest(self, now: Snapshot, limit: int, bar: Progress, checkpoints: Checkpoints | None) -> Snapshot:
        """Run until the loss comes to rest, or out of steps."""
        safe: Snapshot | None = None
        while now.step < limit and not now.tracker.done(now.step):
            # steps are cut at multiples of check_every, wherever a run starts
            n = min(self.rule.check_every - now.step % self.rule.check_every, limit - now.step)
            key = self._key(now.retries)
            state, losses = self.problem.steps(now.state, key, first=now.step, n=n, rate=self._rate(now))
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
        return now._replace(state=self.problem.initial_state(params), best=params, tracker=tracker)

    def _begin(self, earlier: Fit | None) -> Snapshot:
        """Where the loop starts without a checkpoint; a continued fit keeps its numbering and its place."""
        tracker = Tracker(self.rule, self.engine.optimizer.adaptive)
        state = self.problem.initial_state()
        if earlier is None:
            return Snapshot(state, state.params, tracker, 0)
        tracker.losses = np.asarray(earlier.losses, np.float64)
        tracker.best, tracker.best_step = earlier.verdict.loss, len(earlier.losses)
        lower = (i for i, r in enumerate(RATES) if self._first_rate * r <= earlier.verdict.rate * 1.01)
        tracker.stage = next(lower, len(RATES) - 1)
        return Snapshot(state, state.params, tracker, len(earlier.losses))

    @property
    def _first_rate(self) -> float:
        return self.engine.optimizer.initial_step(float(self.problem.counts.totals.sum()))

    def _rate(self, now: Snapshot) -> float:
        return self._first_rate * (now.tracker.rate if self.engine.optimizer.adaptive else 1.0) * now.slow_down

    def _key(self, retries: int) -> Key:
        """Key of the run; another one after every recovery, lest the same draw fails again."""
        key = jax.random.key(self.seed)
        return key if retries == 0 else jax.random.fold_in(key, 2**31 + retries)

    def _next(self, now: Snapshot, state: State, losses: FloatArray) -> Snapshot:
        """Take in a chunk of steps; lowers the rate where it is time to."""
        tracker, step = replace(now.tracker), now.step + len(losses)
        best = state.params if tracker.add(losses, step, measured=self.problem.loss(state.params)) else now.best
        tracker.lower_rate()
        return now._replace(state=state, best=best, tracker=tracker, step=step)

    def _failed(self, losses: FloatArray, state: State) -> bool:
        bad = ~np.isfinite(losses)
        if np.mean(bad) > (_MAX_SKIPPED if self.engine.stable_update else 0.0):
            return True
        return not self.problem.is_finite(state)

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
        state, _ = self.problem.steps(now.state, key, first=now.step, n=failed - now.step, rate=self._rate(now))
        where = where_not_finite(self.problem, state.params, key, step=failed)
        tried = f"and {now.retries} retries at lower learning rates" if now.retries else "before any step was possible"
        return (
            f"The loss is not finite at step {failed + 1:,} {tried}. Not finite: {where}. Check these genes and cells "
            "(scribe expects raw counts), try enable_x64=True, or lower the rate: "
            f'optimizer_config={{"name": {self.engine.optimizer.name!r}, "step_size": {self._rate(now) / 10:.1g}}}.'
        )

    def _log_line(self, now: Snapshot, n: int, limit: int) -> None:
        if self.engine.log_progress_lines and now.step // _LINE_EVERY != (now.step - n) // _LINE_EVERY:
            elbo, where = -now.tracker.smoothed().average, f"step {now.step:,} of {limit:,}"
            _log.log(self.engine.level, "%s: ELBO %.7g, learning rate %.2g", where, elbo, self._rate(now))

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
        ended = loaded.tracker.done(loaded.step) or loaded.step >= self.engine.n_steps + start.step
        what = "already finished at" if ended else "continuing from"
        _log.info("%s step %s of the checkpoint %s", what, f"{loaded.step:,}", checkpoints.path)
        return loaded
