"""The sparse engine against the dense sum of the same log-pmf, value and gradient.

Errors are relative to the largest element: of the value, of the gradient with respect to each natural parameter, and
of that with respect to the offsets. A gradient is a difference of observed and expected counts (or zeros, for gates),
of which float32 holds seven digits: where it is below a tenth of the counts of a gene (or of all, for shared odds), the
error is relative to that tenth. The reference is always in float64, at the same parameters.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scribe._counts import likelihood
from scribe._counts.container import Counts
from scribe._counts.data import CountData, NonZeros, Pairs, full_data
from scribe._counts.likelihood import by_cell, by_gene, expand, log_likelihood
from scribe._counts.parameters import Parameters as Given
from scribe._counts.predictors import Scalar
from scribe._model.names import MODELS
from scribe.families import Family, from_layers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from scribe._types import Array, Natural

    Floats = NDArray[np.float64]

pytestmark = [
    pytest.mark.optimized,
    pytest.mark.filterwarnings("ignore:.*are kept:scribe._counts.checks.CountsWarning"),
]

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-9}
FILES = ("pbmc_facs", "pbmc_ifnb", "kang_multisample", "RNAmix_celseq2", "sc_celseq2", "sc_dropseq")
COSTLY = ("kang_multisample", "pbmc_facs", "RNAmix_celseq2")
"""Files of the model that compiles and sums longest."""
CELLS = 200
"""Cells of every file in the default suite: more than the engine has nodes, in float64, too."""
GENES = 1024
"""Genes of a dense block."""


@dataclass(frozen=True)
class Row:
    """A model by name, with odds shared by all genes or not."""

    model: str
    per_gene_odds: bool

    @property
    def family(self) -> Family:
        return from_layers(MODELS[self.model])


ROWS = {
    f"{model}-{'gene' if per_gene else 'shared'}": Row(model, per_gene)
    for model, layers in MODELS.items()
    for per_gene in ((False, True) if layers[0] == "nb" else (True,))
}


class Parameters(NamedTuple):
    """Natural parameters and offsets, on the host."""

    natural: dict[str, Any]
    offset: Any

    def to(self, dtype: Any) -> tuple[dict[str, Array], Array]:
        return {n: jnp.asarray(v, dtype) for n, v in self.natural.items()}, jnp.asarray(self.offset, dtype)


class Errors(NamedTuple):
    """Relative errors of the value and of the two gradients."""

    value: float
    natural: float
    offset: float


class Result(NamedTuple):
    """Value and gradients, on the host."""

    value: float
    natural: dict[str, Floats]
    offset: Floats

    def errors(self, exact: Result, gene_totals: Floats) -> Errors:
        def relative(a: Any, b: Any, least: float = 0.0) -> float:
            return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), least))

        natural = []
        for name, b in exact.natural.items():
            observed = gene_totals.max() if b.ndim else gene_totals.sum()
            observed = exact.offset.size if name == "gate_logit" else observed
            natural.append(relative(self.natural[name], b, 0.1 * observed))
        return Errors(relative(self.value, exact.value), max(natural), relative(self.offset, exact.offset))


QUICK = {"xla_backend_optimization_level": 0}
"""To compile fast what serves as a reference or has digits to spare."""


def total(family: Family, natural: Natural, offset: Array, data: CountData) -> Array:
    return log_likelihood(family, Given(natural, Scalar(offset)), data)


def of_cells(family: Family, natural: Natural, offset: Array, data: CountData) -> Array:
    return by_cell(family, Given(natural, Scalar(offset)), data)


WITH_GRADIENT = jax.value_and_grad(total, argnums=(1, 2))
ENGINE = {
    np.float32: jax.jit(WITH_GRADIENT, static_argnums=0),
    np.float64: jax.jit(WITH_GRADIENT, static_argnums=0, compiler_options=QUICK),
}


@functools.partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1})
@functools.partial(jax.value_and_grad, argnums=(1, 2))
def dense_block(family: Family, natural: Natural, offset: Array, u: Array, keep: Array) -> Array:
    return jnp.sum(keep * family.log_pmf(u, expand(natural, 2), offset[:, None]))


def result(family: Family, value: Any, natural: Natural, offset: Any) -> Result:
    slopes = {name: np.asarray(natural[name], float) for name in family.natural}
    return Result(float(value), slopes, np.asarray(offset, float))


def run_engine(family: Family, at: Parameters, data: CountData, dtype: Any) -> Result:
    value, (natural, offset) = ENGINE[dtype](family, *at.to(dtype), data)
    return result(family, value, natural, offset)


def dense(family: Family, at: Parameters, counts: Counts) -> Result:
    """The sum over all elements by blocks of genes, the last padded with genes that do not count."""
    value, offset = 0.0, np.zeros(counts.n_cells)
    gradient = {name: np.zeros(np.shape(v)) for name, v in at.natural.items()}
    width = min(GENES, counts.n_genes)
    for start in range(0, counts.n_genes, width):
        genes = np.minimum(np.arange(start, start + width), counts.n_genes - 1)
        keep = np.arange(start, start + width) < counts.n_genes
        here = Parameters({n: v[genes] if np.ndim(v) else v for n, v in at.natural.items()}, at.offset).to(float)
        u = jnp.asarray(counts.subset(genes=genes).rows(slice(None)), float)
        part, (by_natural, by_offset) = dense_block(family, *here, u, jnp.asarray(keep[None], float))
        value, offset = value + float(part), offset + np.asarray(by_offset)
        for name, slope in by_natural.items():
            np.add.at(gradient[name], genes if np.ndim(slope) else (), np.asarray(slope))
    return result(family, value, gradient, offset)


def parameters(row: Row, counts: Counts, rng: np.random.Generator) -> Parameters:
    """Plausible parameters, off their best values, exactly representable in float32."""
    deep = np.quantile(counts.totals, 0.99)
    capture = np.clip(counts.totals / max(deep, 1) * 0.3, 1e-4, 1) if row.family.captured else np.ones(counts.n_cells)
    mean = (counts.gene_totals + 0.5) / capture.sum() * rng.lognormal(0.2, 0.4, counts.n_genes)
    size = rng.lognormal(0, 1, counts.n_genes)
    known = {
        "log_mean": np.log(mean),
        "log_odds": np.log(size / mean) if row.per_gene_odds else np.array(-0.5),
        "gate_logit": rng.normal(-2, 1.5, counts.n_genes),
        "log_k_on": np.log(size),
        "log_k_off": np.log(20.0 * size[::-1]),
    }
    return rounded(Parameters({name: known[name] for name in row.family.natural}, np.log(capture)))


def rounded(at: Parameters) -> Parameters:
    return jax.tree.map(lambda v: np.asarray(v, np.float32).astype(float), at)


def check(row: Row, counts: Counts, *, seed: int, dtypes: tuple[Any, ...]) -> None:
    at = parameters(row, counts, np.random.default_rng(seed))
    with jax.enable_x64(True):
        exact = dense(row.family, at, counts)
    for dtype in dtypes:
        with jax.enable_x64(dtype is np.float64):
            data = full_data(counts, totals_suffice=row.family.summarises(axes_of(at)))
            errors = run_engine(row.family, at, data, dtype).errors(exact, counts.gene_totals)
        print(f"{counts.source} {row.model} {np.dtype(dtype).name}", *(f"{e:.1e}" for e in errors))
        assert max(errors) < tolerance(row, dtype), (dtype, errors)


def tolerance(row: Row, dtype: Any, case: str = "") -> float:
    """A single-precision quadrature has fewer nodes, and counts cancel against their expectation, huge ones most."""
    if row.model.startswith("twostate") and dtype is np.float32:
        return 1e-2 if case == "huge" else 5e-5
    return TOLERANCE[dtype]


def axes_of(at: Parameters) -> dict[str, tuple[str, ...]]:
    return {name: ("gene",) if np.ndim(v) else () for name, v in at.natural.items()}


@functools.cache
def read(path: Path, n_cells: int | None) -> Counts:
    matrix = anndata.read_h5ad(path).X
    if n_cells is not None:
        chosen = np.random.default_rng(0).choice(matrix.shape[0], n_cells, replace=False)
        matrix = matrix[np.sort(chosen)]
    return Counts.from_matrix(matrix, source=path.stem)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        *((name, "nbvcp-shared") for name in FILES),
        (COSTLY[0], "zinbvcp-gene"),
        *(pytest.param(name, "zinbvcp-gene", marks=pytest.mark.slow) for name in COSTLY[1:]),
    ],
)
def test_real_counts(data_dir: Path, name: str, row: str) -> None:
    """All genes of 200 cells, for the cheapest and the most expensive model; `test_complete_files` runs the rest."""
    dtypes = (np.float32,) if row == "zinbvcp-gene" and name != COSTLY[0] else (np.float32, np.float64)
    check(ROWS[row], read(data_dir / f"{name}.h5ad", CELLS), seed=1, dtypes=dtypes)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("row", ROWS)
def test_complete_files(data_dir: Path, name: str, row: str) -> None:
    check(ROWS[row], read(data_dir / f"{name}.h5ad", None), seed=2, dtypes=(np.float32, np.float64))


# -- corner cases --------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Counts, cells x genes, with log mean, log size and logit gate of every gene and log capture of every cell."""

    u: Floats
    log_mean: Floats
    log_size: Floats
    gate: Floats
    offset: Floats


