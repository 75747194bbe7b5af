"""Pairs of components as components."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._posterior.doublets import shares_of, with_pairs


def test_shares():
    found = shares_of(3)
    np.testing.assert_array_equal(found[:3], np.eye(3))
    assert found.shape == (3 + 3 * 3, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert len({tuple(row) for row in found}) == len(found)


def test_pairs_have_mean_expression_and_weights_of_both():
    rng = np.random.default_rng(0)
    natural = {
        "log_mean": rng.normal(size=(3, 2, 5)),
        "log_odds": rng.normal(size=(3, 1, 5)),
        "gate": rng.normal(size=(1, 1, 5)),
    }
    weights = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    given = Parameters(
        {n: jnp.asarray(x, jnp.float32) for n, x in natural.items()},
        Scalar(jnp.zeros(2)),
        log_weights=jnp.asarray(weights, jnp.float32),
    )
    shares = shares_of(3)
    found = with_pairs(given, shares, rate=0.2)
    expected = np.einsum("nk,kdg->ndg", shares, np.exp(natural["log_mean"]))
    np.testing.assert_allclose(np.exp(found.natural["log_mean"]), expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.natural["log_odds"], np.einsum("nk,kdg->ndg", shares, natural["log_odds"]), atol=1e-5
    )
    assert found.natural["gate"].shape == (1, 1, 5)
    shown = np.exp(found.log_weights)
    np.testing.assert_allclose(shown[:, :3], 0.8 * np.exp(weights), rtol=1e-5)
    np.testing.assert_allclose(shown.sum(axis=1), 1.0, rtol=1e-5)
    # the pair of the first two against the pair of the last two
    np.testing.assert_allclose(shown[0, 3] / shown[0, -1], 0.5 * 0.3 / (0.3 * 0.2), rtol=1e-4)
    assert with_pairs(given, shares, rate=0.0) is given
