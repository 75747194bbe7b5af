r"""Simulation-based calibration: whether posteriors are as wide, and where, as they say.

Parameters drawn from the prior and counts drawn given them are a draw of the joint distribution, so that the parameters
are one more draw from the posterior given the counts. Their rank among L independent posterior draws is uniform,

.. math::

    \theta \sim p(\theta),\quad u \sim p(u \mid \theta),\quad \theta_1, \ldots, \theta_L \sim p(\theta \mid u)
    \;\Rightarrow\; \#\{l : f(\theta_l, u) < f(\theta, u)\} \sim \mathrm{Uniform}\{0, \ldots, L\}

for every quantity f (Cook, Gelman and Rubin 2006, doi:10.1198/106186006X136976; Talts et al. 2018,
doi:10.48550/arXiv.1804.06788), of which the log-density of parameters and counts together is a sharp one (Modrak et al.
2023, doi:10.1214/23-BA1404). Ranks become uniform numbers, ``(rank + U) / (L + 1)``, whose empirical distribution is
compared with a simultaneous band (Sailynoja, Buerkner and Vehtari 2022, doi:10.1007/s11222-022-10090-6).

A prior may depend on the data: that of anchored capture on the totals of the cells, that of anchored expression on the
means of the genes. There is no joint distribution to draw from then. What can be calibrated is the model whose priors
see the totals and means of a reference data set, in the simulation and in every fit alike: see `Study`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy.special import bdtr, ndtri
from scipy.stats import binom

from scribe._counts.build import Rows
from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.design import Design
from scribe._counts.parameters import Parameters
from scribe._counts.source import InMemory
from scribe._model.build import CountMatrix, build, data_for
from scribe._model.spec import ModelSpec
from scribe._posterior.simulate import compressed_rows, simulate_blocks
from scribe._types import AnyArray, Array, FloatArray, Key
from scribe.engines import diagnostics
from scribe.priors import LATENT_SUFFIX, Context, Draw, Prior, latent_name

__all__ = ["JOINT", "Fitted", "Seen", "Study", "Uniformity", "band", "calibrate", "deviation", "uniformity", "uniforms"]

JOINT = "log_joint"
"""Name of the log-density of parameters and counts together."""

_NULL_DRAWS = 50_000
"""Samples behind the distribution of `deviation`."""

Values = Mapping[str, AnyArray] | Mapping[str, Array]
"""Draws of latents, (chains, draws, ...) by name."""

Fitted = Callable[[ModelSpec, Counts, Design, int], Values]
"""What is to be calibrated: draws of all latents from the posterior, for a model, counts, covariates and a seed."""


@dataclass(frozen=True)
class Seen(Prior):
    """A prior that sees given totals and means, those of `scribe.priors.Context`, in place of those of the data."""

    prior: Prior
    totals: tuple[float, ...]
    gene_means: tuple[float, ...]
    mean_total: float

    @property
    def link(self) -> str:
        """That of the prior."""
        return self.prior.link

    @property
    def adds(self) -> tuple[str, ...]:
        """Those of the prior."""
        return self.prior.adds

    def __call__(self, name: str, axes: tuple[str, ...], draw: Draw) -> Array:
        """As the prior, with every law given what is seen."""

        def seeing(context: Context) -> Context:
            dtype = context.totals.dtype
            totals, means, total = (jnp.asarray(x, dtype) for x in (self.totals, self.gene_means, self.mean_total))
            return context._replace(totals=totals, gene_means=means, mean_total=total)

        return self.prior(name, axes, lambda latent, law: draw(latent, lambda context: law(seeing(context))))

    def start(self, name: str, axes: tuple[str, ...], value: AnyArray | Array) -> dict[str, AnyArray]:
        """As the prior."""
        return self.prior.start(name, axes, value)

    def to_json(self) -> dict[str, object]:
        """The prior itself: what it sees belongs to a study, not to the model."""
        return self.prior.to_json()


@dataclass(frozen=True, eq=False)
class Study:
    """A model whose prior generates data sets, all with the same covariates of the cells.

    The priors see totals and means of the ``reference``, in every simulation and every fit; its shape is that of all
    data sets. Where no prior depends on the data, nothing depends on its values.
    """

    spec: ModelSpec
    reference: Counts
    design: Design = field(default_factory=Design)

    @functools.cached_property
    def fixed(self) -> ModelSpec:
        """The model with priors that see the reference."""
        means = self._data(self.spec, self.reference).means
        known = (tuple(map(float, self.reference.totals)), tuple(map(float, means.genes)), float(means.total))
        return self.spec.with_priors({name: Seen(prior, *known) for name, prior in self.spec.priors.items()})

    def draw(self, key: Key) -> tuple[dict[str, Array], Parameters]:
        """Latents drawn from the prior, and what the counts are to be drawn from."""
        return _draw(self.fixed, self.reference.n_genes, self._data(self.fixed, self.reference), key)

    def simulate(self, truth: Parameters, key: Key) -> Counts:
        """One data set."""
        n_cells, n_genes = self.reference.n_cells, self.reference.n_genes
        blocks = simulate_blocks(self.fixed.family, truth, key, n_genes=n_genes)
        indptr, genes, values = compressed_rows(blocks, n_cells)
        rows = Rows(indptr.astype(np.int64), genes.astype(np.int32), values, n_genes)
        return Counts(store=InMemory(rows))

    def quantities(self, counts: Counts, latents: Values) -> dict[str, FloatArray]:
        """Every named parameter, sampled and derived, those of populations, and `JOINT`: (..., elements) by name."""
        first = self.fixed.latents[0]
        leading = np.shape(latents[first.name])[: np.ndim(latents[first.name]) - len(first.axes)]
        dtype = jnp.zeros(()).dtype
        flat = {n: jnp.asarray(np.reshape(x, (-1, *np.shape(x)[len(leading) :])), dtype) for n, x in latents.items()}
        found = _quantities(self.fixed, self.reference.n_genes, self._data(self.fixed, counts), flat)
        return {name: np.asarray(x, np.float64).reshape(*leading, -1) for name, x in found.items()}

    def _data(self, spec: ModelSpec, counts: Counts) -> CountData:
        return data_for(spec, counts, self.design, totals_suffice=spec.totals_suffice)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(spec: ModelSpec, n_genes: int, data: CountData, key: Key) -> tuple[dict[str, Array], Parameters]:
    key_latents, key_component = jax.random.split(key)
    trace = handlers.trace(handlers.seed(build(spec, n_genes=n_genes), key_latents)).get_trace(data)
    law: CountMatrix = trace["counts"]["fn"]
    truth = law.parameters
    if truth.log_weights is not None:
        component = jax.random.categorical(key_component, truth.log_weights)
        truth = truth._replace(component=component, log_weights=None)
    return {latent.name: trace[latent.name]["value"] for latent in spec.latents}, truth


@functools.partial(jax.jit, static_argnums=(0, 1))
def _quantities(spec: ModelSpec, n_genes: int, data: CountData, latents: dict[str, Array]) -> dict[str, Array]:
    sampled = {latent_name(site.name) for site in spec.sites}

    def of_one(one: dict[str, Array]) -> dict[str, Array]:
        others = {n.removesuffix(LATENT_SUFFIX): x for n, x in one.items() if n not in sampled}
        joint = log_density(build(spec, n_genes=n_genes), (data,), {}, one)[0]
        return {**spec.named(spec.values(one)), **others, JOINT: joint}

    return jax.lax.map(of_one, latents, batch_size=100)


def uniforms(truth: FloatArray, draws: FloatArray, rng: np.random.Generator, *, most: int = 100) -> FloatArray:
    """Ranks of true values among draws as uniform numbers, (elements,).

    ``truth`` is (elements,), ``draws`` are (chains, draws, elements). Draws of a chain are dependent, and their ranks
    would pile up at both ends: of every element as many draws at equal distances, ``most`` or fewer, are used as are
    effectively independent.
    """
    # of elements that never change nothing is effective, and nothing is needed
    ess = np.nan_to_num(diagnostics(draws).ess_bulk, nan=1.0)
    flat = draws.reshape(-1, draws.shape[-1])
    out = np.empty(len(truth))
    for i, (value, column) in enumerate(zip(truth, flat.T, strict=True)):
        n = int(np.clip(ess[i], 1, min(most, len(column))))
        used = column[((np.arange(n) + 0.5) * len(column) / n).astype(int)]
        less, equal = np.sum(used < value), np.sum(used == value)
        out[i] = (less + rng.random() * (equal + 1)) / (n + 1)
    return out


def calibrate(
    study: Study, fitted: Fitted, *, seed: int, first: int = 0, most: int = 100
) -> Iterator[dict[str, FloatArray]]:
    """Simulate, fit and rank without end: the `uniforms` of every quantity of one data set after the other.

    A data set depends on ``seed`` and its number alone, which is ``first`` for the first.
    """
    for number in itertools.count(first):
        key_parameters, key_counts = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        latents, parameters = study.draw(key_parameters)
        counts = study.simulate(parameters, key_counts)
        draws = study.quantities(counts, fitted(study.fixed, counts, study.design, number))
        truth = study.quantities(counts, latents)
        rng = np.random.default_rng((seed, number))
        yield {name: uniforms(value, draws[name], rng, most=most) for name, value in truth.items()}


def _tails(counts: AnyArray, n: int) -> FloatArray:
    """Smaller tail of the number of uniforms below i/n, i = 1, ..., n - 1, the least over i and doubled."""
    at = np.arange(1, n) / n
    table = bdtr(np.arange(n + 1)[:, None], n, at)
    above = np.vstack([np.ones(n - 1), 1.0 - table[:-1]])
    smaller = np.minimum(table, above)
    return np.asarray(2.0 * np.min(smaller[counts, np.arange(n - 1)], axis=-1))


def _below(values: FloatArray) -> AnyArray:
    """How many of (..., n) numbers lie below i/n, i = 1, ..., n - 1."""
    n = values.shape[-1]
    bins = np.minimum((values * n).astype(int), n - 1)
    flat = bins.reshape(-1, n) + n * np.arange(bins.size // n)[:, None]
    each = np.bincount(flat.ravel(), minlength=bins.size).reshape(*values.shape[:-1], n)
    return np.cumsum(each, axis=-1)[..., :-1]


def deviation(values: FloatArray) -> FloatArray:
    r"""How far numbers (..., n) are from uniform: :math:`\gamma = 2\min_i\min\{P(N_i \le n_i), P(N_i \ge n_i)\}`.

    :math:`n_i` of them lie below :math:`i/n`, and :math:`N_i \sim \mathrm{Binomial}(n, i/n)`. Small is far.
    """
    return _tails(_below(values), values.shape[-1])


@functools.lru_cache
def _null(n: int) -> FloatArray:
    """The `deviation` of uniform numbers, sorted."""
    rng = np.random.default_rng(0)
    rows = max(2_000_000 // n, 1)
    parts = [deviation(rng.random((min(rows, _NULL_DRAWS - i), n))) for i in range(0, _NULL_DRAWS, rows)]
    return np.sort(np.concatenate(parts))


def band(n: int, level: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Band that holds the whole empirical distribution of n uniform numbers with a probability of ``level``.

    Points i/n, and the lowest and the highest share of numbers below them.
    """
    gamma, at = float(np.quantile(_null(n), 1.0 - level)), np.arange(1, n) / n
    return at, binom.ppf(0.5 * gamma, n, at) / n, binom.isf(0.5 * gamma, n, at) / n


class Uniformity(NamedTuple):
    """Whether a quantity is calibrated.

    ``p_value`` is that of the elements that deviate most, times their number (Bonferroni, whatever their dependence);
    below 0.01 the distribution of one of them leaves a band that has 99 % of all. ``bias`` and ``spread`` are mean and
    standard deviation of the normal scores, 0 and 1 where all is well: truth less posterior mean, and its size, in
    posterior standard deviations. ``coverage`` is that of central 90 % intervals.
    """

    elements: int
    p_value: float
    bias: float
    spread: float
    coverage: float


def uniformity(values: FloatArray) -> Uniformity:
    """Sum up the `uniforms` (data sets, elements) of one quantity."""
    found = deviation(values.T)
    null = _null(len(values))
    p_value = (np.searchsorted(null, found, side="right") + 1) / (len(null) + 1)
    scores = ndtri(np.clip(values, 1e-6, 1.0 - 1e-6))
    return Uniformity(
        values.shape[1],
        float(min(1.0, values.shape[1] * p_value.min())),
        float(scores.mean()),
        float(scores.std()),
        float(np.mean(np.abs(values - 0.5) < 0.45)),
    )