def simulated(rng: np.random.Generator, n_cells: int = 250, n_genes: int = 24, low: float = 0.05) -> Case:
    log_mean, size = rng.normal(0, 2, n_genes), rng.lognormal(0, 1, n_genes)
    offset = rng.uniform(np.log(low), 0, n_cells)
    u = rng.poisson(rng.gamma(size, 1 / size, (n_cells, n_genes)) * np.exp(log_mean + offset[:, None]))
    return Case(u.astype(float), log_mean, np.log(size), rng.normal(-2, 1.5, n_genes), offset)


def wide(rng: np.random.Generator) -> Case:
    """Capture from 1e-4 to 1."""
    case = simulated(rng, low=1e-4)
    case.offset[:2] = np.log(1e-4), 0.0
    return case


def huge(rng: np.random.Generator) -> Case:
    case = simulated(rng)
    u = np.minimum(case.u * 10.0 ** rng.uniform(0, 6, (1, 24)), 1e6).round()
    u[0, 0] = 1e6
    return case._replace(u=u, log_mean=np.log(u.mean(axis=0) * 3 + 1))


def outlier(rng: np.random.Generator) -> Case:
    """One cell with a thousand times the counts of the others."""
    case = simulated(rng)
    case.u[17] = np.minimum(1000 * case.u[17] + 500, 1e6)
    return case


