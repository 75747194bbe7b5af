"""Contrasts between groups of cells that are levels of a fit: of cells, or of samples."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scribe._compare.by_obs import Leaves
from scribe._compare.groups import fitted_normal, keys_of
from scribe._compare.relative import Method
from scribe._counts.checks import outside_stacklevel
from scribe._model.checks import nearest
from scribe._model.labels import as_labels, label_of
from scribe._posterior.expression import Estimand, Population
from scribe._posterior.level_counts import LevelCounts, joined
from scribe._stats.contrasts import Evidence, Group, Mean, Samples, TwoGroups
from scribe._types import AnyArray, IntArray, Key, Label, Labels

__all__ = ["REST", "between_cells", "between_samples", "check_samples", "pairs_of_groups"]

REST = "rest"
"""All groups but one, together."""


def pairs_of_groups(
    categories: Sequence[str], group: Labels | None, reference: Label, *, groupby: str
) -> list[tuple[int, tuple[int, ...]]]:
    """Number of every group to compare, and those of the groups it is compared with."""
    labels, reference = list(categories), label_of(reference)
    asked = labels if group is None else as_labels(group)
    if not asked:
        msg = f"group={group!r} names no group: pass one of {', '.join(labels)}, several, or None for all."
        raise ValueError(msg)
    for label in asked if reference == REST else (*asked, reference):
        if label not in labels:
            hint = " It names all other groups together, as reference=." if label == REST else nearest(label, labels)
            msg = f"{label!r} is no group of adata.obs[{groupby!r}].{hint} It has: {', '.join(labels)}."
            raise ValueError(msg)
    pairs = []
    for label in asked:
        others = [o for o in labels if o != label] if reference == REST else [reference]
        if others == [label]:
            if group is not None:
                msg = f"group and reference are both {label!r}: name two groups, or reference='rest'."
                raise ValueError(msg)
            continue
        if not others:
            msg = f"adata.obs[{groupby!r}] has the group {label!r} only: there is nothing to compare it with."
            raise ValueError(msg)
        pairs.append((labels.index(label), tuple(labels.index(other) for other in others)))
    return pairs


def between_cells(
    leaves: Leaves,
    group: int,
    others: tuple[int, ...],
    *,
    labels: Sequence[str],
    key: Key,
    n_draws: int,
    estimand: Estimand,
    method: Method,
    rank: int | None,
) -> Evidence:
    """Two groups of cells, those of several levels averaged by their numbers of cells."""
    groups: list[Group] = []
    compared = (group,), others
    names = repr(compared[0]).encode(), repr(compared[1]).encode()
    for numbers, (own, cells) in zip(compared, keys_of(key, names, paired=True), strict=True):
        mine = np.flatnonzero(np.isin(leaves.group, numbers))
        if not mine.size:
            msg = f"{', '.join(labels[number] for number in numbers)}: there is no cell to compare."
            raise ValueError(msg)
        counts = functools.partial(_counts_of, leaves, mine)
        groups.append(Mean((_population(leaves, mine),), own, n_draws, estimand, cells, levels=counts))
    return TwoGroups(groups[0], groups[1], fitted_normal(rank) if method == "parametric" else None)


def _counts_of(leaves: Leaves, mine: IntArray) -> LevelCounts:
    return leaves.counts.take(mine)


def _population(leaves: Leaves, mine: IntArray) -> Population:
    weights = None if len(mine) == 1 else tuple(map(float, leaves.n_cells[mine] / leaves.n_cells[mine].sum()))
    return Population(leaves.results.posterior, tuple(leaves.levels[i] for i in mine), weights)


def between_samples(leaves: Leaves, group: int, others: tuple[int, ...], *, labels: Sequence[str]) -> Evidence:
    """Samples of a group against those of others: paired, where they have the same labels on both sides.

    Other groups of a sample are taken together, by their numbers of cells. Of samples that are paired those on one side
    only are left out.
    """
    samples = np.asarray(leaves.sample)
    side = np.where(leaves.group == group, 0, np.where(np.isin(leaves.group, others), 1, -1))
    sides, alone, paired = _comparable(side, samples, (group, *others), labels)
    if alone.size:
        msg = (
            f"{len(alone)} of {len(alone) + len({name for _, name in sides})} samples have some of the "
            f"groups only and are left out of the comparison of pairs: {', '.join(map(str, alone[:5]))}. {_UNPAIRED}"
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
    counts, parts = leaves.counts.aligned(), []
    for number, name in sides:
        mine = np.flatnonzero((side == number) & (samples == name))
        parts.append(counts.take(mine).pooled(leaves.n_cells[mine]))
    of_A = np.asarray([number == 0 for number, _ in sides])
    block = np.unique([name if paired else "" for _, name in sides], return_inverse=True)[1]
    return Samples(joined(parts), of_A, block)


def check_samples(
    groups: pd.Categorical, samples: pd.Categorical, compared: Iterable[tuple[int, tuple[int, ...]]]
) -> None:
    """Raise where a comparison of these cells has too few samples, before anything is fitted."""
    known = (groups.codes >= 0) & (samples.codes >= 0)
    leaves = np.unique(np.stack([groups.codes[known], samples.codes[known]]), axis=1)
    for group, others in compared:
        side = np.where(leaves[0] == group, 0, np.where(np.isin(leaves[0], others), 1, -1))
        _comparable(side, leaves[1], (group, *others), list(map(str, groups.categories)))


def _comparable(
    side: AnyArray, sample: AnyArray, compared: tuple[int, ...], labels: Sequence[str]
) -> tuple[list[tuple[int, Any]], AnyArray, bool]:
    """Side and label of the samples to compare, those left out as they have no pair, and whether there are pairs."""
    of_A, of_B = (np.unique(sample[side == number]) for number in range(2))
    both = np.intersect1d(of_A, of_B)
    paired = both.size > 0
    alone = np.setxor1d(of_A, of_B) if paired else both
    kept = [both, both] if paired else [of_A, of_B]
    for names, numbers in zip(kept, (compared[:1], compared[1:]), strict=True):
        if len(names) < 2:
            groups = [labels[number] for number in numbers]
            raise ValueError(_too_few(len(names), groups, n_alone=len(alone) if paired else None))
    return [(number, name) for number, names in enumerate(kept) for name in names], alone, paired


_UNPAIRED = (
    "To compare all samples without pairs, give each a name of its own (adata.obs['sample'] = donor and group, joined) "
    "and pass sample_key='sample'."
)
"""What to do where few samples have a pair."""


def _too_few(n: int, groups: Sequence[str], *, n_alone: int | None) -> str:
    """Why a group of fewer than two samples or, if ``n_alone`` of them have none, pairs is refused, and what helps."""
    msg = f"Group {', '.join(map(repr, groups))} has {n} {'sample' if n_alone is None else 'pair of samples'}"
    if n_alone is not None:
        msg += f", and {n_alone} samples have some of the groups only"
    msg += ": how much samples vary takes two or more in every group to know. "
    if n_alone is not None:
        msg += f"Complete the pairs: add the cells that these samples lack. {_UNPAIRED} "
    return f"{msg}Leave out sample_key for differences between these cells (level='cell'), not beyond these samples."
