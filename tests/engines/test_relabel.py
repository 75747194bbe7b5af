"""Chains of a mixture that number its components differently: put in order, unless the numbers mean something."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._counts.design import NO_DESIGN, Design
from scribe._model.resolve import resolve_spec
from scribe.engines import NUTS, Task, diagnostics
from scribe.engines.chains import judge
from scribe.engines.relabel import exchangeable, numbering, relabel

pytestmark = pytest.mark.loose_promotion

K, N_CHAINS, N_DRAWS, N_GENES = 3, 3, 60, 7
THREE = ("0", "1", "2")


@pytest.fixture(scope="module")
def draws():
    """Draws of a mixture in which the second chain has another numbering, and the third switches halfway."""
    rng = np.random.default_rng(0)
    spec = resolve_spec("nbvcp", components=THREE, mixture_params="mean", parameterization="mean_odds")
    lengths = {"component": K, "gene": N_GENES, "cell": 4}
    straight = {}
    for latent in spec.latents:
        shape = tuple(lengths[axis] for axis in latent.axes)
        centre = rng.normal(0, 1.0 if "component" in latent.axes else 0.1, shape)
        straight[latent.name] = (centre + 0.3 * rng.normal(size=(N_CHAINS, N_DRAWS, *shape))).astype(np.float32)
    order = np.tile(np.arange(K), (N_CHAINS, N_DRAWS, 1))
    order[1], order[2, 30:] = [2, 0, 1], [1, 0, 2]
    switched = dict(straight)
    for name in ("mu_unconstrained", "mixing_weights_unconstrained"):
        index = order.reshape(*order.shape, *(1,) * (straight[name].ndim - 3))
        switched[name] = np.take_along_axis(straight[name], index, axis=2)
    return spec, straight, switched


def test_chains_are_brought_to_the_first_one(draws) -> None:
    spec, straight, switched = draws
    assert diagnostics(switched["mu_unconstrained"]).r_hat.min() > 1.1
    found, n = relabel(spec, switched, {})
    assert n == N_DRAWS + 30
    for name, value in straight.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    same, n = relabel(spec, straight, {})
    assert n == 0
    assert all(same[name] is value for name, value in straight.items())


def test_numbering_is_the_best_of_all_permutations() -> None:
    """Of every draw, by enumeration, at the mean of the draws as they have been put in order."""
    features = np.random.default_rng(3).normal(0, 1.0, (2, 40, K, 5)) + np.arange(K)[:, None] * 0.8
    order = numbering(features)
    put = np.take_along_axis(features, order[..., None], axis=2)
    mean = put.mean(axis=(0, 1))
    weight = 1 / np.square(put - mean).mean(axis=(0, 1, 2))
    for chain, draw in np.ndindex(2, 40):
        one = features[chain, draw]
        distance = {p: np.sum(weight * (one[list(p)] - mean) ** 2) for p in itertools.permutations(range(K))}
        assert tuple(order[chain, draw]) == min(distance, key=distance.get)


def test_numbers_that_mean_something_are_kept() -> None:
    spec = resolve_spec(components=THREE)
    assert exchangeable(spec, NO_DESIGN)
    assert exchangeable(spec, Design(dataset=np.zeros(4, np.int32)))
    assert not exchangeable(spec, Design(logits=np.zeros((4, K))))
    assert not exchangeable(resolve_spec(), NO_DESIGN)
    assert not exchangeable(resolve_spec(components=THREE, priors={"mixing": (1.0, 1.0, 5.0)}), NO_DESIGN)
    assert exchangeable(resolve_spec(components=THREE, priors={"mixing": (2.0, 2.0, 2.0)}), NO_DESIGN)


def test_the_verdict_says_so() -> None:
    rng = np.random.default_rng(0)
    names = ("num_steps", "accept_prob")
    statistics = {**{name: np.ones((2, 500)) for name in names}, "diverging": np.zeros((2, 500), bool)}
    options = {"step_size": np.ones(2), "max_tree_depth": 10}
    good = judge({"a": rng.normal(size=(2, 500))}, statistics, **options, relabelled=1200)
    assert good.converged
    assert good.relabelled == 1200
    assert str(good).endswith("components of 1,200 draws were renumbered to agree with the first chain")
    assert "renumbered" not in str(judge({"a": rng.normal(size=(2, 500))}, statistics, **options))


def test_the_sampler_puts_its_chains_in_order() -> None:
    """Two groups of cells; the second chain starts with their numbers exchanged, and stays there."""
    rng = np.random.default_rng(0)
    means = np.array([[20.0, 2.0, 8.0], [2.0, 20.0, 8.0]])
    counts = Counts.from_matrix(rng.poisson(means[np.arange(30) % 2]))
    spec = resolve_spec("poisson", components=("0", "1"))
    near = [{"mu": np.log(means[order]), "mixing_weights": np.full(2, np.log(0.5))} for order in ([0, 1], [1, 0])] * 10
    with jax.enable_x64(True):
        sampled = NUTS(40, n_warmup=40, n_chains=2).fit(Task(spec, counts, near=near), seed=0)
    assert sampled.verdict.relabelled == 40
    mu = np.exp(sampled.params["mu_unconstrained_draws"])
    np.testing.assert_allclose(mu[..., :40].mean(-1), mu[..., 40:].mean(-1), rtol=0.1)
    np.testing.assert_allclose(mu.mean(-1), means, rtol=0.3)
