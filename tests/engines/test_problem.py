"""The compiled problem: grouped cells, one compilation per kind, data as arguments, minibatches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import log_density

from scribe._counts.container import Counts
from scribe._model.build import build
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Optimizer, Task
from scribe.engines import problem as module
from scribe.engines.problem import make_problem
from scribe.guides import MeanField, roles
from scribe.guides.mean_field import LOC

pytestmark = pytest.mark.loose_promotion


def simulated(n_cells=300, n_genes=6, *, seed=0, rate=2.0) -> Counts:
    matrix = np.random.default_rng(seed).poisson(rate, (n_cells, n_genes))
    matrix[:, 0] += 1  # no empty cells
    return Counts.from_matrix(matrix)


def problem_of(counts, model=None, *, batch_size=None, stable_update=True, **options):
    spec = resolve_spec(model, **options)
    return make_problem(spec, counts, MeanField(), batch_size=batch_size, stable_update=stable_update)


@pytest.mark.parametrize("options", [{}, {"parameterization": "mean_odds"}, {"priors": {"organism": "human"}}])
def test_grouped_cells_have_the_density_of_single_ones(options, monkeypatch):
    """Cells of equal totals share their row; the model's log-density is that of all cells one by one."""
    counts = simulated()
    grouped = problem_of(counts, **options)
    monkeypatch.setattr(module, "_GROUP_BELOW", 0.0)
    single = problem_of(counts, **options)
    assert single.groups is None
    assert grouped.data.cells.totals.size < 50

    def density(problem, params):
        model = build(problem.spec, n_genes=counts.n_genes)
        values = {name.removesuffix(LOC): value for name, value in params.items() if name.endswith(LOC)}
        with jax.enable_x64(True):
            of = jax.jit(lambda data, values: log_density(model, (data,), {}, values)[0])
            return of(jax.tree.map(jnp.asarray, problem.data), values)

    rng = np.random.default_rng(1)
    start = jax.tree.map(lambda x: jnp.asarray(x + 0.1 * rng.normal(size=x.shape), x.dtype), grouped.start)
    together, one_by_one = density(grouped, start), density(single, grouped.per_cell(start))
    np.testing.assert_allclose(together, one_by_one, rtol=2e-5)  # float32
    assert grouped.from_cells(grouped.per_cell(start)).keys() == start.keys()
    groups = len(np.unique(counts.totals))
    for name, value in grouped.from_cells(grouped.per_cell(start)).items():
        assert value.shape == start[name].shape
        same = slice(groups if "cell" in roles(start, grouped.spec.latents)[name].axes else None)
        np.testing.assert_array_equal(np.atleast_1d(value)[same], np.atleast_1d(start[name])[same])


def test_a_grouped_fit_agrees_with_an_ungrouped_one(monkeypatch):
    rng = np.random.default_rng(0)
    counts = Counts.from_matrix(rng.poisson(rng.gamma(2.0, 1.5, (300, 6))))
    spec = resolve_spec(parameterization="mean_odds", priors={"capture_efficiency": (np.log(50.0), 0.1)})
    first = SVI().fit(Task(spec, counts, MeanField()), seed=0)
    monkeypatch.setattr(module, "_GROUP_BELOW", 0.0)
    second = SVI().fit(Task(spec, counts, MeanField()), seed=0)
    assert first.verdict.converged
    assert second.verdict.converged
    assert first.verdict.loss == pytest.approx(second.verdict.loss, rel=1e-3)
    for name, value in first.params.items():
        if name.endswith(LOC):
            scale = np.exp(first.params[name.replace(LOC, "_log_scale")])
            assert value.shape == second.params[name].shape
            assert np.abs((value - second.params[name]) / scale).mean() < 0.3, name


