"""What every family and every composition of modifiers promises, against scipy and brute-force enumeration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe import families
from scribe._model.names import MODELS
from scribe._types import Natural
from scribe.families import Family, Moments, from_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MEAN = np.array([0.05, 0.8, 3.0, 20.0, 150.0])
SIZE = np.array([0.3, 4.0, 1.0, 2.5, 100.0])
GATE = np.array([0.02, 0.3, 0.9, 0.6, 0.1])
SHARED_ODDS = 0.35
ON = np.array([0.3, 0.5, 3.0, 2.0, 40.0])
OFF = np.array([0.2, 20.0, 0.4, 6.0, 300.0])
"""Rates of switching of a two-state promoter: with two peaks, nearly negative binomial, mostly on, ..."""
OFFSETS = np.array([0.0, -0.4, -2.5, -6.0])
COUNTS = np.arange(1500.0)
FEW_COUNTS = np.array([0.0, 1.0, 2.0, 5.0, 17.0, 60.0, 300.0])
ORIGIN = np.array([0.0, 1.0, 3.0, 12.0])
P_VALUE = 1e-4


def poisson_beta(u: Floats, mean: Floats, on: Floats, off: Floats) -> Floats:
    """Log-pmf of two-state promoters, (..., genes): brute-force trapezoidal sums over the logit of the share on."""
    s = np.linspace(-6, 6, 701)
    logit, log_width = np.sinh(s), np.log(np.cosh(s) * (s[1] - s[0]))
    log_on, log_off = special.log_expit(logit), special.log_expit(-logit)
    log_beta = on[:, None] * log_on + off[:, None] * log_off - special.betaln(on, off)[:, None] + log_width
    log_rate = np.log(mean * (on + off) / on)[..., None] + log_on
    fixed = log_beta - np.exp(log_rate)
    pieces = [
        special.logsumexp(fixed + piece[..., None] * log_rate, axis=-1) - special.gammaln(piece + 1)
        for piece in np.array_split(u, max(len(u) // 50, 1))
    ]
    return np.concatenate(pieces)


@dataclass(frozen=True)
class Row:
    """A composition by its layers, with odds shared by all genes or not."""

    layers: tuple[str, ...]
    per_gene_odds: bool

    @property
    def family(self) -> Family:
        return from_layers(self.layers)

    @property
    def base(self) -> str:
        return self.layers[0]

    @property
    def inflated(self) -> bool:
        return "zero_inflated" in self.layers

    @property
    def accuracy(self) -> float:
        """Relative error of a log-pmf in double precision: of rounding, or of a quadrature."""
        return 1e-8 if self.base == "two_state" else 1e-10

    @property
    def size(self) -> Floats:
        return SIZE if self.per_gene_odds else MEAN * SHARED_ODDS

    def natural(self, shape: tuple[int, ...] = (-1,), dtype: Any = np.float64) -> dict[str, jax.Array]:
        """Natural parameters, those of genes in the given shape."""
        odds = np.log(SIZE / MEAN).reshape(shape) if self.per_gene_odds else np.log(np.array(SHARED_ODDS))
        known = {
            "log_mean": np.log(MEAN).reshape(shape),
            "log_odds": odds,
            "log_k_on": np.log(ON).reshape(shape),
            "log_k_off": np.log(OFF).reshape(shape),
            "gate_logit": special.logit(GATE).reshape(shape),
        }
        return {name: jnp.asarray(known[name], dtype) for name in self.family.natural}

    def axes(self) -> dict[str, tuple[str, ...]]:
        return {name: ("gene",) if value.ndim else () for name, value in self.natural().items()}

    def base_pmf(self, m: Floats, capture: Floats) -> Floats:
        """scipy's pmf without the gate; the probability of the code is one minus scipy's, thinned in closed form."""
        if self.base == "poisson":
            return stats.poisson(MEAN * capture).pmf(m)
        if self.base == "two_state":
            return np.exp(poisson_beta(m, MEAN * capture, ON, OFF))
        p = MEAN / (MEAN + self.size)
        thinned = p * capture / (1 - p * (1 - capture))
        return stats.nbinom(self.size, 1 - thinned).pmf(m)

    def log_pmf(self, u: Floats, capture: Floats) -> Floats:
        """Logarithm of the pmf by scipy, (..., genes)."""
        if self.base == "poisson":
            base = stats.poisson(MEAN * capture).logpmf(u)
        elif self.base == "two_state":
            base = poisson_beta(u, MEAN * capture, ON, OFF)
        else:
            p = MEAN / (MEAN + self.size)
            base = stats.nbinom(self.size, 1 - p * capture / (1 - p * (1 - capture))).logpmf(u)
        if not self.inflated:
            return base
        return np.logaddexp(np.where(u == 0, np.log(GATE), -np.inf), np.log1p(-GATE) + base)

    def joint_of_molecules(self, u: Floats, capture: Floats, m: Floats) -> tuple[Floats, Floats]:
        """p(m, gate open | u) and p(m, gate closed | u) over m on the leading axis, by enumeration.

        An open gate thins the molecules, a closed one hides them all.
        """
        gate = GATE if self.inflated else np.zeros_like(GATE)
        molecules = self.base_pmf(m, np.ones(()))
        seen = molecules * (1 - gate) * stats.binom.pmf(u, m, capture)
        hidden = molecules * gate * (u == 0)
        total = (seen + hidden).sum(axis=0)
        return seen / total, hidden / total


EXTRA = (
    ("nb", "zero_inflated", "with_capture"),
    ("poisson", "zero_inflated", "with_capture"),
    ("two_state", "with_capture", "zero_inflated"),
)
"""Compositions, or orders of them, that no familiar name stands for."""

TABLE = {
    f"{'-'.join(layers)}-{'gene' if per_gene else 'shared'}": Row(layers, per_gene)
    for layers in (*MODELS.values(), *EXTRA)
    for per_gene in ((False, True) if layers[0] == "nb" else (True,))
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, static_argnums=0)


@compiled
def log_pmf(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> jax.Array:
    return family.log_pmf(u, natural, x)


@compiled
def terms(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> tuple[jax.Array, ...]:
    return family.gene_term(u, natural), family.cell_term(u, natural, x), family.correction(u, natural, x)


@compiled
def slopes(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
    return jax.grad(lambda n, x: family.log_pmf(u, n, x).sum(), argnums=(0, 1))(natural, x)


@compiled
def denoised(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> tuple[Moments, jax.Array]:
    thinned = family.denoise(u, natural, x)
    return thinned.moments(), thinned.mode()


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def grid(row: Row, u: Floats) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """Counts x offsets x genes."""
    return jnp.asarray(u.reshape(-1, 1, 1)), row.natural((1, 1, -1)), jnp.asarray(OFFSETS.reshape(1, -1, 1))


def on_grid(row: Row, u: Floats) -> Floats:
    return row.log_pmf(u.reshape(-1, 1, 1), np.exp(OFFSETS).reshape(1, -1, 1))


def chi_square(draws: Floats, pmf: Floats) -> float:
    """P-value of integer draws under a pmf over 0, 1, ...; neighbours are pooled until ten are expected."""
    observed = np.bincount(np.minimum(draws, len(pmf) - 1).astype(int), minlength=len(pmf))
    expected = pmf * len(draws)
    pool = np.floor(np.cumsum(expected) / 10).astype(int)
    pool = np.minimum(pool, max(pool[-1] - 1, 0))
    found, wanted = np.bincount(pool, observed), np.bincount(pool, expected)
    kept = wanted > 0
    if kept.sum() < 2:
        return 1.0 if found[kept].sum() == len(draws) else 0.0
    statistic = np.sum((found - wanted)[kept] ** 2 / wanted[kept])
    return float(stats.chi2.sf(statistic, kept.sum() - 1))


def test_every_family_and_modifier_has_a_row() -> None:
    layers = {row.layers for row in TABLE.values()}
    assert layers >= set(MODELS.values())
    assert {ls[0] for ls in layers} == set(families.ALL)
    assert {name for ls in layers for name in ls[1:]} == set(families.MODIFIERS)


def test_description(row: Row) -> None:
    family = row.family
    assert family.layers == row.layers
    assert family == from_layers(row.layers)
    assert hash(family) == hash(from_layers(row.layers))
    assert family.captured == ("with_capture" in row.layers)
    assert ("gate_logit" in family.natural, "gate" in {p.name for p in family.params}) == (row.inflated,) * 2
    assert family.name == row.layers[0].join(
        ("".join(f"{m}(" for m in reversed(row.layers[1:])), ")" * (len(row.layers) - 1))
    )


@pytest.mark.usefixtures("double")
def test_pmf_sums_to_one(row: Row) -> None:
    total = np.exp(log_pmf(row.family, *grid(row, COUNTS))).sum(axis=0)
    np.testing.assert_allclose(total, 1.0, rtol=row.accuracy)


@pytest.mark.usefixtures("double")
def test_log_pmf_against_scipy(row: Row) -> None:
    found = log_pmf(row.family, *grid(row, COUNTS))
    np.testing.assert_allclose(found, on_grid(row, COUNTS), rtol=row.accuracy, atol=row.accuracy / 10)


@pytest.mark.usefixtures("double")
def test_terms_add_up(row: Row) -> None:
    u, natural, x = grid(row, FEW_COUNTS)
    gene, cell, correction = terms(row.family, u, natural, x)
    expected = on_grid(row, FEW_COUNTS)
    np.testing.assert_allclose(np.asarray(gene) + np.asarray(cell), expected, rtol=row.accuracy, atol=row.accuracy / 10)
    np.testing.assert_allclose(correction + np.zeros_like(cell), cell - cell[:1], rtol=1e-10, atol=1e-11)
    assert np.all(np.asarray(gene[0]) == 0)
    assert np.all(np.asarray(correction[0]) == 0)
    assert gene.shape[1] == 1, "the gene term may not depend on the offset"


@pytest.mark.usefixtures("double")
def test_gradient_against_finite_differences_of_scipy(row: Row) -> None:
    u, natural, x = grid(row, FEW_COUNTS)
    wide = {name: jnp.broadcast_to(v, (*on_grid(row, FEW_COUNTS).shape,)) for name, v in natural.items()}
    by_natural, by_offset = slopes(row.family, u, wide, jnp.broadcast_to(x, wide["log_mean"].shape))
    for name, slope in {**by_natural, "offset": by_offset}.items():
        step = 1e-5
        up, down = (shifted_log_pmf(row, name, delta) for delta in (step, -step))
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(slope, expected, rtol=2e-6, atol=2e-6, err_msg=name)


def shifted_log_pmf(row: Row, name: str, delta: float) -> Floats:
    """scipy's log-pmf with one natural parameter (or the offset) moved."""
    capture = np.exp(OFFSETS + delta * (name == "offset")).reshape(1, -1, 1)
    u = FEW_COUNTS.reshape(-1, 1, 1)
    mean = MEAN * np.exp(delta * (name == "log_mean"))
    size = row.size / MEAN * np.exp(delta * (name == "log_odds")) * mean
    gate = special.expit(special.logit(GATE) + delta * (name == "gate_logit"))
    if row.base == "poisson":
        base = stats.poisson(mean * capture).logpmf(u)
    elif row.base == "two_state":
        on, off = ON * np.exp(delta * (name == "log_k_on")), OFF * np.exp(delta * (name == "log_k_off"))
        base = poisson_beta(u, mean * capture, on, off)
    else:
        base = stats.nbinom(size, size / (size + mean * capture)).logpmf(u)
    if not row.inflated:
        return base
    return np.logaddexp(np.where(u == 0, np.log(gate), -np.inf), np.log1p(-gate) + base)


