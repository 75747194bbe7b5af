"""Markov chain Monte Carlo: the No-U-Turn sampler on the same model and the same sparse likelihood as every engine."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.util import log_density

from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._device import on_device
from scribe._model.build import build, data_for
from scribe._model.checks import require_whole
from scribe._model.initial import start as start_of
from scribe._model.spec import ModelSpec
from scribe._progress import Progress, progress
from scribe._types import AnyArray, Array, FloatArray, Key, Params
from scribe.engines.chains import ChainDiagnostics, judge
from scribe.engines.contract import Engine, Fitted, Points, Task
from scribe.engines.loop import NonFiniteError
from scribe.engines.relabel import exchangeable, relabel
from scribe.engines.ridges import Preconditioner, precondition, ridges_of
from scribe.guides.draws import DRAWS, Draws
from scribe.priors import LATENT_SUFFIX

__all__ = ["NUTS"]

_CHUNK = 25
"""Most iterations per call of the compiled loop, after which the progress bar moveS."""

_JITTER = 0.1
"""Standard deviation of the noise that sets points apart where nothing is known of the posterior."""

_NEAR = 20
"""Points around the moments of the data that the first mass matrix is taken from."""

_STATISTICS = ("diverging", "num_steps", "accept_prob", "energy", "potential_energy")
"""What is kept of every iteration, by numpyro's names."""


@dataclass(frozen=True)
class NUTS(Engine):
    """Draw from the posterior by the No-U-Turn sampler, with step size and diagonal mass matrix adapted.

    All models are sampled on the real line, and every draw reads all counts, at the cost of their non-zeros.

    Parameters
    ----------
    n_samples
        Draws per chain that are kept.
    n_warmup
        Iterations per chain before them, in which the sampler is adapted.
    n_chains
        Number of chains; on a CPU they share the cores, on an accelerator they are one computation.
    target_accept
        Acceptance probability that the step size is adapted to. Closer to 1 makes steps shorter, and divergences rarer.
    max_tree_depth
        A trajectory has at most 2**max_tree_depth - 1 steps.
    """

    name = "mcmc"
    double = True
    verdict = ChainDiagnostics

    n_samples: int = 2_000
    _: KW_ONLY
    n_warmup: int = 1_000
    n_chains: int = 1
    target_accept: float = 0.8
    max_tree_depth: int = 10

    def __post_init__(self) -> None:
        for name, least in (("n_samples", 1), ("n_warmup", 0), ("n_chains", 1), ("max_tree_depth", 1)):
            require_whole(name, vars(self)[name], least)
        if not 0 < self.target_accept < 1:
            msg = f"target_accept must be between 0 and 1, got {self.target_accept!r}."
            raise ValueError(msg)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Engine of the keywords of its group."""
        return cls(options["n_samples"], n_warmup=options["n_warmup"], n_chains=options["n_chains"])

    def fit(self, task: Task, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Sample the posterior.

        Where a task has draws ``near`` it, chains start at the first ones, and the sampler's sense of scale is theirs;
        otherwise all is taken from moments of the data.
        """
        if start is not None:
            msg = "Chains are not continued: pass draws of an earlier fit as those near the posterior."
            raise ValueError(msg)
        spec, counts, design, near = task.spec, task.counts, task.design, task.near
        setting = _Setting.current()
        with setting():
            moments = start_of(spec, counts, design, seed=seed)
            points = _points(spec, counts, [moments.values] * _NEAR if near is None else near, seed=seed)
            ridges = ridges_of(moments.ridges, points)
            data = data_for(spec, counts, design, totals_suffice=spec.totals_suffice)
            together = _together(setting)
            settings = (self.n_warmup, self.target_accept, self.max_tree_depth)
            shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((points, data)))
            compiled = _compile(_Kind(spec, counts.n_genes, *settings, together, shapes))
            preconditioner = compiled.preconditioner(points, ridges, data)
            mixture = spec if exchangeable(spec, design) else None
            run = _Run(self, compiled, preconditioner, data, setting, together=together, mixture=mixture)
            return run.run(points, seed=seed)


def _together(setting: _Setting) -> bool:
    """Whether all chains are one computation: where more numbers at a time cost nothing. They wait for the longest."""
    return setting.device.platform != "cpu"


