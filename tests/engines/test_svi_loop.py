"""What a user relies on of the loop: same bits, continuation, recovery, minibatches, precision."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import jax
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Task
from scribe.engines.checkpoints import Checkpoints
from scribe.engines.problem import make_problem
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

NEVER = EarlyStopping(enabled=False, restore_best=False, checkpoint_every=100)


@pytest.fixture(scope="module")
def counts() -> Counts:
    rng = np.random.default_rng(0)
    mu = np.exp(rng.normal(0, 1, 20))
    return Counts.from_matrix(rng.poisson(rng.gamma(mu, 1, (60, 20)) * rng.uniform(0.5, 2, (60, 1))))


def fit(counts, *, model=None, n_steps=200, seed=0, rule=NEVER, start=None, **engine):
    spec = resolve_spec(model)
    return SVI(n_steps=n_steps, early_stopping=rule, **engine).fit(
        Task(spec, counts, MeanField()), seed=seed, start=start
    )


def same(a, b) -> bool:
    return all(np.array_equal(np.asarray(a.params[k]), np.asarray(b.params[k])) for k in a.params) and np.array_equal(
        a.losses, b.losses
    )


@pytest.mark.parametrize(("model", "batch_size"), [("nbvcp", None), ("zinbvcp", 16)])
def test_same_seed_same_bits_and_another_seed_others(counts, model, batch_size):
    first, second = (fit(counts, model=model, batch_size=batch_size) for _ in range(2))
    assert same(first, second)
    assert not same(first, fit(counts, model=model, batch_size=batch_size, seed=1))


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_killed_fit_continues_to_the_same_bits(counts, tmp_path, batch_size):
    undisturbed = fit(counts, n_steps=300, batch_size=batch_size)
    fit(counts, n_steps=200, batch_size=batch_size, checkpoint_dir=tmp_path)  # stops where a kill would leave it
    continued = fit(counts, n_steps=300, batch_size=batch_size, checkpoint_dir=tmp_path)
    assert same(undisturbed, continued)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_schedule_and_best_parameters_survive_a_kill(counts, tmp_path, batch_size, monkeypatch):
    """Under the default rule, to convergence: same stages, same best parameters, same verdict."""
    rule = EarlyStopping(checkpoint_every=300)
    undisturbed = fit(counts, n_steps=20_000, batch_size=batch_size, rule=rule)
    assert undisturbed.verdict.converged
    save = Checkpoints.save

    def save_and_die(self, now):
        save(self, now)
        if now.step >= 600:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        fit(counts, n_steps=20_000, batch_size=batch_size, rule=rule, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    continued = fit(counts, n_steps=20_000, batch_size=batch_size, rule=rule, checkpoint_dir=tmp_path)
    assert same(undisturbed, continued)
    assert continued.verdict == undisturbed.verdict


def test_a_process_killed_for_good_leaves_a_checkpoint_that_is_used(counts, tmp_path):
    script = """
        import os, signal, sys
        import numpy as np
        from scribe._counts.container import Counts
        from scribe._model.resolve import resolve_spec
        from scribe.engines import SVI, EarlyStopping, Task, loop

        data = np.load(sys.argv[1])
        save = loop.Checkpoints.save
        def save_and_die(self, now):
            save(self, now)
            if now.step == 200:
                os.kill(os.getpid(), signal.SIGKILL)
        loop.Checkpoints.save = save_and_die
        rule = EarlyStopping(enabled=False, restore_best=False, checkpoint_every=100)
        task = Task(resolve_spec(), Counts.from_matrix(data))
        SVI(n_steps=300, early_stopping=rule, checkpoint_dir=sys.argv[2]).fit(task, seed=0)
    """
    np.save(tmp_path / "counts.npy", counts.rows(slice(None)))
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "counts.npy", tmp_path / "run"]
    # compiled like this process, for the same bits
    variables = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    killed = subprocess.run(command, check=False, capture_output=True, env=variables)
    assert killed.returncode == -9, killed.stderr.decode()
    continued = fit(counts, n_steps=300, checkpoint_dir=tmp_path / "run")
    assert same(fit(counts, n_steps=300), continued)


def test_a_checkpoint_of_another_fit_is_refused(counts, tmp_path):
    fit(counts, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(counts, checkpoint_dir=tmp_path, seed=5)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_continuing_appends_losses_and_starts_from_the_earlier_parameters(counts, batch_size):
    early = fit(counts, n_steps=100, batch_size=batch_size)
    away = {name: value + np.float32(3.0) for name, value in early.params.items()}
    later = fit(counts, n_steps=1, start=replace(early, params=away), batch_size=batch_size)
    assert np.array_equal(later.losses[:-1], early.losses)
    for name, value in later.params.items():
        # a step of Adam is as long as the rate, 0.1 at most, along an array and along each of few shared ridges
        assert np.abs(np.asarray(value) - np.asarray(away[name])).max() < 1.0, name


def test_continuing_lowers_losses(counts):
    early = fit(counts, n_steps=100)
    assert fit(counts, n_steps=200, start=early).losses[100:].mean() < early.losses[-50:].mean()


def test_continuing_does_not_start_the_schedule_anew(counts):
    """Not even after a fit whose rate recoveries had brought below the lowest of the schedule."""
    early = fit(counts, n_steps=1)
    for rate, expected in ((0.03, 0.03), (1e-5, 1e-3)):
        slow = replace(early, verdict=replace(early.verdict, rate=rate))
        assert fit(counts, n_steps=1, start=slow).verdict.rate == pytest.approx(expected)


@pytest.mark.parametrize("model", [pytest.param("nbvcp", marks=pytest.mark.slow), "zinbvcp"])
def test_minibatch_loss_is_unbiased(counts, model):
    """With parameters held still, the mean over many minibatches is that of the full loss."""
    spec, losses = resolve_spec(model), []
    for size in (None, 15):
        problem = make_problem(spec, counts, MeanField(1e-4), batch_size=size)
        here = [problem.loss_and_gradient(problem.start, jax.random.key(i), problem.example(i))[0] for i in range(400)]
        losses.append(np.asarray(here, np.float64))
    full, batched = losses
    error = np.std(batched) / np.sqrt(batched.size)
    assert error < 4e-3 * full.mean(), "sharp enough to see a wrong scale"
    assert abs(batched.mean() - full.mean()) < 4 * error


def test_of_several_runs_the_best_is_kept_and_all_are_reported(counts, tmp_path):
    best = fit(counts, n_steps=100, n_restarts=3, checkpoint_dir=tmp_path)
    alone = [fit(counts, n_steps=100, seed=seed) for seed in range(3)]
    np.testing.assert_array_equal(best.history["restart_losses"], [one.verdict.loss for one in alone])
    chosen = alone[int(np.argmin(best.history["restart_losses"]))]
    assert same(best, chosen)
    assert best.seed == chosen.seed
    behind = np.sort(best.history["restart_losses"])[1:] - min(best.history["restart_losses"])
    assert f"best of 3 runs, the ELBO of the others is lower by {behind[0]:.3g} to {behind[1]:.3g} nats" in str(
        best.verdict
    )
    assert same(best, fit(counts, n_steps=100, n_restarts=3, checkpoint_dir=tmp_path))
    with pytest.raises(ValueError, match="n_restarts=3 starts anew"):
        fit(counts, n_restarts=3, start=best)
