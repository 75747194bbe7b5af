"""Optimisers: each name does what the optax optimiser of that name does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Optimizer, Task
from scribe.engines.optimizers import OPTIMIZERS
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

RATE = 0.03
REFERENCES = [
    ({"name": "adam"}, optax.adam(RATE)),
    ({"name": "adam", "b1": 0.5, "b2": 0.9, "eps": 1e-3}, optax.adam(RATE, 0.5, 0.9, 1e-3)),
    ({"name": "adam", "weight_decay": 0.1}, optax.adamw(RATE, weight_decay=0.1)),
    ({"name": "adam", "grad_clip_norm": 0.5}, optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE))),
    ({"name": "clipped_adam"}, optax.chain(optax.clip(10.0), optax.adam(RATE))),
    ({"name": "adagrad"}, optax.adagrad(RATE, eps=1e-8)),
    ({"name": "rmsprop"}, optax.rmsprop(RATE)),
    ({"name": "rmsprop", "b2": 0.99}, optax.rmsprop(RATE, decay=0.99)),
    ({"name": "sgd"}, optax.sgd(RATE)),
    ({"name": "momentum"}, optax.sgd(RATE, momentum=0.9)),
    ({"name": "momentum", "momentum": 0.5}, optax.sgd(RATE, momentum=0.5)),
]


@pytest.mark.parametrize(("config", "reference"), REFERENCES)
def test_steps_are_those_of_optax(config, reference):
    """Ten steps on gradients that include ones beyond every clipping bound."""
    ours = Optimizer.from_config(config).transformation()
    here = there = {"a": jnp.asarray([1.0, -2.0, 3.0]), "b": jnp.asarray(0.5)}
    memory, state = ours.init(here), reference.init(there)
    for key in jax.random.split(jax.random.key(0), 10):
        gradient = jax.tree.map(lambda x, key=key: 20.0 * jax.random.normal(key, x.shape), here)
        direction, memory = ours.update(gradient, memory, here)
        here = jax.tree.map(lambda p, d: p - RATE * d, here, direction)
        update, state = reference.update(gradient, state, there)
        there = optax.apply_updates(there, update)
    for name, value in there.items():
        np.testing.assert_allclose(here[name], value, rtol=2e-6)


def test_every_name_has_a_reference_and_default_is_adam():
    assert {config["name"] for config, _ in REFERENCES} == set(OPTIMIZERS)
    assert len(OPTIMIZERS) == 6
    assert Optimizer.from_config(None) == Optimizer.from_config("adam") == Optimizer()


def test_rate_is_scheduled_unless_given():
    assert Optimizer().adaptive
    assert Optimizer().initial_step(1e6) == pytest.approx(0.1)
    fixed = Optimizer(step_size=1e-3)
    assert not fixed.adaptive
    assert fixed.initial_step(1e6) == pytest.approx(1e-3)
    for name in ("sgd", "momentum"):
        assert Optimizer(name).initial_step(1e6) == pytest.approx(1e-7), "steps as large as the gradient"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"name": "adamm"}, ValueError, "Unknown optimizer 'adamm'. Did you mean 'adam'. Choose one of: 'adam', 'clip"),
        ({"lr": 1e-3}, ValueError, r"Unknown optimizer_config keys \['lr'\]. Allowed: 'name', 'step_size'"),
        ({"step_size": 0}, ValueError, r"optimizer_config\['step_size'\] must be a number above 0, .*got 0\."),
        ({"step_size": "big"}, ValueError, r"\['step_size'\] must be"),
        ({"b1": 1.0}, ValueError, r"\['b1'\] must be in \[0, 1\), got 1.0"),
        ({"grad_clip_norm": -1}, ValueError, r"\['grad_clip_norm'\] must be above 0, got -1"),
        (3, TypeError, "optimizer_config is a dictionary such as"),
    ],
)
def test_errors(config, error, message):
    with pytest.raises(error, match=message):
        Optimizer.from_config(config)


@pytest.mark.parametrize(
    "config", [{"name": name} for name in OPTIMIZERS] + [{"weight_decay": 0.1, "grad_clip_norm": 50.0}]
)
def test_a_fit_gets_better_with_every_one(config):
    rng = np.random.default_rng(0)
    counts = Counts.from_matrix(rng.poisson(rng.gamma(2.0, 2.0, (30, 6))))
    engine = SVI(n_steps=200, optimizer=Optimizer.from_config(config), early_stopping=EarlyStopping(enabled=False))
    fit = engine.fit(Task(resolve_spec("nbdm"), counts, MeanField(init_scale=0.5)), seed=0)
    assert np.isfinite(fit.losses).all()
    assert fit.losses[-50:].mean() < fit.losses[:5].mean()
    assert not fit.verdict.retries