def _points(spec: ModelSpec, counts: Counts, near: Points, *, seed: int) -> Params:
    """All latents at every point, (points, ...). Those of which the points say nothing, all equal, are set apart."""
    lengths = {**spec.lengths, "gene": counts.n_genes, "cell": counts.n_cells}
    starts, rng = [spec.start(values) for values in near], np.random.default_rng(seed)
    points = {}
    for latent in spec.latents:
        shape = tuple(lengths[axis] for axis in latent.axes)
        value = np.stack([np.broadcast_to(one[latent.name], shape) for one in starts])
        noise = _JITTER * rng.standard_normal(value.shape)
        points[latent.name] = on_device(value + np.where(np.ptp(value, axis=0) > 0, 0.0, noise))
    return points


@dataclass(frozen=True)
class _Kind:
    """What determines the compiled functions; shapes are part of it, as in the problems of other engines."""

    spec: ModelSpec
    n_genes: int
    n_warmup: int
    target_accept: float
    max_tree_depth: int
    together: bool
    shapes: tuple[tuple[tuple[int, ...], str], ...]


class _Compiled(NamedTuple):
    """Compiled functions of one kind of problem.

    ``preconditioner`` finds the space to sample in. ``begin`` makes the state of a chain, ``advance`` runs some
    iterations and returns what it met; of all chains at once where they run together.
    """

    preconditioner: Callable[[Params, Params, CountData], Preconditioner]
    begin: Callable[[Params, Preconditioner, Key, CountData], HMCState]
    advance: Callable[[HMCState, Preconditioner, CountData, int], tuple[HMCState, Params]]


@functools.lru_cache(maxsize=32)
def _compile(kind: _Kind) -> _Compiled:
    """Functions shared by all fits of one kind; the data are their arguments, so that nothing of them is kept."""
    model = build(kind.spec, n_genes=kind.n_genes)

    def potential(preconditioner: Preconditioner | None, data: CountData) -> Callable[[Params], Array]:
        # all latents are real numbers: there is nothing to transform
        return lambda z: -log_density(model, (data,), {}, z if preconditioner is None else preconditioner.latents(z))[0]

    def preconditioner(points: Params, ridges: Params, data: CountData) -> Preconditioner:
        gradient = jax.grad(potential(None, data))
        first = {name: x[0] for name, x in points.items()}
        gradients = jax.lax.map(gradient, points)
        return precondition(points, gradients, ridges, lambda step: jax.jvp(gradient, (first,), (step,))[1])

    first, kernel = hmc(potential_fn_gen=potential, algo="NUTS")

    def begin(z: Params, preconditioner: Preconditioner, key: Key, data: CountData) -> HMCState:
        return first(
            preconditioner.sampled(z),
            kind.n_warmup,
            target_accept_prob=kind.target_accept,
            max_tree_depth=kind.max_tree_depth,
            model_args=(preconditioner, data),
            rng_key=key,
        )

    def kept(state: HMCState, preconditioner: Preconditioner) -> Params:
        statistics = {name: value for name, value in state._asdict().items() if name in _STATISTICS}
        return {**preconditioner.latents(state.z), **statistics}

    def advance(state: HMCState, preconditioner: Preconditioner, data: CountData, n: Array) -> tuple[HMCState, Params]:
        def body(i: Array, carry: tuple[HMCState, Params]) -> tuple[HMCState, Params]:
            state, out = carry
            state = kernel(state, (preconditioner, data))
            return state, {name: out[name].at[i].set(value) for name, value in kept(state, preconditioner).items()}

        empty = {name: jnp.zeros((_CHUNK, *x.shape), x.dtype) for name, x in kept(state, preconditioner).items()}
        return jax.lax.fori_loop(0, n, body, (state, empty))

    if kind.together:
        begin, advance = jax.vmap(begin, in_axes=(0, None, 0, None)), jax.vmap(advance, in_axes=(0, None, None, None))
    return _Compiled(jax.jit(preconditioner), jax.jit(begin), jax.jit(advance))


