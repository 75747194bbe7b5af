"""Low-rank and joint guides against dense normals, and what they gain over independent ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy import stats

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping
from scribe.guides import Composed, Joint, LowRank, MeanField, whole
from scribe.guides._block import Block
from scribe.guides._pathwise import standard_normals
from scribe.guides.low_rank import LowRankNormal
from scribe.priors import Latent

pytestmark = [pytest.mark.loose_promotion, pytest.mark.optimized]

LENGTHS = {"gene": 3, "component": 2, "dataset": 4}
P, Q = Latent("p", ()), Latent("q", ("dataset",))
A, B = Latent("a", ("gene",)), Latent("b", ("gene",))
AK, BK = Latent("ak", ("component", "gene")), Latent("bk", ("component", "gene"))
AKD, AD = Latent("akd", ("component", "dataset", "gene")), Latent("ad", ("dataset", "gene"))

BLOCKS = {
    "one": ((A,), ()),
    "one by component": ((AK,), ()),
    "two": ((A, B), ()),
    "two by component": ((AK, BK), ()),
    "nested": ((AK, AKD), ()),
    "crossed": ((AK, AD), ()),
    "with a scalar": ((A, B), (P,)),
    "structured": ((A,), (P, B, AK)),
    "averaged over data sets": ((AD,), (A, Q)),
    "averaged over what is independent": ((AK, AKD), (A, AD)),
    "linear": ((), (P, A, AK, AKD)),
}


@pytest.fixture(params=BLOCKS.values(), ids=BLOCKS)
def block(request):
    dense, linear = request.param
    return Block(LowRankNormal(2), dense, linear)


def arrays(block):
    """Parameters of ordinary size, none at its starting value."""
    start = {latent.name: np.zeros(()) for latent in block.order}
    params = block.init(start, lengths=LENGTHS, totals=np.ones(1))
    rng = np.random.default_rng(1)
    return {name: jnp.asarray(rng.normal(0, 0.7, x.shape)) for name, x in params.items()}


def dense_normal(block, params):
    """Mean and covariance of all latents, by the Jacobian of the draw in its noise."""
    flat, restore = ravel_pytree([jnp.zeros(shape) for shape in block.noise(params)])

    def latents(noise):
        return ravel_pytree(block.push(params, restore(noise))[0])[0]

    matrix = np.asarray(jax.jacobian(latents)(flat), np.float64)
    return np.asarray(latents(flat)), matrix @ matrix.T


def test_density_is_that_of_the_dense_normal(block):
    with jax.enable_x64(True):
        params = arrays(block)
        mean, covariance = dense_normal(block, params)
        noise = standard_normals(jax.random.key(0), block.noise(params), np.dtype(float))
        values, found = block.push(params, noise)
        expected = stats.multivariate_normal.logpdf(ravel_pytree(values)[0], mean, covariance)
        assert float(found) == pytest.approx(expected, rel=1e-9)


def test_marginals_are_those_of_the_dense_normal(block):
    with jax.enable_x64(True):
        params = arrays(block)
        mean, covariance = dense_normal(block, params)
        marginal = {latent.name: block.marginal(latent.name, params) for latent in block.order}
        scales = ravel_pytree({name: normal.scale for name, normal in marginal.items()})[0]
        np.testing.assert_allclose(scales, np.sqrt(np.diag(covariance)), rtol=1e-9)
        np.testing.assert_array_equal(ravel_pytree({n: normal.loc for n, normal in marginal.items()})[0], mean)


def test_every_pair_of_latents_of_a_gene_is_coupled(block):
    """No two latents of a block are independent, whatever axes they have; those without genes excepted."""
    params = arrays(block)
    mean, covariance = dense_normal(block, params)
    _, restore = ravel_pytree({latent.name: params[latent.name + "_loc"] for latent in block.order})
    order = {name: np.asarray(x, int).ravel() for name, x in restore(jnp.arange(len(mean), dtype=float)).items()}
    for one in block.order:
        for other in block.order:
            if "gene" in one.axes or "gene" in other.axes:
                assert np.abs(covariance[np.ix_(order[one.name], order[other.name])]).max() > 1e-3


def test_density_in_single_precision_with_strong_coupling():
    """Shared directions a thousand times as long as the scale of the elements, over many genes."""
    core, n, rng = LowRankNormal(4), 2000, np.random.default_rng(0)
    params = {
        "a_loc": np.zeros(n),
        "a_log_scale": rng.normal(-5, 0.5, n),
        "a_factor": rng.normal(0, 3.0, (n, 4)),
    }
    noise = [rng.normal(size=(1, 4)), rng.normal(size=(1, n))]
    found = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            on_device = jax.tree.map(jnp.asarray, (params, noise))
            found.append(float(Block(core, (A,)).push(*on_device)[1]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_gradient_vanishes_where_the_guide_is_the_posterior():
    """For every single draw: the noise of the gradient fades as the fit converges."""
    block = Block(LowRankNormal(2), (A, B), (P,))
    with jax.enable_x64(True):
        target = arrays(block)
        mean, covariance = dense_normal(block, target)
        precision = jnp.asarray(np.linalg.inv(covariance))

        def bound(params, noise):
            values, density = block.push(params, noise)
            x = ravel_pytree(values)[0] - mean
            return -0.5 * x @ precision @ x - density

        noise = standard_normals(jax.random.key(0), block.noise(target), np.dtype(float))
        gradient = jax.grad(bound)(target, noise)
        assert max(float(jnp.abs(g).max()) for g in gradient.values()) < 1e-8
        elsewhere = jax.grad(bound)({**target, "a_loc": target["a_loc"] + 1.0}, noise)
        assert float(jnp.abs(elsewhere["a_loc"]).max()) > 0.1


def test_columns_of_the_factor_differ_at_the_start():
    params = Block(LowRankNormal(3), (A,)).init({"a": np.zeros(())}, lengths={"gene": 50}, totals=np.ones(1))
    assert np.linalg.matrix_rank(params["a_factor"]) == 3
    assert 0 < np.abs(params["a_factor"]).max() < 0.1


COUNTS = np.random.default_rng(3).negative_binomial(np.tile([3.0, 0.5, 8.0, 1.0], 2), 0.3, (60, 8))


def fitted(guide):
    """A long fit of few cells, its bound from many draws, and draws of two parameters of a gene."""
    spec = resolve_spec("nbdm", parameterization="mean_disp")
    counts = Counts.from_matrix(COUNTS)
    engine = SVI(3000, early_stopping=EarlyStopping(enabled=False))
    fit = engine.fit(spec, counts, guide, seed=0)
    draws = guide.draw(jax.random.key(1), fit.params, latents=spec.latents, n_draws=4000)
    return fit, draws


def test_placeholder():
    assert (
        handlers is not None
        and log_density is not None
        and Composed
        and Joint
        and LowRank
        and MeanField
        and whole
        and fitted
    )