@pytest.mark.usefixtures("double")
def test_moments_against_scipy(row: Row) -> None:
    pmf = np.exp(on_grid(row, COUNTS))
    values = COUNTS.reshape(-1, 1, 1)
    mean = (values * pmf).sum(axis=0)
    variance = ((values - mean) ** 2 * pmf).sum(axis=0)
    found = row.family.moments(row.natural((1, -1)), jnp.asarray(OFFSETS[:, None]))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-9)


def test_sampler_follows_the_pmf(row: Row) -> None:
    """In single precision, as in use; not compiled as a whole, so that all families share the compiled samplers."""
    n, x = 2000, np.array([0.0, -1.3])
    natural = row.natural((1, 1, -1), np.float32)
    shape = jnp.broadcast_to(jnp.asarray(x, np.float32).reshape(1, -1, 1), (n, 2, 1))
    draws = np.asarray(row.family.sample(jax.random.key(5), natural, shape), float)
    assert draws.shape == (n, 2, len(MEAN))
    pmf = np.exp(row.log_pmf(COUNTS.reshape(-1, 1, 1), np.exp(x).reshape(1, -1, 1)))
    worst = min(chi_square(draws[:, i, j], pmf[:, i, j]) for i in range(2) for j in range(len(MEAN)))
    assert worst > P_VALUE


