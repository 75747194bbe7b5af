"""Simulated counts against closed-form moments and the pmf of scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe import families
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._posterior import simulate as module
from scribe._posterior.simulate import Noise, Sparse, simulate, simulate_blocks

MEAN = np.array([0.02, 0.5, 4.0, 40.0, 3000.0])
SIZE = np.array([0.3, 2.0, 0.05, 5.0, 1.5])
GATE = np.array([0.3, 0.1, 0.5, 0.2, 0.1])
FAMILIES = {
    "nb": families.nb,
    "poisson": families.poisson,
    "zinb": families.zero_inflated(families.with_capture(families.nb)),
}


def parameters(family: families.Family, n_cells: int, *, capture: float = 1.0) -> Parameters:
    every = {
        "log_mean": np.log(MEAN / capture),
        "log_odds": np.log(SIZE * capture / MEAN),
        "gate_logit": special.logit(GATE),
    }
    natural = {name: jnp.asarray(every[name], jnp.float32) for name in family.natural}
    return Parameters(natural, Scalar(jnp.full(n_cells, np.log(capture), jnp.float32)))


def noise(seed: int, n_cells: int, n_genes: int = len(MEAN)) -> Noise:
    return Noise(jax.random.key(seed), *(np.arange(n, dtype=np.uint32) for n in (n_cells, n_genes)))


def dense(block: Sparse, n_cells: int) -> np.ndarray:
    out = np.zeros((n_cells, len(MEAN)))
    out[block.cell, block.gene] = block.value
    return out


def pmf(name: str, gene: int, top: int) -> np.ndarray:
    k = np.arange(top)
    if name == "poisson":
        return stats.poisson(MEAN[gene]).pmf(k)
    base = stats.nbinom(SIZE[gene], SIZE[gene] / (SIZE[gene] + MEAN[gene])).pmf(k)
    return base if name == "nb" else GATE[gene] * (k == 0) + (1 - GATE[gene]) * base


@pytest.mark.parametrize("name", FAMILIES)
def test_counts_follow_the_pmf(name):
    """Genes of small mean are inverted, those of large mean drawn by the family: both follow scipy."""
    n = 20_000
    family = FAMILIES[name]
    counts = dense(simulate(family, parameters(family, n), noise(0, n)), n)
    for gene in range(4):
        expected = n * pmf(name, gene, 400)
        cut = np.flatnonzero(expected < 10)
        edge = int(cut[cut > MEAN[gene]].min(initial=400))
        observed = np.bincount(np.minimum(counts[:, gene], edge).astype(int), minlength=edge + 1)
        expected = np.append(expected[:edge], n - expected[:edge].sum())
        keep = expected > 5
        chi = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
        assert stats.chi2(keep.sum()).sf(chi) > 1e-4, gene


@pytest.mark.parametrize("name", FAMILIES)
def test_moments_and_zero_fraction(name):
    n = 20_000
    family = FAMILIES[name]
    given = parameters(family, n, capture=0.2)
    counts = dense(simulate(family, given, noise(1, n)), n)
    mean, variance = (np.asarray(m, np.float64) for m in family.moments(given.natural, given.log_exposure[0]))
    assert np.all(np.abs(counts.mean(0) - mean) < 5 * np.sqrt(variance / n))
    fourth = ((counts - counts.mean(0)) ** 4).mean(0)
    assert np.all(np.abs(counts.var(0) - variance) < 5 * np.sqrt((fourth - variance**2) / n))
    zero = np.exp(np.asarray(family.log_pmf(jnp.zeros(len(MEAN)), given.natural, given.log_exposure[0]), np.float64))
    assert np.all(np.abs((counts == 0).mean(0) - zero) < 5 * np.sqrt(zero * (1 - zero) / n) + 1e-9)


def test_values_are_positive_and_sorted():
    block = simulate(families.nb, parameters(families.nb, 500), noise(2, 500))
    assert (block.value > 0).all()
    assert (block.value == np.rint(block.value)).all()
    order = block.cell.astype(int) * len(MEAN) + block.gene
    assert (np.diff(order) > 0).all()


def test_blocks_join_to_the_whole(monkeypatch):
    given = parameters(families.nb, 100)
    whole = simulate(families.nb, given, noise(3, 100))
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 35)
    blocks = list(simulate_blocks(families.nb, given, jax.random.key(3), n_genes=len(MEAN)))
    assert len(blocks) == 15
    for name, value in whole._asdict().items():
        np.testing.assert_array_equal(np.concatenate([getattr(block, name) for block in blocks]), value)
    assert not np.array_equal(blocks[0].value, blocks[1].value)


@pytest.mark.parametrize("name", FAMILIES)
def test_counts_belong_to_their_cell_and_gene(name):
    """Those of some cells and genes, in another order, are those of all, of small mean and of large."""
    family, cells, genes = FAMILIES[name], np.array([7, 2, 19]), np.array([3, 1, 4])
    every = parameters(family, 20)
    natural = {n: x[genes] for n, x in every.natural.items()}
    whole = dense(simulate(family, every, noise(5, 20)), 20)
    own = Noise(jax.random.key(5), *(x.astype(np.uint32) for x in (cells, genes)))
    part = simulate(family, Parameters(natural, Scalar(every.log_exposure[cells])), own)
    found = np.zeros((3, 3))
    found[part.cell, part.gene] = part.value
    np.testing.assert_array_equal(found, whole[cells][:, genes])
    assert len(np.unique(whole[:, 4])) > 15


def test_huge_means_stay_finite():
    natural = {"log_mean": jnp.log(jnp.array([1e6, 1e-6])), "log_odds": jnp.asarray(0.0)}
    given = Parameters(natural, Scalar(jnp.zeros(200)))
    block = simulate(families.nb, given, noise(4, 200, 2))
    assert (block.gene == 0).all()
    np.testing.assert_allclose(block.value.mean(), 1e6, rtol=0.01)
    np.testing.assert_allclose(block.value.var(), 2e6, rtol=0.5)