def nearly_poisson(rng: np.random.Generator) -> Case:
    case = simulated(rng)
    return case._replace(log_size=case.log_size + 13)


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "plain": simulated,
    "zero": lambda rng: (case := simulated(rng))._replace(u=np.zeros_like(case.u)),
    "huge": huge,
    "outlier": outlier,
    "wide": wide,
    "equal": lambda rng: (case := simulated(rng))._replace(offset=np.full_like(case.offset, -1.2)),
    "nearly_equal": lambda rng: simulated(rng)._replace(offset=-1.2 + 1e-4 * rng.normal(size=250)),
    "full_capture": lambda rng: (case := simulated(rng, low=1.0))._replace(offset=np.zeros_like(case.offset)),
    "nearly_poisson": nearly_poisson,
    "small_size": lambda rng: (case := simulated(rng))._replace(log_size=case.log_size - 6),
    "one_cell": lambda rng: simulated(rng, n_cells=1),
    "one_gene": lambda rng: simulated(rng, n_genes=1),
}
CORNER_ROWS = ["nbdm-shared", "nbdm-gene", "zinb-shared", "zinb-gene", "poisson-gene", "zip-gene", "twostate-gene"]
"""Capture is the offset here, so the modifier adds nothing (`test_complete_files` runs those, too)."""
QUICK_CORNERS = [("nbdm-shared", np.float32), ("zinb-gene", np.float64), ("zip-gene", np.float32)]
"""Either number type, and every kind of term; the others compile for a quarter of a minute each."""


def at_of(row: Row, case: Case, rng: np.random.Generator) -> Parameters:
    """Parameters off those of the simulation."""
    log_mean = case.log_mean + rng.normal(0.2, 0.4, case.log_mean.shape)
    odds = case.log_size - case.log_mean
    known = {
        "log_mean": log_mean,
        "log_odds": odds if row.per_gene_odds else np.median(odds),
        "gate_logit": case.gate,
        "log_k_on": case.log_size,
        "log_k_off": case.log_size[::-1] + 1.0,
    }
    return rounded(Parameters({name: known[name] for name in row.family.natural}, case.offset))


