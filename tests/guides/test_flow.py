"""Flows against inverses and Jacobians, and the identity that they start as."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

from scribe._nn import MLP
from scribe.guides import Flow, Joint
from scribe.guides._bijections import affine, loft, rational_quadratic
from scribe.guides._pathwise import standard_normals
from scribe.priors import Latent

pytestmark = pytest.mark.loose_promotion

SMALL = MLP((6, 6))
KINDS = ("affine_coupling", "spline_coupling", "maf", "iaf")
LENGTHS = {"gene": 3, "component": 2}
A, B, AK = Latent("a", ("gene",)), Latent("b", ("gene",)), Latent("ak", ("component", "gene"))
P, BK = Latent("p", ()), Latent("bk", ("component", "gene"))

CASES = {kind: (Flow(kind, n_layers=3, network=SMALL), (A,)) for kind in KINDS} | {
    "without extras": (
        Flow(n_layers=3, network=MLP((5,), layer_norm=False, residual=False), soft_clamp=False, loft=False),
        (A,),
    ),
    "components": (Flow(n_layers=3, network=SMALL), (AK,)),
    "components sharing": (Flow(n_layers=3, network=SMALL, mixture_strategy="shared"), (AK,)),
    "joint": (Joint(("p", "a", "b"), family=Flow(n_layers=3, network=SMALL)), (P, A, B)),
    "chain": (Joint(("ak", "bk"), family=Flow(n_layers=3, network=SMALL), dense=("ak", "bk")), (AK, BK)),
    "chain sharing": (
        Joint(("ak", "bk"), family=Flow(n_layers=3, network=SMALL, mixture_strategy="shared"), dense=("ak", "bk")),
        (AK, BK),
    ),
    "structured": (Joint(("a", "b", "p"), family=Flow(n_layers=3, network=SMALL), dense=("a",)), (A, B, P)),
}


def arrays(block, *, moved):
    params = block.init({x.name: np.zeros(()) for x in block.order}, lengths=LENGTHS, totals=np.ones(1))
    rng = np.random.default_rng(1)
    return {
        name: jnp.asarray(np.asarray(x) + moved * rng.normal(0, 0.5, x.shape), x.dtype) for name, x in params.items()
    }


def drawn(block, params, dtype):
    """Noise, values and log-density of one draw."""

    @jax.jit
    def draw(params):
        noise = standard_normals(jax.random.key(0), block.noise(params), dtype)
        return noise, *block.push(params, noise)

    return draw(params)


def jacobian_of(block, params, noise, chosen):
    """The noise in one row, and the Jacobian of chosen values by it."""

    @jax.jit
    def of(noise):
        flat, restore = ravel_pytree(noise)
        return flat, jax.jacfwd(lambda x: chosen(block.push(params, restore(x))[0]))(flat)

    flat, jacobian = of(noise)
    return np.asarray(flat), np.asarray(jacobian)


@pytest.fixture(params=CASES.values(), ids=CASES)
def block(request):
    guide, latents = request.param
    return guide.blocks(latents)[0]


def test_density_is_that_of_the_noise_by_the_jacobian(block):
    with jax.enable_x64(True):
        params = arrays(block, moved=1.0)
        noise, values, found = drawn(block, params, np.dtype(float))
        flat, jacobian = jacobian_of(block, params, noise, lambda values: ravel_pytree(values)[0])
        expected = stats.norm.logpdf(flat).sum() - np.linalg.slogdet(jacobian)[1]
        assert float(found) == pytest.approx(expected, rel=1e-9)
        assert np.abs(jacobian - np.diag(np.diag(jacobian))).max() > 1e-3 or values.keys() == {"a"}


def test_starts_as_independent_normals(block):
    params = arrays(block, moved=0.0)
    noise, values, density = drawn(block, params, jnp.zeros(()).dtype)
    x = np.concatenate([np.ravel(v) for v in noise])
    found = np.concatenate([np.ravel(v) for v in values.values()])
    np.testing.assert_allclose(np.sort(found), np.sort(x * 0.1), rtol=1e-4, atol=1e-6)
    assert float(density) == pytest.approx(stats.norm.logpdf(x * 0.1, 0, 0.1).sum(), rel=1e-5)


def test_all_elements_of_a_latent_depend_on_each_other(block):
    """In one direction at least: layers take turns."""
    params = arrays(block, moved=1.0)
    name, noise = block.dense[0].name, [np.ones(shape, np.float32) for shape in block.noise(params)]
    _, jacobian = jacobian_of(block, params, noise, lambda values: values[name].reshape(-1, 3)[0])
    own = jacobian[:, np.abs(jacobian).max(0) > 0]
    assert (own != 0).all() or own.shape[1] > 3


@pytest.mark.parametrize("soft_clamp", [True, False])
def test_affine_scales_are_bounded(soft_clamp):
    x = jnp.ones(5)
    raw = jnp.stack([jnp.asarray([-1e4, -1.0, 0.0, 1.0, 1e4]), jnp.zeros(5)], axis=1)
    image, log_slope = affine(x, raw, soft_clamp=soft_clamp)
    np.testing.assert_allclose(image, np.exp(log_slope), rtol=1e-6)
    low, high = (-2.0, 0.1) if soft_clamp else (-5.0, 5.0)
    np.testing.assert_allclose(log_slope[np.array([0, 2, 4])], [low, 0, high], rtol=2e-3)


@pytest.mark.parametrize("bins", [2, 8])
def test_spline_is_smooth_monotonic_and_the_identity_outside(bins):
    with jax.enable_x64(True):
        x = jnp.linspace(-4, 4, 4001)
        raw = jnp.broadcast_to(jnp.asarray(np.random.default_rng(0).normal(size=3 * bins - 1)), (4001, 3 * bins - 1))
        spline = jax.jit(rational_quadratic)
        y, log_slope = map(np.asarray, spline(x, raw))
        outside = np.abs(x) >= 3
        np.testing.assert_array_equal(y[outside], np.asarray(x)[outside])
        assert np.all(np.diff(y) > 0)
        slope = jax.jit(jax.vmap(jax.grad(lambda one: rational_quadratic(one[None], raw[:1])[0][0])))(x)
        np.testing.assert_allclose(np.exp(log_slope), slope, rtol=1e-9)
        assert np.abs(np.diff(log_slope)).max() < 0.1
        np.testing.assert_allclose(spline(x, jnp.zeros_like(raw))[0], x, atol=1e-12)


def test_loft_compresses_outliers_alone():
    x = jnp.asarray([-1e6, -100.0, 3.0, 100.0, 150.0])
    y, log_slope = loft(x)
    np.testing.assert_allclose(y, [-100 - np.log(999901), -100, 3, 100, 100 + np.log(51)], rtol=1e-6)
    np.testing.assert_allclose(log_slope, -np.log([999901, 1, 1, 1, 51]), rtol=1e-6)


def test_log_determinants_are_summed_in_64_bits():
    """Of many elements, in a fit in 32 bits: the rounding of the sum is gone, the gradient is the same."""
    many = {"gene": 20_000}
    found, slopes = {}, {}
    for wide in (False, True):
        block = Flow(n_layers=2, network=MLP((4,)), log_det_f64=wide).blocks((A,))[0]
        params = block.init({"a": np.zeros(())}, lengths=many, totals=np.ones(1))
        assert all(x.dtype == np.float32 for x in params.values())
        params = {name: x + (0.3 if "kernel" in name or "bias" in name else 0.0) for name, x in params.items()}
        core, read = block.core, block._arrays(params)
        noise = standard_normals(jax.random.key(0), core.noise(read), np.dtype(np.float32))[0]
        log_det = jax.value_and_grad(lambda weights, core=core, noise=noise: core._push(weights, noise)[1])
        found[wide], slopes[wide] = jax.jit(log_det)(read.weights)
        assert found[wide].dtype == np.float32
    assert float(found[False]) == pytest.approx(float(found[True]), rel=1e-4)
    for name, slope in slopes[True].items():
        np.testing.assert_allclose(slope, slopes[False][name], rtol=1e-3, atol=1e-4 * np.abs(slope).max() + 1e-6)
    terms = [jnp.asarray([2.0**24] + [1.0] * 999, np.float32)[:, None]] * 3
    exact = 3 * (2.0**24 + 999)
    assert float(jax.jit(core._sum)(terms)) == pytest.approx(exact, rel=1e-7)


@pytest.mark.optimized
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_comes_nearer_to_a_bent_posterior(kind):
    """A banana: z0 ~ N(0, 1), z1 | z0 ~ N(z0^2, 0.3); independent normals lose more than half a nat."""
    block = Flow(kind, network=MLP((16,)), soft_clamp=False).blocks((Latent("z", ("gene",)),))[0]
    params = block.init({"z": np.zeros(())}, lengths={"gene": 2}, totals=np.ones(1))
    optimizer = optax.adam(optax.exponential_decay(0.05, 500, 0.3))

    def loss(params, key):
        noise = standard_normals(key, [(16, 1, 2)], params["z_loc"].dtype)[0]
        values, density = jax.vmap(lambda one: block.push(params, [one]))(noise)
        x, y = values["z"][:, 0], values["z"][:, 1]
        log_p = -0.5 * x**2 - 0.5 * ((y - x**2) / 0.3) ** 2 - np.log(2 * np.pi * 0.3)
        return jnp.mean(density - log_p)

    def step(carry, key):
        value, gradient = jax.value_and_grad(loss)(carry[0], key)
        updates, memory = optimizer.update(gradient, carry[1])
        return (optax.apply_updates(carry[0], updates), memory), value

    keys = jax.random.split(jax.random.key(0), 1500)
    _, losses = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, optimizer.init(params)))
    assert np.mean(losses[-300:]) < 0.25


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Flow("affine_coupled"), "Unknown kind of flow 'affine_coupled'. Did you mean 'affine_coupling'"),
        (lambda: Flow(mixture_strategy="share"), "Unknown mixture_strategy 'share'. Did you mean 'shared'"),
        (lambda: Flow(n_layers=0), "n_layers must be a whole number of at least 1, got 0"),
        (lambda: Flow(n_bins=1), "n_bins must be a whole number of at least 2, got 1"),
        (lambda: MLP(()), "hidden_dims must be the widths"),
        (lambda: MLP(activation="rely"), "Unknown activation 'rely'"),
        (
            lambda: Flow().blocks((A,))[0].init({"a": np.zeros(())}, lengths={"gene": 1}, totals=np.ones(1)),
            "two elements or more",
        ),
    ],
)
def test_bad_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_network_against_numpy():
    network = MLP((4, 4), activation="tanh")
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=x.shape) for name, x in network.init(rng, n_in=3, n_out=(2, 1), n_context=2).items()
    }
    x, context = rng.normal(size=3), rng.normal(size=2)

    def normed(values, i):
        return (values - values.mean()) / np.sqrt(values.var() + 1e-6) * arrays[f"gain_{i}"] + arrays[f"shift_{i}"]

    first = x @ arrays["kernel_0"] / 3 + arrays["bias_0"] + context @ arrays["kernel_context"] / 2
    one = np.tanh(normed(first, 0))
    two = one + np.tanh(normed(one @ arrays["kernel_1"] / 4 + arrays["bias_1"], 1))
    expected = np.einsum("h,hnk->nk", two, arrays["kernel_out"]) / 4 + arrays["bias_out"]
    on_device = {name: jnp.asarray(v, jnp.float32) for name, v in arrays.items()}
    found = network(on_device, jnp.asarray(x, jnp.float32), jnp.asarray(context, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
