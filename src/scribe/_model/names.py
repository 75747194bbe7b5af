"""Familiar names: of models, of flags that select them, and of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scribe import coordinates, families
from scribe._model.checks import nearest, require_known
from scribe._model.sites import CAPTURE_SITES, MIXING, SCALING
from scribe.families import Family, Param, from_layers

__all__ = ["DESCRIPTIVE", "MODELS", "describe", "rename", "resolve_family", "site_among", "site_of", "with_role"]

MODELS: dict[str, tuple[str, ...]] = {
    "nbdm": ("nb",),
    "nbvcp": ("nb", "with_capture"),
    "zinb": ("nb", "zero_inflated"),
    "zinbvcp": ("nb", "with_capture", "zero_inflated"),
    "poisson": ("poisson",),
    "poissonvcp": ("poisson", "with_capture"),
    "zip": ("poisson", "zero_inflated"),
    "zipvcp": ("poisson", "with_capture", "zero_inflated"),
    "twostate": ("two_state",),
    "twostatevcp": ("two_state", "with_capture"),
}
"""Model names and the composition each stands for."""

DEFAULT_MODEL = "nbvcp"

OVERDISPERSIONS = ("none", "bnb")

FAMILY_NAMES = ("poisson", "twostate")
"""Models that are called like their family: flags add to them what the bare name leaves open."""

_PARAMETERS: dict[str, Param] = {
    param.name: param
    for param in (
        *(param for system in coordinates.ALL for param in system.sampled),
        *families.added_params(),
        *CAPTURE_SITES.values(),
        MIXING,
        SCALING,
    )
}

DESCRIPTIVE: dict[str, str] = {site: param.descriptive for site, param in _PARAMETERS.items()}
"""Site name -> the descriptive name results print with ``descriptive_names=True``."""

_SITES: dict[str, str] = {name: site for site, param in _PARAMETERS.items() for name in (site, *param.names)}


def with_role(role: str) -> tuple[str, ...]:
    """Names of the parameters that stand for the same in different coordinates, in the order of the alphabet."""
    return tuple(sorted(name for name, param in _PARAMETERS.items() if param.role == role))


def site_of(name: str) -> str | None:
    """Site for an internal or descriptive parameter name; None for a name that is neither."""
    return _SITES.get(name)


def describe(site: str, *, descriptive: bool) -> str:
    """Name under which a site is returned."""
    return DESCRIPTIVE.get(site, site) if descriptive else site


def rename(values: Mapping[str, Any], *, descriptive_names: bool) -> dict[str, Any]:
    """The same values under internal or descriptive names."""
    return {describe(name, descriptive=descriptive_names): value for name, value in values.items()}


def site_among(name: str, available: list[str]) -> str:
    """Site for an internal or descriptive name, which must be one of ``available``."""
    site = _SITES.get(name, name)
    if site not in available:
        every = [*available, *(DESCRIPTIVE[a] for a in available if a in DESCRIPTIVE)]
        msg = f"No parameter {name!r} in this fit.{nearest(name, every)} It has: {', '.join(available)}."
        raise ValueError(msg)
    return site


def resolve_family(
    model: str | Family | None,
    *,
    variable_capture: bool | None = None,
    zero_inflation: bool | None = None,
    overdispersion: str = "none",
) -> Family:
    """Family for a model name or the flags that compose it.

    Without a name, a flag that is not given takes its default (capture yes, zero inflation no). The name of a family
    alone is that family with what the flags add. With any other name, flags may only confirm it.
    ``overdispersion="bnb"`` mixes the probability of any negative binomial.
    """
    if overdispersion not in OVERDISPERSIONS:
        msg = f"overdispersion must be one of {', '.join(map(repr, OVERDISPERSIONS))}, got {overdispersion!r}."
        raise ValueError(msg)
    family = _resolve_flags(model, variable_capture=variable_capture, zero_inflation=zero_inflation)
    layers = family.layers
    if overdispersion == "none" or "beta_mixed" in layers:
        return family
    if layers[0] != "nb":
        msg = f"overdispersion='bnb' needs a negative binomial model, e.g. model='nbvcp'; this one is {family.name}."
        raise ValueError(msg)
    first = next((i for i, layer in enumerate(layers) if layer == "zero_inflated"), len(layers))
    return from_layers((*layers[:first], "beta_mixed", *layers[first:]), family.settings)


def _resolve_flags(model: str | Family | None, *, variable_capture: bool | None, zero_inflation: bool | None) -> Family:
    if isinstance(model, Family):
        family, called = model, model.name
    else:
        known = DEFAULT_MODEL if model is None else model
        require_known("model", known, MODELS)
        family, called = from_layers(MODELS[known]), repr(model)
    layers = family.layers
    if model is None or model in FAMILY_NAMES:
        captured = model is None if variable_capture is None else variable_capture
        added = {"with_capture": captured, "zero_inflated": zero_inflation}
        return from_layers((layers[0], *(name for name, wanted in added.items() if wanted)))
    flags = ("variable_capture", variable_capture, "with_capture"), ("zero_inflation", zero_inflation, "zero_inflated")
    for flag, given, layer in flags:
        implied = layer in layers
        if given is not None and given != implied:
            msg = (
                f"model={called} means {flag}={implied}, but {flag}={given} was passed as well. Leave out "
                f"`model` to compose the model from the flags, or leave out `{flag}`."
            )
            raise ValueError(msg)
    return family
