"""Every prior is the distribution of its formula once its link is undone: against scipy, by density and by draws."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from scipy import special, stats

from scribe import priors
from scribe._dist.links import LINKS
from scribe.priors import (
    Beta,
    BetaPrime,
    CaptureAnchor,
    Context,
    Draw,
    Latent,
    LogNormal,
    MeanAnchor,
    Prior,
    PriorFunction,
    TransformedNormal,
    from_json,
    organism,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TOTALS = np.array([800.0, 3e3, 3e3, 2.5e4, 4e5])
"""Counts per cell: from far below the total mRNA of a cell to twice of it."""


GENE_MEANS = np.array([1e-3, 0.2, 1.0, 30.0, 600.0])


def logit_normal(loc: float, scale: float) -> Any:
    class LogitNormal(stats.rv_continuous):
        def _logpdf(self, x: Any) -> Any:
            return stats.norm.logpdf(special.logit(x), loc, scale) - np.log(x) - np.log1p(-x)

        def _cdf(self, x: Any) -> Any:
            return stats.norm.cdf(special.logit(x), loc, scale)

    return LogitNormal(a=0, b=1)


def softplus_normal(loc: float, scale: float) -> Any:
    class SoftplusNormal(stats.rv_continuous):
        def _logpdf(self, x: Any) -> Any:
            return stats.norm.logpdf(np.log(np.expm1(x)), loc, scale) - np.log(-np.expm1(-x))

        def _cdf(self, x: Any) -> Any:
            return stats.norm.cdf(np.log(np.expm1(x)), loc, scale)

    return SoftplusNormal(a=0)


@dataclass(frozen=True)
class Row:
    """A prior and scipy's law of the parameter itself, in every cell or gene for the anchors."""

    prior: Prior
    law: Callable[[], Any]
    per_cell: bool = False


TABLE = {
    "lognormal": Row(LogNormal(0.4, 1.7), lambda: stats.lognorm(s=1.7, scale=math.exp(0.4))),
    "beta": Row(Beta(1.0, 9.0), lambda: stats.beta(1, 9)),
    "beta-u": Row(Beta(0.4, 0.6), lambda: stats.beta(0.4, 0.6)),
    "betaprime": Row(BetaPrime(3.0, 1.5), lambda: stats.betaprime(1.5, 3)),
    "betaprime-flat": Row(BetaPrime(1.0, 1.0), lambda: stats.betaprime(1, 1)),
    "normal-exp": Row(TransformedNormal(-0.3, 0.8, "exp"), lambda: stats.lognorm(s=0.8, scale=math.exp(-0.3))),
    "normal-sigmoid": Row(TransformedNormal(-2.0, 1.0, "sigmoid"), lambda: logit_normal(-2.0, 1.0)),
    "normal-softplus": Row(TransformedNormal(0.5, 2.0, "softplus"), lambda: softplus_normal(0.5, 2.0)),
    "capture_anchor": Row(
        CaptureAnchor(math.log(2e5), 0.3),
        lambda: stats.truncnorm(-(np.log(2e5 / TOTALS)) / 0.3, np.inf, loc=np.log(2e5 / TOTALS), scale=0.3),
        per_cell=True,
    ),
    "mean_anchor": Row(MeanAnchor(0.4), lambda: stats.lognorm(s=0.4, scale=GENE_MEANS), per_cell=True),
    "mean_anchor-softplus": Row(
        MeanAnchor(0.3, math.log(2e5), "softplus"),
        lambda: stats.lognorm(s=0.3, scale=GENE_MEANS * 2e5 / TOTALS.mean()),
        per_cell=True,
    ),
    "mean_anchor-full": Row(
        MeanAnchor(0.3, math.log(5.0)), lambda: stats.lognorm(s=0.3, scale=GENE_MEANS), per_cell=True
    ),
}


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def context(dtype: Any) -> Context:
    return Context(jnp.asarray(TOTALS, dtype), jnp.asarray(GENE_MEANS, dtype), jnp.asarray(TOTALS.mean(), dtype))


def sampler(shape: tuple[int, ...]) -> Draw:
    def draw(latent: Latent, law: PriorFunction) -> jax.Array:
        return numpyro.sample(latent.name, law(context(np.float32)).expand(shape if latent.axes else ()))

    return draw


def test_every_prior_has_a_row() -> None:
    kinds = {row.prior.to_json()["type"] for row in TABLE.values()}
    # Dirichlet weights and hierarchies are no elementwise parameters: tests/priors; an informed prior depends on an
    # earlier fit: tests/_posterior/test_inform.py
    others = {priors.Dirichlet, priors.Hierarchical, priors.Informed}
    assert kinds == set(priors.ALL) - {"dirichlet", "over", "informed"}
    assert {type(row.prior) for row in TABLE.values()} == set(priors.ALL.values()) - others
    used = {row.prior.transform for row in TABLE.values() if isinstance(row.prior, TransformedNormal)}
    assert used == set(LINKS) - {"softmax", "identity"}


