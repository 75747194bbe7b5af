"""Further counts of a cell against Bayes' rule, enumerated: molecules, of which those seen and those yet to be seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scribe.families import from_layers

FAMILIES = (
    ("poisson",),
    ("nb", "with_capture"),
    ("nb", "with_capture", "zero_inflated"),
    ("two_state", "with_capture", "zero_inflated"),
)
NATURAL = {
    "log_mean": np.log([0.5, 6.0]),
    "log_odds": np.log([2.0, 0.3]),
    "gate_logit": np.array([-1.0, 0.5]),
    "log_k_on": np.log([0.4, 3.0]),
    "log_k_off": np.log([0.9, 6.0]),
}
SEEN, DEEPER = 0.3, 0.45
M = np.arange(250)


@pytest.mark.parametrize("layers", FAMILIES, ids="-".join)
def test_further_counts(layers):
    family, t, u = from_layers(layers), np.arange(12.0), np.array([0.0, 1.0, 4.0])
    with jax.enable_x64():
        natural = {name: jnp.asarray(NATURAL[name]).reshape(1, 1, -1) for name in family.natural}
        here, deeper = (jnp.full((1, 1, 1), np.log(x)) for x in (SEEN, DEEPER))
        at = jnp.asarray(u).reshape(1, -1, 1)
        enough = np.arange(150.0).reshape(-1, 1, 1)
        pmf = np.exp(jax.jit(family.log_further)(jnp.asarray(enough), at, natural, here, deeper))
        mean = np.asarray(jax.jit(family.mean_further)(at, natural, here, deeper))
        molecules = M.astype(float).reshape(-1, 1, 1)
        full = np.exp(jax.jit(family.log_pmf)(jnp.asarray(molecules), natural, jnp.zeros((1, 1, 1))))
        gated = "zero_inflated" in layers
        gate = 1 / (1 + np.exp(-NATURAL["gate_logit"])) if gated else np.zeros(2)
        # what the gate silences is silent at every depth
        open_pmf = (full[:, 0] - gate * (M == 0)[:, None]) / (1 - gate)
    joint = np.zeros((len(t), len(u), 2))
    for i, j in np.ndindex(len(t), len(u)):
        chance = stats.multinomial.pmf(
            np.stack([np.full_like(M, t[i]), np.full_like(M, u[j]), np.maximum(M - t[i] - u[j], 0)], 1),
            n=M,
            p=[DEEPER - SEEN, SEEN, 1 - DEEPER],
        )
        chance = np.where(t[i] + u[j] <= M, chance, 0.0)
        joint[i, j] = (1 - gate) * (chance @ open_pmf) + gate * (t[i] == u[j] == 0)
    seen = stats.binom.pmf(u[:, None], M, SEEN) @ open_pmf * (1 - gate) + gate * (u == 0)[:, None]
    np.testing.assert_allclose(pmf[: len(t)], joint / seen, rtol=1e-6)
    np.testing.assert_allclose(pmf.sum(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(mean[0], (enough * pmf).sum(axis=0), rtol=1e-6)


def test_further_counts_of_a_negative_binomial_in_closed_form():
    """Those yet to be seen are negative binomial of size ``r + u``; single precision, many counts."""
    family, u = from_layers(("nb", "with_capture")), np.array([0.0, 3.0, 700.0], np.float32)
    mu, odds, x, deeper = 900.0, 0.05, np.log(0.6), np.log(0.6 / 0.9)
    wide = {
        name: jnp.full((1, 3), np.log(value), jnp.float32) for name, value in (("log_mean", mu), ("log_odds", odds))
    }
    t = np.arange(0, 260, 10, np.float32)[:, None]
    offsets = [jnp.full((1, 3), value, jnp.float32) for value in (x, deeper)]
    u_wide = jnp.asarray(u)[None]
    found = jax.jit(family.log_further)(jnp.asarray(t), u_wide, wide, *offsets)
    size, gain = mu * odds + u, np.exp(deeper) - np.exp(x)
    mean = size * gain / (odds + np.exp(x))
    expected = stats.nbinom(size, size / (size + mean)).logpmf(t)
    likely = expected > -30
    np.testing.assert_allclose(np.asarray(found)[likely], expected[likely], atol=2e-3)
    np.testing.assert_allclose(jax.jit(family.mean_further)(u_wide, wide, *offsets)[0], mean, rtol=1e-3)
