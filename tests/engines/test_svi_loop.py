"""What a user relies on of the loop: same bits, continuation, recovery, minibatches, precision."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import scribe
from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, NonFiniteError, Optimizer
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
    return SVI(n_steps=n_steps, early_stopping=rule, **engine).fit(spec, counts, MeanField(), seed=seed, start=start)


def same(a, b) -> bool:
    return all(np.array_equal(np.asarray(a.params[k]), np.asarray(b.params[k])) for k in a.params) and np.array_equal(
        a.losses, b.losses
    )


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("model", ["nbvcp", "zinbvcp"])
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


def test_a_process_killed_for_good_leaves_a_checkpoint_that_is_used(counts, tmp_path):
    script = """
        import os, signal, sys
        import numpy as np
        from scribe._counts.container import Counts
        from scribe._model.resolve import resolve_spec
        from scribe.engines import SVI, EarlyStopping, svi
        from scribe.guides import MeanField

        data = np.load(sys.argv[1])
        save = svi.Checkpoints.save
        def save_and_die(self, now):
            save(self, now)
            if now.step == 200:
                os.kill(os.getpid(), signal.SIGKILL)
        svi.Checkpoints.save = save_and_die
        rule = EarlyStopping(enabled=False, restore_best=False, checkpoint_every=100)
        SVI(n_steps=300, early_stopping=rule, checkpoint_dir=sys.argv[2]).fit(
            resolve_spec(), Counts.from_matrix(data), MeanField(), seed=0)
    """
    np.save(tmp_path / "counts.npy", counts.rows(slice(None)))
    command = [sys.executable, "-c", textwrap.dedent(script), tmp_path / "counts.npy", tmp_path / "run"]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    continued = fit(counts, n_steps=300, checkpoint_dir=tmp_path / "run")
    assert same(fit(counts, n_steps=300), continued)


def test_a_checkpoint_of_another_fit_is_refused(counts, tmp_path):
    fit(counts, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(counts, checkpoint_dir=tmp_path, seed=5)


def test_continuing_appends_losses_and_lowers_them(counts):
    early = fit(counts, n_steps=100)
    later = fit(counts, n_steps=200, start=early)
    assert len(later.losses) == 300
    assert np.array_equal(later.losses[:100], early.losses)
    assert later.losses[-50:].mean() < early.losses[:20].mean()


def test_resume_on_a_fitted_object(small_counts):
    adata = small_counts.copy()
    with pytest.warns(scribe.ConvergenceWarning, match="resume=True"):
        scribe.tl.fit(adata, n_steps=100)
    scribe.tl.fit(adata, resume=True)
    record = adata.uns["scribe"]
    assert record["convergence"]["converged"]
    assert len(record["loss"]) == record["convergence"]["steps"] > 100


def test_minibatch_loss_is_unbiased(counts):
    """With parameters held still, the mean over many minibatches is the full loss (standard error 1e-3 of it)."""
    for model in ("nbvcp", "zinbvcp"):
        spec, means = resolve_spec(model), []
        for size in (None, 15):
            problem = make_problem(
                spec, counts, guide=MeanField(1e-4), optimizer=Optimizer(), batch_size=size, stable_update=True, seed=0
            )
            losses = [
                problem.loss_and_gradient(problem.start, jax.random.key(i), problem.example(i))[0]
                for i in range(1 if size is None else 400)
            ]
            means.append(float(jnp.mean(jnp.asarray(losses))))
        assert means[1] == pytest.approx(means[0], rel=6e-3)


def test_grouped_cells_have_the_loss_of_single_ones():
    """Cells of equal totals are held once with their number as weight: the same loss at the same parameters."""
    rng = np.random.default_rng(1)
    counts = Counts.from_matrix(rng.poisson(0.4, (300, 6)))
    spec = resolve_spec()
    assert len(counts.groups().totals) < 0.1 * counts.n_cells
    losses = []
    for size in (None, counts.n_cells - 1):  # the second is a minibatch of all cells but one: never grouped
        problem = make_problem(
            spec, counts, guide=MeanField(1e-5), optimizer=Optimizer(), batch_size=size, stable_update=True, seed=0
        )
        losses.append(float(problem.loss_and_gradient(problem.start, jax.random.key(0), problem.example(0))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


def test_a_loss_that_stays_infinite_names_the_place(counts, monkeypatch):
    from scribe.families.nb import NegativeBinomial

    monkeypatch.setattr(NegativeBinomial, "gene_term", lambda self, u, natural: jnp.full_like(u, jnp.nan))
    named = Counts.from_matrix(counts.rows(slice(None, 50)), gene_names=[f"gene {i}" for i in range(20)])
    with pytest.raises(NonFiniteError, match="not finite"):
        fit(named, optimizer=Optimizer(step_size=0.017))


def test_double_precision_is_local_to_the_fit(counts):
    before = jax.config.jax_enable_x64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        results = scribe.fit(counts, n_steps=100, early_stopping=False, enable_x64=True)
    assert all(value.dtype == np.float64 for value in results.params.values())
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("name", ["adam", "clipped_adam", "adagrad", "rmsprop", "sgd", "momentum"])
def test_every_optimizer_takes_another_path_and_descends(counts, name):
    step = {"sgd": 1e-5, "momentum": 1e-6, "adagrad": 0.1}.get(name, 5e-3)
    fitted = fit(counts, n_steps=100, optimizer=Optimizer(name, step_size=step))
    assert np.isfinite(fitted.losses).all()
    assert fitted.losses[-20:].mean() < fitted.losses[:5].mean()
    if name != "adam":
        reference = fit(counts, n_steps=100, optimizer=Optimizer("adam", step_size=step))
        assert not np.array_equal(reference.losses[50:], fitted.losses[50:])
