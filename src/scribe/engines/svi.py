"""Stochastic variational inference: gradient steps on the evidence lower bound until it stops improving."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from scribe._counts.interpolation import n_nodes
from scribe._model.checks import require_whole
from scribe._settings import settings
from scribe._types import FloatArray, Key, Params
from scribe.engines.checkpoints import of_data
from scribe.engines.contract import Engine, Fitted, State, Task
from scribe.engines.convergence import RATES, EarlyStopping, Remaining, Verdict
from scribe.engines.diagnosis import where_not_finite
from scribe.engines.loop import Loop
from scribe.engines.optimizers import Optimizer
from scribe.engines.probe import probe
from scribe.engines.problem import Problem, make_problem
from scribe.engines.sweeps import suit, sweep

__all__ = ["SVI", "Elbo"]

_log = logging.getLogger("scribe")

_DEAR = 2**21
"""Elements of the likelihood, non-zeros and genes at nodes, from which on a fit of thousands of steps takes minutes."""
_MOST_SWEEPS = 50


@dataclass(frozen=True)
class SVI(Engine):
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

    name = "svi"
    continues = True
    verdict = Verdict

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

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Engine of the keywords of its group."""
        return cls(
            n_steps=options["n_steps"],
            batch_size=options["batch_size"] if options["batch_size"] is not None else settings.batch_size,
            optimizer=Optimizer.from_config(options["optimizer_config"]),
            early_stopping=EarlyStopping.from_config(options["early_stopping"], restore_best=options["restore_best"]),
            stable_update=options["stable_update"],
            log_progress_lines=options["log_progress_lines"],
            checkpoint_dir=options["checkpoint_dir"],
            n_restarts=options["n_restarts"],
        )

    def fit(self, task: Task, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit the guide of a task; ``start`` continues an earlier fit."""
        if start is not None and self.n_restarts > 1:
            msg = f"n_restarts={self.n_restarts} starts anew, but an earlier fit is to be continued: leave it out."
            raise ValueError(msg)
        swept = self._swept(task, seed) if start is None else None
        if swept is not None:
            return swept
        problem = functools.partial(
            make_problem,
            task.spec,
            task.counts,
            task.guide,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            stable_update=self.stable_update,
            design=task.design,
        )
        if self.n_restarts > 1:
            return self._best(problem, seed)
        begun = problem(seed=seed)
        if start is not None:
            begun = replace(begun, start=begun.from_cells(dict(start.params)))
        return self._run(begun, seed, start)

    def _run(self, problem: Problem, seed: int, start: Fitted | None = None) -> Fitted:
        """One run of the loop."""
        loop = Loop(
            Elbo(problem, self.batch_size),
            seed,
            n_steps=self.n_steps,
            early_stopping=self.early_stopping,
            first_rate=self.optimizer.initial_step(float(problem.counts.totals.sum())),
            adaptive=self.optimizer.adaptive,
            stable=self.stable_update,
            checkpoint_dir=self.checkpoint_dir,
            level=self.level if self.log_progress_lines else None,
        )
        ended = loop.run(start)
        return Fitted(problem.guide, ended.params, ended.verdict, {"loss": ended.losses}, seed)

    def _swept(self, task: Task, seed: int) -> Fitted | None:
        """A fit by sweeps where gradients are dear, unless the settings say how steps are to be made."""
        counts = task.counts
        free = (
            self.batch_size is None
            and self.n_restarts == 1
            and self.checkpoint_dir is None
            and (self.optimizer, self.early_stopping) == (Optimizer(), EarlyStopping())
        )
        dear = counts.nnz + n_nodes(np.dtype(np.float32)) * counts.n_genes >= _DEAR
        if not (free and dear and suit(task.spec, task.guide)):
            return None
        found = sweep(task.spec, counts, most=min(self.n_steps, _MOST_SWEEPS), level=self.level)
        if found is None:
            return None
        (losses, remaining), n = found[1:], len(found.losses)
        reason = f"after {n} sweeps of Newton steps; by {remaining.found_by} {remaining.nats:.2g} nats are left"
        rate = self.optimizer.initial_step(float(counts.totals.sum())) * RATES[-1]
        slope, loss = float(losses[-1] - losses[max(n - 2, 0)]), float(losses[-1])
        converged = remaining.negligible(float(losses[0]) - loss)
        verdict = Verdict(converged, reason, n, loss, slope, 0, rate, remaining.nats)
        return Fitted(task.guide, found.params, verdict, {"loss": losses}, seed)

    @property
    def level(self) -> int:
        """Level at which lines on progress are logged: where they were asked for, shown whatever the verbosity."""
        return max(logging.INFO, _log.getEffectiveLevel()) if self.log_progress_lines else logging.DEBUG

    def _best(self, problem: Callable[..., Problem], seed: int) -> Fitted:
        """The best of several runs; it records the losses with which all of them ended."""
        fits, losses = [], []
        for number in range(self.n_restarts):
            directory = None if self.checkpoint_dir is None else Path(self.checkpoint_dir) / f"run_{number}"
            one = replace(self, checkpoint_dir=directory)
            fits.append(one._run(problem(seed=seed + number, restart=number > 0), seed + number))
            losses.append(float(np.nan_to_num(vars(fits[-1].verdict)["loss"], nan=np.inf)))
            _log.info("run %d of %d: ELBO %.7g", number + 1, self.n_restarts, -losses[-1])
        best, behind = fits[int(np.argmin(losses))], np.sort(losses)[1:] - min(losses)
        spread = (
            f"best of {len(fits)} runs, the ELBO of the others is lower by {behind[0]:.3g} to {behind[-1]:.3g} nats"
        )
        verdict = replace(best.verdict, reason=f"{best.verdict.reason}; {spread}")
        return replace(best, verdict=verdict, history={**best.history, "restart_losses": np.asarray(losses)})


@dataclass(frozen=True)
class Elbo:
    """The negative evidence lower bound of a guide, by stochastic gradients: an objective of the loop."""

    problem: Problem
    batch_size: int | None = None

    @property
    def epoch(self) -> int:
        """That of the minibatches."""
        return self.problem.epoch

    @property
    def goes_on(self) -> bool:
        """Without minibatches: what a probe over all cells finds, they would lose again."""
        return self.problem.batches is None

    def begin(self, params: Params | None = None) -> State:
        """Parameters and an optimiser without memories."""
        return self.problem.initial_state(params)

    def steps(self, state: State, key: Key, *, first: int, n: int, rate: float) -> tuple[State, FloatArray]:
        """Steps of the optimiser, each with draws of its own."""
        return self.problem.steps(state, key, first=first, n=n, rate=rate)

    def is_finite(self, state: State) -> bool:
        """Whether all parameters are."""
        return self.problem.is_finite(state)

    def loss(self, params: Params) -> float | None:
        """Over all cells, where steps are made on minibatches."""
        return self.problem.loss(params)

    def remaining(self, params: Params, key: Key, *, most_left: float) -> tuple[Remaining, Params]:
        """By a probe at other rates."""
        return probe(self.problem, params, key, most_left=most_left)

    def where_not_finite(self, params: Params, key: Key, *, step: int) -> str:
        """The site, the gene and the cell."""
        return where_not_finite(self.problem, params, key, step=step)

    def lower(self, rate: float) -> str:
        """The keyword of the optimiser."""
        return f'lower the rate: optimizer_config={{"name": {self.problem.optimizer.name!r}, "step_size": {rate:.1g}}}'

    def fingerprint(self) -> dict[str, Any]:
        """Model, guide, optimiser and data."""
        problem = self.problem
        return {
            **of_data(problem.spec, problem.counts, problem.design),
            "guide": problem.guide.to_json(),
            "optimizer": repr(problem.optimizer),
            "batch_size": self.batch_size if problem.batches is not None else None,
            "shapes": {name: list(value.shape) for name, value in problem.start.items()},
        }

    def finish(self, params: Params) -> Params:
        """One row per cell, and what the guide adds for its draws."""
        return self.problem.per_cell(params)
