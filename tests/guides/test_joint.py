"""Low-rank and joint guides against dense normals, and what they gain over independent ones."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import log_density
from scipy import stats

from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._model.build import build
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Task
from scribe.guides import Composed, Joint, LowRank, MeanField, whole
from scribe.guides._block import Block
from scribe.guides._pathwise import standard_normals
from scribe.guides.low_rank import LowRankNormal
from scribe.priors import Latent

pytestmark = pytest.mark.loose_promotion

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
    return {name: jnp.asarray(rng.normal(0, 0.7, np.shape(x))) for name, x in params.items()}


def joined(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def dense_normal(block, params):
    """Mean and covariance of all latents, by the Jacobian of the draw in its noise."""
    flat, restore = ravel_pytree([np.zeros(shape) for shape in block.noise(params)])

    def latents(noise):
        return ravel_pytree(block.push(params, restore(noise))[0])[0]

    matrix = np.asarray(jax.jit(jax.jacfwd(latents))(flat), np.float64)
    return joined({latent.name: params[latent.name + "_loc"] for latent in block.order}), matrix @ matrix.T


def test_density_is_that_of_the_dense_normal(block):
    with jax.enable_x64(True):
        params = arrays(block)
        mean, covariance = dense_normal(block, params)
        shapes = block.noise(params)

        @jax.jit
        def draw(params):
            return block.push(params, standard_normals(jax.random.key(0), shapes, np.dtype(float)))

        values, found = draw(params)
        expected = stats.multivariate_normal.logpdf(joined(values), mean, covariance)
        assert float(found) == pytest.approx(expected, rel=1e-9)


def test_marginals_are_those_of_the_dense_normal(block):
    with jax.enable_x64(True):
        params = arrays(block)
        mean, covariance = dense_normal(block, params)

        @jax.jit
        def marginals(params):
            found = {latent.name: block.marginal(latent.name, params) for latent in block.order}
            return {name: (normal.loc, normal.scale) for name, normal in found.items()}

        marginal = marginals(params)
        scales = joined({name: scale for name, (_, scale) in marginal.items()})
        np.testing.assert_allclose(scales, np.sqrt(np.diag(covariance)), rtol=1e-9)
        np.testing.assert_array_equal(joined({name: loc for name, (loc, _) in marginal.items()}), mean)


def test_every_pair_of_latents_of_a_gene_is_coupled(block):
    """No two latents of a block are independent, whatever axes they have; those without genes excepted."""
    params = arrays(block)
    mean, covariance = dense_normal(block, params)
    sizes = {name: params[name + "_loc"].size for name in sorted(latent.name for latent in block.order)}
    order = dict(zip(sizes, np.split(np.arange(len(mean)), np.cumsum([*sizes.values()])[:-1]), strict=True))
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
        "a_factor": rng.normal(0, 300.0, (n, 4)),
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

        @jax.jit
        @jax.grad
        def gradient(params, noise):
            values, density = block.push(params, noise)
            x = ravel_pytree(values)[0] - mean
            return -0.5 * x @ precision @ x - density

        noise = standard_normals(jax.random.key(0), block.noise(target), np.dtype(float))
        assert max(float(jnp.abs(g).max()) for g in gradient(target, noise).values()) < 1e-8
        elsewhere = gradient({**target, "a_loc": target["a_loc"] + 1.0}, noise)
        assert float(jnp.abs(elsewhere["a_loc"]).max()) > 0.1


def test_columns_of_the_factor_differ_at_the_start():
    params = Block(LowRankNormal(3), (A,)).init({"a": np.zeros(())}, lengths={"gene": 50}, totals=np.ones(1))
    assert np.linalg.matrix_rank(params["a_factor"]) == 3
    assert 0 < np.abs(params["a_factor"]).max() < 0.3


@functools.cache
def fitted(guide):
    """Mean loss at the end of a fit of r_g and a p that all genes share, and draws of them."""
    shape = np.tile([3.0, 0.5, 8.0, 1.0], 2)
    counts = Counts.from_matrix(np.random.default_rng(3).negative_binomial(shape, 0.3, (60, 8)))
    spec = resolve_spec("nbdm")
    fit = SVI(2500, early_stopping=EarlyStopping(enabled=False)).fit(Task(spec, counts, guide), seed=0)
    about = {"latents": spec.latents, "numbers": np.arange(4000, dtype=np.uint32), "ids": {}}
    return spec, counts, fit, guide.draw(jax.random.key(1), fit.params, **about)


def correlations(draws):
    """Of logit p with every log r."""
    x = np.column_stack([draws["p_unconstrained"], draws["r_unconstrained"]])
    return np.corrcoef(x.T)[0, 1:]


def laplace():
    """The same correlations by the curvature of the log-posterior at the centre of a fit."""
    spec, counts, fit, _ = fitted(LINEAR)
    model, data = build(spec, n_genes=8), full_data(counts, totals_suffice=True)
    centre, restore = ravel_pytree(LINEAR.centre(fit.params, latents=spec.latents))
    curvature = jax.jit(jax.hessian(lambda x: log_density(model, (data,), {}, restore(x))[0]))(centre)
    covariance = np.linalg.inv(-curvature)
    sd = np.sqrt(np.diag(covariance))
    return (covariance / np.outer(sd, sd))[0, 1:]


LINEAR = Composed((Joint(("p", "r")), MeanField()))
DENSE = Composed((Joint(("p", "r"), family=LowRank(2)), MeanField()))


def gain(guide):
    return np.mean(fitted(MeanField())[2].losses[-500:] - fitted(guide)[2].losses[-500:])


@pytest.mark.parametrize("guide", [pytest.param(LINEAR, marks=pytest.mark.slow), DENSE], ids=["linear", "joint"])
def test_bound_is_higher_than_with_independence(guide):
    assert gain(guide) > 1.0


def test_genes_alone_have_nothing_to_share():
    """Given the p that they share, genes are independent: coupling them without p gains nothing."""
    assert abs(gain(whole(LowRank(3)))) < 0.2


def test_a_low_rank_normal_finds_the_one_it_can_be():
    """Covariance and evidence of a normal posterior over genes."""
    block, n = Block(LowRankNormal(2), (A,)), 6
    rng = np.random.default_rng(4)
    mean, factor = rng.normal(size=n), rng.normal(size=(n, 2))
    covariance = factor @ factor.T + np.diag(rng.uniform(0.1, 0.5, n))
    precision, (_, log_det) = jnp.asarray(np.linalg.inv(covariance)), np.linalg.slogdet(covariance)
    params = block.init({"a": np.zeros(())}, lengths={"gene": n}, totals=np.ones(1))
    optimizer = optax.adam(optax.exponential_decay(0.05, 1000, 0.5))

    def loss(params, key):
        noise = standard_normals(key, block.noise(params), params["a_loc"].dtype)
        values, density = block.push(params, noise)
        x = values["a"] - mean
        return density + 0.5 * x @ precision @ x + 0.5 * (log_det + n * np.log(2 * np.pi))

    def step(carry, key):
        value, gradient = jax.value_and_grad(loss)(carry[0], key)
        updates, memory = optimizer.update(gradient, carry[1])
        return (optax.apply_updates(carry[0], updates), memory), value

    keys = jax.random.split(jax.random.key(0), 6000)
    (found, _), losses = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, optimizer.init(params)))
    np.testing.assert_allclose(found["a_loc"], mean, atol=0.02)
    np.testing.assert_allclose(dense_normal(block, found)[1], covariance, atol=0.1)
    assert abs(np.mean(losses[-300:])) < 0.02


@pytest.mark.parametrize("guide", [pytest.param(LINEAR, marks=pytest.mark.slow), DENSE], ids=["linear", "joint"])
def test_correlations_are_those_of_the_posterior(guide):
    expected = laplace()
    assert np.all(np.abs(expected) > 0.3)
    np.testing.assert_allclose(correlations(fitted(guide)[3]), expected, atol=0.12)
    assert np.all(np.abs(correlations(fitted(MeanField())[3])) < 0.06)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"params": ("mu",), "dense": ("phi",), "family": LowRank(2)}, "not among params"),
        ({"params": ("mu", "phi"), "dense": ("phi",)}, "needs a family"),
    ],
)
def test_contradictions_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Joint(**settings)


@pytest.mark.parametrize("rank", [0, 2.5, None])
def test_ranks_are_whole(rank):
    with pytest.raises(ValueError, match="rank of a low-rank guide"):
        LowRank(rank)


@pytest.mark.parametrize("name", ["gat", "p_capture"])
def test_unknown_parameters_are_named(name):
    with pytest.raises(ValueError, match=f"joint guide of '{name}'.*It has: p, r, gate"):
        Joint((name,)).select(resolve_spec("zinbvcp").latents)


def test_the_raw_latent_of_a_hierarchy_is_meant():
    scaled = Latent("mu_raw_unconstrained", ("gene",))
    assert Joint(("mu",)).select((A, scaled)) == (scaled,)


def test_a_latent_that_no_part_takes_is_named():
    with pytest.raises(ValueError, match=r"No part of the guide is made for p: add scribe.guides.MeanField"):
        Composed((LowRank(2),)).centre({}, latents=(A, P))
