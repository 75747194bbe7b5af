"""Where differences of expression come from: two groups of cells, or several samples of each.

Both answer one question: the law of the log-ratios of genes, for given genes that are kept and a given reference.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from scipy.special import logsumexp

from scribe._posterior.expression import Estimand, Population
from scribe._posterior.level_counts import LevelCounts, joined
from scribe._stats.centre import Centre
from scribe._stats.differences import likelihood_of_difference, of_moments
from scribe._stats.laws import Drawn, Law, LinearLaw, NormalMixture
from scribe._stats.logratios import Reference, reference_of
from scribe._stats.shrinkage import WEAK, posterior_under
from scribe._types import AnyArray, FloatArray, Key

__all__ = ["Comparison", "Evidence", "Given", "Group", "Mean", "Moments", "Samples", "TwoGroups"]


_FEWEST = 3
"""Samples of which one may be left out."""

_NO_EXPOSURE = 1e-9

L_co = TypeVar("L_co", bound=Law, covariant=True)


@dataclass(frozen=True)
class Comparison(Generic[L_co]):
    """Law of the differences of the genes that are kept, and what they are relative to.

    ``reference`` has the weights of all parts; ``parts`` is the joint law of the differences of all parts, before any
    reference, where there is one.
    """

    law: L_co
    reference: Centre
    parts: LinearLaw | None = None


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
    def compare(self, kept: AnyArray, reference: Reference) -> Comparison[Law]:
        """Posterior of the genes that are kept; ``reference`` as in `scribe._stats.logratios.reference_of`."""

    @abstractmethod
    def likelihood(self, kept: AnyArray, reference: Reference) -> Comparison[NormalMixture]:
        """Law under a flat prior, to which the prior of all genes together is put."""

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

    def without_extreme(self) -> Evidence | None:
        """The same, of every gene without the sample that speaks most for its difference; None of fewer than three."""
        return None


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

    def counts(self) -> LevelCounts | None:
        """What its counts say, as of one level; None where there are none."""
        return None


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

    Populations that are drawn with the same key have the same draws of what they share. ``levels`` counts what was seen
    of the levels of a single population.
    """

    populations: tuple[Population, ...]
    key: Key
    n_draws: int
    estimand: Estimand = "mean"
    key_cells: Key | None = None
    weights: tuple[float, ...] = (1.0,)
    levels: Callable[[], LevelCounts] | None = None

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

    def counts(self) -> LevelCounts | None:
        """Those of the levels, whose compositions are averaged."""
        if self.levels is None or len(self.populations) > 1:
            return None
        return self.levels().as_shares().pooled(self.populations[0].shares())


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

    def compare(self, kept: AnyArray, reference: Reference) -> Comparison[Law]:
        """Difference of the log-ratios of A and B."""
        groups = [group.parts(kept) for group in (self.group_A, self.group_B)]
        n_genes, n_parts = int(kept.sum()), len(groups[0].mean)
        centred = [group.relative(np.full(n_parts, 1.0 / n_parts)) for group in groups]
        means, sds = np.stack([law.mean for law in centred]), np.stack([law.sd for law in centred])
        difference = self._difference(*groups)
        found = reference_of(reference, means, sds, (difference.mean, difference.sd), n_genes=n_genes)
        law = difference.relative(found.weights, found.error).take(slice(n_genes))
        return Comparison(law, found, difference)

    def likelihood(self, kept: AnyArray, reference: Reference) -> Comparison[NormalMixture]:
        """From counts where both groups have some, else a law with the first three moments of the difference."""
        counts = [group.counts() for group in (self.group_A, self.group_B)]
        if counts[0] is None or counts[1] is None:
            found = self.compare(kept, reference)
            return Comparison(of_moments(found.law), found.reference, found.parts)
        of_A = np.array([True, False])
        return _relative(joined([counts[0], counts[1]]), of_A, np.zeros(2, int), kept, reference, samples=False)

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