def padded(data: CountData, n_pairs: int = 6400, n_rows: int = 200) -> CountData:
    """The same data with more padding, so that all cases share compiled code."""

    def pad(x: Array, length: int) -> Any:
        return np.pad(x, [(0, length - len(x)), *[(0, 0)] * (x.ndim - 1)])

    pairs, rows = data.pairs, data.non_zeros
    return data._replace(
        pairs=Pairs(pad(pairs.gene, n_pairs), pad(pairs.value, n_pairs), pad(pairs.n, n_pairs)),
        non_zeros=NonZeros(pad(rows.gene, n_rows), pad(rows.cell, n_rows), pad(rows.value, n_rows)),
    )


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
@functools.partial(jax.value_and_grad, argnums=(1, 2))
def dense_whole(family: Family, natural: Natural, offset: Array, u: Array) -> Array:
    return jnp.sum(family.log_pmf(u, expand(natural, 2), offset[:, None]))


@pytest.mark.parametrize(
    ("row", "dtype"),
    [
        pytest.param(row, dtype, marks=[] if (row, dtype) in QUICK_CORNERS else [pytest.mark.slow])
        for row in CORNER_ROWS
        for dtype in TOLERANCE
    ],
)
def test_corner_cases(row: str, dtype: Any) -> None:
    """Every case twice, with other numbers; those of one cell or one gene for two models only, to compile less."""
    family, failed = ROWS[row].family, {}
    for (name, make), repetition in itertools.product(CASES.items(), range(2)):
        if name.startswith("one_") and row not in {"nbdm-shared", "zip-gene"}:
            continue
        rng = np.random.default_rng([repetition, *name.encode()])
        case = make(rng)
        at, counts = at_of(ROWS[row], case, rng), Counts.from_matrix(case.u)
        with jax.enable_x64(True):
            value, (natural, offset) = dense_whole(family, *at.to(float), jnp.asarray(case.u))
            exact = result(family, value, natural, offset)
        with jax.enable_x64(dtype is np.float64):
            data = padded(full_data(counts, totals_suffice=False))
            errors = run_engine(family, at, data, dtype).errors(exact, counts.gene_totals)
        print(f"{name} {row} {np.dtype(dtype).name}", *(f"{e:.1e}" for e in errors))
        if not max(errors) < tolerance(ROWS[row], dtype, name):
            failed[name, repetition] = errors
    assert not failed


# -- sums by gene and by cell, groups, derivatives ------------------------------------------------------------------


def small(seed: int, n_cells: int = 220, n_genes: int = 6) -> tuple[Case, Counts]:
    """More cells than nodes, so that the sums over zeros are interpolated in float64, too."""
    case = simulated(np.random.default_rng(seed), n_cells, n_genes)
    return case, Counts.from_matrix(case.u)


