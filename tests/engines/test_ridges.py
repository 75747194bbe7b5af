"""The space that chains ridge in: a linear map that makes a stretched posterior round."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe.engines.ridges import along, precondition, ridges_of

N_POINTS = 400


@pytest.fixture(scope="module")
def stretched():
    """Precision of a normal of very unequal scales, 100 times as wide along a ridge, and what is found for it."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 2, 7))
    ridge = rng.normal(size=7)
    ridge /= np.linalg.norm(ridge)
    precision = (np.eye(7) - 0.9999 * np.outer(ridge, ridge)) / np.outer(scale, scale)
    points = rng.normal(size=(N_POINTS, 7)) * scale
    gradients = points @ precision
    split = {"a": slice(0, 1), "b": slice(1, 7)}
    shapes = {"a": (), "b": (2, 3)}

    def parts(x):
        return {n: jnp.asarray(np.asarray(x)[..., s].reshape(*x.shape[:-1], *shapes[n])) for n, s in split.items()}

    def curvature(step):
        flat = jnp.concatenate([step["a"].reshape(1), step["b"].reshape(6)])
        product = jnp.asarray(precision, flat.dtype) @ flat
        return {"a": product[0], "b": product[1:].reshape(2, 3)}

    ridges = {"a": (scale * ridge)[0][None], "b": (scale * ridge)[1:].reshape(2, 3, 1)}
    ridges = ridges_of({n: np.concatenate([m, 0 * m], axis=-1) for n, m in ridges.items()}, parts(points))
    return precision, precondition(parts(points), parts(gradients), ridges, curvature)


def matrix(preconditioner) -> np.ndarray:
    """The map of a preconditioner as a matrix, a column per coordinate."""
    unit = np.eye(7)
    columns = jax.vmap(preconditioner.latents)(
        {"a": jnp.asarray(unit[:, 0]), "b": jnp.asarray(unit[:, 1:].reshape(7, 2, 3))}
    )
    return np.concatenate([np.asarray(columns["a"])[:, None], np.asarray(columns["b"]).reshape(7, 6)], axis=1).T


def test_a_stretched_normal_becomes_round(stretched):
    precision, preconditioner = stretched
    to_latents = matrix(preconditioner)
    by_scales_alone = np.linalg.cond(precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision))))
    assert np.linalg.cond(to_latents.T @ precision @ to_latents) < by_scales_alone / 100


def test_there_and_back(stretched):
    _, preconditioner = stretched
    point = {"a": jnp.asarray(0.3), "b": jnp.arange(6.0).reshape(2, 3)}
    back = preconditioner.sampled(preconditioner.latents(point))
    for name, value in point.items():
        np.testing.assert_allclose(back[name], value, rtol=1e-4, atol=1e-4)


def test_without_moves_only_scales():
    points = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(N_POINTS, 3)) * np.array([1.0, 0.1, 2.0]))}
    gradients = {"a": points["a"] / jnp.asarray([[1.0, 0.01, 4.0]])}
    preconditioner = precondition(points, gradients, ridges_of({}, points), lambda step: step)
    np.testing.assert_allclose(preconditioner.latents({"a": jnp.ones(3)})["a"], [1.0, 0.1, 2.0], rtol=1e-5)


def test_along_is_the_inner_product():
    rng = np.random.default_rng(0)
    ridges, vector = rng.normal(size=(2, 3, 2)), {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=4)}
    found = along({"a": jnp.asarray(ridges)}, {n: jnp.asarray(x) for n, x in vector.items()})
    np.testing.assert_allclose(found, np.einsum("ijk,ij->k", ridges, vector["a"]), rtol=1e-5)
    assert along({}, {}).shape == (0,)


def test_latents_without_a_move_stay_where_they_are():
    points = {"scale": jnp.zeros(5), "a": jnp.zeros((5, 3)), "b": jnp.zeros((5, 2, 3))}
    found = ridges_of({"a": np.ones((3, 2))}, points)
    assert {name: x.shape for name, x in found.items()} == {"scale": (2,), "a": (3, 2), "b": (2, 3, 2)}
    assert not found["scale"].any()
    assert not found["b"].any()