def test_density_on_the_real_line(row: Row) -> None:
    """The density of the parameter plus the log-Jacobian of its link."""
    law = row.law()
    q = np.array([1e-4, 0.03, 0.3, 0.5, 0.9, 0.999])
    with jax.enable_x64(True):
        if row.per_cell:
            q = q[:, None]
        value = np.asarray(law.ppf(q))
        link = LINKS[row.prior.link]
        z = link.inverse(jnp.asarray(value))
        log_slope = np.log(jax.vmap(jax.grad(link.value))(z.ravel())).reshape(z.shape)
        found = row.prior.distribution(context(np.float64)).log_prob(z)
    np.testing.assert_allclose(found, law.logpdf(value) + log_slope, rtol=1e-8, atol=1e-8)


def test_draws_follow_the_law(row: Row) -> None:
    """Through the numpyro site, in single precision, as in a model."""
    n, shape = 1500, (len(TOTALS),) if row.per_cell else (2,)

    def draw(key: jax.Array) -> jax.Array:
        seeded = handlers.seed(lambda: row.prior("theta", ("axis",), sampler(shape)), key)
        return seeded()

    z = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(3), n))
    assert z.shape == (n, *shape)
    assert z.dtype == np.float32
    uniform = row.law().cdf(np.asarray(LINKS[row.prior.link].value(z), float))
    assert min(stats.kstest(uniform[:, i], "uniform").pvalue for i in range(shape[0])) > 1e-3


def test_the_site_is_named_after_the_parameter(row: Row) -> None:
    shape = (len(TOTALS),)

    def model() -> None:
        row.prior("theta", ("axis",), sampler(shape))

    trace: dict[str, Any] = {}
    jax.eval_shape(lambda key: trace.update(handlers.trace(handlers.seed(model, key)).get_trace()), jax.random.key(0))
    site = trace[priors.latent_name("theta")]
    assert set(trace) == {"theta_unconstrained"}
    assert (site["type"], site["is_observed"], site["value"].shape) == ("sample", False, shape)
    assert site["fn"].support is numpyro.distributions.constraints.real


def test_json_round_trip(row: Row) -> None:
    record = json.loads(json.dumps(row.prior.to_json()))
    again = from_json(record)
    assert again == row.prior
    assert type(again) is type(row.prior)
    assert record["args"] == [getattr(row.prior, f.name) for f in fields(row.prior)]


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 5.0), (0.3, 7.0)])
def test_odds_and_probability_have_one_prior(a: float, b: float) -> None:
    """phi ~ BetaPrime(a, b) is p ~ Beta(a, b) under phi = (1 - p) / p: on the real line, log phi = -logit p."""
    with jax.enable_x64(True):
        p = np.linspace(0.01, 0.99, 25)
        z = jnp.asarray(np.log((1 - p) / p))
        of_odds = BetaPrime(a, b).distribution(context(np.float64)).log_prob(z)
        of_probability = Beta(a, b).distribution(context(np.float64)).log_prob(-z)
    np.testing.assert_allclose(of_odds, of_probability, rtol=1e-12)
    np.testing.assert_allclose(of_odds, stats.beta(a, b).logpdf(p) + np.log(p * (1 - p)), rtol=1e-10)


def test_anchor_without_counts_uses_one_molecule() -> None:
    empty = context(np.float32)._replace(totals=jnp.asarray([0.0, 1.0]))
    law = CaptureAnchor(math.log(3000.0), 0.3).distribution(empty)
    np.testing.assert_allclose(law.loc, math.log(3000.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "molecules"),
    [
        (("human", "Homo sapiens", "homo_sapiens", " HUMAN "), 2e5),
        (("mouse", "Mus musculus", "mus_musculus"), 2e5),
        (("yeast", "Saccharomyces cerevisiae", "saccharomyces_cerevisiae"), 6e4),
        (("ecoli", "E. coli", "e_coli", "Escherichia coli"), 3e3),
    ],
)
def test_organisms(names: tuple[str, ...], molecules: float) -> None:
    for name in names:
        assert organism(name) == CaptureAnchor(math.log(molecules), 0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogNormal(0.0, 0.0), r"LogNormal\(loc, scale\) needs a scale above 0, got 0\.0"),
        (lambda: LogNormal(0.0, math.nan), "needs a scale above 0, got nan"),
        (lambda: TransformedNormal(0.0, -1.0, "exp"), r"Normal\(loc, scale\) needs a scale above 0, got -1\.0"),
        (lambda: TransformedNormal(0.0, 1.0, "log"), "transform='log'; choose one of: 'exp', 'softplus', 'sigmoid'"),
        (lambda: Beta(0.0, 1.0), r"Beta\(a, b\) needs two shapes above 0, got \(0\.0, 1\.0\)"),
        (lambda: BetaPrime(1.0, -2.0), r"BetaPrime\(a, b\) needs two shapes above 0"),
        (lambda: CaptureAnchor(12.2, 0.0), r"needs \(log_M0, sigma_M\) with sigma_M > 0"),
        (lambda: CaptureAnchor(200_000.0, 0.3), r"Did you mean math\.log\(200000\.0\) = 12\.21\?"),
        (lambda: CaptureAnchor(-1.0, 0.3), r"log_M0 is the natural logarithm of the total mRNA per cell"),
        (lambda: organism("axolotl"), "No total mRNA is known for organism 'axolotl'. Known: 'human', 'mouse'"),
    ],
)
def test_errors_say_what_is_allowed(make: Callable[[], Prior], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