@dataclass(frozen=True)
class _Run:
    """One run: every chain in a thread of its own, or all in one computation where they run ``together``.

    ``mixture`` is the model where the numbers of its components mean nothing.
    """

    engine: NUTS
    compiled: _Compiled
    preconditioner: Preconditioner
    data: CountData
    setting: _Setting
    together: bool
    mixture: ModelSpec | None

    def run(self, points: Params, *, seed: int) -> Fitted:
        """Warm up and sample."""
        engine = self.engine
        keys = jax.random.split(jax.random.key(seed), engine.n_chains)
        # few points serve many chains in turn
        starts = {name: x[jnp.arange(engine.n_chains) % len(x)] for name, x in points.items()}
        chains: list[Any] = [slice(None)] if self.together else list(range(engine.n_chains))
        states = [
            self.compiled.begin({n: x[chain] for n, x in starts.items()}, self.preconditioner, keys[chain], self.data)
            for chain in chains
        ]
        for state in states:
            _require_finite(state)
        # of no iterations: compiles the loop, once for all threads
        _, empty = self.compiled.advance(states[0], self.preconditioner, self.data, 0)
        # draws in single precision: seven digits, of which any number of draws determines two or three
        types = {name: x.dtype if name in _STATISTICS else np.float32 for name, x in empty.items()}
        shapes = {name: x.shape[1 + self.together :] for name, x in empty.items()}
        kept = {name: np.empty((engine.n_chains, engine.n_samples, *shapes[name]), types[name]) for name in empty}
        with progress(engine.n_chains * (engine.n_warmup + engine.n_samples), desc="NUTS", unit="draw") as bar:
            monitor = _Monitor(bar, threading.Lock(), threading.Event())
            jobs = [
                functools.partial(self._chain, state, {name: x[chain] for name, x in kept.items()}, monitor)
                for state, chain in zip(states, chains, strict=True)
            ]
            step_size = np.concatenate(_in_threads(jobs, self.setting, monitor.stop))
        statistics = {name: kept.pop(name) for name in _STATISTICS}
        kept, relabelled = (kept, 0) if self.mixture is None else relabel(self.mixture, kept, self.data.known)
        verdict = judge(
            kept, statistics, step_size=step_size, max_tree_depth=engine.max_tree_depth, relabelled=relabelled
        )
        params = {name + DRAWS: np.moveaxis(x.reshape(-1, *x.shape[2:]), 0, -1).copy() for name, x in kept.items()}
        return Fitted(Draws(engine.n_chains), params, verdict, {"mcmc": statistics}, seed)

    def _chain(self, state: HMCState, kept: Mapping[str, AnyArray], monitor: _Monitor) -> FloatArray:
        """Run one chain, or all of them together, into arrays that begin with the draws; returns the step sizes."""
        n_warmup, done = self.engine.n_warmup, 0
        n_chains = self.engine.n_chains if self.together else 1
        while done < n_warmup + self.engine.n_samples and not monitor.stop.is_set():
            limit = n_warmup if done < n_warmup else n_warmup + self.engine.n_samples
            n = min(_CHUNK, limit - done)
            state, out = self.compiled.advance(state, self.preconditioner, self.data, n)
            met = {name: np.asarray(value) for name, value in out.items()}
            for name, value in met.items():
                if done >= n_warmup and self.together:
                    kept[name][:, done - n_warmup : done - n_warmup + n] = value[:, :n]
                elif done >= n_warmup:
                    kept[name][done - n_warmup : done - n_warmup + n] = value[:n]
            done += n
            monitor.tell(n * n_chains, int(met["diverging"].sum()) if done > n_warmup else 0)
        return np.atleast_1d(np.asarray(state.adapt_state.step_size))


@dataclass
class _Monitor:
    """What the threads share: the progress bar, and whether to stop early because one failed."""

    bar: Progress
    lock: threading.Lock
    stop: threading.Event
    divergences: int = 0

    def tell(self, n: int, divergences: int) -> None:
        """Note that some iterations were made."""
        with self.lock:
            self.divergences += divergences
            self.bar.update(n, divergences=str(self.divergences))


def _in_threads(jobs: Sequence[Callable[[], FloatArray]], setting: _Setting, stop: threading.Event) -> list[FloatArray]:
    """Run jobs side by side on the cores."""

    def run(job: Callable[[], FloatArray]) -> FloatArray:
        with setting():
            return job()

    with ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        finally:
            stop.set()


@dataclass(frozen=True)
class _Setting:
    """Precision and device; what is compiled in one thread serves another one only under an equal setting."""

    x64: bool
    device: jax.Device

    @classmethod
    def current(cls) -> _Setting:
        """Setting of this thread."""
        here = jnp.zeros(())
        return cls(here.dtype == np.float64, next(iter(here.devices())))

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Put this thread under the setting."""
        with jax.enable_x64(self.x64), jax.default_device(self.device):
            yield


def _require_finite(state: HMCState) -> None:
    """Raise where the log-density or its gradient is not finite at the start of a chain."""
    bad = [name.removesuffix(LATENT_SUFFIX) for name, x in state.z_grad.items() if not np.all(np.isfinite(x))]
    if bad or not np.all(np.isfinite(state.potential_energy)):
        msg = (
            f"The log-density is not finite where a chain starts{', sites ' * bool(bad)}{', '.join(map(repr, bad))}. "
            "Check the counts (scribe expects raw ones), or start from a fit by SVI: svi_init=results."
        )
        raise NonFiniteError(msg)
