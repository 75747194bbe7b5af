"""What an engine optimises: a model, a guide and data, with the loss compiled once per kind of problem."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import TraceMeanField_ELBO

from scribe._counts.batches import CellBatches
from scribe._counts.container import Counts
from scribe._counts.data import CountData, full_data
from scribe._model.build import build
from scribe._model.initial import start_values
from scribe._model.spec import ModelSpec
from scribe._types import Array, IntArray, Key, Params
from scribe.engines.optimizers import Optimizer
from scribe.guides import Guide, latent_sites
from scribe.priors import LATENT_SUFFIX, latent_name

__all__ = ["Problem", "State", "make_problem"]


class State(NamedTuple):
    """What the next step needs: trainable arrays and the optimiser's memory."""

    params: Params
    memory: Any


@dataclass(frozen=True)
class _Kind:
    """What determines the compiled loss, apart from shapes."""

    spec_json: str
    n_genes: int
    guide: Guide
    optimizer: Optimizer
    stable_update: bool


@dataclass(frozen=True)
class Problem:
    """A fit about to be run.

    ``data`` is the whole data set, or its part that all minibatches share; ``batches`` draws minibatches, or is None;
    ``groups`` maps cells to the rows of the per-cell parameters.
    """

    spec: ModelSpec
    counts: Counts
    data: CountData
    batches: CellBatches | None
    groups: IntArray | None
    start: Params
    advance: Callable[..., tuple[State, Array]]
    loss_and_gradient: Callable[[Params, Key, CountData], tuple[Array, Params]]
    optimizer: Optimizer

    def initial_state(self) -> State:
        """State before the first step."""
        return State(self.start, self.optimizer.transformation().init(self.start))

    def steps(self, state: State, key: Key, *, first: int, n: int, rate: float) -> tuple[State, Array]:
        """Run ``n`` steps starting at step number ``first``; keys depend on the step number alone."""
        numbers = jnp.arange(first, first + n)
        batches = None if self.batches is None else self.batches.draw(first, n)
        rate_array = jnp.asarray(rate, jnp.zeros(()).dtype)
        return self.advance(state, self.data, batches, key=key, numbers=numbers, rate=rate_array)

    def example(self, number: int) -> CountData:
        """Data of step ``number``."""
        if self.batches is None:
            return self.data
        batch = jax.tree.map(lambda x: x[0], self.batches.draw(number, 1))
        return batch.join(self.data)

    def _is_cell(self, name: str) -> bool:
        return any(name.startswith(latent_name(s.name)) for s in self.spec.sites if s.axes == ("cell",))

    def per_cell(self, params: Params) -> Params:
        """Expand rows shared by a group of cells to one row per cell."""
        if self.groups is None:
            return params
        return {name: v[self.groups] if self._is_cell(name) else v for name, v in params.items()}

    def from_cells(self, params: Params) -> Params:
        """Undo `per_cell`: of every group, the row of its first cell."""
        if self.groups is None:
            return params
        first = _first_of_groups(self.groups)
        return {name: v[first] if self._is_cell(name) else v for name, v in params.items()}

    def place(self, name: str, flat: int, *, n_bad: int) -> str:
        """Describe an element of a trainable array by its site and gene or cell."""
        site = name.partition(LATENT_SUFFIX)[0]
        cells, genes = self.counts.cell_names, self.counts.gene_names
        if self._is_cell(name):
            row = flat if self.groups is None else int(_first_of_groups(self.groups)[flat])
            what = f"cell {row if cells is None else cells[row]!r}"
        elif self.start[name].ndim:
            what = f"gene {flat if genes is None else genes[flat]!r}"
        else:
            return f"site {site!r}"
        return f"site {site!r}, {what}" + (f" and {n_bad - 1:,} more" if n_bad > 1 else "")


def _first_of_groups(groups: IntArray) -> IntArray:
    return np.unique(groups, return_index=True)[1]


@functools.lru_cache(maxsize=32)
def _compiled(kind: _Kind, traced: tuple[Any, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled chunk of steps and gradient of the loss, shared by all fits of one kind."""
    spec = ModelSpec.from_json(kind.spec_json)
    model = build(spec, n_genes=kind.n_genes)
    guide = kind.guide.build(traced)
    elbo = TraceMeanField_ELBO()
    transformation = kind.optimizer.transformation()

    def loss(params: Params, key: Key, data: CountData) -> Array:
        value: Array = elbo.loss(key, params, model, guide, data)
        return value

    gradient = jax.value_and_grad(loss)

    def step(state: State, data: CountData, key: Key, rate: Array) -> tuple[State, Array]:
        value, grads = gradient(state.params, key, data)
        direction, memory = transformation.update(grads, state.memory, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        new = State(params, memory)
        if kind.stable_update:
            finite = jnp.isfinite(value) & jnp.isfinite(optax.global_norm(grads))
            new = jax.tree.map(functools.partial(jnp.where, finite), new, state)
        return new, value

    def advance(
        state: State, data: CountData, batches: Any, *, key: Key, numbers: Array, rate: Array
    ) -> tuple[State, Array]:
        def body(state: State, xs: tuple[Array, Any]) -> tuple[State, Array]:
            number, batch = xs
            here = data if batch is None else batch.join(data)
            return step(state, here, jax.random.fold_in(key, number), rate)

        return jax.lax.scan(body, state, (numbers, batches))

    return jax.jit(advance), jax.jit(gradient)


def _unset(*_: Any) -> Any:
    msg = "The problem has no compiled steps yet."
    raise RuntimeError(msg)


def make_problem(
    spec: ModelSpec,
    counts: Counts,
    *,
    guide: Guide,
    optimizer: Optimizer,
    batch_size: int | None,
    stable_update: bool,
    seed: int,
) -> Problem:
    """Put the data on the device, find the starting values and the compiled steps."""
    batched = batch_size is not None and batch_size < counts.n_cells
    group = spec.totals_suffice and spec.family.captured and not batched
    data = full_data(counts, totals_suffice=spec.totals_suffice or batched, group=group)
    batches = CellBatches.of(counts, batch_size, totals_suffice=spec.totals_suffice, seed=seed) if batched else None
    start = start_values(spec, counts)
    groups = counts.groups().index if group else None
    if groups is not None and spec.capture_site is not None:
        start[spec.capture_site] = start[spec.capture_site][_first_of_groups(groups)]
    problem = Problem(spec, counts, data, batches, groups, {}, _unset, _unset, optimizer)
    sites = latent_sites(build(spec, n_genes=counts.n_genes), problem.example(0))
    n_rows = counts.n_cells if groups is None else data.cells.totals.shape[0]
    named = {latent_name(name): value for name, value in start.items()}
    kind = _Kind(spec.to_json(), counts.n_genes, guide, optimizer, stable_update)
    advance, gradient = _compiled(kind, sites)
    params = guide.init(sites, named, n_cells=n_rows)
    return replace(problem, start=params, advance=advance, loss_and_gradient=gradient)
