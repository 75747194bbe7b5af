"""From what users say of a population (a family, its hyperparameters) to a hierarchical prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Real
from typing import Any

from scribe._model.checks import nearest
from scribe._model.names import with_role
from scribe._model.options import ModelOptions, options_table
from scribe.families import Param, Population
from scribe.priors import SCATTERS, Gaussian, Hierarchical, Prior, Scatter, TransformedNormal, over

__all__ = [
    "FLAT",
    "HYPERPARAMETERS",
    "PROB_DATASET_MODES",
    "check_family",
    "check_mode",
    "deviation_of",
    "find_population",
    "hierarchy",
    "is_family",
    "over_levels",
    "pair",
    "refuse_population",
]


FLAT: dict[str, tuple[tuple[str, ...], str]] = {
    keyword: (with_role(option.population[0]), option.population[1])
    for keyword, option in options_table(ModelOptions).items()
    if option.population is not None
}
"""Keywords that ask for a population: the parameters of which the sampled one is meant, and the axis."""

PROB_DATASET_MODES = ("scalar", "gene_specific", "two_level")

HYPERPARAMETERS: dict[str, tuple[str, str]] = {
    f"{kind}_{name}": (kind, name)
    for kind, names in {"horseshoe": ("tau0", "slab_df", "slab_scale"), "neg": ("u", "a", "tau")}.items()
    for name in names
}
"""Keywords that set a hyperparameter of a family for every population of the model."""


def over_levels(param: Param, prior: Prior, populations: Mapping[str, Any], *, options: Mapping[str, Any]) -> Prior:
    """Make a parameter a population along datasets or components, where ``populations`` has a family for the axis.

    The location of the population has the prior of the parameter without levels, so that genes, datasets and components
    nest. ``options`` are the flat keywords of the model.
    """
    for axis in ("dataset", "component"):
        if axis not in populations:
            continue
        value = populations[axis]
        if axis == "dataset" and param.role == "probability" and options["prob_dataset_mode"] != "scalar":
            genes = hierarchy(param, "gene", "gaussian", link=prior.link, options=options, base=prior)
            if options["prob_dataset_mode"] == "two_level":
                return _two_level(param, prior, value, options=options)
            prior = prior if "gene" in prior.adds else genes or prior
        prior = hierarchy(param, axis, value, link=prior.link, options=options, base=prior) or prior
    return prior


def _two_level(param: Param, prior: Prior, value: Any, *, options: Mapping[str, Any]) -> Prior:
    """Genes as a population within each dataset, whose locations are a population of datasets."""
    if prior.adds:
        msg = "prob_dataset_mode='two_level' makes genes a population within every dataset: leave prob_prior out."
        raise ValueError(msg)
    datasets = hierarchy(param, "dataset", value, link=prior.link, options=options, base=prior) or prior
    return over("gene", datasets, Gaussian(*dict(param.populations)["gene"].scale, per=("dataset",)))


def find_population(param: Param, axis: str) -> Population | None:
    """Hyperpriors of a parameter along an axis; None where it has no population there."""
    return dict(param.populations).get(axis)


def is_family(value: Any) -> bool:
    """Whether a value asks for a population: the name of a family, or a dict with one under ``"type"``."""
    return isinstance(value, str) or (isinstance(value, Mapping) and "type" in value)


def check_family(keyword: str, value: Any) -> None:
    """Raise where a keyword that asks for a population has something else."""
    if not isinstance(value, (str, Mapping)):
        allowed = ", ".join(map(repr, ("none", *SCATTERS)))
        msg = (
            f"{keyword} takes the name of a family ({allowed}) or a dict, {{'type': 'horseshoe', 'tau0': 0.5}}; got "
            f"{value!r}. A pair of numbers is a prior: pass it in priors={{...}}."
        )
        raise TypeError(msg)


def check_mode(options: Mapping[str, Any]) -> None:
    """Raise where ``prob_dataset_mode`` is none, or decides nothing."""
    mode = options["prob_dataset_mode"]
    if mode not in PROB_DATASET_MODES:
        allowed = ", ".join(map(repr, PROB_DATASET_MODES))
        msg = f"prob_dataset_mode must be one of {allowed}, got {mode!r}.{nearest(str(mode), list(PROB_DATASET_MODES))}"
        raise ValueError(msg)
    if mode != "gene_specific" and options["prob_dataset_prior"] == "none":
        msg = f"prob_dataset_mode={mode!r} has no effect without prob_dataset_prior: pass that as well."
        raise ValueError(msg)


def refuse_population(name: str, value: Any) -> None:
    """Say where a parameter may have a population that has none across genes."""
    needs = {"component": "n_components=2 or more", "dataset": "dataset_key"}
    family = value if not isinstance(value, str) or value in SCATTERS else "horseshoe"
    others = [f"{key}={family!r} with {needs[axis]}" for key, (targets, axis) in FLAT.items() if name in targets]
    also = f"; for a population along another axis {' or '.join(others)}" if others else ""
    msg = (
        f"priors[{name!r}]={value!r} would make genes a population, which {name} of genes is not. Give a pair of "
        f"numbers or a scribe prior object{also}."
    )
    raise ValueError(msg)


def hierarchy(
    param: Param, axis: str, value: Any, *, link: str, options: Mapping[str, Any], base: Prior | None = None
) -> Hierarchical | None:
    """Prior of a parameter that is a population along an axis; None for the family ``"none"``.

    Parameters
    ----------
    param, axis
        The parameter, which must have a population along the axis ``"gene"``, ``"component"`` or ``"dataset"``.
    value
        ``"none"``, ``"gaussian"``, ``"horseshoe"``, ``"neg"`` or ``"fixed"``, or a dict with the family under
        ``"type"`` and its hyperparameters; ``"loc"`` (mean, sd) is the hyperprior of the location, ``"scale"`` that of
        a Gaussian scale, or the scale that is fixed. A deviation stands for itself.
    link
        Name of the link of the parameter.
    options
        The flat keywords of the model, for `HYPERPARAMETERS`.
    base
        Prior of the location where it is not a normal.
    """
    population = find_population(param, axis)
    if isinstance(value, Mapping) and "loc" in value:
        if base is not None:
            msg = (
                f"'loc' in the prior of {param.name!r} across {axis}s has no effect: its location has the prior of the "
                f"parameter itself. Pass priors={{{param.name!r}: {value['loc']!r}}}."
            )
            raise ValueError(msg)
        loc = _pair(param, "loc", value["loc"])
        value = {name: x for name, x in value.items() if name != "loc"}
    elif base is None and population is not None:
        loc = population.loc
    deviation = deviation_of(param, axis, value, options=options)
    if deviation is None:
        return None
    return over(axis, TransformedNormal(*loc, link) if base is None else base, deviation)


def deviation_of(param: Param, axis: str, value: Any, *, options: Mapping[str, Any]) -> Scatter | None:
    """How a parameter scatters along an axis, by family and hyperparameters; None for the family ``"none"``."""
    if isinstance(value, Scatter):
        return value
    given = {"type": value} if not isinstance(value, Mapping) else dict(value)
    kind, population = given.pop("type", None), find_population(param, axis)
    if kind == "none" and not given:
        return None
    if population is None or kind not in SCATTERS:
        allowed = ["none", *SCATTERS]
        hint = f"{nearest(str(kind), allowed)} Choose one of: {', '.join(map(repr, allowed))}."
        msg = f"The prior of {param.name!r} has the family {kind!r}.{hint}"
        raise ValueError(msg)
    if SCATTERS[kind] is Gaussian:
        hyper = dict(zip(("loc", "scale"), _pair(param, "scale", given.pop("scale", population.scale)), strict=True))
        known = ["scale"]
    else:
        declared = {f.name: f.default for f in fields(SCATTERS[kind])}  # type: ignore[arg-type]  # all are dataclasses
        flat = {name: options[keyword] for keyword, (family, name) in HYPERPARAMETERS.items() if family == kind}
        hyper = {name: float(given.pop(name, x)) for name, x in {**declared, **flat}.items()}
        known = list(declared)
    if given:
        hint = nearest(next(iter(given)), known)
        msg = (
            f"The {kind} prior of {param.name!r} has no hyperparameter {next(iter(given))!r}.{hint} It has: "
            f"{', '.join(map(repr, [*known, 'loc']))}."
        )
        raise ValueError(msg)
    return SCATTERS[kind](**hyper)


def _pair(param: Param, name: str, value: Any) -> tuple[float, float]:
    return pair(f"{name!r} in the prior of {param.name!r} must be a pair (mean, standard deviation)", value)


def pair(wanted: str, value: Any) -> tuple[float, float]:
    """Two finite numbers, or an error that says what is wanted."""
    numbers = isinstance(value, (tuple, list)) and all(isinstance(x, Real) and math.isfinite(x) for x in value)
    if not numbers or len(value) != 2:
        msg = f"{wanted}, got {value!r}."
        raise ValueError(msg)
    return float(value[0]), float(value[1])
