"""Datasets that are combinations of factors, in pairs that differ in one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from scribe._model.checks import require_known
from scribe._posterior.expression import Level
from scribe._posterior.results import Results
from scribe._types import FloatArray, Key

__all__ = ["Pairs", "Weighting", "effects_of", "paired_levels"]

Weighting = Literal["uniform", "min_cells", "harmonic", "total_cells"]

_WEIGHTS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "uniform": lambda a, b: np.ones(len(a)),
    "min_cells": np.minimum,
    "harmonic": lambda a, b: a * b / (a + b),
    "total_cells": np.add,
}


class Pairs(NamedTuple):
    """Levels of A and of B in pairs, by the ``labels`` of the factor ``name``; ``incomplete`` labels have but one."""

    name: str
    labels: tuple[str, ...]
    of_A: tuple[Level, ...]
    of_B: tuple[Level, ...]
    incomplete: tuple[str, ...]

    def weights(self, results: Results, weighting: Weighting) -> tuple[float, ...]:
        """Weights of the pairs, from the numbers of cells of their datasets."""
        require_known("pair_weighting", weighting, _WEIGHTS)
        n_datasets = len(results.spec.levels["dataset"].labels)
        n_cells = np.bincount(results.posterior.design.datasets(results.n_cells), minlength=n_datasets).astype(float)
        sizes = (n_cells[[dataset for _, dataset in levels]] for levels in (self.of_A, self.of_B))
        return tuple(map(float, _WEIGHTS[weighting](*sizes)))


def paired_levels(results: Results, factor: str, compared: tuple[str, str], pairing_factor: str | None) -> Pairs:
    """Pair the datasets at two levels of a factor by those of another."""
    levels = results.spec.levels.get("dataset")
    factors = {} if levels is None else dict(levels.factors)
    if len(factors) < 2:
        msg = (
            f"Pairs need datasets that are combinations of factors, and this fit has {list(factors) or 'no datasets'}: "
            'fit with dataset_key=["donor", "condition"], naming columns of adata.obs.'
        )
        raise ValueError(msg)
    require_known("factor", factor, factors)
    others = [name for name in factors if name != factor]
    if pairing_factor is None and len(others) > 1:
        msg = f"Which factor pairs datasets? Pass pairing_factor=, one of {', '.join(others)}."
        raise ValueError(msg)
    pairing = others[0] if pairing_factor is None else pairing_factor
    require_known("pairing_factor", pairing, others)
    ((k, _),) = results.levels(dataset=0)
    found: list[dict[str, int]] = []
    for level in compared:
        require_known(f"level of {factor!r}", level, dict.fromkeys(factors[factor]))
        here = [number for number, label in enumerate(factors[factor]) if label == level]
        labels = [factors[pairing][number] for number in here]
        if len(set(labels)) < len(labels):
            msg = f"Several datasets have {factor!r}={level!r} and the same {pairing!r}: pair by a finer factor."
            raise ValueError(msg)
        pairs = zip(labels, here, strict=True)
        found.append({label: number for label, number in pairs if results.has_cells((k, number))})
    complete = [label for label in found[0] if label in found[1]]
    of_A, of_B = (tuple((k, numbers[label]) for label in complete) for numbers in found)
    alone = sorted(set(found[0]) ^ set(found[1]))
    return Pairs(pairing, tuple(complete), of_A, of_B, tuple(alone))


def effects_of(
    results: Results, factor: str, levels: tuple[str, str], *, n_draws: int, key: Key
) -> tuple[FloatArray, FloatArray]:
    """Draws of the effects of two levels of a factor on log expression, (draws, genes) each."""
    found = [name for name in results.spec.effect_axes if name in (f"mu_{factor}_effect", f"r_{factor}_effect")]
    if not found:
        msg = (
            f"This fit has no effect of {factor!r} on expression: fit with expression_dataset_prior={{{factor!r}: "
            "'fixed', ...}, or compare the pairs, estimand='mean'."
        )
        raise ValueError(msg)
    name, one = found[0], results.cells([0])
    site = name.removesuffix(f"_{factor}_effect")
    if results.spec.site(site).link.name != "exp":
        msg = f"Effects on {site!r} are not logarithms of fold changes here: fit with positive_transform='exp'."
        raise ValueError(msg)
    draws = np.asarray(one.posterior.named(one.posterior.draws(key, n_draws))[name])
    axes = one.posterior.named_axes[name]
    if axes != (f"dataset:{factor}", "gene"):
        msg = f"The effect of {factor!r} runs over {', '.join(axes)}: choose a component, results.get_component(...)."
        raise ValueError(msg)
    labels = results.spec.levels[f"dataset:{factor}"].labels
    first, second = (draws[:, labels.index(level)] for level in levels)
    return first, second
