"""Contrasts between groups of cells that are levels of a fit: of cells, or of samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scribe._compare.by_obs import Leaves
from scribe._compare.groups import fitted_normal, keys_of
from scribe._compare.relative import Method
from scribe._model.checks import nearest
from scribe._posterior.expression import Estimand, Population
from scribe._stats.contrasts import Evidence, Group, Mean, Samples, TwoGroups
from scribe._types import AnyArray, FloatArray, IntArray, Key

__all__ = ["REST", "between_cells", "between_samples", "check_samples", "pairs_of_groups"]

REST = "rest"
"""All groups but one, together."""


def pairs_of_groups(
    categories: Sequence[str], group: str | Sequence[str] | None, reference: str, *, groupby: str
) -> list[tuple[int, tuple[int, ...]]]:
    """Number of every group to compare, and those of the groups it is compared with."""
    labels, reference = list(categories), str(reference)
    several = isinstance(group, Iterable) and not isinstance(group, str)
    asked = labels if group is None else [str(one) for one in (group if several else [group])]
    if not asked:
        msg = f"group={group!r} names no group: pass one of {', '.join(labels)}, several, or None for all."
        raise ValueError(msg)
    for label in (*asked, reference):
        if label not in labels and label != REST:
            msg = (
                f"{label!r} is no group of adata.obs[{groupby!r}].{nearest(label, labels)} It has: {', '.join(labels)}."
            )
            raise ValueError(msg)
    pairs = []
    for label in asked:
        others = [o for o in labels if o != label] if reference == REST else [reference]
        if label == reference:
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
        if not np.isin(leaves.group, numbers).any():
            msg = f"{', '.join(labels[number] for number in numbers)}: there is no cell to compare."
            raise ValueError(msg)
        groups.append(Mean((_population(leaves, numbers),), own, n_draws, estimand, cells))
    return TwoGroups(groups[0], groups[1], fitted_normal(rank) if method == "parametric" else None)


def _population(leaves: Leaves, groups: tuple[int, ...]) -> Population:
    mine = np.flatnonzero(np.isin(leaves.group, groups))
    weights = None if len(mine) == 1 else tuple(map(float, leaves.n_cells[mine] / leaves.n_cells[mine].sum()))
    return Population(leaves.results.posterior, tuple(leaves.levels[i] for i in mine), weights)


def between_samples(
    leaves: Leaves, group: int, others: tuple[int, ...], *, labels: Sequence[str], key: Key, n_draws: int
) -> Evidence:
    """Samples of a group against those of others: paired, where they have the same labels in several groups.

    Every group counts alike. Of samples that are paired those with one group only are left out.
    """
    mine, alone, paired = _comparable(leaves.group, np.asarray(leaves.sample), (group, *others), labels)
    if alone.size:
        msg = (
            f"{len(alone)} of {len(alone) + len(np.unique(np.asarray(leaves.sample)[mine]))} samples have some of the "
            f"groups only and are left out of the comparison of pairs: {', '.join(map(str, alone[:5]))}."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    of_group = leaves.group[mine]
    design, contrast = _design(of_group, np.asarray(leaves.sample)[mine] if paired else None, group, others)
    levels = tuple(leaves.levels[i] for i in mine)
    return Samples(leaves.results.posterior, levels, of_group == group, design, contrast, key, n_draws, paired)


def check_samples(
    groups: pd.Categorical, samples: pd.Categorical, compared: Iterable[tuple[int, tuple[int, ...]]]
) -> None:
    """Raise where a comparison of these cells has too few samples, before anything is fitted."""
    known = (groups.codes >= 0) & (samples.codes >= 0)
    leaves = np.unique(np.stack([groups.codes[known], samples.codes[known]]), axis=1)
    for group, others in compared:
        _comparable(leaves[0], leaves[1], (group, *others), list(map(str, groups.categories)))


def _comparable(
    group: AnyArray, sample: AnyArray, compared: tuple[int, ...], labels: Sequence[str]
) -> tuple[IntArray, AnyArray, bool]:
    """Levels to compare, samples that are left out as they have no pair, and whether samples are paired."""
    mine = np.flatnonzero(np.isin(group, compared))
    names, counts = np.unique(sample[mine], return_counts=True)
    paired = bool(np.any(counts > 1))
    alone = names[counts < len(compared)] if paired else names[:0]
    mine = mine[~np.isin(sample[mine], alone)]
    _check_replicates(group[mine], compared, labels, paired=paired)
    return mine, alone, paired


def _check_replicates(of_group: AnyArray, compared: tuple[int, ...], labels: Sequence[str], *, paired: bool) -> None:
    for number in compared:
        n = int(np.sum(of_group == number))
        if n < 2:
            what = "pair of samples" if paired else "sample"
            msg = (
                f"Group {labels[number]!r} has {n} {what}: how much samples vary, and so whether a difference is one "
                "of conditions, takes two or more in every group. Leave out sample_key for differences between these "
                "cells (level='cell'), which say nothing of other samples."
            )
            raise ValueError(msg)


def _design(
    of_group: AnyArray, sample: AnyArray | None, group: int, others: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    """A column per group and, of paired samples, one per sample but the first; and the contrast of the groups."""
    columns = [of_group == number for number in (group, *others)]
    if sample is not None:
        columns += [sample == name for name in np.unique(sample)[1:]]
    contrast = np.zeros(len(columns))
    contrast[0] = 1.0
    contrast[1 : 1 + len(others)] = -1.0 / len(others)
    return np.stack(columns, axis=1).astype(np.float64), contrast
