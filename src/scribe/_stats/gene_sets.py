"""Sets of genes: whether they shift together against the others, and whether they are disturbed at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scribe._stats.laws import LinearLaw
from scribe._types import FloatArray, IntArray

__all__ = ["Perturbation", "matched_sets", "perturbation", "scatter"]

_STRATA = 10
"""Groups of genes of similar expression that random sets are matched by."""

_SETS_AT_ONCE = 200


class Perturbation(NamedTuple):
    """How far the genes of a set scatter: ``statistic`` in squared log units, and the p-value against random sets."""

    statistic: float
    p_value: float


def scatter(parts: LinearLaw, sets: Sequence[IntArray]) -> FloatArray:
    r"""Expected scatter of the differences of the genes of every set about their mean, (sets,).

    :math:`T = E\,\|H\Delta_P\|^2 = \sum_{g\in P} E\Delta_g^2 - n_P E\bar\Delta_P^2`, with H an orthonormal basis of the
    log-ratios within the set P, so that neither the reference nor a shift of the whole set matters.
    """
    square = np.square(parts.mean) + np.square(parts.sd)
    out = []
    for first in range(0, len(sets), _SETS_AT_ONCE):
        some = sets[first : first + _SETS_AT_ONCE]
        weights = np.zeros((len(square), len(some)))
        for number, members in enumerate(some):
            weights[members, number] = 1.0 / len(members)
        average = parts.contrast(weights)
        together = np.square(average.mean) + np.square(average.sd)
        out += [square[members].sum() - len(members) * both for members, both in zip(some, together, strict=True)]
    return np.asarray(out)


def matched_sets(members: IntArray, expression: FloatArray, n_sets: int, rng: np.random.Generator) -> list[IntArray]:
    """Random sets with as many genes from every stratum of expression as a set has."""
    rank = np.argsort(np.argsort(expression, kind="stable"), kind="stable")
    stratum = rank * min(_STRATA, len(rank)) // len(rank)
    numbers, counts = np.unique(stratum[members], return_counts=True)
    pools = [np.flatnonzero(stratum == number) for number in numbers]
    return [
        np.concatenate([rng.choice(pool, n, replace=False) for pool, n in zip(pools, counts, strict=True)])
        for _ in range(n_sets)
    ]


def perturbation(
    parts: LinearLaw, members: IntArray, expression: FloatArray, *, n_permutations: int, rng: np.random.Generator
) -> Perturbation:
    """Scatter of a set beside that of random sets of genes of similar ``expression`` (genes,).

    The p-value counts the set itself among the random ones, so that it is valid and never zero.
    """
    drawn = matched_sets(members, expression, n_permutations, rng)
    found, *others = scatter(parts, [members, *drawn])
    return Perturbation(float(found), float((1 + np.sum(np.asarray(others) >= found)) / (1 + n_permutations)))
