"""Which parameters differ between components and between datasets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from scribe._counts.checks import outside_stacklevel
from scribe._model.axes import Levels
from scribe._model.checks import nearest
from scribe._model.hierarchies import is_family
from scribe._model.names import site_of
from scribe._model.sites import MIXING
from scribe.families import Param

__all__ = ["REGIME", "named_params", "numbered", "resolve_levels", "without_datasets"]

REGIME = "regime"
"""Name of the third parameter of a promoter, beside those of mean and bursts, in whichever coordinates."""


Sampled = tuple[Sequence[Param], Sequence[Param]]
"""Parameters of the coordinates and those of modifiers."""


def named_params(asked: str | Sequence[str], sampled: Sampled, *, keyword: str) -> tuple[str, ...]:
    """Names of parameters from their names or shorthands; ``keyword`` is the one they were given under, for messages.

    The shorthands are ``"all"`` parameters of genes, the ``"biological"`` ones of the coordinates, the ``"mean"`` (that
    of genes which carries their level of expression), ``"prob"`` (the others), ``"gate"``, and ``"regime"`` (of a
    promoter).
    """
    shorthands = _shorthands(sampled)
    allowed = shorthands["all"]
    names: dict[str, None] = {}
    for name in [asked] if isinstance(asked, str) else asked:
        sites = shorthands.get(name) or [site_of(name) or name]
        if unknown := [site for site in sites if site not in allowed]:
            hint = nearest(name, [other for other in (*allowed, *shorthands) if other != name])
            msg = (
                f"{keyword} has {name!r}, which this model does not sample for genes ({unknown[0]!r}).{hint} It has: "
                f"{', '.join(allowed)}; shorthands: {', '.join(shorthands)}."
            )
            raise ValueError(msg)
        names |= dict.fromkeys(sites)
    return tuple(names)


def _shorthands(sampled: Sampled) -> dict[str, list[str]]:
    biological, others = ([param.name for param in params] for params in sampled)
    # where expression itself is not sampled, the size carries it
    mean = "mu" if "mu" in biological else "r"
    return {
        "all": [*biological, *others],
        "biological": biological,
        "mean": [name for name in biological if name == mean],
        "prob": [name for name in biological if name != mean],
        "gate": [name for name in others if name == "gate"],
        REGIME: biological[2:],
    }


def resolve_levels(
    sampled: Sampled,
    options: Mapping[str, Any],
    *,
    components: tuple[str, ...],
    datasets: tuple[str, ...],
    factors: Mapping[str, tuple[str, ...]],
    populations: Mapping[str, Mapping[str, Any]],
) -> dict[str, Levels]:
    """Levels of a model, from the user's keywords.

    ``components`` and ``datasets`` are the labels of the levels, none where the model has no such axis, ``factors``
    those of the columns that datasets are combinations of; ``populations`` is axis -> parameter -> family of the
    population that it is along the axis.
    """
    levels: dict[str, Levels] = {}
    if components:
        params = named_params(options["mixture_params"], sampled, keyword="mixture_params")
        if common := [name for name in populations["component"] if name not in params]:
            msg = f"expression_prior makes {common[0]} differ between components, but mixture_params names {[*params]}."
            raise ValueError(msg)
        levels["component"] = Levels(components, params)
    elif options["mixture_params"] != "all" or populations["component"]:
        keyword = "expression_prior" if populations["component"] else "mixture_params"
        msg = f"{keyword}={options[keyword]!r} needs a mixture: pass n_components (2 or more) or annotation_key."
        raise ValueError(msg)
    if datasets:
        params = _of_datasets(sampled, options, populations["dataset"], mixture=bool(components))
        levels["dataset"] = Levels(datasets, params, tuple(factors.items()))
    elif populations["dataset"]:
        keyword = next(name for name in _DATASET_PRIORS if options[name] != "none")
        msg = f"{keyword}={options[keyword]!r} needs dataset_key, the column of adata.obs that tells datasets apart."
        raise ValueError(msg)
    return levels


def numbered(axes: Mapping[str, int]) -> dict[str, Levels]:
    """Levels of axes that have nothing but numbers, from 1 on."""
    return {axis: Levels(tuple(str(i + 1) for i in range(n)), ()) for axis, n in axes.items()}


def _of_datasets(
    sampled: Sampled, options: Mapping[str, Any], populations: Mapping[str, Any], *, mixture: bool
) -> tuple[str, ...]:
    """Parameters that differ between datasets: those named, those that are populations of them, and the weights."""
    asked, mixing = options["dataset_params"], options["dataset_mixing"]
    params = () if asked is None else named_params(asked, sampled, keyword="dataset_params")
    if mixing is not None and not mixture:
        msg = f"dataset_mixing={mixing!r} needs a mixture: pass n_components or annotation_key."
        raise ValueError(msg)
    weights = (MIXING.name,) if mixture and mixing in (None, True) else ()
    found = tuple(dict.fromkeys((*params, *populations, *weights)))
    if not found:
        msg = (
            "dataset_key tells datasets apart, but no parameter differs between them. Make one a population, "
            'expression_dataset_prior="gaussian" with unconstrained=True, or name some, dataset_params="mean".'
        )
        raise ValueError(msg)
    return found


_DATASET_PRIORS = {
    "expression_dataset_prior": None,
    "prob_dataset_prior": "prob_prior",
    "zero_inflation_dataset_prior": "zero_inflation_prior",
    "overdispersion_dataset_prior": None,
    "capture_scaling_prior": None,
}
"""Populations of datasets, and what they become with one dataset: populations of genes, or nothing."""


def without_datasets(options: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The user's keywords with one dataset only, which tells nothing apart: populations of datasets become of genes."""
    msg = f"dataset_key has one dataset only, {label!r}: nothing can differ between datasets."
    if not options["auto_downgrade_single_dataset_hierarchy"]:
        msg += " Leave it out, or pass auto_downgrade_single_dataset_hierarchy=True."
        raise ValueError(msg)
    out, changed = dict(options), []
    for keyword, instead in _DATASET_PRIORS.items():
        # with one dataset the scale is learned without a population
        if options[keyword] == "none" or keyword == "capture_scaling_prior":
            continue
        moves = instead is not None and options[instead] == "none" and is_family(options[keyword])
        genes = keyword != "prob_dataset_prior" or options["prob_dataset_mode"] != "scalar"
        if moves and genes:
            out[str(instead)] = options[keyword]
        changed.append(f"{keyword} " + (f"becomes {instead}" if moves and genes else "is dropped"))
        out[keyword] = "none"
    out |= {"dataset_params": None, "dataset_mixing": None}
    what = f" {', '.join(changed)}." if changed else ""
    warnings.warn(f"{msg} Fitting without dataset levels.{what}", UserWarning, stacklevel=outside_stacklevel())
    return out
