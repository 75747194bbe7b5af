"""The smooth test: its statistic against enumeration, p-values that are uniform, misfits that it finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats

import scribe
from scribe import families
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.initial import start
from scribe._model.names import MODELS
from scribe._model.resolve import resolve_spec
from scribe._posterior import uniformity
from scribe._posterior.posterior import Posterior
from scribe._posterior.uniformity import ORDER, SmoothTest, averages
from scribe.engines import Verdict
from scribe.guides import MeanField

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore:.*are kept:scribe._counts.checks.CountsWarning"),
]


def posterior_at(spec, values, shape, design=None):
    """A posterior about given values of the parameters on the real line; its widths do not matter here."""
    params = {}
    for name, value in values.items():
        params |= {f"{name}_loc": np.asarray(value, float), f"{name}_log_scale": np.full(np.shape(value), -3.0)}
    known = Design() if design is None else design
    return Posterior(spec, MeanField(), params, n_genes=shape[1], n_cells=shape[0], design=known)


def p_values(posterior, counts, *, size=1000):
    """p-values of all genes, in blocks of at most a size."""
    columns, n = counts.to_csr().tocsc(), counts.n_genes
    size, parts, test = min(size, n), [], SmoothTest(posterior, counts)
    for first in range(0, n, size):
        genes = slice(first, min(first + size, n))
        block = columns[:, genes].tocoo()
        order = np.argsort(block.col, kind="stable")
        parts.append(test.p_values(genes, block.row[order], block.col[order], block.data[order], size=size))
    return np.concatenate(parts)


def simulated(posterior, seed=0):
    """Counts drawn from the most probable parameters."""
    verdict = Verdict(converged=True, reason="made up", steps=1, loss=0.0, slope=0.0)
    results = scribe.ScribeSVIResults(posterior, verdict, {"loss": np.zeros(1)}, engine="svi", seed=1)
    matrix = np.zeros((posterior.n_cells, posterior.n_genes), np.float32)
    for block in next(results.simulate(1, at_map=True, rng=seed)):
        matrix[block.cell, block.gene] = block.value
    return Counts.from_matrix(matrix)


def legendre(j, v):
    return np.sqrt(2 * j + 1) * special.eval_legendre(j, 2 * v - 1)


def test_averages_of_polynomials():
    low, width = np.array([0.0, 0.3, 0.7]), np.array([0.4, 0.01, 0.3])
    expected = [
        [integrate.quad(lambda v, j=j: legendre(j, v), a, a + w)[0] / w for a, w in zip(low, width, strict=True)]
        for j in range(1, ORDER + 1)
    ]
    np.testing.assert_allclose(averages(low, width), expected, atol=1e-6)


def enumerated(counts, mean, size):
    """p-values of negative binomials without capture: all expectations by sums over counts."""
    u = np.arange(3000.0)
    found = []
    for column, m, r in zip(counts.T, mean, size, strict=True):
        pmf = stats.nbinom.pmf(u, r, r / (r + m))
        up_to = np.cumsum(pmf)
        t = np.stack([_averaged(j, up_to - pmf, pmf) for j in range(1, ORDER + 1)])
        digamma = special.digamma(u + r) - special.digamma(r)
        of_size = r * (digamma + np.log(r / (r + m)) + 1 - (r + u) / (r + m))
        # by the logarithms of the mean at fixed odds, which moves the size, and of the odds
        score = np.stack([(u - m) * r / (r + m) + of_size, of_size])
        slope = (t * pmf) @ score.T @ np.linalg.inv((score * pmf) @ score.T)
        rest = t - slope @ score
        variance, directions = np.linalg.eigh((rest * pmf) @ rest.T)
        told, n = variance > 0.02 * variance.max(), len(column)
        rest = (directions.T @ rest)[told] / np.sqrt(variance[told])[:, None]
        z = rest[:, column.astype(int)].sum(axis=1) / np.sqrt(n)
        # as probable under the law of Student whose kurtosis is that of a mean over the cells
        freedom = 4.0 + 6.0 * n / np.maximum((rest**4) @ pmf - 3.0, 1e-9)
        square = stats.norm.isf(stats.t.sf(np.abs(z), freedom)) ** 2
        found.append(stats.chi2.sf(square.sum(), told.sum()))
    return np.array(found)


def _averaged(j, low, width):
    antiderivative = special.legendre(j).integ()
    ends = antiderivative(2 * (low + width) - 1) - antiderivative(2 * low - 1)
    middle = legendre(j, low + width / 2)
    # differences of small intervals cancel
    return np.where(width > 1e-4, np.sqrt(2 * j + 1) * ends / 2 / np.maximum(width, 1e-4), middle)


def test_against_enumeration():
    """Three genes with counts that fit, and three with too many zeros, in one block and in several."""
    rng, n = np.random.default_rng(0), 400
    mean, size = np.array([0.5, 4.0, 40.0] * 2), np.array([0.4, 2.0, 3.0] * 2)
    counts = rng.poisson(mean * rng.gamma(size, 1 / size, (n, 6))).astype(np.float32)
    counts[:, 3:] *= rng.random((n, 3)) > np.array([0.15, 0.1, 0.03])
    spec = resolve_spec("nbdm", parameterization="mean_disp")
    posterior = posterior_at(spec, {"mu_unconstrained": np.log(mean), "r_unconstrained": np.log(size)}, counts.shape)
    found = p_values(posterior, Counts.from_matrix(counts))
    expected = enumerated(counts, mean, size)
    np.testing.assert_allclose(np.log(found), np.log(expected), rtol=0.03, atol=0.03)
    assert found[:3].min() > 0.01
    assert found[4:].max() < 0.01
    np.testing.assert_allclose(p_values(posterior, Counts.from_matrix(counts), size=4), found, rtol=1e-3)


def test_classes_of_alike_genes(monkeypatch):
    """Genes of a class differ little in every parameter; with more genes than classes by as little as can be."""
    parameters = np.random.default_rng(0).normal(0.0, 1.0, (400, 2))
    sizes = []
    for most in (8000, 100):
        monkeypatch.setattr(uniformity, "_CLASSES", most)
        first, number = uniformity._classes(parameters)
        sizes.append(len(first))
        assert np.abs(parameters - parameters[first[number]]).max() <= (0.05 if most > 400 else 1.0)
    assert 300 < sizes[0] <= 400
    assert 50 < sizes[1] <= 100


SLOW = {"zibnbvcp", "twostate"}
LAYERS = {
    "nbvcp": (MODELS["nbvcp"], ()),
    "zipvcp": (MODELS["zipvcp"], ()),
    "zibnbvcp": (("nb", "with_capture", "beta_mixed", "zero_inflated"), ()),
    "twostate": (MODELS["twostate"], ()),
    "nbvcp both": (MODELS["nbvcp"], ("components", "datasets")),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in LAYERS])
def test_p_values_are_uniform(name):
    """Of counts of the model, whatever the family; with parameters a standard error off as well."""
    layers, levels = LAYERS[name]
    shape, rng = (300, 240), np.random.default_rng(1)
    labels = {"components": ("a", "b"), "datasets": ("x", "y")}
    options = {"dataset_params": "all"} if levels else {}
    spec = resolve_spec(families.from_layers(layers), unconstrained=True, **{n: labels[n] for n in levels}, **options)
    lengths = {"gene": shape[1], "cell": shape[0], "component": 2, "dataset": 2}
    values = {}
    for latent in spec.latents:
        size = tuple(lengths[axis] for axis in latent.axes)
        wide = latent.name.startswith(("mu", "r_un"))
        values[latent.name] = rng.normal(1.0 if wide else -0.5, 1.2 if wide else 0.5, size)
    design = Design(rng.integers(0, 2, shape[0])) if levels else None
    counts = simulated(posterior_at(spec, values, shape, design))
    off = {
        n: v + rng.normal(0.0, 0.05 if v.ndim and v.shape[-1] == shape[1] else 0.0, v.shape) for n, v in values.items()
    }
    for about in (values, off):
        found = p_values(posterior_at(spec, about, shape, design), counts)
        seen = counts.gene_totals >= 20
        assert seen.sum() > 150
        assert stats.kstest(found[seen], "uniform").statistic < 0.12
        assert stats.binom.sf(np.sum(found[seen] < 0.01) - 1, seen.sum(), 0.01) > 1e-3


def rejected(counts, model="nbdm"):
    """Whether genes are rejected at 1 % at the moments of the counts, where a fit would start."""
    spec = resolve_spec(model, parameterization="mean_disp")
    values = {name: np.asarray(value) for name, value in spec.start(start(spec, counts).values).items()}
    return p_values(posterior_at(spec, values, counts.shape), counts) < 0.01


def test_power():
    """At 500 cells genes that are 30 % silent, bimodal or heavy-tailed are found from a mean of 5 on."""
    rng, n, n_genes = np.random.default_rng(3), 500, 60
    mean = np.geomspace(5.0, 20.0, n_genes)

    def drawn(factor, size=4.0):
        return Counts.from_matrix(rng.poisson(mean * factor * rng.gamma(size, 1 / size, (n, n_genes))))

    assert rejected(drawn(1.0)).mean() < 0.07
    assert rejected(drawn(rng.random((n, n_genes)) > 0.3)).mean() > 0.95
    assert rejected(drawn(np.where(rng.random((n, n_genes)) < 0.5, 0.2, 1.8), 10.0)).mean() > 0.95
    assert rejected(drawn(np.where(rng.random((n, n_genes)) < 0.03, 10.0, 1.0))).mean() > 0.9
