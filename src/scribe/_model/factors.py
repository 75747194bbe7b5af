"""Populations of data sets by the factors that these are combinations of, such as donor and condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scribe._model.axes import Levels
from scribe._model.checks import nearest
from scribe._model.hierarchies import FLAT, deviation_of, is_family
from scribe._model.options import ModelOptions, options_table
from scribe.families import Param
from scribe.priors import Crossed, Effect

__all__ = ["Factors", "by_factor", "crossed", "factor_levels", "families_of", "flattened"]

Factors = Mapping[str, tuple[str, ...]]
"""Label of every data set in each of the columns that tell data sets apart."""


def by_factor(value: Any) -> bool:
    """Whether a value names a family for every factor."""
    return isinstance(value, Mapping) and not is_family(value)


def crossed(param: Param, value: Mapping[Any, Any], factors: Factors, *, options: Mapping[str, Any]) -> Crossed:
    """Scatter of a parameter in data sets that are combinations of the levels of factors.

    ``value`` is factor -> family. An interaction is named by its factors, ``("donor", "condition")`` or
    ``"donor:condition"``, and has a level for every pair that there is. ``options`` are the flat keywords of the model.
    """
    parts: dict[tuple[str, ...], Effect] = {}
    for key, family in value.items():
        names = _names(param, key, factors)
        deviation = deviation_of(param, "dataset", family, options=options)
        if deviation is not None:
            of = tuple(" | ".join(labels) for labels in zip(*(factors[name] for name in names), strict=True))
            # no reader of h5ad takes a slash in the name of a slot
            parts[names] = Effect("__".join(names).replace("/", "|"), of, deviation)
    if not parts:
        msg = f"The population of {param.name!r} across datasets has the family 'none' for every factor: leave it out."
        raise ValueError(msg)
    _refuse_confounded(param, parts)
    return Crossed(tuple(parts.values()))


def _names(param: Param, key: Any, factors: Factors) -> tuple[str, ...]:
    """Columns that a key names."""
    whole = isinstance(key, str) and (key in factors or ":" not in key)
    names = (str(key),) if whole else tuple(key.split(":") if isinstance(key, str) else key)
    for name in names:
        if not factors:
            msg = (
                f"The population of {param.name!r} across datasets names the factor {name!r}, but no column tells "
                f"datasets apart: pass dataset_key={name!r}. Hyperparameters go with a family, {{'type': 'neg', ...}}."
            )
            raise ValueError(msg)
        if name not in factors:
            msg = (
                f"The population of {param.name!r} across datasets names the factor {name!r}, which is not in "
                f"dataset_key.{nearest(str(name), list(factors))} It has: {', '.join(factors)}. Name columns of "
                f"adata.obs there, dataset_key={[*factors, name]!r}; interactions are pairs of them."
            )
            raise ValueError(msg)
    if len(set(names)) < len(names):
        msg = f"The interaction {key!r} in the population of {param.name!r} needs different factors: name each once."
        raise ValueError(msg)
    return names


def _refuse_confounded(param: Param, parts: Mapping[tuple[str, ...], Effect]) -> None:
    """Refuse factors whose effects no data could tell from the location or from each other."""
    seen: dict[tuple[int, ...], tuple[str, ...]] = {}
    for names, part in parts.items():
        options = ":".join(names)
        if len(part.labels) < 2:
            msg = f"The factor {options!r} of {param.name!r} has one level only, {part.labels[0]!r}: leave it out."
            raise ValueError(msg)
        first = {label: i for i, label in reversed(list(enumerate(part.of)))}
        partition = tuple(first[label] for label in part.of)
        if partition in seen:
            other = ":".join(seen[partition])
            msg = (
                f"The factors {other!r} and {options!r} of {param.name!r} tell the same datasets apart, so that their "
                f"effects cannot be: leave one out."
            )
            raise ValueError(msg)
        seen[partition] = names


def families_of(value: Any) -> list[str]:
    """Families that a prior asks for."""
    if isinstance(value, Crossed):
        return [str(part.deviation.to_json()["type"]) for part in value.parts]
    return [value if isinstance(value, str) else value["type"]] if is_family(value) else []


def factor_levels(populations: Iterable[Any]) -> dict[str, Levels]:
    """Levels of the factors that populations of data sets are sums over."""
    parts = [part for value in populations if isinstance(value, Crossed) for part in value.parts]
    return {part.axis("dataset"): Levels(part.labels, ()) for part in parts}


def flattened(
    options: Mapping[str, Any], user_priors: Mapping[str, Any], *, mixture: bool, factors: Factors
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords and priors, with the populations that ``priors`` asks for under the keywords that ask for the same.

    ``priors={"expression": {"donor": "gaussian", "base": (0, 3)}}`` is ``expression_dataset_prior={"donor": ...}`` with
    the prior (0, 3) of the location. ``"gene"``, ``"component"`` and ``"dataset"`` name these axes, and in a mixture
    ``priors={"expression": "horseshoe"}`` is ``expression_prior="horseshoe"``.
    """
    table = options_table(ModelOptions)
    options, left = dict(options), dict(user_priors)
    for site, value in user_priors.items():
        keywords = {axis: keyword for keyword, (targets, axis) in FLAT.items() if site in targets}
        if by_factor(value) and keywords:
            requested = _by_axis(value, factors)
        elif mixture and is_family(value) and "component" in keywords and "gene" not in keywords:
            requested = {"component": value}
        else:
            continue
        del left[site]
        if "base" in requested:
            left[site] = requested.pop("base")
        for axis, family in requested.items():
            if axis not in keywords:
                msg = f"priors[{site!r}] asks for a population along {axis!r}; it has them along {list(keywords)}."
                raise ValueError(msg)
            if options[keywords[axis]] != table[keywords[axis]].default:
                msg = (
                    f"{keywords[axis]}={options[keywords[axis]]!r} and priors[{site!r}]={value!r} set the same prior: "
                    "keep one."
                )
                raise ValueError(msg)
            options[keywords[axis]] = family
    return options, left


def _by_axis(value: Mapping[Any, Any], factors: Factors) -> dict[str, Any]:
    """Families by axis, those of factors together, and the prior of the location under ``"base"``."""
    axes = {key: value[key] for key in ("base", "gene", "component", "dataset") if key in value and key not in factors}
    rest = {key: family for key, family in value.items() if key not in axes}
    return {**axes, "dataset": rest} if rest else axes