def _relative(
    levels: LevelCounts, of_A: AnyArray, block: AnyArray, kept: AnyArray, reference: Reference, *, samples: bool
) -> Comparison[NormalMixture]:
    """Likelihood of the difference of the genes that are kept, relative to a reference."""
    n_genes, some = int(kept.sum()), levels.genes(kept)
    seen = likelihood_of_difference(some, of_A, block, samples=samples)
    log_means, sds = some.log_mean, np.sqrt(some.variance)
    difference, errors = seen.mean, seen.sd
    if not kept.all():
        others = logsumexp(levels.log_mean[:, ~kept], axis=1, keepdims=True)
        log_means, sds = np.append(log_means, others, axis=1), np.append(sds, np.zeros_like(others), axis=1)
        difference, errors = np.append(difference, others[of_A].mean() - others[~of_A].mean()), np.append(errors, 0.0)
    centred = log_means - log_means.mean(axis=1, keepdims=True)
    found = reference_of(reference, centred, sds, (difference, errors), n_genes=n_genes)
    error = float(np.hypot(found.error, np.sqrt(np.sum(np.square(found.weights * errors)))))
    law = seen.relative(found.weights[:n_genes], float(found.weights @ difference), error)
    return Comparison(law, found)


@dataclass(frozen=True)
class Samples(Evidence):
    """Several samples of two conditions, seen as draws from a population of samples.

    ``counts`` are what was seen of every sample, ``of_A`` (samples,) which samples are of A, ``block`` (samples,) which
    are compared with each other alone: pairs, or all.
    """

    counts: LevelCounts
    of_A: AnyArray
    block: AnyArray

    @property
    def n_genes(self) -> int:
        """That of the counts."""
        return self.counts.molecules.shape[1]

    @property
    def replicates(self) -> str:
        """Numbers of samples, or of pairs."""
        n_A, n_B = int(self.of_A.sum()), int((~self.of_A).sum())
        return f"{n_A} pairs" if len(np.unique(self.block)) > 1 else f"{n_A} vs {n_B}"

    def likelihood(self, kept: AnyArray, reference: Reference) -> Comparison[NormalMixture]:
        """With what varies between samples in its error."""
        return _relative(self.counts, self.of_A, self.block, kept, reference, samples=True)

    def compare(self, kept: AnyArray, reference: Reference) -> Comparison[Law]:
        """Under the prior that log expression has in a fit, once for each condition."""
        found = self.likelihood(kept, reference)
        return Comparison(posterior_under(found.law, WEAK), found.reference)

    @property
    def top_share(self) -> tuple[FloatArray, FloatArray]:
        """Share that the largest sample has in the expression of A and of B, (genes,) each; 0 without counts."""
        first, second = (self._rates[side] for side in (self.of_A, ~self.of_A))
        return tuple(x.max(axis=0) / np.maximum(x.sum(axis=0), 1e-300) for x in (first, second))

    @property
    def _rates(self) -> FloatArray:
        return self.counts.molecules / self.counts.exposure

    def without_extreme(self) -> Samples | None:
        """Without the largest sample of the group that has more, or the pair that differs most in this direction."""
        sides = [np.flatnonzero(side) for side in (self.of_A, ~self.of_A)]
        if min(map(len, sides)) < _FEWEST:
            return None
        genes, left_out = np.arange(self.n_genes), np.zeros(self.counts.molecules.shape, bool)
        if len(np.unique(self.block)) > 1:
            first, second = (side[np.argsort(self.block[side])] for side in sides)
            ratios = self.counts.log_mean[first] - self.counts.log_mean[second]
            extreme = np.argmax(ratios * np.sign(ratios.sum(axis=0)), axis=0)
            left_out[first[extreme], genes] = left_out[second[extreme], genes] = True
        else:
            higher = self._rates[sides[0]].mean(axis=0) > self._rates[sides[1]].mean(axis=0)
            largest = [side[np.argmax(self._rates[side], axis=0)] for side in sides]
            left_out[np.where(higher, *largest), genes] = True
        nothing = LevelCounts(*(np.zeros(()), np.full((), _NO_EXPOSURE), np.ones(())))
        less = LevelCounts(*(np.where(left_out, no, x) for no, x in zip(nothing, self.counts, strict=True)))
        return replace(self, counts=less)

    def expression(self) -> tuple[FloatArray, FloatArray]:
        """Averages over the samples of A and of B."""
        shares = self.counts.as_shares()
        per_10k = 1e4 * shares.molecules / shares.exposure
        return per_10k[self.of_A].mean(axis=0), per_10k[~self.of_A].mean(axis=0)
