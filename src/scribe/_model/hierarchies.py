"""From what users say of a population (a family, its hyperparameters) to a hierarchical prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scribe._model.names import nearest
from scribe.families import Param
from scribe.priors import DEVIATIONS, Gaussian, Over, Prior, TransformedNormal, over

__all__ = ["FLAT", "HYPERPARAMETERS", "Population", "find_population", "hierarchy", "is_family"]


@dataclass(frozen=True)
class Population:
    """Where a population of parameters is centred and how far it spreads, on the real line.

    ``loc`` are mean and standard deviation of the location, ``scale`` those of the inverse softplus of a Gaussian
    population's scale: (-2, 0.5) is a scale of 0.13, 13 percent of a positive parameter.
    """

    loc: tuple[float, float]
    scale: tuple[float, float]


_ROLES = {"p": "probability", "phi": "probability", "mu": "expression", "r": "expression"}
"""What a parameter is, where several stand for the same."""

_POPULATIONS: dict[tuple[str, str], Population] = {
    ("probability", "gene"): Population((0.0, 1.0), (0.0, 0.5)),
    ("gate", "gene"): Population((-5.0, 1.0), (-2.0, 0.5)),
    ("bnb_concentration", "gene"): Population((-5.0, 1.0), (0.0, 1.0)),
    ("expression", "component"): Population((0.0, 1.0), (-2.0, 0.5)),
    ("expression", "dataset"): Population((0.0, 1.0), (-2.0, 0.5)),
    ("probability", "dataset"): Population((0.0, 1.0), (0.0, 0.5)),
    ("gate", "dataset"): Population((-5.0, 0.01), (-2.0, 0.5)),
    ("bnb_concentration", "dataset"): Population((-5.0, 1.0), (0.0, 1.0)),
}
"""Default hyperpriors by the role of a parameter and the axis of the population."""

FLAT: dict[str, tuple[str, ...]] = {
    "prob_prior": ("p", "phi"),
    "zero_inflation_prior": ("gate",),
    "overdispersion_prior": ("bnb_concentration",),
}
"""Keywords that ask for a population of genes, and the parameters of which the sampled one is meant."""

HYPERPARAMETERS: dict[str, tuple[str, str]] = {
    "horseshoe_tau0": ("horseshoe", "tau0"),
    "horseshoe_slab_df": ("horseshoe", "slab_df"),
    "horseshoe_slab_scale": ("horseshoe", "slab_scale"),
    "neg_u": ("neg", "u"),
    "neg_a": ("neg", "a"),
    "neg_tau": ("neg", "tau"),
}
"""Keywords that set a hyperparameter of a family for every population of the model."""


def find_population(param: Param, axis: str) -> Population | None:
    """Hyperpriors of a parameter along an axis; None where it has no population there."""
    return _POPULATIONS.get((_ROLES.get(param.name, param.name), axis))


def is_family(value: Any) -> bool:
    """Whether a value asks for a population: the name of a family, or a dict with one under ``"type"``."""
    return isinstance(value, str) or (isinstance(value, Mapping) and "type" in value)


def hierarchy(
    param: Param,
    axis: str,
    value: Any,
    *,
    link: str,
    options: Mapping[str, Any],
    base: Prior | None = None,
) -> Over | None:
    """Prior of a parameter that is a population along an axis; None for the family ``"none"``.

    Parameters
    ----------
    param
        The parameter, which must have a population along ``axis``.
    axis
        ``"gene"``, ``"component"`` or ``"dataset"``.
    value
        ``"none"``, ``"gaussian"``, ``"horseshoe"`` or ``"neg"``, or a dict with the family under ``"type"`` and its
        hyperparameters; ``"loc"`` (mean, sd) is the hyperprior of the location, ``"scale"`` that of a Gaussian scale.
    link
        Name of the link of the parameter.
    options
        The flat keywords of the model, for `HYPERPARAMETERS`.
    base
        Prior of the location where it is not a normal.
    """
    population = find_population(param, axis)
    given = {"type": value} if isinstance(value, str) else dict(value)
    kind = given.pop("type", None)
    if kind == "none" and not given:
        return None
    if population is None or kind not in DEVIATIONS:
        allowed = ["none", *DEVIATIONS]
        hint = f"{nearest(str(kind), allowed)} Choose one of: {', '.join(map(repr, allowed))}."
        msg = f"The prior of {param.name!r} has the family {kind!r}.{hint}"
        raise ValueError(msg)
    loc = _pair(param, "loc", given.pop("loc", population.loc))
    if base is None:
        base = TransformedNormal(*loc, link)
    if DEVIATIONS[kind] is Gaussian:
        hyper = dict(zip(("loc", "scale"), _pair(param, "scale", given.pop("scale", population.scale)), strict=True))
        known = ["scale"]
    else:
        known = [f.name for f in fields(DEVIATIONS[kind])]  # type: ignore[arg-type]  # every deviation is a dataclass
        flat = {name: options[keyword] for keyword, (family, name) in HYPERPARAMETERS.items() if family == kind}
        hyper = {name: float(given.pop(name, flat[name])) for name in known}
    if given:
        hint = nearest(next(iter(given)), known)
        msg = (
            f"The {kind} prior of {param.name!r} has no hyperparameter {next(iter(given))!r}.{hint} It has: "
            f"{', '.join(map(repr, [*known, 'loc']))}."
        )
        raise ValueError(msg)
    return over(axis, base, DEVIATIONS[kind](**hyper))


def _pair(param: Param, name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        msg = f"{name!r} in the prior of {param.name!r} must be a pair (mean, standard deviation), got {value!r}."
        raise ValueError(msg)
    return float(value[0]), float(value[1])
