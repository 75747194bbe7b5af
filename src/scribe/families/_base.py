"""What a count distribution must offer: the contract every family and modifier fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlog1py

from scribe._counts.predictors import Predictor, Scalar
from scribe._dist.cumulative import sum_of_pmf
from scribe._dist.special import log_binomial
from scribe._types import Array, Key, Natural
from scribe.families._peaks import Part, most_probable
from scribe.priors import Prior

__all__ = ["Family", "Modifier", "MoleculePosterior", "Moments", "Param", "Population"]


class Moments(NamedTuple):
    """Mean and variance of a count, each of the broadcast shape of the parameters."""

    mean: Array
    variance: Array


class Population(NamedTuple):
    """Where a population of parameters is centred and how far it spreads, on the real line.

    ``loc`` are mean and standard deviation of the location, ``scale`` those of the inverse softplus of a Gaussian
    population's scale: (-2, 0.5) is a scale of 0.13, 13 percent of a positive parameter.
    """

    loc: tuple[float, float]
    scale: tuple[float, float]


@dataclass(frozen=True)
class Param:
    """A sampled parameter: everything a model needs to know of it.

    Parameters
    ----------
    name
        Name of the site.
    names
        Descriptive names users may type for it; results print the first.
    support
        ``"positive"`` or ``"unit"``.
    axes
        ``("gene",)``, ``("cell",)`` or nothing for a scalar.
    prior
        Default prior. Two numbers from a user replace its hyperparameters.
    normal
        Location and scale of the default normal on the real line in unconstrained mode.
    start
        Value on the real line at which a fit starts a parameter that a modifier adds.
    spread
        Standard deviation by which elements start apart, where equal ones would stay so.
    role
        What the parameter is, where several stand for the same in different coordinates; its name unless given.
    populations
        Default hyperpriors of populations, by the axis (``"gene"``, ``"component"`` or ``"dataset"``) that they are
        along.
    """

    name: str
    names: tuple[str, ...]
    support: str
    axes: tuple[str, ...]
    prior: Prior
    normal: tuple[float, float]
    start: float = 0.0
    spread: float = 0.0
    role: str = ""
    populations: tuple[tuple[str, Population], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", self.role or self.name)

    @property
    def descriptive(self) -> str:
        """The first of the descriptive names."""
        return self.names[0]

    @property
    def natural(self) -> str:
        """Name of the natural parameter that a modifier makes of it: its logarithm or logit."""
        return f"{self.name}_logit" if self.support == "unit" else f"log_{self.name}"


class MoleculePosterior(ABC):
    """Posterior of a count ``m`` before binomial thinning, given what was observed of it."""

    @abstractmethod
    def moments(self) -> Moments:
        """Mean and variance of ``m`` given the observation."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The laws that it is a mixture of; itself, with its peaks, unless it is one."""

    def mode(self) -> Array:
        """Most probable ``m`` given the observation."""
        return most_probable(self.parts())

    def _alone(self, *peaks: Array) -> tuple[Part, ...]:
        """No mixture, but one law with some peaks."""
        return (Part(self, peaks, jnp.zeros(())),)

    @abstractmethod
    def log_prob(self, m: Array) -> Array:
        """Log-probability of ``m`` given the observation; minus infinity below what was observed."""

    @abstractmethod
    def sample(self, key: Key) -> Array:
        """One draw of ``m`` given the observation."""