@pytest.mark.usefixtures("double")
def test_denoised_moments_and_mode_against_enumeration(row: Row) -> None:
    """Full capture (offset 0) included: then nothing is unseen, unless the gate was closed.

    The mode is that of the more probable state of the gate; without a gate, simply of p(m | u).
    """
    (mean, variance), mode = denoised(row.family, *grid(row, ORIGIN))
    m = COUNTS.reshape(-1, 1, 1, 1)
    seen, hidden = row.joint_of_molecules(ORIGIN.reshape(1, -1, 1, 1), np.exp(OFFSETS).reshape(1, 1, -1, 1), m)
    posterior = seen + hidden
    assert posterior[-1].max() < 1e-14, "the enumeration must reach far enough"
    expected = (m * posterior).sum(axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    np.testing.assert_allclose(variance, ((m - expected) ** 2 * posterior).sum(axis=0), rtol=1e-8, atol=1e-8)
    likely = np.where(hidden.sum(axis=0) > 0.5, hidden, seen)
    at_mode = np.take_along_axis(likely, np.asarray(mode).astype(int)[None], axis=0)[0]
    np.testing.assert_allclose(at_mode, likely.max(axis=0), rtol=1e-9)


@pytest.mark.usefixtures("double")
def test_denoised_probabilities_against_enumeration(row: Row) -> None:
    u, x = ORIGIN.reshape(1, -1, 1, 1), OFFSETS.reshape(1, 1, -1, 1)
    thinned = row.family.denoise(jnp.asarray(u), row.natural((1, 1, 1, -1)), jnp.asarray(x))
    found = np.exp(thinned.log_prob(jnp.asarray(COUNTS[:300].reshape(-1, 1, 1, 1))))
    seen, hidden = row.joint_of_molecules(u, np.exp(x), COUNTS.reshape(-1, 1, 1, 1))
    np.testing.assert_allclose(found, (seen + hidden)[:300], rtol=10 * row.accuracy, atol=1e-14)


def test_denoised_samples_follow_the_enumeration(row: Row) -> None:
    n, x, observed = 1500, np.array([0.0, -1.3]), np.array([0.0, 4.0])
    u = jnp.broadcast_to(jnp.asarray(observed, np.float32).reshape(1, -1, 1, 1), (n, 2, 2, 1))
    offset = jnp.asarray(x, np.float32).reshape(1, 1, -1, 1)
    thinned = row.family.denoise(u, row.natural((1, 1, 1, -1), np.float32), offset)
    draws = np.asarray(thinned.sample(jax.random.key(6)))
    assert draws.shape == (n, 2, 2, len(MEAN))
    seen, hidden = row.joint_of_molecules(
        observed.reshape(1, -1, 1, 1), np.exp(x).reshape(1, 1, -1, 1), COUNTS.reshape(-1, 1, 1, 1)
    )
    cases = [(slice(None), i, j, k) for i in range(2) for j in range(2) for k in range(len(MEAN))]
    assert min(chi_square(draws[case], (seen + hidden)[case]) for case in cases) > P_VALUE


@pytest.mark.usefixtures("double")
def test_cell_terms_in_closed_form(row: Row) -> None:
    """Equal to the sums of cell terms over the genes of a dense matrix."""
    rng = np.random.default_rng(0)
    u = rng.poisson(3.0, (7, len(MEAN))).astype(float)
    offset = rng.uniform(-4, 0, 7)
    natural = row.natural()
    found = row.family.cell_totals(natural, jnp.asarray(offset), jnp.asarray(u.sum(axis=1)))
    assert (found is not None) == row.family.summarises(row.axes())
    assert (found is not None) == (not row.inflated and (row.base == "poisson" or not row.per_gene_odds))
    if found is None:
        return
    coefficient = -special.gammaln(u + 1)
    if row.base == "poisson":
        coefficient = coefficient + u * np.log(MEAN)
    else:
        coefficient = coefficient + special.gammaln(u + row.size) - special.gammaln(row.size)
    dense = row.log_pmf(u, np.exp(offset)[:, None]) - coefficient
    np.testing.assert_allclose(found, np.sum(dense, axis=1), rtol=1e-10)


@pytest.mark.usefixtures("double")
def test_readable_parameters_are_consistent(row: Row) -> None:
    found = {name: np.asarray(value) for name, value in row.family.readable(row.natural()).items()}
    expected = {"mu": MEAN}
    if row.base == "nb":
        r = row.size
        expected |= {"r": r, "p": MEAN / (MEAN + r), "phi": r / MEAN}
        np.testing.assert_allclose(found["mu"], found["r"] * found["p"] / (1 - found["p"]), rtol=1e-10)
        np.testing.assert_allclose(found["phi"], (1 - found["p"]) / found["p"], rtol=1e-10)
    if row.base == "two_state":
        total = ON + OFF
        expected |= {"k_on": ON, "k_off": OFF, "r_hat": MEAN * total / ON, "burst_size": MEAN / ON}
        expected |= {"switching_ratio": OFF / ON, "excess_fano": MEAN * OFF / ON / (total + 1)}
        expected |= {"concentration": total, "inv_concentration": 1 / (total + 1)}
    if row.inflated:
        expected["gate"] = GATE
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name] + np.zeros_like(value), value, rtol=1e-12)


def test_modifiers_apply_once() -> None:
    for base in families.ALL.values():
        with pytest.raises(ValueError, match=r"already has cell-specific capture; apply with_capture once"):
            families.with_capture(families.with_capture(base))
        with pytest.raises(ValueError, match=r"with_capture\(zero_inflated\(.*\)\) already has cell-specific"):
            families.with_capture(families.with_capture(families.zero_inflated(base)))
        with pytest.raises(ValueError, match=r"is zero-inflated already; apply zero_inflated once"):
            families.zero_inflated(families.with_capture(families.zero_inflated(base)))