@pytest.fixture
def traces(monkeypatch):
    """Number of times a model was traced for the compiled functions."""
    count = [0]

    def counting_build(*args, **kwargs):
        model = build(*args, **kwargs)

        def counted(data):
            count[0] += 1
            return model(data)

        return counted

    module._compile.cache_clear()
    monkeypatch.setattr(module, "build", counting_build)
    yield count
    module._compile.cache_clear()


@pytest.mark.parametrize(("model", "batch_size"), [("nbvcp", None), ("zinbvcp", 32)])
def test_traced_once_however_many_steps_seeds_and_rates(traces, model, batch_size):
    """A schedule of rates, chunks of every length, another seed and data of similar size: one compilation."""
    for seed, rate in ((0, None), (1, 1e-3)):
        engine = SVI(
            n_steps=357,
            batch_size=batch_size,
            optimizer=Optimizer(step_size=rate),
            early_stopping=EarlyStopping(patience=1, warmup=0, enabled=False),
        )
        engine.fit(Task(resolve_spec(model), simulated(), MeanField()), seed=seed)
        if seed == 0:
            once = traces[0]
    assert 1 <= once <= 2, "the loop body, once per number type at most"
    # by minibatches the second, at a fixed rate, comes to rest and is probed over all cells
    assert traces[0] <= once + (batch_size is not None)


def test_data_of_similar_size_share_what_was_compiled(traces):
    """Pairs and groups are padded: other cells from the same population compile nothing new."""
    engine = SVI(n_steps=5, early_stopping=EarlyStopping(enabled=False))
    kinds = {(len(c.pairs().n), len(c.groups().n)) for c in (simulated(2000, 40, seed=s, rate=1.0) for s in range(4))}
    assert len(kinds) > 1
    for seed in range(4):
        engine.fit(Task(resolve_spec(), simulated(2000, 40, seed=seed, rate=1.0), MeanField()), seed=0)
        if seed == 0:
            once = traces[0]
    assert traces[0] <= 2 * once, "at most one more shape"


@pytest.mark.parametrize("model", ["nbvcp", "zinbvcp"])
@pytest.mark.parametrize("batch_size", [None, 64])
def test_no_data_in_the_compiled_code(model, batch_size):
    """Nothing as long as the cells or the non-zeros is a constant of the program."""
    counts = simulated(2003, 7)
    problem = problem_of(counts, model, batch_size=batch_size)
    state = problem.initial_state()
    batches = None if problem.batches is None else problem.batches.draw(0, problem.chunk)

    def advance(state, data, batches, key):
        return problem.compiled.advance(
            state, data, batches, ridges=problem.ridges, key=key, first=0, n=5, rate=0.1, size=problem.chunk
        )

    traced = jax.make_jaxpr(advance)(state, problem.data, batches, jax.random.key(0))
    sizes = [np.size(x) for x in jax.tree.leaves(_constants(traced))]
    assert max(sizes, default=0) <= 64 * 64, "the interpolation matrix is the largest"


def _constants(closed) -> list:
    """Constants of a traced function and of all functions it calls."""
    found = list(closed.consts)
    for equation in closed.jaxpr.eqns:
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(inner, "jaxpr") and hasattr(inner, "consts"):
                    found += _constants(inner)
    return found


@pytest.mark.parametrize("batch_size", [None, 32])
def test_steps_depend_on_their_number_alone(batch_size):
    """200 steps at once or in uneven pieces are the same bits."""
    problem = problem_of(simulated(), batch_size=batch_size)
    whole, losses = problem.steps(problem.initial_state(), jax.random.key(3), first=0, n=200, rate=0.05)
    state, pieces = problem.initial_state(), []
    for first, n in ((0, 1), (1, 137), (138, 62)):
        state, piece = problem.steps(state, jax.random.key(3), first=first, n=n, rate=0.05)
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces), losses)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