class Family(ABC):
    """A count distribution with natural parameters per gene and one scalar offset per cell.

    The offset is the logarithm of the probability with which every molecule of the cell is captured: counts are a
    binomial thinning of the family at offset 0. All methods are elementwise; the caller makes ranks equal.

    The log-pmf is written as a sum of two terms so that a matrix costs what its non-zeros cost:
    ``gene_term``, which does not involve the offset and is zero at ``u = 0`` (evaluated once per distinct pair of
    gene and count), and ``cell_term``, the rest. A family that cannot be split leaves ``gene_term`` at zero.
    """

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Name of the base family and of the modifiers around it, innermost first."""

    @property
    def name(self) -> str:
        """The composition as one would write it, for messages."""
        base, *modifiers = self.layers
        return "".join(f"{m}(" for m in reversed(modifiers)) + base + ")" * len(modifiers)

    @property
    @abstractmethod
    def natural(self) -> tuple[str, ...]:
        """Names of the natural parameters."""

    @property
    def params(self) -> tuple[Param, ...]:
        """Parameters the family adds to those of the coordinates."""
        return ()

    @property
    def field(self) -> tuple[Param, ...]:
        """Parameters that enter through what a cell adds to the log rate of every gene, not as natural ones."""
        return ()

    @property
    def axes(self) -> Mapping[str, int]:
        """Lengths of axes of the field's parameters beside genes and cells."""
        return {}

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Arguments of the modifiers that take any, by their names."""
        return {}

    def predictor(self, working: Mapping[str, Array], log_exposure: Array) -> Predictor:
        """What cells add to log rates, from the sampled parameters on the working scale and log captures (cells,)."""
        return Scalar(log_exposure)

    @property
    def captured(self) -> bool:
        """Whether every cell has its own capture probability."""
        return False

    @property
    def linear(self) -> bool:
        """Whether `correction` is proportional to the count, so that counts can be summed before it is known."""
        return False

    @abstractmethod
    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Part of the log-pmf that involves the offset."""

    def gene_term(self, u: Array, natural: Natural) -> Array:
        """Part of the log-pmf free of the offset; zero at ``u = 0``."""
        return jnp.zeros_like(u)

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Log-probability of the count ``u``."""
        return self.gene_term(u, natural) + self.cell_term(u, natural, offset)

    def cdf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """Probability of a count of at most ``u``; zero below zero."""
        shapes = (value.shape for value in (offset, *natural.values()))
        wide = jnp.broadcast_to(u, jnp.broadcast_shapes(u.shape, *shapes))
        return sum_of_pmf(lambda k: self.log_pmf(k, natural, offset), wide)

    def below_and_at(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """Probabilities of less than ``u`` and of ``u`` itself, of arrays that all are of the shape of ``u``."""
        return self.cdf(u - 1.0, natural, offset), jnp.exp(self.log_pmf(u, natural, offset))

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        """``cell_term`` at ``u`` less that at zero: what a non-zero costs. Zero at ``u = 0``."""
        change = self.cell_term(u, natural, offset) - self.cell_term(jnp.zeros_like(u), natural, offset)
        # a compiler may round two equal terms differently
        return jnp.where(u > 0.0, change, 0.0)

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> Array | None:
        """Return the sum of ``cell_term`` over genes from the totals of cells, (cells,), or None without closed form.

        ``natural`` holds (genes,) arrays and scalars, ``offset`` and ``totals`` (cells,).
        """
        return None

    def summarises(self, natural_axes: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether ``cell_totals`` is available when the natural parameters run over the given axes."""

        def totals() -> Array | None:
            natural = {name: jnp.zeros(2 if "gene" in axes else ()) for name, axes in natural_axes.items()}
            return self.cell_totals(natural, jnp.zeros(3), jnp.zeros(3))

        return jax.eval_shape(totals) is not None

    @abstractmethod
    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """One draw of the count, of the broadcast shape of parameters and offset."""

    @abstractmethod
    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """One draw of the logarithm of the rate of a cell: given it, its molecules are Poisson, before any gate."""

    @abstractmethod
    def moments(self, natural: Natural, offset: Array) -> Moments:
        """Mean and variance of the count."""

    @abstractmethod
    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the count before thinning, given the observed ``u``."""

    def unobserved(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """Posterior of the count before thinning in a cell of the given offset, had one not looked.

        ``u`` gives the shape alone.
        """
        return self.denoise(jnp.zeros_like(u), natural, jnp.full_like(offset, -jnp.inf))

    def log_further(self, t: Array, u: Array, natural: Natural, offset: Array, deeper: Array) -> Array:
        r"""Log-probability of ``t`` further counts in a cell that showed ``u``, at an offset beyond its own.

        .. math:: P(t \mid u) = \frac{P_{x'}(u+t)}{P_x(u)} \binom{u+t}{u} s^u (1-s)^t, \qquad s = e^{x - x'},

        by Bayes' rule for the ``u + t`` counts at :math:`x' > x`, of which each is seen at :math:`x` with probability
        :math:`s`. A Beta mixing around capture has other molecules at every offset, to which this does not apply.
        """
        thinning = log_binomial(t, u + 1.0) + u * (offset - deeper) + xlog1py(t, -jnp.exp(offset - deeper))
        return self.log_pmf(u + t, natural, deeper) + thinning - self.log_pmf(u, natural, offset)

    def mean_further(self, u: Array, natural: Natural, offset: Array, deeper: Array) -> Array:
        r"""Mean of the further counts of `log_further`.

        .. math:: E[t \mid u] = (e^{x' - x} - 1)\,(u + 1)\,P_x(u + 1) / P_x(u),

        as Robbins (1956) has it for Poisson counts of unknown rates; for binomial thinning it is exact whatever the
        distribution.
        """
        ratio = self.log_pmf(u + 1.0, natural, offset) - self.log_pmf(u, natural, offset)
        return jnp.expm1(deeper - offset) * (u + 1.0) * jnp.exp(ratio)

    def expressed(self, natural: Natural) -> dict[str, Array]:
        """Natural parameters of cells in which nothing silences a gene."""
        return dict(natural)

    def shifted(self, natural: Natural, field: Array) -> dict[str, Array]:
        """Natural parameters at which the log rates of molecules are higher by ``field``, all of one rank.

        Counts at these parameters and an offset have the law of counts at ``natural`` and that offset plus the field.
        """
        return {**natural, "log_mean": natural["log_mean"] + field}

    def slopes(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """First and second derivative of the log-pmf by the offset, which is the log rate; ``offset`` is of full shape.

        By automatic differentiation where a family has no closed form.
        """

        def slope(x: Array) -> Array:
            return jax.grad(lambda x: jnp.sum(self.log_pmf(u, natural, x)))(x)

        return jax.jvp(slope, (offset,), (jnp.ones_like(offset),))

    def from_moments(self, log_mean: Array, log_odds: Array) -> dict[str, Array]:
        r"""Natural parameters of the base at a given mean and, where the family has one, excess of the variance.

        Where a fit starts. ``log_odds`` is the log of :math:`\mu/(\sigma^2 - \mu)`, before capture.
        """
        named = {"log_mean": log_mean, "log_odds": log_odds}
        return {name: named[name] for name in self.natural if name in named}

    @abstractmethod
    def named(self, natural: Natural) -> dict[str, Array]:
        """The natural parameters under the names users know (``mu``, ``r``, ``p``, ``phi``, ``gate``)."""


@dataclass(frozen=True)
class Modifier(Family):
    """A family around another one: everything that it does not redefine is that of ``base``.

    A modifier that changes the probabilities redefines ``cell_term``, ``correction`` and ``log_pmf``, and leaves
    ``cell_totals`` at None. ``kind`` is its name; the parameters in ``adds`` come on top of those of the base, as
    natural ones, and those in ``shifts`` through the predictor. ``keyword`` is what users pass for it, if anything.
    """

    kind: ClassVar[str]
    adds: ClassVar[tuple[Param, ...]] = ()
    shifts: ClassVar[tuple[Param, ...]] = ()
    keyword: ClassVar[str] = ""

    base: Family

    def __post_init__(self) -> None:
        """Refuse a base that it does not go around."""
        if self.kind in self.base.layers:
            msg = f"{self.base.name} has {self.kind} already; apply {self.kind} once."
            raise ValueError(msg)

    @property
    def layers(self) -> tuple[str, ...]:
        """Those of the base and this one."""
        return (*self.base.layers, self.kind)

    @property
    def natural(self) -> tuple[str, ...]:
        """Those of the base, and logarithm or logit of what is added."""
        return (*self.base.natural, *(param.natural for param in self.adds))

    @property
    def params(self) -> tuple[Param, ...]:
        """Those of the base, and what is added."""
        return (*self.base.params, *self.adds)

    @property
    def field(self) -> tuple[Param, ...]:
        """That of the base, and what shifts the log rates."""
        return (*self.base.field, *self.shifts)

    @property
    def axes(self) -> Mapping[str, int]:
        """Those of the base."""
        return self.base.axes

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Those of the base, and the fields of this one."""
        mine = [field for field in fields(self) if field.name != "base"]
        own = {f.name: getattr(self, f.name) for f in mine if getattr(self, f.name) != f.default}
        return {**self.base.settings, **({self.kind: own} if own else {})}

    def predictor(self, working: Mapping[str, Array], log_exposure: Array) -> Predictor:
        """That of the base."""
        return self.base.predictor(working, log_exposure)

    @property
    def captured(self) -> bool:
        """As the base."""
        return self.base.captured

    def gene_term(self, u: Array, natural: Natural) -> Array:
        """That of the base."""
        return self.base.gene_term(u, natural)

    def sample_log_rate(self, key: Key, natural: Natural) -> Array:
        """That of the base."""
        return self.base.sample_log_rate(key, natural)

    def expressed(self, natural: Natural) -> dict[str, Array]:
        """As the base."""
        return self.base.expressed(natural)

    def shifted(self, natural: Natural, field: Array) -> dict[str, Array]:
        """As the base."""
        return self.base.shifted(natural, field)

    def from_moments(self, log_mean: Array, log_odds: Array) -> dict[str, Array]:
        """Those of the base."""
        return self.base.from_moments(log_mean, log_odds)

    def named(self, natural: Natural) -> dict[str, Array]:
        """Those of the base, and what is added."""
        undo = {"unit": jax.nn.sigmoid, "positive": jnp.exp}
        return {**self.base.named(natural), **{p.name: undo[p.support](natural[p.natural]) for p in self.adds}}
