"""Starting values lie near the truth that simulated counts were drawn from, in every coordinate system."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.design import Design
from scribe._counts.likelihood import log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe.priors import SCATTERS, TransformedNormal, over

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scribe._types import Array

    Floats = NDArray[np.float64]

N_CELLS, N_GENES = 1500, 40
MOLECULES = 40_000.0


class Simulation(NamedTuple):
    """Counts and the parameters they were drawn with."""

    counts: Counts
    mu: Floats
    r: Floats
    capture: Floats


def simulate(*, captured: bool, size: str, gate: float = 0.0, seed: int = 0) -> Simulation:
    """Counts whose total mRNA is known, so that capture is totals over molecules up to noise."""
    rng = np.random.default_rng(seed)
    mu = rng.lognormal(0, 1, N_GENES)
    mu *= MOLECULES / mu.sum() if captured else 200 / mu.sum()
    capture = rng.lognormal(np.log(0.02), 0.4, N_CELLS) if captured else np.ones(N_CELLS)
    phi = 0.01 if captured else 0.4
    r = {"shared": mu * phi, "gene": rng.lognormal(1, 0.5, N_GENES), "poisson": np.full(N_GENES, 1e9)}[size]
    rate = rng.gamma(r, mu / r, (N_CELLS, N_GENES))
    u = rng.poisson(rate * capture[:, None]) * (rng.random((N_CELLS, N_GENES)) >= gate)
    return Simulation(Counts.from_matrix(u), mu, r, capture)


ANCHOR = {"priors": {"capture_efficiency": (math.log(MOLECULES), 0.3)}}
NB = ("canonical", "mean_prob", "mean_odds", "mean_disp")
CASES = [
    *((model, c, {}) for model in ("nbdm", "nbvcp") for c in NB),
    *(("nbvcp", c, ANCHOR) for c in NB),
    *(("nbvcp", c, {"unconstrained": True}) for c in NB),
    ("nbvcp", "mean_odds", {"unconstrained": True, "positive_transform": "exp", **ANCHOR}),
    ("zinbvcp", "mean_disp", ANCHOR),
    ("poisson", "mean", {}),
    ("poissonvcp", "mean", ANCHOR),
]


@pytest.mark.parametrize(("model", "parameterization", "options"), CASES)
def test_start_is_near_the_truth(model: str, parameterization: str, options: dict[str, Any]) -> None:
    """Means within 20 %, sizes and odds within 50 %.

    Without an anchor capture is relative: means are then compared after a common factor, by which odds scale, too.
    """
    captured, zeros = "vcp" in model, model.startswith("zi")
    size = "poisson" if "poisson" in model else "gene" if parameterization == "mean_disp" else "shared"
    truth = simulate(captured=captured, size=size, gate=0.01 if zeros else 0.0)
    spec = resolve_spec(model, parameterization=parameterization, **options)
    start = start_of(spec, truth.counts).values
    assert set(start) == {site.name for site in spec.sites}
    assert {name: v.shape for name, v in start.items() if v.ndim} == {
        site.name: (N_GENES,) if site.axes == ("gene",) else (N_CELLS,) for site in spec.sites if site.axes
    }
    found = {name: np.asarray(v, float) for name, v in spec.named(start).items()}
    scale = 1.0
    if captured:
        scale = np.median(found["p_capture"] / truth.capture)
        assert np.max(np.abs(np.log(found["p_capture"] / truth.capture / scale))) < np.log(2.5)
        assert options.get("priors") is None or abs(np.log(scale)) < np.log(1.2)
    assert np.max(np.abs(np.log(found["mu"] * scale / truth.mu))) < np.log(1.2)
    if size != "poisson":
        assert np.max(np.abs(np.log(found["r"] / truth.r))) < np.log(1.5)
        assert np.max(np.abs(np.log(found["phi"] / scale / (truth.r / truth.mu)))) < np.log(1.5)
    if zeros:
        assert np.all((found["gate"] > 0.001) & (found["gate"] < 0.1))


def test_start_is_finite_for_empty_cells_and_silent_genes() -> None:
    """Also for a single cell, a single gene, and a count of a million."""
    matrices = [
        np.array([[0, 0, 3], [0, 0, 0], [1, 0, 1_000_000]]),
        np.array([[5, 0, 1]]),
        np.array([[5], [0], [1]]),
    ]
    for matrix in matrices:
        with pytest.warns(UserWarning, match=r"they are kept|only one cell"):
            counts = Counts.from_matrix(matrix)
        for model, options in (("zinbvcp", {}), ("nbvcp", ANCHOR), ("zinb", {"parameterization": "mean_disp"})):
            start = start_of(resolve_spec(model, **options), counts).values
            assert all(np.all(np.isfinite(v)) for v in start.values()), (matrix, model)


POPULATIONS = {
    kind: {"priors": {**ANCHOR["priors"], "p": over("gene", TransformedNormal(0.0, 1.0, "sigmoid"), deviation())}}
    for kind, deviation in SCATTERS.items()
}


@pytest.mark.parametrize(
    ("model", "parameterization", "options"),
    [("nbvcp", c, ANCHOR) for c in NB]
    + [("zinbvcp", "mean_odds", ANCHOR)]
    + [("nbvcp", "canonical", options) for options in POPULATIONS.values()],
)
def test_expression_is_traded_for_capture_at_no_cost(model: str, parameterization: str, options: dict) -> None:
    """Along the second ridge the log-likelihood stays where it is, and expression changes by what capture does."""
    counts = simulate(captured=True, size="shared").counts
    spec = resolve_spec(model, parameterization=parameterization, **options)
    values, ridges = start_of(spec, counts)
    latents = spec.start(values)
    data = full_data(counts, totals_suffice=False)

    @jax.jit
    def density(values: dict[str, Array]) -> tuple[Array, Array, Array]:
        natural, offset = spec.natural(spec.working(values)), spec.offset(values, counts.n_cells)
        return log_likelihood(spec.family, Parameters(natural, Scalar(offset)), data), natural["log_mean"], offset

    def along(by: float, which: int) -> tuple[Any, ...]:
        moved = {n: jnp.asarray(v + by * ridges[n][..., which] if n in ridges else v) for n, v in latents.items()}
        return jax.device_get(density(values_of(moved)))

    values_of = jax.jit(spec.values)
    assert set(ridges) <= set(latents)
    here, log_mean, offset = along(0.0, 0)
    there, log_mean_there, offset_there = along(0.01, 1)
    np.testing.assert_allclose(log_mean_there - log_mean, 0.01, rtol=0.02)
    np.testing.assert_allclose(np.median(offset_there - offset), -0.01, rtol=0.02)
    alone = density({n: jnp.asarray(v + 0.01 if n in ("r", "mu") else v) for n, v in values.items()})[0]
    assert abs(there - here) < 0.02 * abs(alone - here), "nearly flat, unlike the mean on its own"


@pytest.mark.parametrize("kind", POPULATIONS)
def test_a_population_starts_at_the_shared_odds_and_apart_where_data_tell(kind: str) -> None:
    """Genes that all have the same odds start close to them; a gene with much smaller ones away from them."""
    counts = simulate(captured=True, size="shared").counts
    spec, shared = resolve_spec(**POPULATIONS[kind]), resolve_spec(**ANCHOR)
    values = start_of(spec, counts).values
    common = float(start_of(shared, counts).values["p"])
    assert np.abs(values["p"] - common).max() < 1.5
    latents = spec.start(values)
    assert abs(float(latents["p_loc_unconstrained"]) - common) < 0.3
    np.testing.assert_allclose(spec.values(latents)["p"], values["p"], rtol=1e-4, atol=1e-4)
    matrix = counts.rows(slice(None)).copy()
    gene = int(np.argmax(matrix.mean(axis=0)))
    matrix[::5, gene] *= 30
    apart = start_of(spec, Counts.from_matrix(matrix)).values["p"]
    assert apart[gene] - np.median(apart) > 2.0


def test_moves_without_capture_are_those_of_the_odds() -> None:
    counts = simulate(captured=False, size="shared").counts
    assert {ridge.shape[-1] for ridge in start_of(resolve_spec("nbdm"), counts).ridges.values()} == {1}


@pytest.mark.parametrize("model", ["nbdm", "nbvcp"])
def test_sizes_of_poisson_counts_start_where_any_link_can_leave_them(model: str) -> None:
    """The likelihood hardly tells large sizes apart: a softplus link would take its slope of one from them for long."""
    counts = Counts.from_matrix(np.random.default_rng(0).poisson(np.linspace(1, 20, 30), (300, 30)))
    sizes = start_of(resolve_spec(model, unconstrained=True, positive_transform="softplus"), counts).values["r"]
    assert 20 < np.median(sizes) <= 105


@pytest.mark.parametrize("kind", POPULATIONS)
def test_a_level_without_cells_starts_where_all_cells_do(kind: str) -> None:
    """Of a mixture of two labels, the second data set lacks one; warnings are errors."""
    counts = simulate(captured=True, size="shared").counts
    label, dataset = np.arange(counts.n_cells) % 2, np.arange(counts.n_cells) % 4 // 2
    label[dataset == 1] = 0
    design = Design(dataset.astype(np.int32), 9.0 * np.eye(2)[label])
    options = {**POPULATIONS[kind], "components": ("a", "b"), "datasets": ("x", "y"), "dataset_params": "all"}
    values = start_of(resolve_spec("nbvcp", **options), counts, design).values
    assert all(np.isfinite(value).all() for value in values.values())
    at = {name: np.asarray(value) for name, value in values.items() if np.ndim(value) == 3}
    assert at
    for value in at.values():
        assert np.all(np.abs(value[1, 1] - value[0, 1]) < 3)
