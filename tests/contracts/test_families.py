"""What every family and every composition of modifiers promises, against scipy and brute-force enumeration."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

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
OMEGA = np.array([0.05, 0.1, 0.05, 0.04, 0.3])
SHARED_ODDS = 0.35
ON = np.array([0.3, 0.5, 3.0, 2.0, 40.0])
OFF = np.array([0.2, 20.0, 0.4, 6.0, 300.0])
"""Rates of switching of a two-state promoter: with two peaks, nearly negative binomial, mostly on, ..."""
OFFSETS = np.array([0.0, -0.4, -2.5, -6.0])
COUNTS = np.arange(1500.0)
FEW_COUNTS = np.array([0.0, 1.0, 2.0, 5.0, 17.0, 60.0, 300.0])
ORIGIN = np.array([0.0, 1.0, 3.0, 12.0])
P_VALUE = 1e-4


class Truth(NamedTuple):
    """Parameters of the reference, each one per gene."""

    mean: Floats
    size: Floats
    gate: Floats
    omega: Floats
    on: Floats
    off: Floats


def mixture(k: Floats, size: float, alpha: float, kappa: float, capture: float) -> Floats:
    """Log-pmf of a negative binomial whose p is Beta(alpha, kappa), thinned: a sum over a wide, fine grid of logits."""
    x = np.linspace(-9.5, 4.5, 3001)
    v = np.log(alpha / kappa) + np.sinh(x)
    weight = alpha * special.log_expit(v) + kappa * special.log_expit(-v) - special.betaln(alpha, kappa)
    weight += np.log(np.cosh(x) * (x[1] - x[0]))
    v = v + np.log(capture)
    terms = weight + k[:, None] * special.log_expit(v) + size * special.log_expit(-v)
    return special.gammaln(k + size) - special.gammaln(size) - special.gammaln(k + 1) + special.logsumexp(terms, axis=1)


@functools.cache
def mixtures(counts: tuple[float, ...], case: tuple[float, ...]) -> Floats:
    return mixture(np.asarray(counts), *case)


def each_mixture(k: Floats, size: Floats, alpha: Floats, kappa: Floats, capture: Floats) -> Floats:
    """`mixture` for every combination of concentrations and capture; counts vary along the first axis."""
    shape = np.broadcast_shapes(k.shape, alpha.shape, capture.shape)
    out = np.empty(shape)
    cases = [np.broadcast_to(x, shape)[0] for x in (size, alpha, kappa, capture)]
    wide = np.broadcast_to(k, shape)
    for where in np.ndindex(*shape[1:]):
        out[:, *where] = mixtures(tuple(wide[:, *where]), tuple(float(x[where]) for x in cases))
    return out


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
    def mixed(self) -> bool:
        return "beta_mixed" in self.layers

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
            "log_omega": np.log(OMEGA).reshape(shape),
        }
        return {name: jnp.asarray(known[name], dtype) for name in self.family.natural}

    def axes(self) -> dict[str, tuple[str, ...]]:
        return {name: ("gene",) if value.ndim else () for name, value in self.natural().items()}

    @property
    def mixed_at_capture(self) -> bool:
        """Whether a varying probability is the observed one rather than that of the molecules."""
        return self.mixed and "with_capture" in self.layers[: self.layers.index("beta_mixed")]

    @property
    def countable(self) -> Floats:
        """Offsets at which the molecules can be enumerated: some 10,000 where the observed probability varies."""
        return OFFSETS[:3] if self.mixed_at_capture else OFFSETS

    @property
    def truth(self) -> Truth:
        return Truth(MEAN, self.size, GATE, OMEGA, ON, OFF)

    def base_log_pmf(self, k: Floats, capture: Floats, truth: Truth, *, of_molecules: bool = False) -> Floats:
        """Without the gate; the probability of the code is one minus scipy's, thinned in closed form.

        ``of_molecules`` asks for the law before capture, which depends on capture where the observed p varies.
        """
        mean, size = truth.mean, truth.size
        seen = np.ones_like(capture) if of_molecules else capture
        if self.base == "poisson":
            return stats.poisson(mean * seen).logpmf(k)
        if self.base == "two_state":
            return poisson_beta(k, mean * seen, truth.on, truth.off)
        if not self.mixed:
            return stats.nbinom(size, size / (size + mean * seen)).logpmf(k)
        mixed_at = capture if self.mixed_at_capture else np.ones_like(capture)
        kappa = 2 + (size + 1) / truth.omega
        alpha = (kappa - 1) * mean / size * mixed_at
        if self.mixed_at_capture and not of_molecules:
            coefficient = special.gammaln(k + size) - special.gammaln(size) - special.gammaln(k + 1)
            return coefficient + special.betaln(alpha + k, kappa + size) - special.betaln(alpha, kappa)
        return each_mixture(k, size, alpha, kappa, seen / mixed_at)

    def log_pmf(self, u: Floats, capture: Floats, truth: Truth | None = None) -> Floats:
        """Logarithm of the pmf by scipy, (..., genes)."""
        truth = self.truth if truth is None else truth
        base = self.base_log_pmf(u, capture, truth)
        if not self.inflated:
            return base
        return np.logaddexp(np.where(u == 0, np.log(truth.gate), -np.inf), np.log1p(-truth.gate) + base)

    def joint_of_molecules(self, u: Floats, capture: Floats, m: Floats) -> tuple[Floats, Floats]:
        """p(m, gate open | u) and p(m, gate closed | u) over m on the leading axis, by enumeration.

        An open gate thins the molecules, a closed one hides them all.
        """
        gate = GATE if self.inflated else np.zeros_like(GATE)
        molecules = np.exp(self.base_log_pmf(m, capture, self.truth, of_molecules=True))
        seen = molecules * (1 - gate) * stats.binom.pmf(u, m, capture)
        hidden = molecules * gate * (u == 0)
        total = (seen + hidden).sum(axis=0)
        return seen / total, hidden / total


EXTRA = (
    ("nb", "zero_inflated", "with_capture"),
    ("poisson", "zero_inflated", "with_capture"),
    ("nb", "with_capture", "beta_mixed"),
    ("nb", "beta_mixed", "with_capture"),
    ("nb", "with_capture", "beta_mixed", "zero_inflated"),
    ("two_state", "with_capture", "zero_inflated"),
)
"""Compositions, or orders of them, that no familiar name stands for."""

TABLE = {
    f"{'-'.join(layers)}-{'gene' if per_gene else 'shared'}": Row(layers, per_gene)
    for layers in (*MODELS.values(), *EXTRA)
    for per_gene in ((False, True) if layers[0] == "nb" and "beta_mixed" not in layers else (True,))
}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, static_argnums=0)


@compiled
def log_pmf(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> jax.Array:
    return family.log_pmf(u, natural, x)


@compiled
def cdf(family: Family, u: jax.Array, natural: Natural, x: jax.Array) -> jax.Array:
    return family.cdf(u, natural, x)


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


@compiled
def denoised_log_prob(family: Family, m: jax.Array, u: jax.Array, natural: Natural, x: jax.Array) -> jax.Array:
    return family.denoise(u, natural, x).log_prob(m)


SLOW = {
    "two_state-with_capture-zero_inflated-gene",
    "nb-zero_inflated-with_capture-shared",
    "nb-with_capture-zero_inflated-shared",
    "nb-zero_inflated-shared",
    "nb-zero_inflated-with_capture-gene",
    "nb-with_capture-beta_mixed-zero_inflated-gene",
}
"""Rows that compile long, of modifiers and bases that other rows have."""


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TABLE])
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


def test_cdf_against_sums_of_the_pmf_of_scipy(row: Row) -> None:
    """In single precision, and in double where it is not a sum over panels of counts; -1 included."""
    u, offsets = np.append(-1.0, FEW_COUNTS), OFFSETS[[0, 2]]
    expected = np.exp(row.log_pmf(COUNTS[:301].reshape(-1, 1, 1), np.exp(offsets).reshape(1, -1, 1))).cumsum(axis=0)
    expected = np.concatenate([np.zeros_like(expected[:1]), expected])[u.astype(int) + 1]
    closed = row.base != "two_state" and not row.mixed
    for dtype, error in ((np.float32, 2e-5), (np.float64, 1e-12))[: 1 + closed]:
        with jax.enable_x64(dtype == np.float64):
            at = jnp.asarray(u.reshape(-1, 1, 1), dtype), row.natural((1, 1, -1), dtype)
            found = np.asarray(cdf(row.family, *at, jnp.asarray(offsets.reshape(1, -1, 1), dtype)))
        np.testing.assert_allclose(found, expected, atol=error)
        assert np.all(found[0] == 0.0)


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
    step = 3e-3
    up, here, down = (shifted_log_pmf(row, "offset", delta) for delta in (step, 0.0, -step))
    first, second = row.family.slopes(u, wide, jnp.broadcast_to(x, wide["log_mean"].shape))
    np.testing.assert_allclose(first, by_offset, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(second, (up - 2 * here + down) / step**2, rtol=2e-4, atol=2e-4)


def shifted_log_pmf(row: Row, name: str, delta: float) -> Floats:
    """scipy's log-pmf with one natural parameter (or the offset) moved."""
    capture = np.exp(OFFSETS + delta * (name == "offset")).reshape(1, -1, 1)
    mean = MEAN * np.exp(delta * (name == "log_mean"))
    truth = Truth(
        mean,
        size=row.size / MEAN * np.exp(delta * (name == "log_odds")) * mean,
        gate=special.expit(special.logit(GATE) + delta * (name == "gate_logit")),
        omega=OMEGA * np.exp(delta * (name == "log_omega")),
        on=ON * np.exp(delta * (name == "log_k_on")),
        off=OFF * np.exp(delta * (name == "log_k_off")),
    )
    return row.log_pmf(FEW_COUNTS.reshape(-1, 1, 1), capture, truth)


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