@pytest.mark.parametrize("row", ["nbdm-shared", "nbdm-gene", "zinb-shared", "zip-gene"])
def test_sums_by_gene_and_by_cell(row: str) -> None:
    """Rows and columns of the dense matrix of log-probabilities; both add up to the total."""
    family, (case, counts) = ROWS[row].family, small(3)
    at = at_of(ROWS[row], case, np.random.default_rng(0))
    with jax.enable_x64(True):
        natural, offset = at.to(float)
        data = full_data(counts, totals_suffice=False)
        genes = jax.jit(
            lambda n, x, d: by_gene(family, Given(n, Scalar(x)), d, n_genes=counts.n_genes), compiler_options=QUICK
        )(natural, offset, data)
        cells = jax.jit(functools.partial(of_cells, family), compiler_options=QUICK)(natural, offset, data)
        matrix = np.asarray(family.log_pmf(jnp.asarray(case.u), expand(natural, 2), offset[:, None]))
    np.testing.assert_allclose(genes, matrix.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(cells, matrix.sum(axis=1), rtol=1e-9)


def test_sums_by_cell_in_single_precision() -> None:
    """Thousands of positive counts per cell: what one long float32 sum would round away is kept by summing in lanes."""
    rng = np.random.default_rng(8)
    u = 1.0 + rng.poisson(20.0, (60, 12_000))
    row, counts = ROWS["poisson-gene"], Counts.from_matrix(u)
    at = rounded(Parameters({"log_mean": np.log(u.mean(axis=0))}, rng.normal(0, 0.1, 60)))
    natural, offset = at.to(np.float32)
    found = jax.jit(functools.partial(of_cells, row.family))(natural, offset, full_data(counts, totals_suffice=False))
    exact = stats.poisson(np.exp(at.natural["log_mean"] + at.offset[:, None])).logpmf(u).sum(axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("row", ["nbdm-shared", "poisson-gene"])
def test_cells_of_equal_total_may_be_grouped(row: str) -> None:
    """Where totals suffice and cells of equal total share their offset: value, and gradient summed over the group."""
    rng = np.random.default_rng(11)
    u = rng.poisson(0.4, (90, 7)).astype(float)
    counts = Counts.from_matrix(u)
    groups = counts.groups()
    assert len(groups.n) < 15
    per_group = rng.uniform(-2, 0, len(groups.n))
    case = Case(u, rng.normal(-1, 1, 7), rng.normal(0, 1, 7), np.zeros(7), per_group)
    grouped = at_of(ROWS[row], case, rng)
    single = grouped._replace(offset=grouped.offset[groups.index])
    family = ROWS[row].family
    with jax.enable_x64(True):
        found = run_engine(family, grouped, full_data(counts, totals_suffice=True, group=True), np.float64)
        exact = dense(family, single, counts)
    by_group = np.bincount(groups.index, exact.offset)
    assert max(found.errors(exact._replace(offset=by_group), counts.gene_totals)) < 1e-12


@pytest.mark.parametrize("row", ["nbdm-gene", "zip-gene"])
def test_second_derivatives(row: str) -> None:
    """Of the interpolated sum, which has a derivative rule of its own: against the Hessian of the dense sum."""
    family, (case, counts) = ROWS[row].family, small(4, n_genes=2)
    at = at_of(ROWS[row], case, np.random.default_rng(0))
    with jax.enable_x64(True):
        natural, offset = at.to(float)
        data = full_data(counts, totals_suffice=False)
        direction = jnp.asarray(np.random.default_rng(1).normal(size=counts.n_cells))

        def along(function: Callable[..., Array]) -> Any:
            """Derivative of the gradient when all parameters move."""
            gradient = jax.grad(function, argnums=(0, 1))
            moves = (jax.tree.map(jnp.ones_like, natural), direction)
            return jax.jit(lambda: jax.jvp(gradient, (natural, offset), moves)[1], compiler_options=QUICK)()

        found = along(lambda n, x: total(family, n, x, data))
        exact = along(lambda n, x: jnp.sum(family.log_pmf(jnp.asarray(case.u), expand(n, 2), x[:, None])))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * np.max(np.abs(b)))


def test_totals_alone_do_not_make_up_other_models() -> None:
    _, counts = small(0)
    data = full_data(counts, totals_suffice=True)
    natural = {"log_mean": jnp.zeros(6), "log_odds": jnp.zeros(6)}
    with pytest.raises(ValueError, match="hold totals only, but the model needs the non-zeros"):
        jax.eval_shape(lambda: total(from_layers(["nb"]), natural, jnp.zeros(220), data))


def test_blocks_of_non_zeros_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small blocks give the value and gradient of one."""
    rng = np.random.default_rng(0)
    counts = Counts.from_matrix(rng.poisson(rng.gamma(0.5, 2.0, (300, 40))))
    data, family = full_data(counts, totals_suffice=False), from_layers(("nb", "with_capture"))
    natural = {n: jnp.asarray(rng.normal(size=40), jnp.float32) for n in family.natural}
    arguments = (natural, jnp.asarray(rng.normal(-1, 0.3, 300), jnp.float32), data)
    whole = jax.jit(WITH_GRADIENT, static_argnums=0)(family, *arguments)
    assert data.non_zeros is not None
    monkeypatch.setattr(likelihood, "_rows_at_once", lambda: 8)
    assert data.non_zeros.value.shape[0] > 16
    # a function of its own: the first is not traced again
    blocks = jax.jit(lambda *args: WITH_GRADIENT(family, *args))(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), whole, blocks)
