"""Sweeps over genes and captures end where long stochastic fits of the same guide end."""

from __future__ import annotations

import logging
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from scribe._counts.checks import CountsWarning
from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Optimizer, Task, svi
from scribe.engines.normals import Blocks, ascend, bound, quadrature
from scribe.engines.problem import make_problem
from scribe.engines.sweeps import suit, sweep
from scribe.guides import LowRank, MeanField


@pytest.fixture(scope="module")
def counts():
    """Cells of unequal depth, a gene that no cell shows, and dispersions of genes."""
    rng = np.random.default_rng(3)
    mean, size = rng.lognormal(0.0, 1.5, 30), rng.lognormal(0.0, 1.0, 30)
    rate = rng.standard_gamma(size, (120, 30)) * mean / size
    u = rng.poisson(rate * rng.lognormal(0.0, 0.6, (120, 1)))
    u[:, 4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CountsWarning)
        return Counts.from_matrix(u)


def spec():
    return resolve_spec(parameterization="mean_disp")


def loss(params, counts):
    """At draws that are the same for all parameters, (draws,)."""
    problem = make_problem(spec(), counts, MeanField())
    return np.concatenate([problem.losses(params, number) for number in range(20)]).sum(axis=1)


@pytest.mark.loose_promotion
def test_the_optimum_of_a_long_stochastic_fit(counts, monkeypatch):
    monkeypatch.setattr(svi, "_DEAR", 0)
    found = SVI().fit(Task(spec(), counts, MeanField()), seed=0)
    assert "sweeps of Newton steps" in found.verdict.reason
    assert found.verdict.converged
    assert 0 <= found.verdict.remaining < 1.0
    monkeypatch.setattr(svi, "_DEAR", np.inf)
    long = SVI(6000, early_stopping=EarlyStopping(enabled=False)).fit(Task(spec(), counts, MeanField()), seed=0)
    behind = loss(found.params, counts) - loss(long.params, counts)
    assert behind.mean() < 1.0 + 3 * behind.std() / np.sqrt(len(behind))
    for name, value in long.params.items():
        scale = np.exp(long.params[name.replace("loc", "log_scale")])
        assert np.median(np.abs(found.params[name] - value) / scale) < 0.1, name
    # the bound that sweeps report is that of the model
    own = loss(found.params, counts)
    assert abs(own.mean() - found.verdict.loss) < 4 * own.std() / np.sqrt(len(own))


def test_who_is_swept(counts, monkeypatch):
    assert suit(spec(), MeanField())
    assert not suit(spec(), LowRank(rank=2))
    assert not suit(resolve_spec(), MeanField())
    for model in ("zinbvcp", "nbdm"):
        assert not suit(resolve_spec(model, parameterization="mean_disp"), MeanField())
    monkeypatch.setattr(svi, "_DEAR", 0)
    monkeypatch.setattr(svi, "sweep", lambda *_, **__: pytest.fail("the settings say how steps are to be made"))
    for settings in (
        {"batch_size": 50},
        {"optimizer": Optimizer(step_size=0.01)},
        {"early_stopping": EarlyStopping(patience=100)},
    ):
        assert SVI(2, **settings)._swept(Task(spec(), counts, MeanField()), 0) is None


@pytest.mark.loose_promotion
def test_sweeps_that_do_not_settle_are_followed_by_steps(counts, monkeypatch):
    assert sweep(spec(), counts, most=1, level=logging.DEBUG) is None
    monkeypatch.setattr(svi, "_DEAR", 0)
    monkeypatch.setattr(svi, "_MOST_SWEEPS", 1)
    assert len(SVI(3).fit(Task(spec(), counts, MeanField()), seed=0).losses) == 3


def test_the_best_normal_for_a_skewed_density():
    """Against the closed form, for a log-gamma density."""
    shape = np.array([0.5, 3.0, 500.0])

    def log_gamma(z):
        return jnp.asarray(shape, z.dtype) * z[0] - jnp.exp(z[0])

    def density(z):
        value, back = jax.vjp(log_gamma, z)
        return value, back(jnp.ones_like(value))[0]

    start = Blocks(jnp.zeros((1, 3)), jnp.full((1, 3), -1.5))
    found = ascend(density, start, quadrature(1, 15), n_steps=30)
    # E exp(z) = exp(m + s^2/2): the optimum has exp(m + s^2/2) = shape and s^2 = 1/shape
    np.testing.assert_allclose(np.exp(2 * found.blocks.log_scale[0]), 1 / shape, rtol=2e-3)
    np.testing.assert_allclose(found.blocks.loc[0], np.log(shape) - 0.5 / shape, atol=2e-3)
    assert np.all(np.asarray(found.promised) < 1e-3)
    best = [
        integrate.quad(lambda z, a=a, m=m, s=s: stats.norm.pdf(z, m, s) * (a * z - np.exp(z)), m - 9 * s, m + 9 * s)[0]
        + stats.norm.entropy(m, s)
        for a, m, s in zip(shape, np.log(shape) - 0.5 / shape, shape**-0.5, strict=True)
    ]
    np.testing.assert_allclose(found.value, best, rtol=1e-4, atol=1e-3)


def test_correlated_elements():
    precision = np.array([[4.0, -3.0], [-3.0, 9.0]])
    middle = np.array([1.0, -2.0])

    def density(z):
        off = z - jnp.asarray(middle, z.dtype)[:, None]
        slope = -jnp.asarray(precision, z.dtype) @ off
        return jnp.sum(off * slope, axis=0) / 2, slope

    found = ascend(density, Blocks(jnp.zeros((2, 1)), jnp.zeros((2, 1))), quadrature(2, 5), n_steps=8)
    np.testing.assert_allclose(found.blocks.loc[:, 0], middle, atol=1e-4)
    np.testing.assert_allclose(np.exp(found.blocks.log_scale[:, 0]), np.diag(precision) ** -0.5, rtol=1e-4)


def test_what_a_step_promises_is_what_it_gains_where_the_density_is_normal():
    """Of the location alone, of the scale alone, and of both; each curvature is 4."""

    def density(z):
        return -2.0 * jnp.square(z[0]), -4.0 * z

    start = Blocks(jnp.asarray([[0.4, 0.0, -0.3]]), jnp.log(jnp.asarray([[0.5, 0.9, 0.2]])))
    rule = quadrature(1, 5)
    before, found = bound(lambda z: density(z)[0], start, rule), ascend(density, start, rule, n_steps=1)
    np.testing.assert_allclose(found.first, found.value - before, rtol=1e-3)
    # 2 m^2, and of scales (4 s^2 - 1 - log 4 s^2) / 2
    curvature = 4 * np.square([0.5, 0.9, 0.2])
    expected = 2 * np.square([0.4, 0.0, -0.3]) + (curvature - 1 - np.log(curvature)) / 2
    np.testing.assert_allclose(found.first, expected, rtol=1e-3)
    np.testing.assert_allclose(found.promised, 0.0, atol=1e-5)