def test_molecules_are_poisson_at_the_rates_of_cells(row: Row) -> None:
    n = 3000
    natural = {k: jnp.broadcast_to(v, (n, len(MEAN))) for k, v in row.natural((1, -1), np.float32).items()}
    log_rate = np.asarray(row.family.sample_log_rate(jax.random.key(8), natural), float)
    draws = np.random.default_rng(0).poisson(np.exp(log_rate))
    pmf = np.exp(row.base_log_pmf(COUNTS[:, None], np.ones(len(MEAN)), row.truth))
    assert min(chi_square(draws[:, j], pmf[:, j]) for j in range(len(MEAN))) > P_VALUE


@pytest.mark.usefixtures("double")
def test_denoised_moments_and_mode_against_enumeration(row: Row) -> None:
    """Full capture (offset 0) included: then nothing is unseen, unless the gate was closed."""
    u, natural, _ = grid(row, ORIGIN)
    (mean, variance), mode = denoised(row.family, u, natural, jnp.asarray(row.countable.reshape(1, -1, 1)))
    m = COUNTS.reshape(-1, 1, 1, 1)
    seen, hidden = row.joint_of_molecules(ORIGIN.reshape(1, -1, 1, 1), np.exp(row.countable).reshape(1, 1, -1, 1), m)
    posterior = seen + hidden
    assert posterior[-1].max() < 1e-14, "the enumeration must reach far enough"
    expected = (m * posterior).sum(axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    np.testing.assert_allclose(variance, ((m - expected) ** 2 * posterior).sum(axis=0), rtol=1e-8, atol=1e-8)
    at_mode = np.take_along_axis(posterior, np.asarray(mode).astype(int)[None], axis=0)[0]
    np.testing.assert_allclose(at_mode, posterior.max(axis=0), rtol=1e-9)


@pytest.mark.usefixtures("double")
def test_denoised_probabilities_against_enumeration(row: Row) -> None:
    u, x = ORIGIN.reshape(1, -1, 1, 1), row.countable.reshape(1, 1, -1, 1)
    m, natural = jnp.asarray(COUNTS[:300].reshape(-1, 1, 1, 1)), row.natural((1, 1, 1, -1))
    found = np.exp(denoised_log_prob(row.family, m, jnp.asarray(u), natural, jnp.asarray(x)))
    seen, hidden = row.joint_of_molecules(u, np.exp(x), COUNTS.reshape(-1, 1, 1, 1))
    np.testing.assert_allclose(found, (seen + hidden)[:300], rtol=10 * row.accuracy, atol=1e-14)


def test_denoised_samples_follow_the_enumeration(row: Row) -> None:
    n, x, observed = 1500, np.array([0.0, -0.9]), np.array([0.0, 4.0])
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
    assert (found is not None) == (
        not row.inflated and not row.mixed and (row.base == "poisson" or not row.per_gene_odds)
    )
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
    found = {name: np.asarray(value) for name, value in row.family.named(row.natural()).items()}
    expected = {"mu": MEAN}
    if row.base == "nb":
        r = row.size
        expected |= {"r": r, "p": MEAN / (MEAN + r), "phi": r / MEAN}
        np.testing.assert_allclose(found["mu"], found["r"] * found["p"] / (1 - found["p"]), rtol=1e-10)
        np.testing.assert_allclose(found["phi"], (1 - found["p"]) / found["p"], rtol=1e-10)
    if row.base == "two_state":
        total = ON + OFF
        expected |= {"k_on": ON, "alpha": ON, "k_off": OFF, "beta": OFF}
        expected |= {"r_hat": MEAN * total / ON, "burst_size": MEAN / ON}
        expected |= {"switching_ratio": OFF / ON, "excess_fano": MEAN * OFF / ON / (total + 1)}
        expected |= {"concentration": total, "inv_concentration": 1 / (total + 1)}
    if row.inflated:
        expected["gate"] = GATE
    if row.mixed:
        expected |= {"omega": OMEGA, "bnb_concentration": 2 + (row.size + 1) / OMEGA}
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name] + np.zeros_like(value), value, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_little_mixing_is_none_and_full_capture_makes_the_orders_one(dtype: Any) -> None:
    """At vanishing overdispersion both orders are the negative binomial, to rounding, for counts that may occur."""
    mean, size, capture, u = (x.ravel() for x in np.meshgrid([1e-3, 1.0, 900.0], [0.1, 3.0, 200.0], [1, 0.2], range(9)))
    u = np.round(mean * capture * (1 + (u - 2) / np.sqrt(np.minimum(size, 9.0)))).clip(0)
    with jax.enable_x64(dtype == np.float64):
        u, log_mean, log_odds, x = (
            jnp.asarray(a, dtype) for a in (u, np.log(mean), np.log(size / mean), np.log(capture))
        )
        natural = {"log_mean": log_mean, "log_odds": log_odds, "log_omega": jnp.full_like(x, -18.0)}
        orders = [from_layers(("nb", *layers)) for layers in (("with_capture", "beta_mixed"), ("beta_mixed",))]
        plain = np.asarray(log_pmf(families.nb, u, natural, x))
        for family in orders:
            np.testing.assert_allclose(log_pmf(family, u, natural, x), plain, rtol=1e-5, atol=2e-5)
        natural["log_omega"] = jnp.full_like(x, -0.5)
        one, other = (np.asarray(log_pmf(family, u, natural, jnp.zeros_like(x))) for family in orders)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        assert np.abs(one - log_pmf(families.nb, u, natural, jnp.zeros_like(x))).max() > 0.1
        closed, sums = (log_pmf(orders[1], u, natural, x) for x in (jnp.full_like(x, -1e-4), jnp.zeros_like(x)))
        np.testing.assert_allclose(closed, sums, rtol=1e-2, atol=1e-2)


def test_mixing_applies_to_the_negative_binomial_once() -> None:
    mixed = families.beta_mixed(families.nb)
    for base in (mixed, families.with_capture(mixed), families.zero_inflated(mixed)):
        with pytest.raises(ValueError, match="has beta_mixed already; apply beta_mixed once"):
            families.beta_mixed(base)
    for base in (families.poisson, families.zero_inflated(families.nb)):
        with pytest.raises(ValueError, match=r"needs a negative binomial, nb or with_capture\(nb\), and got"):
            families.beta_mixed(base)


def test_modifiers_apply_once() -> None:
    for base in families.ALL.values():
        with pytest.raises(ValueError, match=r"has with_capture already; apply with_capture once"):
            families.with_capture(families.with_capture(base))
        with pytest.raises(ValueError, match=r"with_capture\(zero_inflated\(.*\)\) has with_capture already"):
            families.with_capture(families.with_capture(families.zero_inflated(base)))
        with pytest.raises(ValueError, match=r"has zero_inflated already; apply zero_inflated once"):
            families.zero_inflated(families.with_capture(families.zero_inflated(base)))
