"""From what users ask of a model to a `ModelSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from scribe._dist.links import LINKS
from scribe._model.completion import complete, refuse_idle
from scribe._model.factors import Factors, factor_levels, families_of
from scribe._model.hierarchies import (
    HYPERPARAMETERS,
    find_population,
    hierarchy,
    is_family,
    over_levels,
    refuse_population,
)
from scribe._model.levels import numbered, resolve_levels
from scribe._model.options import ModelOptions, options_table
from scribe._model.requests import Requests, pair_of, read_requests
from scribe._model.sites import MIXING
from scribe._model.spec import ModelSpec
from scribe.families import Family, Param
from scribe.priors import Dirichlet, LogNormal, Prior, TransformedNormal

__all__ = ["resolve_spec"]


def resolve_spec(
    model: str | Family | None = None,
    *,
    components: tuple[str, ...] = (),
    datasets: tuple[str, ...] = (),
    factors: Factors | None = None,
    **options: Unpack[ModelOptions],
) -> ModelSpec:
    """Specification for names, flags and hyperparameters; every inconsistency is an error that names the fix.

    ``components`` and ``datasets`` are the labels of the levels, none where the model has no such axis; ``factors``
    holds for every column that tells datasets apart its label in each of them.
    """
    said = complete(options, kind=ModelOptions, verb="resolve_spec")
    refuse_idle(said)
    requests = read_requests(model, said, components=components, datasets=datasets, factors=factors or {})
    return _spec(requests)


def _spec(requests: Requests) -> ModelSpec:
    """The model that is requested."""
    levels = resolve_levels(
        (requests.coordinates.sampled, requests.family.params),
        requests.options,
        components=requests.components,
        datasets=requests.datasets,
        factors=requests.factors,
        populations=requests.populations,
    )
    priors = {param.name: _with_levels(param, requests) for param in requests.params}
    _refuse_idle(requests)
    levels |= factor_levels(requests.populations["dataset"].values()) | numbered(requests.family.axes)
    return ModelSpec(requests.family, requests.coordinates, priors, levels)


def _with_levels(param: Param, requests: Requests) -> Prior:
    """Prior of one parameter, with the populations that it is along components and datasets."""
    named = {axis: of[param.name] for axis, of in requests.populations.items() if param.name in of}
    if param.name in requests.anchors:
        prior = requests.anchors[param.name]
    elif param is MIXING:
        prior = _mixing(requests.priors.get(param.name), n_components=len(requests.components))
    else:
        prior = _prior(param, requests.priors.get(param.name), requests.links[param.name], options=requests.options)
    return over_levels(param, prior, named, options=requests.options)


def _refuse_idle(requests: Requests) -> None:
    """Refuse hyperparameters of families of populations that the model does not have."""
    table, options = options_table(ModelOptions), requests.options
    values = [
        *requests.priors.values(),
        *(value for named in requests.populations.values() for value in named.values()),
    ]
    used = {family for value in values for family in families_of(value)}
    for keyword, (family, _) in HYPERPARAMETERS.items():
        if options[keyword] != table[keyword].default and family not in used:
            msg = (
                f"{keyword}={options[keyword]!r} has no effect: no prior of this model is {family!r}. Ask for one, for "
                f"example prob_prior={family!r}, or leave it out."
            )
            raise ValueError(msg)


def _prior(param: Param, value: Any, link: str | None, *, options: Mapping[str, Any]) -> Prior:
    """Prior of one parameter: the default, or what the user gave; ``link`` is None in constrained mode."""
    if is_family(value) and find_population(param, "gene") is None:
        refuse_population(param.name, value)
    if is_family(value):
        if link is None and value != "none":
            msg = f"The {value!r} prior of {param.name!r} across genes needs unconstrained=True: pass that as well."
            raise ValueError(msg)
        population = hierarchy(param, "gene", value, link=str(link), options=options)
        if population is not None:
            return population
        value = None
    if isinstance(value, Prior):
        support = {"sigmoid": "unit", "identity": "real"}.get(value.link, "positive")
        if support != param.support:
            msg = f"priors[{param.name!r}] has {value!r}, whose support does not fit a {param.support} parameter."
            raise ValueError(msg)
        return value
    if link is not None:
        loc, scale = param.normal if value is None else pair_of(param.name, value, "(loc, scale)")
        return TransformedNormal(loc, scale, LINKS[link].name)
    if value is None:
        return param.prior
    make = type(param.prior)
    a, b = pair_of(param.name, value, "(loc, scale)" if make is LogNormal else "(a, b)")
    return make(a, b)  # type: ignore[call-arg]  # every default prior takes two numbers


def _mixing(value: Any, *, n_components: int) -> Prior:
    """Dirichlet prior of the weights of components, from one concentration or one for each."""
    if value is None:
        return MIXING.prior
    if isinstance(value, Dirichlet):
        return value
    concentrations = np.asarray(value, float)
    if concentrations.shape not in ((), (n_components,)):
        msg = f"priors['mixing'] must be one number or one for each of {n_components} components, got {value!r}."
        raise ValueError(msg)
    return Dirichlet(tuple(concentrations.tolist()) if concentrations.ndim else float(concentrations))
