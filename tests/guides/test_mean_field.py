"""The mean-field guide and its gradient against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Trace_ELBO
from scipy import stats

from scribe.guides import MeanField
from scribe.guides._pathwise import PathwiseNormal, standard_normals
from scribe.priors import Latent

pytestmark = pytest.mark.loose_promotion

OBSERVED = 1.5
POSTERIOR = (OBSERVED / 1.25, np.sqrt(0.2))
"""Of z ~ N(0, 1) after seeing x ~ N(z, 1/2): precision 1 + 4, mean 4 x / 5."""


def model():
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(z, 0.5), obs=OBSERVED)


def guide():
    loc, log_scale = numpyro.param("loc", jnp.zeros(())), numpyro.param("log_scale", jnp.zeros(()))
    key = numpyro.prng_key()
    noise = standard_normals(key, [()], loc.dtype)[0]
    numpyro.sample("z", PathwiseNormal(loc, jnp.exp(log_scale), noise), rng_key=key)


def bound(params, key):
    return Trace_ELBO().loss(key, params, model, guide)


def closed_form(loc, log_scale):
    """Expected log-likelihood and prior under the normal, less its negative entropy."""
    scale2 = jnp.exp(2 * log_scale)
    likelihood = -0.5 * ((OBSERVED - loc) ** 2 + scale2) / 0.25 - 0.5 * jnp.log(2 * jnp.pi * 0.25)
    prior = -0.5 * (loc**2 + scale2) - 0.5 * jnp.log(2 * jnp.pi)
    return -(likelihood + prior + log_scale + 0.5 * jnp.log(2 * jnp.pi * jnp.e))


@pytest.mark.parametrize("double", [False, True])
def test_noise_is_that_of_the_generator_in_pieces(double):
    key = jax.random.key(4)
    with jax.enable_x64(double):
        dtype = jnp.zeros(()).dtype
        first, second = standard_normals(key, [(7, 3), (50,)], dtype)
        whole = jax.random.normal(key, (128,), dtype)
        assert first.dtype == second.dtype == dtype
    rtol = 4 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(first, whole[:21].reshape(7, 3), rtol=rtol)
    np.testing.assert_allclose(second, whole[21:71], rtol=rtol)


@pytest.mark.parametrize(("loc", "log_scale"), [(0.0, 0.0), (1.0, -2.0), (2.0, 0.5)])
def test_gradient_is_unbiased(loc, log_scale):
    params = {"loc": jnp.asarray(loc), "log_scale": jnp.asarray(log_scale)}
    keys = jax.random.split(jax.random.key(0), 40_000)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(bound), in_axes=(None, 0)))(params, keys)
    exact = jax.grad(closed_form, argnums=(0, 1))(params["loc"], params["log_scale"])
    for found, expected in ((gradients["loc"], exact[0]), (gradients["log_scale"], exact[1])):
        error = float(jnp.std(found)) / 200
        assert float(jnp.mean(found)) == pytest.approx(float(expected), abs=5 * error + 1e-5)
    assert float(jnp.mean(values)) == pytest.approx(
        float(closed_form(**params)), abs=5 * float(jnp.std(values)) / 200 + 1e-5
    )


def test_gradient_vanishes_where_the_guide_is_the_posterior():
    """For every single draw, not only on average: this is why the noise fades."""
    params = {"loc": jnp.asarray(POSTERIOR[0]), "log_scale": jnp.asarray(np.log(POSTERIOR[1]))}
    for key in jax.random.split(jax.random.key(1), 5):
        gradient = jax.grad(bound)(params, key)
        assert all(abs(float(g)) < 1e-4 for g in gradient.values())
    evidence = stats.norm.logpdf(OBSERVED, 0, np.sqrt(1.25))
    assert float(bound(params, jax.random.key(2))) == pytest.approx(-evidence, rel=1e-5)


def test_density_is_the_normal_one():
    x = np.linspace(-3, 3, 7, dtype=np.float32)
    density = PathwiseNormal(0.5, 2.0, 0.0).log_prob(x)
    np.testing.assert_allclose(density, stats.norm.logpdf(x, 0.5, 2.0), rtol=1e-5)


def test_noise_is_normal_and_independent_between_arrays():
    shapes = [(700,), (), (50, 30)]
    arrays = standard_normals(jax.random.key(0), shapes, jnp.zeros(()).dtype)
    assert [a.shape for a in arrays] == shapes
    flat = np.concatenate([np.ravel(a) for a in arrays])
    assert len(np.unique(flat)) == len(flat)
    assert stats.kstest(flat, "norm").pvalue > 1e-3


def test_a_draw_uses_the_given_noise_and_is_one():
    normal = PathwiseNormal(jnp.asarray([1.0, 2.0]), jnp.asarray(0.5), jnp.asarray([0.0, -2.0]))
    np.testing.assert_array_equal(normal.sample(jax.random.key(0)), [1.0, 1.0])
    with pytest.raises(ValueError, match=r"not of \(3,\)"):
        normal.sample(jax.random.key(0), (3,))


def test_initial_scale():
    site = Latent("z", ("gene",))
    guide = MeanField(init_scale=0.02)
    params = guide.init((site,), {"z": jnp.asarray(1.5)}, lengths={"gene": 4}, totals=np.ones(3))
    numbers = np.arange(5000, dtype=np.uint32)
    draws = guide.draw(jax.random.key(0), params, latents=(site,), numbers=numbers, ids={})["z"]
    np.testing.assert_allclose(np.std(draws, axis=0), 0.02, rtol=0.05)
    np.testing.assert_allclose(np.mean(draws, axis=0), 1.5, rtol=1e-3)
