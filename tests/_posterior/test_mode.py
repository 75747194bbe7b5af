"""The most probable count before capture, whatever the component and the gate, against the enumerated p(m | u)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._posterior.mode import most_probable_counts
from scribe.families import from_layers

M = np.arange(2500)[:, None, None]
N_CELLS, N_GENES = 16, 24


def drawn(layers, *, n_components, seed):
    """Random parameters, half of the cells between components; observed counts of rare and common genes."""
    rng, family = np.random.default_rng(seed), from_layers(layers)
    shape = (n_components, 1, N_GENES)
    every = {
        "log_mean": rng.uniform(-1, 5, (1, 1, N_GENES)) + rng.normal(0, 0.7, shape),
        "log_odds": rng.uniform(-5, 0, shape),
        "gate_logit": rng.uniform(-3, 3, shape),
        "log_k_on": rng.uniform(-1.5, 2, shape),
        "log_k_off": rng.uniform(-1, 3, shape),
    }
    natural = {name: every[name] for name in family.natural}
    sharp = rng.choice([0.3, 30.0], (N_CELLS, 1))
    log_weights = special.log_softmax(sharp * rng.normal(size=(N_CELLS, n_components)), axis=1)
    offset = np.log(rng.uniform(0.02, 0.6, N_CELLS))
    expected = np.exp(natural["log_mean"][rng.integers(n_components, size=N_CELLS), 0] + offset[:, None])
    u = rng.poisson(expected * rng.gamma(1, 1, expected.shape)) * (rng.random(expected.shape) < 0.6)
    return family, natural, offset, log_weights, u


def enumerated(natural, offset, log_weights, u):
    """p(m | u) by Bayes' rule within every component, averaged by its probability, (m, cells, genes)."""
    total = np.zeros((len(M), *u.shape))
    for k, weight in enumerate(np.exp(log_weights).T):
        mean = np.exp(natural["log_mean"][k])
        if "log_odds" in natural:
            size = mean * np.exp(natural["log_odds"][k])
            joint = stats.nbinom.logpmf(M, size, size / (size + mean))
        else:
            joint = stats.poisson.logpmf(M, mean)
        seen = stats.binom.logpmf(u, M, np.exp(offset)[:, None])
        if "gate_logit" in natural:
            gate = special.expit(natural["gate_logit"][k])
            seen = np.logaddexp(np.log1p(-gate) + seen, np.where(u == 0, np.log(gate), -np.inf))
        total += weight[:, None] * special.softmax(joint + seen, axis=0)
    return total


LAYERS = (
    ("nb", "with_capture"),
    ("nb", "with_capture", "zero_inflated"),
    ("poisson", "with_capture", "zero_inflated"),
)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("layers", LAYERS, ids="-".join)
def test_the_count_is_the_most_probable_of_all(layers, n_components):
    family, natural, offset, log_weights, u = drawn(layers, n_components=n_components, seed=n_components)
    p = enumerated(natural, offset, log_weights, u)
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in natural.items()}
    weights = jnp.asarray(log_weights, jnp.float32)
    predictor = Scalar(jnp.asarray(offset, jnp.float32))
    parameters = Parameters(arrays, predictor, None, weights if n_components > 1 else None)
    found = most_probable_counts(family, jnp.asarray(u, jnp.float32), parameters).astype(int)
    assert (p[-1] < 1e-6 * p.max(axis=0)).all(), "the enumeration must reach far enough"
    np.testing.assert_allclose(np.take_along_axis(p, found[None], axis=0)[0], p.max(axis=0), rtol=1e-4)
    between = (found != p.argmax(axis=0)).mean()
    assert between < 0.02, "equally probable counts are rare"
