"""What an engine optimises: a model, a guide and data, with the loss compiled once per kind of problem."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey
from numpyro.infer import Trace_ELBO

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import CountData, padded_length
from scribe._counts.design import NO_DESIGN, Design
from scribe._device import on_device
from scribe._model.build import build, columns_for, data_for
from scribe._model.initial import start as start_of
from scribe._model.spec import ModelSpec
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key, Params
from scribe.engines.contract import State
from scribe.engines.optimizers import Optimizer
from scribe.engines.ridges import along
from scribe.guides import LOC, Guide, roles
from scribe.priors import Latent, latent_name

__all__ = ["Problem", "make_problem"]

_GROUP_BELOW = 0.8
"""Cells are grouped by their totals where that leaves fewer than this share of them."""

_MOST_FOR_CELLS = 0.1
"""Largest rate that `_rate_of_cells` raises a lower one to."""

_CHUNK = 100
"""Most steps per call of the compiled loop."""

_DRAWS = 32
"""Draws at which losses over all cells are compared."""

_BATCH_BYTES = 2**26
"""Most memory for the minibatches of one call."""


_DEFAULT_OPTIMIZER = Optimizer()


@dataclass(frozen=True)
class _Kind:
    """What determines the compiled functions.

    Shapes are part of it, so that functions compiled for shapes no longer met are dropped with their kind: JAX keeps
    them as long as the function lives, and a process that fits hundreds of data sets would run out of memory maps.
    """

    spec: ModelSpec
    n_genes: int
    guide: Guide
    optimizer: Optimizer
    stable_update: bool
    shapes: tuple[tuple[tuple[int, ...], str], ...]


class _Compiled(NamedTuple):
    """Compiled functions of one kind of problem.

    ``begin`` makes the first state, ``is_finite`` tells whether one is usable, ``advance`` runs a chunk of steps,
    ``losses`` evaluates minibatches, ``loss_and_gradient`` the data at hand.
    """

    begin: Callable[[Params, Params], State]
    is_finite: Callable[[Params], Array]
    advance: Callable[..., tuple[State, Array]]
    losses: Callable[[Params, Key, CountData, Any], Array]
    loss_and_gradient: Callable[[Params, Key, CountData], tuple[Array, Params]]


@dataclass(frozen=True)
class Problem:
    """A fit about to be run.

    ``data`` is the whole data set, or its part that all minibatches share; ``batches`` draws minibatches, or is None;
    ``groups`` maps cells to the rows of the per-cell parameters and ``first`` rows to their first cell (the last row
    repeats as padding), where cells share rows; ``ridges`` are directions in which arrays move
    together, each with an optimiser's memory of its own: along them the likelihood is nearly flat, and steps of single
    elements are slow; ``chunk`` is the number of steps per compiled call.
    """

    spec: ModelSpec
    counts: Counts
    guide: Guide
    optimizer: Optimizer
    data: CountData
    batches: CellBatches | None
    groups: IntArray | None
    first: IntArray | None
    start: Params
    ridges: Params
    kind: _Kind
    chunk: int
    design: Design

    @property
    def compiled(self) -> _Compiled:
        """Functions shared by all fits of one kind."""
        return _compile(self.kind)

    def with_optimizer(self, optimizer: Optimizer) -> Problem:
        """Return the same problem, optimised in another way."""
        return replace(self, optimizer=optimizer, kind=replace(self.kind, optimizer=replace(optimizer, step_size=None)))

    def over_all_cells(self, *, most: int) -> Problem:
        """Return the same problem without minibatches, where no more than so many non-zeros are to be held for it."""
        if self.batches is None or self.counts.nnz > most:
            return self
        data = data_for(self.spec, self.counts, self.design, totals_suffice=self.spec.totals_suffice)
        data = data._replace(cells=data.cells._replace(rows=self.data.cells.rows))
        kind = replace(self.kind, shapes=_shapes(self.start, data, data))
        return replace(self, data=data, batches=None, kind=kind, chunk=_CHUNK)

    def initial_state(self, params: Params | None = None) -> State:
        """State before the first step, from the start or from given parameters."""
        return self.compiled.begin(self.start if params is None else params, self.ridges)

    def is_finite(self, state: State) -> bool:
        """Whether all trainable arrays of a state are finite."""
        return bool(self.compiled.is_finite(state.params))

    def steps(self, state: State, key: Key, *, first: int, n: int, rate: float) -> tuple[State, FloatArray]:
        """Run ``n`` steps starting at step number ``first``; keys and batches depend on the step number alone."""
        losses = [np.zeros(0)]
        for start in range(first, first + n, self.chunk):
            here = min(self.chunk, first + n - start)
            batches = None if self.batches is None else self.batches.draw(start, self.chunk)
            state, chunk = self.compiled.advance(
                state, self.data, batches, ridges=self.ridges, key=key, first=start, n=here, rate=rate, size=self.chunk
            )
            losses.append(np.asarray(chunk, np.float64)[:here])
        return state, np.concatenate(losses)

    @property
    def epoch(self) -> int:
        """Steps in which every cell is met once on average."""
        return 1 if self.batches is None else max(self.batches.n_disjoint, 1)

    def losses(self, params: Params, number: int = 0) -> FloatArray:
        """Negative ELBO at draws that are the same in every call with the same ``number``, (draws, parts).

        The sums over parts are losses over all cells: parts are minibatches, which hold every cell once, or the whole.
        """
        key = jax.random.fold_in(jax.random.key(0), number)
        if self.batches is None:
            # steps of length zero leave the parameters where they are
            return self.steps(self.initial_state(params), key, first=0, n=_DRAWS, rate=0.0)[1][:, None]
        parts = []
        for first in range(0, self.epoch, self.chunk):
            some = self.batches.disjoint(first, self.chunk)
            parts.append(np.asarray(self.compiled.losses(params, jax.random.fold_in(key, first), self.data, some)))
        return np.concatenate(parts).astype(np.float64)[None] / self.epoch

    def loss(self, params: Params) -> float | None:
        """Negative ELBO over all cells at the same draws in every call; None without minibatches.

        The loss of a step varies with the cells that it met, far more than it falls towards the end of a fit.
        """
        return None if self.batches is None else float(np.sum(self.losses(params)))

    def loss_and_gradient(self, params: Params, key: Key, data: CountData) -> tuple[Array, Params]:
        """Negative ELBO at one draw from the guide, and its gradient."""
        return self.compiled.loss_and_gradient(params, key, data)

    def example(self, number: int) -> CountData:
        """Data of step ``number``."""
        return _example(self.data, self.batches, number)

    def per_cell(self, params: Params) -> Params:
        """Arrays with which a fit ends: those of cells with one row per cell, and what the guide adds for its draws."""
        rows = params if self.groups is None else self._take(self.groups, params)
        return self.guide.finalise(rows, latents=self.spec.latents, counts=self.counts)

    def from_cells(self, params: Params) -> Params:
        """Undo `per_cell`: the trainable arrays, and of every group the row of its first cell."""
        trainable = {name: params[name] for name in self.start}
        return trainable if self.first is None else self._take(self.first, trainable)

    def _take(self, rows: IntArray, params: Params) -> Params:
        # by numpy, which has nothing to compile
        of_cells = _of_cells(params, self.spec.latents)
        return {n: on_device(np.asarray(v)[rows], v.dtype) if n in of_cells else v for n, v in params.items()}


def _shapes(*trees: Any) -> tuple[tuple[tuple[int, ...], str], ...]:
    return tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(trees))


def _example(data: CountData, batches: CellBatches | None, number: int) -> CountData:
    if batches is None:
        return data
    batch = jax.tree.map(lambda x: x[0], batches.draw(number, 1))
    return batch.join(data)


def _only_rows(new: State, old: State, rows: Array, *, names: frozenset[str]) -> State:
    """Leave cells that were not in the minibatch alone.

    Adam would move them along their old gradients at every step, though nothing new is known of them.
    """

    def choose(path: tuple[Any, ...], after: Array, before: Array) -> Array:
        if any(isinstance(entry, DictKey) and entry.key in names for entry in path):
            return before.at[rows].set(after[rows])
        return after

    return jax.tree_util.tree_map_with_path(choose, new, old)


def _of_cells(params: Params, latents: tuple[Latent, ...]) -> frozenset[str]:
    """Names of the arrays with one row per cell, or group of cells."""
    return frozenset(name for name, role in roles(params, latents).items() if "cell" in role.axes)


def _rate_of_cells(rate: Array, epoch: Array) -> Array:
    """Learning rate of what belongs to single cells, which minibatches meet but once in an epoch of so many steps."""
    return jnp.minimum(rate * jnp.sqrt(epoch), jnp.maximum(rate, _MOST_FOR_CELLS))


def _begin(optimizer: Optimizer, params: Params, ridges: Params) -> State:
    transformation = optimizer.transformation()
    state = State(params, (transformation.init(params), transformation.init(along(ridges, params))))
    # a weak type becomes a strong one in the first step, and the steps would be compiled again
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


def _all_finite(*trees: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trees)]))


def _step(kind: _Kind, gradient: Callable[..., tuple[Array, Params]]) -> Callable[..., tuple[State, Array]]:
    """One step of the optimiser, along every array and along the shared ridges."""
    transformation = kind.optimizer.transformation()

    def step(
        state: State, data: CountData, ridges: Params, *, key: Key, rate: Array, batched: bool
    ) -> tuple[State, Array]:
        value, grads = gradient(state.params, key, data)
        direction, memory = transformation.update(grads, state.memory[0], state.params)
        slopes = along(ridges, grads)
        together, shared_memory = transformation.update(slopes, state.memory[1], jnp.zeros_like(slopes))
        names = _of_cells(state.params, kind.spec.latents)
        rates = dict.fromkeys(names, _rate_of_cells(rate, data.scale) if batched else rate)
        params = {name: p - rates.get(name, rate) * direction[name] for name, p in state.params.items()}
        new = State(params, (memory, shared_memory))
        if batched:
            new = _only_rows(new, state, data.cells.rows, names=names)
        moved = {name: new.params[name] - rate * (ridge @ together) for name, ridge in ridges.items()}
        new = State({**new.params, **moved}, new.memory)
        if kind.stable_update:
            new = jax.tree.map(functools.partial(jnp.where, _all_finite(value, grads)), new, state)
        return new, value

    return step


@functools.lru_cache(maxsize=32)
def _compile(kind: _Kind) -> _Compiled:
    """Functions shared by all fits of one kind; the data are their arguments, so that nothing of them is kept."""
    model = build(kind.spec, n_genes=kind.n_genes)
    guide = kind.guide.build(kind.spec.latents)
    elbo = Trace_ELBO(sum_sites=False)

    def loss(params: Params, key: Key, data: CountData) -> Array:
        # summed in the order of the names: numpyro's own order changes with the hash seed of the process
        sites: dict[str, Array] = elbo.loss(key, params, model, guide, data)
        return jnp.sum(jnp.stack([sites[name] for name in sorted(sites)]))

    gradient = jax.value_and_grad(loss)

    step = _step(kind, gradient)

    def advance(
        state: State,
        data: CountData,
        batches: Any,
        *,
        ridges: Params,
        key: Key,
        first: Array,
        n: Array,
        rate: Array,
        size: int,
    ) -> tuple[State, Array]:
        def body(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, losses = carry
            here = data if batches is None else jax.tree.map(lambda x: x[i], batches).join(data)
            step_key, step_rate = jax.random.fold_in(key, first + i), rate.astype(losses.dtype)
            state, value = step(state, here, ridges, key=step_key, rate=step_rate, batched=batches is not None)
            return state, losses.at[i].set(value)

        empty = jnp.full((size,), jnp.nan, jnp.zeros(()).dtype)
        return jax.lax.fori_loop(0, n, body, (state, empty))

    def losses(params: Params, key: Key, data: CountData, batches: Any) -> Array:
        keys = jax.random.split(key, batches.scale.shape[0])
        return jax.lax.map(lambda one: loss(params, one[0], one[1].join(data)), (keys, batches))

    return _Compiled(
        jax.jit(functools.partial(_begin, kind.optimizer)),
        jax.jit(_all_finite),
        jax.jit(advance, static_argnames="size"),
        jax.jit(losses),
        jax.jit(gradient),
    )


def make_problem(
    spec: ModelSpec,
    counts: Counts,
    guide: Guide,
    *,
    optimizer: Optimizer = _DEFAULT_OPTIMIZER,
    batch_size: int | None = None,
    stable_update: bool = True,
    seed: int = 0,
    restart: bool = False,
    design: Design = NO_DESIGN,
) -> Problem:
    """Put the data on the device, find the starting values and the compiled steps; a ``restart`` starts elsewhere."""
    batched = batch_size is not None and batch_size < counts.n_cells
    many_equal = len(counts.groups().totals) < _GROUP_BELOW * counts.n_cells
    of_cells = any("cell" in known.axes for known in design.known.values())
    if of_cells and guide.by_total:
        msg = (
            "An earlier fit tells cells of equal totals apart, which share their capture in this guide: by_total=False."
        )
        raise ValueError(msg)
    alike = spec.totals_suffice and spec.family.captured and not (batched or spec.levels or of_cells)
    group = alike and (many_equal or guide.by_total)
    groups = counts.groups().index if group or guide.by_total else None
    data = data_for(spec, counts, design, totals_suffice=spec.totals_suffice or batched, group=group)
    if groups is not None and not group:
        data = data._replace(cells=data.cells._replace(rows=on_device(groups, np.int32)))
    batches = None
    if batch_size is not None and batched:
        columns = columns_for(spec, counts, design)
        batches = CellBatches(columns, batch_size, totals_suffice=spec.totals_suffice, seed=seed, design=design)
    first = None if groups is None else _first_of_groups(groups, padded_length(len(counts.groups().totals)))
    start, ridges = start_of(spec, counts, design, seed=seed, restart=restart)
    if first is not None and spec.capture_site is not None and latent_name(spec.capture_site) in ridges:
        start[spec.capture_site] = start[spec.capture_site][first]
        ridges[latent_name(spec.capture_site)] = ridges[latent_name(spec.capture_site)][first]
    example = _example(data, batches, 0)
    lengths = {**spec.lengths, "gene": counts.n_genes, "cell": counts.n_cells if first is None else len(first)}
    totals = counts.totals if first is None else counts.totals[first]
    params = guide.init(spec.latents, spec.start(start), lengths=lengths, totals=totals)
    # the rate is an argument of the compiled steps: fits that differ only in it share them
    any_rate = replace(optimizer, step_size=None)
    kind = _Kind(spec, counts.n_genes, guide, any_rate, stable_update, _shapes(params, example, data))
    # the slope along a direction of all cells is too noisy on a few of them
    moved = {} if batched else _ridges_of_arrays(ridges, params)
    chunk = _CHUNK if batches is None else _batch_chunk(example)
    return Problem(spec, counts, guide, optimizer, data, batches, groups, first, params, moved, kind, chunk, design)


def _ridges_of_arrays(ridges: Mapping[str, AnyArray], params: Params) -> Params:
    """Shared ridges by the arrays that they move, the locations; without those for which a location is lacking."""
    by_array = {latent + LOC: ridge for latent, ridge in ridges.items()}
    lacking = [ridge.reshape(-1, ridge.shape[-1]).any(0) for name, ridge in by_array.items() if name not in params]
    whole = ~np.any(lacking, axis=0) if lacking else slice(None)
    return {name: on_device(ridge[..., whole]) for name, ridge in by_array.items() if name in params}


def _first_of_groups(groups: IntArray, n_rows: int) -> IntArray:
    """First cell of every group, padded with the last of them."""
    first = np.unique(groups, return_index=True)[1]
    return np.pad(first, (0, n_rows - len(first)), mode="edge")


def _batch_chunk(example: CountData) -> int:
    """Steps per call that keep the minibatches of a call small."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((example.cells, example.non_zeros)))
    return int(np.clip(_BATCH_BYTES // size, 1, _CHUNK))