def test_a_minibatch_moves_its_own_cells_only():
    """Also cells of earlier minibatches rest, though the optimiser remembers their gradients."""
    problem = problem_of(simulated(), batch_size=20)
    state, met = problem.initial_state(), set()
    name = next(n for n in state.params if n.startswith("p_capture") and n.endswith("_log_scale"))
    for step in range(3):
        before = jax.tree.map(np.asarray, state)
        state, _ = problem.steps(state, jax.random.key(0), first=step, n=1, rate=0.05)
        rows = set(np.asarray(problem.batches.draw(step, 1).cells.rows).ravel().tolist())
        arrays = [(x[name], y[name]) for x, y in ((state.params, before.params), (_adam(state).mu, _adam(before).mu))]
        for after, old in arrays:
            assert set(np.flatnonzero(np.asarray(after) != old).tolist()) == rows
        assert len(met - rows) >= 20 * bool(step) - 10, "cells that could ridge along old gradients"
        met |= rows


@pytest.mark.parametrize(
    ("rate", "epoch", "expected"), [(0.01, 4, 0.02), (0.05, 100, 0.1), (0.3, 100, 0.3), (0.001, 1, 0.001)]
)
def test_cells_that_are_met_seldom_move_further_within_limits(rate, epoch, expected):
    assert float(module._rate_of_cells(jnp.float32(rate), jnp.float32(epoch))) == pytest.approx(expected)


def _adam(state):
    """Memory of Adam, somewhere in the memory of what was chained to it."""
    return next(x for x in jax.tree.leaves(state.memory[0], is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu"))


def test_a_step_that_is_not_finite_is_skipped():
    """With stable_update the state stays as it was; without it the parameters are lost."""
    for stable in (True, False):
        problem = problem_of(simulated(), stable_update=stable)
        name = "r_unconstrained" + LOC
        bad = {**problem.start, name: problem.start[name].at[2].set(np.inf)}
        state = problem.initial_state()._replace(params=bad)
        after, losses = problem.steps(state, jax.random.key(0), first=0, n=3, rate=0.05)
        assert not np.isfinite(losses).any()
        kept = all(bool(jnp.all(after.params[n] == bad[n])) for n in bad)
        assert kept is stable


def test_double_precision_is_local():
    counts = simulated(20)
    with jax.enable_x64(True):
        problem = problem_of(counts)
        state, _ = problem.steps(problem.initial_state(), jax.random.key(0), first=0, n=2, rate=0.05)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float64"}
    assert jnp.zeros(()).dtype == jnp.float32


def test_weight_decay_pulls_parameters_to_zero():
    """Decay belongs to the arrays; a shared ridge has no value of its own that could decay."""
    problem = problem_of(simulated(40))
    decayed = make_problem(problem.spec, problem.counts, MeanField(), optimizer=Optimizer(weight_decay=5.0))
    norms = []
    for one in (problem, decayed):
        state, losses = one.steps(one.initial_state(), jax.random.key(0), first=0, n=20, rate=0.01)
        assert np.isfinite(losses).all()
        norms.append(sum(float(jnp.sum(jnp.square(x))) for x in state.params.values()))
    assert norms[1] < 0.9 * norms[0]


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        ({}, {"p_unconstrained", "r_unconstrained", "p_capture_unconstrained"}),
        ({"model": "nbdm", "parameterization": "mean_disp"}, {"r_unconstrained"}),
        (
            {"unconstrained": True, "prob_prior": "horseshoe"},
            {"p_loc_unconstrained", "r_unconstrained", "p_capture_unconstrained"},
        ),
        ({"components": ("a", "b")}, {"p_unconstrained", "r_unconstrained", "p_capture_unconstrained"}),
    ],
)
def test_locations_move_together(options, moved):
    """Along directions of the model that the likelihood hardly tells apart; a guide must have an array for each."""
    problem = make_problem(resolve_spec(**options), simulated(), MeanField())
    assert set(problem.ridges) == {latent + LOC for latent in moved}
    for name, ridge in problem.ridges.items():
        assert ridge.shape[:-1] == problem.start[name].shape
        assert np.abs(np.asarray(ridge)).max() > 0.1, "no array stands still"
