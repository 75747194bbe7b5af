"""Keywords that comparisons share."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, TypedDict

from scribe._model.checks import require_known, require_whole
from scribe._posterior.expression import ESTIMANDS, Estimand
from scribe._posterior.indexing import Selector
from scribe._stats.effects import MAX_LFSR
from scribe._types import AnyArray, Rng

__all__ = ["DEFAULTS", "CompareOptions", "ContrastOptions", "DrawOptions", "Pairing", "completed"]

_FEWEST_DRAWS = 2


class DrawOptions(TypedDict, total=False):
    """What is drawn of groups of cells, and of which genes."""

    estimand: Estimand
    gene_mask: Selector | None
    n_samples: int
    n_samples_dirichlet: int
    rank: int | None
    rng: Rng


class ContrastOptions(DrawOptions, total=False):
    """What all comparisons of models take."""

    reference: Selector


class Pairing(ContrastOptions, total=False):
    """What a comparison of paired datasets takes beside."""

    min_complete_pairs: int


class CompareOptions(ContrastOptions, total=False):
    """What a comparison of two models takes beside."""

    component_A: str | int | None
    component_B: str | int | None
    dataset_A: str | int | None
    dataset_B: str | int | None
    mixture_weighted: bool
    mixture_weights_A: Any
    mixture_weights_B: Any
    p_samples_A: AnyArray | None
    p_samples_B: AnyArray | None
    paired: bool | None
    sigma_grid: Any
    shrinkage_max_iter: int
    shrinkage_tol: float


DEFAULTS: Mapping[str, Any] = {
    "estimand": "mean",
    "reference": "unchanged",
    "n_samples": 1000,
    "n_samples_dirichlet": 1,
    "mixture_weighted": False,
    "min_complete_pairs": 2,
    "min_lfc": 0.0,
    "target_pefp": 0.05,
    "max_lfsr": MAX_LFSR,
    "call_extremes": False,
    "reference_genes": "unchanged",
    "shrinkage_max_iter": 2000,
    "shrinkage_tol": 1e-8,
}
"""Of all others it is None."""


def completed(kind: Any, given: Mapping[str, Any], *, estimands: tuple[str, ...] = ESTIMANDS) -> dict[str, Any]:
    """Complete options by their defaults; values that cannot be are errors."""
    said: dict[str, Any] = {name: DEFAULTS.get(name) for name in typing.get_type_hints(kind)} | dict(given)
    require_known("estimand", said["estimand"], estimands)
    require_whole("n_samples", said["n_samples"], _FEWEST_DRAWS)
    require_whole("n_samples_dirichlet", said["n_samples_dirichlet"], 1)
    if said["n_samples_dirichlet"] > 1 and said["estimand"] != "cell":
        msg = (
            f"n_samples_dirichlet={said['n_samples_dirichlet']} draws cells, but estimand='mean' compares means: pass "
            "estimand='cell', or leave it out."
        )
        raise ValueError(msg)
    if not said.get("mixture_weighted") and any(said.get(f"mixture_weights_{side}") is not None for side in "AB"):
        msg = "mixture_weights_A and mixture_weights_B weight the components with mixture_weighted=True: pass it."
        raise ValueError(msg)
    if said.get("mixture_weighted") and any(said.get(f"component_{side}") is not None for side in "AB"):
        msg = "mixture_weighted=True averages all components, component_A and component_B choose one: keep one."
        raise ValueError(msg)
    return said
