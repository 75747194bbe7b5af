"""Whether a fit whose loss stands still is at its minimum: steps at other rates from where it ended.

A rate that is too low hardly moves the loss, one that is too high keeps it above the minimum, and both look like an
end. A probe makes steps of Adam at rates from high to low. Both ends are compared at the same draws, so that the noise
of the loss cancels.
"""

from __future__ import annotations

import jax
import numpy as np

from scribe._types import FloatArray, Key, Params
from scribe.engines.convergence import Remaining
from scribe.engines.optimizers import Optimizer
from scribe.engines.problem import Problem

__all__ = ["probe"]

_RATES, _STEPS = (0.003, 0.001, 0.0003, 0.0001), 40
"""Learning rates, and steps at each; with minibatches no fewer than an epoch.

At higher rates the steps of thousands of parameters would raise the loss by more than they gain.
"""

_ROUNDS, _FEWEST_DRAWS = 16, 8
"""Most rounds of draws at which losses are compared, and draws from which their error is known."""

_MOST_NON_ZEROS = 3_000_000
"""Non-zeros up to which a probe of a fit by minibatches is one over all cells, whose noise hides nothing."""

_MORE = 3.0
"""What a long run gains over what a probe does."""


def probe(problem: Problem, params: Params, key: Key, *, most_left: float) -> tuple[Remaining, Params]:
    """Estimate what is left to gain at some parameters, and the parameters where the probe ends.

    Losses are compared at so many draws that the error is small against ``most_left`` nats, if that can be had.
    """
    batched, problem = problem.batches is not None, problem.over_all_cells(most=_MOST_NON_ZEROS)
    trial, n = problem.with_optimizer(Optimizer()), max(_STEPS, problem.epoch)
    state = trial.initial_state(params)
    for number, rate in enumerate(_RATES):
        state, _ = trial.steps(state, jax.random.fold_in(key, number), first=0, n=n, rate=rate)
    every = " over all cells" if batched and problem.batches is None else ""
    found_by, error = f"a probe of {n * len(_RATES):,} steps{every} at other rates", np.inf
    gains: list[FloatArray] = []
    if all(np.array_equal(params[name], value) for name, value in state.params.items()):
        # gradients that are not finite stop a fit as a minimum does
        return Remaining(np.inf, np.inf, found_by), params
    while len(gains) < _ROUNDS and 2.0 * error > 0.5 * most_left:
        with np.errstate(invalid="ignore"):
            gains.append(problem.losses(params, len(gains)) - problem.losses(state.params, len(gains)))
        error = _error(np.concatenate(gains))
    if not np.isfinite(error):
        # nothing is known of an end that cannot be evaluated
        return Remaining(np.inf, np.inf, found_by), params
    return Remaining(_MORE * float(np.concatenate(gains).sum(axis=1).mean()), error, found_by), state.params


def _error(gains: FloatArray) -> float:
    """Standard error of the mean of gains (draws, parts), from draws where there are enough, else from parts."""
    n_draws, n_parts = gains.shape
    if n_draws >= _FEWEST_DRAWS or n_parts == 1:
        return float(np.std(gains.sum(axis=1), ddof=1) / np.sqrt(n_draws))
    return float(np.std(gains.mean(axis=0)) * np.sqrt(n_parts))
