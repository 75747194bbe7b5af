"""The posterior mode by gradient steps with momentum: what a new engine that optimises has to write."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.util import log_density

from scribe._counts.data import CountData
from scribe._model.build import build, data_for
from scribe._model.initial import start as start_of
from scribe._types import FloatArray, Key, Params
from scribe.engines import Engine, Fitted, Task, Verdict
from scribe.engines.checkpoints import of_data
from scribe.engines.contract import State
from scribe.engines.convergence import EarlyStopping, Remaining
from scribe.engines.loop import Loop
from scribe.guides import LOC, MeanField

__all__ = ["Mode"]

_SCALE = 0.05


@dataclass(frozen=True)
class Mode(Engine):
    """Go to the posterior mode, and say that everything is known to five per cent of a unit."""

    name = "mode"
    continues = True
    verdict = Verdict

    n_steps: int = 2_500
    checkpoint_dir: str | Path | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """It has no keywords."""
        return cls()

    def fit(self, task: Task, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Run the loop."""
        loop = Loop(
            _Joint(task, {} if start is None else dict(start.params)),
            seed,
            n_steps=self.n_steps,
            early_stopping=EarlyStopping(patience=100, warmup=100, check_every=50, checkpoint_every=100),
            first_rate=3e-3,
            checkpoint_dir=self.checkpoint_dir,
        )
        ended = loop.run(start)
        return Fitted(MeanField(), ended.params, ended.verdict, {"loss": ended.losses}, seed)


@dataclass(frozen=True)
class _Joint:
    """Minus the joint log-density of counts and latents; the memory of a state are velocities and the steps so far."""

    task: Task
    earlier: Params

    epoch = 1
    goes_on = True

    @functools.cached_property
    def data(self) -> CountData:
        """Counts on the device."""
        spec = self.task.spec
        return data_for(spec, self.task.counts, self.task.design, totals_suffice=spec.totals_suffice)

    @functools.cached_property
    def gradient(self) -> Any:
        """Loss and slopes."""
        model = build(self.task.spec, n_genes=self.task.counts.n_genes)
        return jax.jit(jax.value_and_grad(lambda z, data: -log_density(model, (data,), {}, z)[0]))

    def begin(self, params: Params | None = None) -> State:
        """At rest, at the moments of the data."""
        if params is None and self.earlier:
            params = {latent.name: self.earlier[latent.name + LOC] for latent in self.task.spec.latents}
        if params is None:
            values = start_of(self.task.spec, self.task.counts, self.task.design).values
            params = {n: jnp.asarray(x, jnp.zeros(()).dtype) for n, x in self.task.spec.start(values).items()}
        return State(params, (jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)))

    def steps(self, state: State, key: Key, *, first: int, n: int, rate: float) -> tuple[State, FloatArray]:
        """One after the other, of bounded length."""
        losses = []
        for _ in range(n):
            loss, slopes = self.gradient(state.params, self.data)
            velocity, count = state.memory
            velocity = jax.tree.map(lambda v, g: 0.8 * v - rate * jnp.clip(g, -20.0, 20.0), velocity, slopes)
            state = State(jax.tree.map(jnp.add, state.params, velocity), (velocity, count + 1))
            losses.append(float(loss))
        return state, np.asarray(losses)

    def is_finite(self, state: State) -> bool:
        """Whether all latents are."""
        return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state.params))

    def loss(self, params: Params) -> None:
        """The losses of steps have no noise."""

    def remaining(self, params: Params, key: Key, *, most_left: float) -> tuple[Remaining, Params]:
        """What further steps gain."""
        state, losses = self.steps(self.begin(params), key, first=0, n=50, rate=1e-3)
        return Remaining(3.0 * (losses[0] - losses[-1]), 0.0, "50 steps more"), state.params

    def where_not_finite(self, params: Params, key: Key, *, step: int) -> str:
        """It is not looked for."""
        return "somewhere"

    def lower(self, rate: float) -> str:
        """There is no keyword."""
        return "fit by SVI"

    def fingerprint(self) -> dict[str, Any]:
        """Model and data."""
        return of_data(self.task.spec, self.task.counts, self.task.design)

    def finish(self, params: Params) -> Params:
        """Locations and scales."""
        out = {name + LOC: x for name, x in params.items()}
        return out | {name + "_log_scale": jnp.full_like(x, np.log(_SCALE)) for name, x in params.items()}
