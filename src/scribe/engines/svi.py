"""Stochastic variational inference: one loop with checkpoints, a convergence rule and recovery from NaN."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._model.spec import ModelSpec
from scribe._progress import progress
from scribe._types import Array, FloatArray, Params
from scribe.engines.checkpoints import load_checkpoint, save_checkpoint
from scribe.engines.convergence import EarlyStopping, Tracker, Verdict
from scribe.engines.optimizers import Optimizer
from scribe.engines.problem import Problem, State, make_problem
from scribe.guides import Guide

__all__ = ["SVI", "Fit", "NonFiniteError"]

_log = logging.getLogger("scribe")

_MAX_RETRIES = 5
_MAX_SKIPPED = 0.5
_TEXT_LINES = 20


class NonFiniteError(FloatingPointError):
    """The loss became NaN or infinite and lowering the learning rate did not help."""


@dataclass(frozen=True)
class Fit:
    """What an engine returns.

    ``params`` are the trainable arrays of the guide with one row per cell, ``losses`` the negative ELBO of every step
    in nats, ``verdict`` how it ended.
    """

    params: Params
    losses: FloatArray
    verdict: Verdict
    seed: int


@dataclass(frozen=True)
class SVI:
    """Maximise the evidence lower bound by stochastic gradients.

    Parameters
    ----------
    n_steps
        Largest number of steps.
    batch_size
        Cells per step; None uses all of them, which the sparse likelihood makes cheap.
    optimizer
        Optimiser and learning rate.
    early_stopping
        Convergence rule.
    stable_update
        Whether a step with a non-finite loss or gradient is skipped; otherwise it triggers the recovery at once.
    log_progress_lines
        Whether to log a line of plain text now and then, for log files.
    checkpoint_dir
        Where to save the state every ``early_stopping.checkpoint_every`` steps; a later call with the same arguments
        continues from there.
    """

    n_steps: int = 50_000
    batch_size: int | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    stable_update: bool = True
    log_progress_lines: bool = False
    checkpoint_dir: str | Path | None = None

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            msg = f"n_steps must be at least 1, got {self.n_steps!r}."
            raise ValueError(msg)
        if self.batch_size is not None and self.batch_size < 1:
            msg = f"batch_size must be at least 1 or None for all cells, got {self.batch_size!r}."
            raise ValueError(msg)

    def fit(self, spec: ModelSpec, counts: Counts, guide: Guide, *, seed: int, start: Fit | None = None) -> Fit:
        """Fit ``spec`` to ``counts``; ``start`` continues an earlier fit of the same model and data."""
        problem = make_problem(
            spec,
            counts,
            guide=guide,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            stable_update=self.stable_update,
            seed=seed,
        )
        if start is not None:
            problem = replace(problem, start=problem.from_cells(start.params))
        return _Run(self, problem, seed, earlier=start).run()


@dataclass
class _Run:
    """One run of the loop."""

    engine: SVI
    problem: Problem
    seed: int
    earlier: Fit | None
    step: int = 0
    retries: int = 0

    def run(self) -> Fit:
        """Loop until converged or out of steps."""
        engine, rule = self.engine, self.engine.early_stopping
        tracker = Tracker(rule, engine.optimizer.adaptive)
        state = self.problem.initial_state()
        best = state.params
        key = jax.random.key(self.seed)
        if self.earlier is not None:
            key = jax.random.fold_in(key, len(self.earlier.losses))
        state, best = self._load(state, best, tracker)
        slow_down = 1.0
        with progress(engine.n_steps, desc="fit", unit="step") as bar:
            bar.update(self.step)
            while self.step < engine.n_steps:
                n = min(rule.check_every, engine.n_steps - self.step)
                rate = engine.optimizer.initial_step * tracker.rate * slow_down
                new, device_losses = self.problem.steps(state, key, first=self.step, n=n, rate=rate)
                losses = np.asarray(device_losses, np.float64)
                if self._failed(losses, new):
                    self._retry(state, key)
                    slow_down /= 2
                    continue
                state, self.step = new, self.step + n
                if tracker.add(losses, self.step):
                    best = state.params
                bar.update(n, loss=f"{tracker.losses[-1].mean():.6g}", rate=f"{rate:.2g}")
                self._report(tracker, rate)
                self._save(state, best, tracker)
                if tracker.done(self.step):
                    break
        params = best if rule.restore_best else state.params
        history = tracker.history
        if self.earlier is not None:
            history = np.concatenate([self.earlier.losses, history])
        verdict = tracker.verdict(self.step, retries=self.retries)
        return Fit(jax.tree.map(jnp.asarray, self.problem.per_cell(params)), history, verdict, self.seed)

    def _failed(self, losses: FloatArray, state: State) -> bool:
        bad = float(np.mean(~np.isfinite(losses)))
        if bad > (_MAX_SKIPPED if self.engine.stable_update else 0.0):
            return True
        return not all(bool(jnp.all(jnp.isfinite(p))) for p in state.params.values())

    def _retry(self, state: State, key: Array) -> None:
        """Go back to the last good state at half the learning rate, or give up with a diagnosis."""
        self.retries += 1
        if self.retries > _MAX_RETRIES:
            raise NonFiniteError(_diagnose(self.problem, state.params, key, self.step))
        _log.warning(
            "loss not finite after step %d: back to step %d at half the learning rate (retry %d of %d)",
            self.step,
            self.step,
            self.retries,
            _MAX_RETRIES,
        )

    def _report(self, tracker: Tracker, rate: float) -> None:
        if not self.engine.log_progress_lines:
            return
        every = max(self.engine.n_steps // _TEXT_LINES // self.engine.early_stopping.check_every, 1)
        if len(tracker.losses) % every == 0 or self.step >= self.engine.n_steps:
            _log.warning(
                "step %d of %d: loss %.6g, rate %.2g",
                self.step,
                self.engine.n_steps,
                float(np.mean(tracker.losses[-1])),
                rate,
            )

    def _save(self, state: State, best: Params, tracker: Tracker) -> None:
        directory, every = self.engine.checkpoint_dir, self.engine.early_stopping.checkpoint_every
        crossed = self.step // every != (self.step - len(tracker.losses[-1])) // every
        if directory is not None and crossed:
            save_checkpoint(
                Path(directory), (state, best), tracker, step=self.step, problem=self.problem, seed=self.seed
            )

    def _load(self, state: State, best: Params, tracker: Tracker) -> tuple[State, Params]:
        directory = self.engine.checkpoint_dir
        if directory is None or not self.engine.early_stopping.resume:
            return state, best
        loaded = load_checkpoint(Path(directory), (state, best), tracker, problem=self.problem, seed=self.seed)
        if loaded is None:
            return state, best
        (state, best), self.step = loaded
        _log.info("continuing from step %d of the checkpoint in %s", self.step, directory)
        return state, best


def _diagnose(problem: Problem, params: Params, key: Array, step: int) -> str:
    """Say which site, gene and cell the loss fails at."""
    _, grads = problem.loss_and_gradient(params, jax.random.fold_in(key, step), problem.example(step))
    places = []
    for name, gradient in grads.items():
        bad = np.flatnonzero(~np.isfinite(np.asarray(gradient)))
        if bad.size:
            places.append(problem.place(name, int(bad[0]), n_bad=int(bad.size)))
    where = "; ".join(places) or "no single site: the loss itself is not finite"
    return (
        f"The loss is not finite after step {step:,} and {_MAX_RETRIES} retries at lower learning rates. "
        f"Non-finite gradients at: {where}. Check these genes and cells (scribe expects raw counts), try "
        'enable_x64=True, or lower the rate: optimizer_config={"name": "adam", "step_size": 1e-3}.'
    )
