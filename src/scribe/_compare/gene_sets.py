"""Sets of genes in a comparison of expression: by name, of those that are kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scribe._compare.relative import RelativeExpression
from scribe._counts.checks import outside_stacklevel
from scribe._posterior.indexing import Selector, index_of
from scribe._rng import as_seed
from scribe._stats.effects import called_at, lfsr
from scribe._stats.gene_sets import Perturbation, perturbation
from scribe._stats.laws import LinearLaw
from scribe._stats.logratios import balance, basis
from scribe._types import AnyArray, FloatArray, IntArray, Rng

__all__ = ["contrast", "isometric", "perturbed", "read_gmt", "table"]

_SUMMARIES = ("mean", "sd", "prob_positive", "lfsr", "prob_effect")

_FEW = 3
"""So many genes are named."""

_SUMS_AT_ONCE = 256
"""Weighted sums whose weights of all genes are in memory together."""


def read_gmt(path: Path | str) -> dict[str, list[str]]:
    """Sets of genes by name from a .gmt file: a line per set, its name, a description and its genes, tabs between."""
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        name, *rest = line.rstrip().split("\t")
        if not line.strip():
            continue
        if len(rest) < 2 or name in sets:
            what = f"the set {name!r} a second time" if name in sets else f"{line[:60]!r}"
            msg = f"{path}, line {number}: expected a new name, a description and genes, tabs between; found {what}."
            raise ValueError(msg)
        sets[name] = [gene for gene in rest[1:] if gene]
    return sets


def contrast(of: RelativeExpression, weights: FloatArray, *, tau: float) -> dict[str, float]:
    """Weighted sum of the differences of genes, kept or not."""
    if weights.shape != (len(of.kept),) or np.any(weights[~of.kept] != 0):
        msg = (
            f"weights must have one number for each of {len(of.kept):,} genes, zero for those that are not kept; "
            f"got {weights.shape}."
        )
        raise ValueError(msg)
    found = _tested(of, lambda _: weights[of.kept, None], 1, tau)
    return {name: float(value[0]) for name, value in found.items()}


def isometric(of: RelativeExpression, *, tau: float) -> dict[str, FloatArray]:
    """Differences in the coordinates of an orthonormal basis."""
    n_parts = len(of.comparison.reference.weights)
    return _tested(of, lambda columns: basis(n_parts, columns), n_parts - 1, tau)


def table(
    of: RelativeExpression, sets: Mapping[str, Selector], *, tau: float = 0.0, target_pefp: float = 0.05
) -> pd.DataFrame:
    """Balance of every set against all other genes that are kept."""
    if not isinstance(sets, Mapping):
        msg = f"Sets are genes by the name of the set, {{'name': [...]}}; got {type(sets).__name__}. See get.gene_sets."
        raise TypeError(msg)
    members = [_kept_members(of, genes) for genes in sets.values()]
    n_kept = int(of.kept.sum())
    usable = [number for number, genes in enumerate(members) if 0 < len(genes) < n_kept]
    if sets and not usable:
        shown = "none" if of.names is None else ", ".join(map(str, of.names[of.kept][:_FEW]))
        msg = (
            f"No set has a gene that is kept and leaves others: all {len(sets):,} are NaN. Are their names of the same "
            f"kind as those of the fit, such as {shown}?"
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
    columns = {name: np.full(len(members), np.nan) for name in _SUMMARIES}
    if usable:
        every, chosen = np.arange(n_kept), [members[number] for number in usable]

        def balances(sets: slice) -> FloatArray:
            return np.stack([balance(genes, np.setdiff1d(every, genes), n_kept) for genes in chosen[sets]], axis=1)

        for name, value in _tested(of, balances, len(usable), tau).items():
            columns[name][usable] = value
    known = {"gene_set": list(map(str, sets)), "n_genes": [len(genes) for genes in members]}
    found = pd.DataFrame({**known, **columns, "is_de": called_at(columns["lfsr"], target_pefp)})
    return found.rename(columns={"mean": "balance_mean", "sd": "balance_sd"})


def perturbed(of: RelativeExpression, genes: Selector, *, n_permutations: int, rng: Rng) -> Perturbation:
    """Scatter of the differences within a set beside that of random sets."""
    members = _kept_members(of, genes)
    if len(members) < 2:
        msg = f"Genes of a set differ from each other if there are two or more of them; {len(members)} are kept."
        raise ValueError(msg)
    expression = np.sum(of.evidence.expression(), axis=0)[of.kept]
    parts, generator = _parts(of).take(slice(len(expression))), np.random.default_rng(as_seed(rng))
    return perturbation(parts, members, expression, n_permutations=n_permutations, rng=generator)


def _kept_members(of: RelativeExpression, genes: Selector) -> IntArray:
    """Positions of the genes of a set among those that are kept; names that there are not are left out."""
    if of.names is not None and not isinstance(genes, slice) and np.asarray(genes).dtype.kind in "UO":
        known = set(map(str, of.names))
        genes = [str(name) for name in np.atleast_1d(np.asarray(genes)) if str(name) in known]
        if not genes:
            return np.zeros(0, np.int64)
    position = np.cumsum(of.kept) - 1
    found = np.unique(index_of(genes, len(of.kept), of.names, what="gene"))
    return np.asarray(position[found[of.kept[found]]])


def _parts(of: RelativeExpression) -> LinearLaw:
    if of.comparison.parts is None:
        msg = (
            "At the level of samples the differences of genes are known one by one, not together: test sets of genes "
            "in a comparison without sample_key, or scribe.compare_groups(...)."
        )
        raise ValueError(msg)
    return of.comparison.parts


def _tested(
    of: RelativeExpression, weights: Callable[[slice], FloatArray], n_sums: int, tau: float
) -> dict[str, FloatArray]:
    """Summarise weighted sums over the genes that are kept, from the weights of some of them at a time."""
    found = []
    for first in range(0, n_sums, _SUMS_AT_ONCE):
        law = _sums(of, weights(slice(first, first + _SUMS_AT_ONCE)))
        effect = law.above(tau) + law.below(-tau)
        found.append((law.mean, law.sd, law.above(0.0), lfsr(law, tau), effect))
    return {name: np.concatenate(values) for name, values in zip(_SUMMARIES, zip(*found, strict=True), strict=True)}


def _sums(of: RelativeExpression, weights: AnyArray) -> LinearLaw:
    """Law of weighted sums over the genes that are kept, relative to the reference."""
    parts, reference = _parts(of), of.comparison.reference.weights
    padded = np.zeros((len(reference), weights.shape[1]))
    padded[: len(weights)] = weights
    return parts.contrast(padded - np.outer(reference, weights.sum(axis=0)))
