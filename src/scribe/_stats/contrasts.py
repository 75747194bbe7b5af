"""Where differences of expression come from: two groups of cells, or several samples of each.

Both answer one question: the law of the log-ratios of genes, for given genes that are kept and a given reference.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from scribe._posterior.expression import Estimand, Level, Population, draws_at_levels
from scribe._posterior.posterior import Posterior
from scribe._stats.laws import Drawn, Law, LinearLaw
from scribe._stats.logratios import Reference, reference_weights
from scribe._stats.shrinkage import sample_effects
from scribe._types import AnyArray, FloatArray, Key

__all__ = ["Comparison", "Evidence", "Given", "Group", "Mean", "Moments", "Samples", "TwoGroups"]


class Comparison(NamedTuple):
    """Law of the differences of the genes that are kept, and what they are relative to.

    ``weights`` (parts,) are those of the reference, ``parts`` the joint law of the differences of all parts, before any
    reference, where there is one.
    """

    law: Law
    weights: FloatArray
    parts: LinearLaw | None


class Moments(NamedTuple):
    """Draws of the logarithms of means and variances of the molecules of a cell, (draws, genes) each."""

    log_mean: FloatArray
    log_variance: FloatArray


class Evidence(ABC):
    """What differences of expression between A and B are computed from."""

    @property
    @abstractmethod
    def n_genes(self) -> int:
        """Number of all genes."""

    @property
    def replicates(self) -> str:
        """Which samples stand for A and B, in words; empty where cells are all there is."""
        return ""

    @abstractmethod
    def compare(self, kept: AnyArray, reference: Reference) -> Comparison:
        """Differences of the genes that are kept; ``reference`` as in `scribe._stats.logratios.reference_weights`."""

    @abstractmethod
    def expression(self) -> tuple[FloatArray, FloatArray]:
        """Expression of A and of B, (genes,) each: the expected share of a gene times 10,000."""

    def moments(self) -> tuple[Moments | None, Moments | None]:
        """Those of A and of B, where they are known."""
        return None, None

    @property
    def plain(self) -> Evidence:
        """The same without normal laws in the place of draws."""
        return self


class Group(ABC):
    """A group of cells, by the law of the log expression of its genes."""

    @property
    @abstractmethod
    def n_genes(self) -> int:
        """Number of all genes."""

    @abstractmethod
    def parts(self, kept: AnyArray | None = None) -> LinearLaw:
        """Law of the genes that are kept and of the others together; None keeps all."""

    @abstractmethod
    def moments(self) -> Moments | None:
        """Draws of means and variances, where they are known."""


@dataclass(frozen=True)
class Given(Group):
    """A group whose law is at hand."""

    law: LinearLaw
    known: Moments | None = None

    @property
    def n_genes(self) -> int:
        """Number of parts of the law."""
        return len(self.law.mean)

    def parts(self, kept: AnyArray | None = None) -> LinearLaw:
        """As the law has them."""
        return self.law if kept is None else self.law.pooled(kept)

    def moments(self) -> Moments | None:
        """Those given with the law."""
        return self.known


@dataclass(frozen=True)
class Mean(Group):
    """The average of the log expression of several populations, drawn from their posteriors when asked for.

    Populations that are drawn with the same key have the same draws of what they share.
    """

    populations: tuple[Population, ...]
    key: Key
    n_draws: int
    estimand: Estimand = "mean"
    key_cells: Key | None = None
    weights: tuple[float, ...] = (1.0,)

    @property
    def n_genes(self) -> int:
        """That of the posterior."""
        return self.populations[0].posterior.n_genes

    def parts(self, kept: AnyArray | None = None) -> LinearLaw:
        """Draws; others are pooled in every population."""
        draw = functools.partial(
            Population.log_expression,
            key=self.key,
            n_draws=self.n_draws,
            estimand=self.estimand,
            key_cells=self.key_cells,
        )
        logs = (draw(population) for population in self.populations)
        laws = (Drawn(x) if kept is None else Drawn(x).pooled(kept) for x in logs)
        if len(self.populations) == 1:
            return next(laws)
        total: AnyArray = np.zeros(())
        for weight, law in zip(self.weights, laws, strict=True):
            total = total + np.float32(weight / sum(self.weights)) * law.draws
        return Drawn(total)

    def moments(self) -> Moments | None:
        """Those of the population, where there is one."""
        if len(self.populations) > 1:
            return None
        return Moments(*self.populations[0].log_moments(self.key, self.n_draws))


@dataclass(frozen=True)
class TwoGroups(Evidence):
    """Two groups of cells, taken as they are: what varies between samples of them is part of neither.

    ``normal`` makes the normal law that stands for draws: for those of the difference, in which what both groups share
    cancels, or for those of one group where the other has a law alone. Without it draws stay as they are.
    """

    group_A: Group
    group_B: Group
    normal: Callable[[Drawn], LinearLaw] | None = None

    @property
    def n_genes(self) -> int:
        """That of the groups."""
        return self.group_A.n_genes

    def compare(self, kept: AnyArray, reference: Reference) -> Comparison:
        """Difference of the log-ratios of A and B."""
        groups = [group.parts(kept) for group in (self.group_A, self.group_B)]
        n_genes, n_parts = int(kept.sum()), len(groups[0].mean)
        centred = [group.relative(np.full(n_parts, 1.0 / n_parts)) for group in groups]
        means, sds = np.stack([law.mean for law in centred]), np.stack([law.sd for law in centred])
        weights = reference_weights(reference, means, sds, n_genes=n_genes)
        difference = self._difference(*groups)
        return Comparison(difference.relative(weights).take(slice(n_genes)), weights, difference)

    @property
    def plain(self) -> Evidence:
        """Draws of both groups as they are, where both have some."""
        laws = (group.law for group in (self.group_A, self.group_B) if isinstance(group, Given))
        drawn = self.normal is not None and all(isinstance(law, Drawn) for law in laws)
        return replace(self, normal=None) if drawn else self

    def _difference(self, law_A: LinearLaw, law_B: LinearLaw) -> LinearLaw:
        if self.normal is None:
            return law_A - law_B
        if isinstance(law_A, Drawn) and isinstance(law_B, Drawn):
            return self.normal(law_A - law_B)
        first, second = (self.normal(law) if isinstance(law, Drawn) else law for law in (law_A, law_B))
        return first - second

    def expression(self) -> tuple[FloatArray, FloatArray]:
        """From the means of log expression."""
        first, second = (_per_10k(group) for group in (self.group_A, self.group_B))
        return first, second

    def moments(self) -> tuple[Moments | None, Moments | None]:
        """Those of the groups."""
        return self.group_A.moments(), self.group_B.moments()


def _per_10k(group: Group) -> FloatArray:
    total, number = np.zeros(group.n_genes), 0
    for row in group.parts().rows():
        total += np.exp(row - logsumexp(row))
        number += 1
    return 1e4 * total / number


@dataclass(frozen=True)
class Samples(Evidence):
    """Several samples of two conditions, each a level of a fit, seen as draws from a population of samples.

    ``design`` (samples, columns) says which coefficients the log expression of a sample is the sum of, ``contrast``
    (columns,) which difference of them is asked for; ``of_A`` (samples,) which samples are of A.
    """

    posterior: Posterior
    levels: tuple[Level, ...]
    of_A: AnyArray
    design: FloatArray
    contrast: FloatArray
    key: Key
    n_draws: int
    paired: bool = False

    @property
    def n_genes(self) -> int:
        """That of the posterior."""
        return self.posterior.n_genes

    @property
    def replicates(self) -> str:
        """Numbers of samples, or of pairs."""
        n_A, n_B = int(self.of_A.sum()), int((~self.of_A).sum())
        return f"{n_A} pairs" if self.paired else f"{n_A} vs {n_B}"

    def _moments(self, kept: AnyArray, weights: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Means and variances of the log-ratios of all samples, (samples, parts) each; None centres them."""
        sums: AnyArray = np.zeros(())
        squares: AnyArray = np.zeros(())
        first: FloatArray | None = None
        for block in draws_at_levels(self.posterior, self.key, self.n_draws, levels=self.levels, quantities=("mean",)):
            value = block.values["mean"]
            flat = Drawn(value.reshape(-1, value.shape[2])).pooled(kept)
            uniform = np.full(flat.draws.shape[1], 1.0 / flat.draws.shape[1])
            logs = flat.relative(uniform if weights is None else weights).draws.reshape(*value.shape[:2], -1)
            # about the first draw, so that squares do not cancel
            first = logs[0].astype(np.float64) if first is None else first
            sums = sums + np.sum(logs - first, axis=0)
            squares = squares + np.sum(np.square(logs - first), axis=0)
        mean = sums / self.n_draws
        variance = (squares / self.n_draws - np.square(mean)) * self.n_draws / (self.n_draws - 1)
        return mean if first is None else mean + first, np.maximum(variance, 1e-12)

    def compare(self, kept: AnyArray, reference: Reference) -> Comparison:
        """Contrast of the conditions, with what varies between samples in its error."""
        n_genes = int(kept.sum())
        means, variances = self._moments(kept, None)
        weights = reference_weights(reference, means, np.sqrt(variances), n_genes=n_genes)
        means, variances = (x[:, :n_genes].T for x in self._moments(kept, weights))
        return Comparison(sample_effects(means, variances, self.design, self.contrast), weights, None)

    def expression(self) -> tuple[FloatArray, FloatArray]:
        """Averages over the samples of A and of B."""
        total = np.zeros((len(self.levels), self.posterior.n_genes))
        for block in draws_at_levels(self.posterior, self.key, self.n_draws, levels=self.levels, quantities=("mean",)):
            value = block.values["mean"]
            total += np.sum(np.exp(value - logsumexp(value, axis=2, keepdims=True)), axis=0)
        share = 1e4 * total / self.n_draws
        return share[self.of_A].mean(axis=0), share[~self.of_A].mean(axis=0)
