"""The log-probability of zeros by interpolation, against that of every element."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe import families
from scribe._counts.zeros import zeros

N_CELLS, N_GENES = 300, 40
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-10}


def natural(family, shape, dtype, rng):
    """Parameters of genes that differ in their means by five decades, of the given leading axes."""
    made = {name: rng.normal(-1.0, 1.0, (*shape, N_GENES)) for name in family.natural}
    made["log_mean"] = rng.uniform(-5.0, 7.0, (*shape, N_GENES))
    return {name: jnp.asarray(value, dtype) for name, value in made.items()}


@functools.partial(jax.jit, static_argnums=0)
def dense(family, parameters, offset):
    u = jnp.zeros((1, 1), offset.dtype)
    return family.cell_term(u, {n: v[None] for n, v in parameters.items()}, offset[:, None])


CASES = [*((base, modifier, np.float32) for base in families.ALL for modifier in (None, "zero_inflated"))]
CASES += [("nb", "beta_mixed", np.float32), ("nb", "zero_inflated", np.float64)]


@pytest.mark.parametrize(("base", "modifier", "dtype"), CASES)
def test_zeros_equal_those_of_every_element(base, modifier, dtype):
    """To rounding of the largest value of the gene: the sum runs over polynomials of that size."""
    family, rng = families.from_layers(filter(None, (base, modifier))), np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        parameters = natural(family, (), dtype, rng)
        offset = jnp.asarray(rng.uniform(-4.0, 0.0, N_CELLS), dtype)
        found = np.asarray(jax.jit(lambda n, x: zeros(family, n, x).at(x[:100]))(parameters, offset))
        expected = np.asarray(dense(family, parameters, offset))
    assert found.shape == (100, N_GENES)
    error = np.abs(found - expected[:100]) / np.maximum(np.abs(expected).max(axis=0), 1.0)
    assert error.max() < TOLERANCE[dtype]


def test_levels_are_told_apart():
    """Components, and datasets of cells, each with the parameters of its own; others are shared."""
    family, rng = families.from_layers(("nb", "zero_inflated")), np.random.default_rng(1)
    parameters = natural(family, (2, 3), np.float32, rng)
    parameters["log_odds"] = jnp.asarray(0.3, np.float32)
    parameters["gate_logit"] = parameters["gate_logit"][:1, :, :1]
    offset = jnp.asarray(rng.uniform(-3.0, 0.0, N_CELLS), np.float32)
    dataset = jnp.asarray(rng.integers(0, 3, N_CELLS))
    table = zeros(family, parameters, offset)
    for k in range(2):
        found = np.asarray(table.at(offset, dataset, k))
        for d in range(3):
            one = {n: v[min(k, len(v) - 1), d] if v.ndim else v[None] for n, v in parameters.items()}
            cells = np.asarray(dataset == d)
            expected = np.asarray(dense(family, one, offset))
            np.testing.assert_allclose(found[cells], expected[cells], rtol=2e-5, atol=2e-5)


def test_cells_without_capture_of_their_own():
    """All offsets equal, and parameters that all genes share."""
    family = families.nb
    parameters = {"log_mean": jnp.asarray(0.5), "log_odds": jnp.asarray(-0.2)}
    found = zeros(family, parameters, jnp.zeros(7)).at(jnp.zeros(7))
    size = np.exp(0.3)
    np.testing.assert_allclose(found, np.full((7, 1), -size * np.log1p(np.exp(0.2))), rtol=1e-6)
