"""Coordinate systems describe one distribution: same likelihood, same prediction, whichever parameters are sampled."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from scribe import coordinates, families
from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.likelihood import log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.resolve import resolve_spec
from scribe.coordinates import Coordinates, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scribe._counts.data import CountData
    from scribe._types import Array, Natural
    from scribe.families import Family
    from scribe.families._base import Moments

    Floats = NDArray[np.float64]

MU = np.array([0.02, 0.7, 5.0, 900.0])
PHI = 0.23
"""Odds shared by all genes."""
SIZES = np.array([0.4, 3.0, 0.05, 40.0])
"""Sizes of genes with odds of their own."""
NU = np.array([0.9, 0.2, 0.01])
ON = np.array([0.06, 0.4, 3.0, 30.0])
OFF = np.array([40.0, 0.3, 1.5, 200.0])
"""Rates of switching on and off."""


@dataclass(frozen=True)
class Row:
    """What is sampled and how the other quantities follow from it, in plain numpy; aliases and the capture site."""

    aliases: tuple[str, ...]
    capture: str
    sampled: Callable[[Floats, Floats], dict[str, Any]]
    derived: Callable[..., dict[str, Any]]
    shared: bool = True

    @property
    def size(self) -> Floats:
        return MU * PHI if self.shared else SIZES


def promoter(mu: Floats, on: Floats, off: Floats) -> dict[str, Any]:
    """Every named quantity of a two-state promoter, in the order in which coordinates sample them."""
    total = on + off
    rate = mu * total / on
    return {
        "mu": mu,
        "burst_size": mu / on,
        "k_off": off,
        "switching_ratio": off / on,
        "excess_fano": rate * off / (total * (total + 1)),
        "concentration": total,
        "inv_concentration": 1 / (total + 1),
        "k_on": on,
        "alpha": on,
        "beta": off,
        "r_hat": rate,
    }


class PoissonBeta:
    """Counts seen through capture by scipy: a beta-weighted Gauss rule of 400 nodes, and moments in closed form."""

    def __init__(self, mu: Floats, on: Floats, off: Floats) -> None:
        self.rate = mu * (on + off) / on
        self.shares = stats.beta(on, off)
        rules = [special.roots_jacobi(400, b - 1, a - 1) for a, b in zip(*np.broadcast_arrays(on, off), strict=True)]
        self.nodes = np.array([(1 + x) / 2 for x, _ in rules])
        self.weights = np.array([w / w.sum() for _, w in rules])

    def rvs(self, random_state: np.random.Generator) -> Floats:
        return random_state.poisson(self.rate * self.shares.rvs(size=self.rate.shape, random_state=random_state))

    def logpmf(self, u: Floats) -> Floats:
        with np.errstate(under="ignore"):
            pmf = stats.poisson.pmf(u[..., None], self.rate[..., None] * self.nodes)
        return np.log(np.sum(self.weights * pmf, axis=-1))

    def mean(self) -> Floats:
        return self.rate * self.shares.mean()

    def var(self) -> Floats:
        return self.mean() + self.rate**2 * self.shares.var()


TABLE = {
    "canonical": Row(
        ("standard",),
        "p_capture",
        lambda mu, r: {"p": (mu / (mu + r))[0], "r": r},
        lambda p, r: {"mu": r * p / (1 - p), "phi": (1 - p) / p},
    ),
    "mean_prob": Row(
        ("linked",),
        "p_capture",
        lambda mu, r: {"p": (mu / (mu + r))[0], "mu": mu},
        lambda p, mu: {"r": mu * (1 - p) / p, "phi": (1 - p) / p},
    ),
    "mean_odds": Row(
        ("odds_ratio",),
        "phi_capture",
        lambda mu, r: {"phi": (r / mu)[0], "mu": mu},
        lambda phi, mu: {"p": 1 / (1 + phi), "r": mu * phi},
    ),
    "mean_disp": Row(
        (),
        "p_capture",
        lambda mu, r: {"mu": mu, "r": r},
        lambda mu, r: {"phi": r / mu, "p": mu / (mu + r)},
        shared=False,
    ),
    "mean": Row((), "p_capture", lambda mu, r: {"mu": mu}, lambda mu: {}),
    **{
        f"two_state_{name}": Row(
            aliases,
            "p_capture",
            lambda mu, r, names=names: {k: v for k, v in promoter(mu, ON, OFF).items() if k in names},
            shapes,
            shared=False,
        )
        for name, aliases, names, shapes in (
            (
                "moment_delta",
                ("moment_delta", "delta"),
                ("mu", "excess_fano", "inv_concentration"),
                lambda mu, excess_fano, inv_concentration: promoter(
                    mu,
                    mu * (1 - inv_concentration) / (mu * inv_concentration + excess_fano),
                    excess_fano * (1 - inv_concentration) / inv_concentration / (mu * inv_concentration + excess_fano),
                ),
            ),
            (
                "mean_fano",
                ("mean_fano", "fano"),
                ("mu", "excess_fano", "concentration"),
                lambda mu, excess_fano, concentration: promoter(
                    mu,
                    concentration * mu / (mu + excess_fano * (concentration + 1)),
                    concentration * excess_fano * (concentration + 1) / (mu + excess_fano * (concentration + 1)),
                ),
            ),
            (
                "natural",
                ("natural",),
                ("mu", "burst_size", "k_off"),
                lambda mu, burst_size, k_off: promoter(mu, mu / burst_size, k_off),
            ),
            (
                "ratio",
                ("ratio",),
                ("mu", "burst_size", "switching_ratio"),
                lambda mu, burst_size, switching_ratio: promoter(
                    mu, mu / burst_size, switching_ratio * mu / burst_size
                ),
            ),
        )
    },
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=TABLE)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def system(name: str) -> Coordinates:
    return next(c for c in coordinates.ALL if c.name == name)


def working(name: str, values: dict[str, Any]) -> dict[str, jax.Array]:
    """Log of positive parameters, logit of probabilities, by scipy."""
    to = {"positive": np.log, "unit": special.logit}
    supports = {p.name: p.support for p in system(name).sampled}
    return {n: jnp.asarray(to[supports[n]](v)) for n, v in values.items()}


def test_every_system_has_a_row() -> None:
    assert {c.name for c in coordinates.ALL} == set(TABLE)
    assert {c.family for c in coordinates.ALL} == set(families.ALL)


def test_description(name: str) -> None:
    mine, row = system(name), TABLE[name]
    assert mine.aliases == row.aliases
    assert mine.capture == row.capture
    assert [p.name for p in mine.sampled] == list(row.sampled(MU, row.size))
    assert mine.shared == {"canonical": ["p"], "mean_prob": ["p"], "mean_odds": ["phi"]}.get(name, [])


def test_conversions(name: str) -> None:
    """Every named quantity, from the formulas of the specification."""
    mine, row = system(name), TABLE[name]
    sampled = row.sampled(MU, row.size)
    natural = mine.to_natural(working(name, sampled))
    assert set(natural) == set(families.ALL[mine.family].natural)
    found = families.ALL[mine.family].named(natural)
    expected = {**sampled, **row.derived(**sampled)}
    assert set(found) == set(expected)
    for quantity, value in expected.items():
        np.testing.assert_allclose(found[quantity], value, rtol=1e-12, err_msg=quantity)


def test_maps_are_inverse(name: str) -> None:
    mine, row = system(name), TABLE[name]
    sampled = working(name, row.sampled(MU, row.size))
    natural = mine.to_natural(sampled)
    back = mine.from_natural(natural)
    assert list(back) == [p.name for p in mine.sampled]
    for n, value in sampled.items():
        np.testing.assert_allclose(back[n], value, rtol=1e-13, atol=1e-13)
    again = mine.to_natural(mine.from_natural(natural))
    for n, value in natural.items():
        np.testing.assert_allclose(again[n], value, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(natural["log_mean"], np.log(MU), rtol=1e-13)


def capture_values(site: str) -> Floats:
    """The three forms of one capture probability, on the real line of their links."""
    return {
        "p_capture": special.logit(NU),
        "phi_capture": np.log(1 / NU - 1),
        "eta_capture": np.log(np.expm1(-np.log(NU))),
    }[site]


@functools.partial(jax.jit, static_argnums=0)
def value_and_moments(family: Family, natural: Natural, offset: Array, data: CountData) -> tuple[Array, Moments]:
    """Log-likelihood by the engine, and moments, which all systems of a family compile once."""
    wide = {n: v if v.ndim == 0 else v[None] for n, v in natural.items()}
    return log_likelihood(family, Parameters(natural, Scalar(offset)), data), family.moments(wide, offset[:, None])


@pytest.mark.parametrize("anchored", [False, True], ids=["free", "anchored"])
def test_one_distribution_in_all_systems(name: str, anchored: bool) -> None:
    """Likelihood by the engine, and mean and variance, of counts seen through capture: against scipy.

    With the size of the code's convention: scipy's probability is one minus ours, thinned in closed form.
    """
    mine, row = system(name), TABLE[name]
    model = {"nb": "nbvcp", "poisson": "poissonvcp", "two_state": "twostatevcp"}[mine.family]
    spec = resolve_spec(model, parameterization=name, priors={"organism": "human"} if anchored else None)
    assert spec.capture_site == ("eta_capture" if anchored else row.capture)
    z = {n: spec_link_inverse(spec, n, v) for n, v in row.sampled(MU, row.size).items()}
    z[spec.capture_site] = jnp.asarray(capture_values(spec.capture_site))
    natural, offset = spec.natural(spec.working(z)), spec.offset(z, len(NU))
    np.testing.assert_allclose(offset, np.log(NU), rtol=1e-12)
    if mine.family == "nb":
        p = MU / (MU + row.size)
        thinned = p * NU[:, None] / (1 - p * (1 - NU[:, None]))
        law = stats.nbinom(row.size, 1 - thinned)
    elif mine.family == "two_state":
        law = PoissonBeta(MU * NU[:, None], ON, OFF)
    else:
        law = stats.poisson(MU * NU[:, None])
    u = 1.0 + law.rvs(random_state=np.random.default_rng(0))
    data = full_data(Counts.from_matrix(u), totals_suffice=spec.totals_suffice)
    accuracy = 1e-8 if mine.family == "two_state" else 1e-10  # of the quadrature
    found, (mean, variance) = value_and_moments(spec.family, natural, offset, data)
    np.testing.assert_allclose(found, law.logpmf(u).sum(), rtol=accuracy)
    np.testing.assert_allclose(mean, law.mean(), rtol=1e-11)
    np.testing.assert_allclose(variance, law.var(), rtol=1e-11)


def spec_link_inverse(spec: Any, name: str, value: Any) -> jax.Array:
    """Real number for a parameter, by scipy: the default priors use log and logit."""
    link = next(site.link.name for site in spec.sites if site.name == name)
    return jnp.asarray({"exp": np.log, "sigmoid": special.logit}[link](value))


def test_found_by_name_and_alias() -> None:
    for mine in coordinates.ALL:
        for called in (mine.name, *mine.aliases):
            assert find(called, family=mine.family) is mine
    assert find(None, family="nb").name == "canonical"
    assert find(None, family="poisson").name == "mean"
    assert find(None, family="two_state").name == "two_state_moment_delta"


@pytest.mark.parametrize(
    ("called", "family", "message"),
    [
        ("mean-odds", "nb", r"parameterization='mean-odds' is not defined for the 'nb' family\. Choose one of: 'canon"),
        ("mean", "nb", r"'canonical' \(alias 'standard'\), 'mean_prob' \(alias 'linked'\), 'mean_odds'"),
        ("canonical", "poisson", r"is not defined for the 'poisson' family\. Choose one of: 'mean'\."),
    ],
)
def test_unknown_systems_name_the_allowed_ones(called: str, family: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(called, family=family)
