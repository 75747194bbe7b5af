"""What users ask of a model, read once from names, flags and tuples into a record that nothing changes any more."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scribe import coordinates as coordinate_systems
from scribe._counts.checks import outside_stacklevel
from scribe._model.checks import nearest
from scribe._model.factors import Factors, by_factor, crossed, flattened
from scribe._model.hierarchies import FLAT, check_family, check_mode, is_family, pair, refuse_population
from scribe._model.levels import REGIME, without_datasets
from scribe._model.names import DESCRIPTIVE, resolve_family, site_of
from scribe._model.options import ModelOptions, options_table
from scribe._model.sites import CAPTURE_SITES, MIXING, SCALING
from scribe.coordinates import Coordinates
from scribe.families import MODIFIERS, Family, Param
from scribe.priors import CaptureAnchor, MeanAnchor, Prior, TransformedNormal, organism

__all__ = ["Requests", "pair_of", "read_requests"]

_POSITIVE_TRANSFORMS = ("softplus", "exp")

_MODIFIED = {param.name: one.keyword for one in MODIFIERS.values() if one.keyword for param in one.adds}
"""Parameters that a keyword adds to a model."""


@dataclass(frozen=True)
class Requests:
    """What a model is to be.

    Parameters
    ----------
    family, coordinates, params
        The count distribution, its coordinates, and all parameters that are sampled.
    components, datasets, factors
        Labels of the levels, and that of every dataset in each of the columns that tell datasets apart.
    priors
        What users say of the prior of a parameter, by site name: a pair, an object, a family of a population of genes.
    populations
        Families of populations along components and datasets, by axis and site name.
    anchors
        Priors that are decided: those that an anchor of capture or expression brings.
    links
        By site name, the link of a parameter whose prior is normal on the real line; None where it has its usual prior.
    options
        All flat keywords, for hyperparameters of populations and what differs between levels.
    """

    family: Family
    coordinates: Coordinates
    params: tuple[Param, ...]
    components: tuple[str, ...]
    datasets: tuple[str, ...]
    factors: Factors
    priors: Mapping[str, Any]
    populations: Mapping[str, Mapping[str, Any]]
    anchors: Mapping[str, Prior]
    links: Mapping[str, str | None]
    options: Mapping[str, Any]


def read_requests(
    model: str | Family | None,
    options: Mapping[str, Any],
    *,
    components: tuple[str, ...],
    datasets: tuple[str, ...],
    factors: Factors,
) -> Requests:
    """Read complete keywords; every inconsistency is an error that names the fix."""
    flags = ("variable_capture", "zero_inflation", "overdispersion")
    family = resolve_family(model, **{flag: options[flag] for flag in flags})
    coordinates = _coordinates(options, family)
    user_priors = _by_site(options["priors"] or {}, family, coordinates)
    options, user_priors = flattened(options, user_priors, mixture=bool(components), factors=factors)
    if is_family(user_priors.get(SCALING.name)):
        options = {**options, "capture_scaling_prior": user_priors.pop(SCALING.name)}
    check_mode(options)
    if len(datasets) == 1:
        options, datasets = without_datasets(options, datasets[0]), ()
    anchor = _anchor(user_priors, family)
    scaling = _scaling(options, user_priors, anchor)
    params = (
        *coordinates.sampled,
        *family.params,
        *family.field,
        *((CAPTURE_SITES["eta_capture" if anchor is not None else coordinates.capture],) if family.captured else ()),
        *((MIXING,) if components else ()),
        *((SCALING,) if scaling is not None else ()),
    )
    _refuse_derived(user_priors, params, family=family, coordinates=coordinates)
    mean_anchor = _mean_anchor(options, user_priors, params, coordinates=coordinates, anchor=anchor)
    unconstrained = options["unconstrained"] or mean_anchor is not None
    about: dict[str, Any] = {"coordinates": coordinates, "factors": factors, "unconstrained": unconstrained}
    populations = _flat(options, user_priors, params, **about)
    of_genes = populations.pop("gene")
    if not datasets:
        # of one dataset the scale is learned without a population
        populations["dataset"].pop(SCALING.name, None)
    links = _links(options["positive_transform"], params, unconstrained=unconstrained)
    anchors: dict[str, Prior | None] = {"eta_capture": anchor, SCALING.name: scaling}
    if mean_anchor is not None:
        anchors["mu"] = replace(mean_anchor, transform=str(links["mu"]))
    return Requests(
        family,
        coordinates,
        params,
        components,
        datasets,
        factors,
        {**user_priors, **of_genes},
        populations,
        {name: prior for name, prior in anchors.items() if prior is not None},
        links,
        options,
    )


def _coordinates(options: Mapping[str, Any], family: Family) -> Coordinates:
    """Coordinates as asked for; the first that sample mu where its anchor is all that was."""
    base, wanted = family.layers[0], options["parameterization"]
    name = wanted.name if isinstance(wanted, Coordinates) else wanted
    if name is None and options["expression_anchor"]:
        name = next((c.name for c in coordinate_systems.of_family(base) if "mu" in c.names), None)
    return coordinate_systems.find(name, family=base)


def _mean_anchor(
    options: Mapping[str, Any],
    user_priors: Mapping[str, Any],
    params: Sequence[Param],
    *,
    coordinates: Coordinates,
    anchor: CaptureAnchor | None,
) -> MeanAnchor | None:
    """Anchor of expression, where it is asked for."""
    sigma, asked = options["expression_anchor_sigma"], options["expression_anchor"]
    if not asked:
        return None
    names = {param.name for param in params}
    if "mu" not in names:
        msg = f"expression_anchor=True needs {_needs(('mu',), coordinates)}"
        raise ValueError(msg)
    if "mu" in user_priors:
        msg = f"expression_anchor=True and priors['mu']={user_priors['mu']!r} set the same prior: keep one."
        raise ValueError(msg)
    if names & set(CAPTURE_SITES) and anchor is None:
        msg = (
            "expression_anchor=True needs to know the mean capture of a model with capture: pass "
            'priors={"organism": "human"} (or another) or priors={"capture_efficiency": (log_M0, sigma_M)}.'
        )
        raise ValueError(msg)
    _warn_of_width("expression_anchor_sigma", float(sigma))
    return MeanAnchor(float(sigma), None if anchor is None else anchor.log_m0)


_WIDE = 5.0
"""An anchor that is wider, a factor of e to this power, holds nothing."""


def _warn_of_width(name: str, sigma: float) -> None:
    if sigma > _WIDE:
        msg = (
            f"{name}={sigma:g} is a standard deviation of logarithms: that of a factor of e^{sigma:g}, which anchors "
            "nothing. Usual values are 0.1 to 1."
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())


def _scaling(options: Mapping[str, Any], user_priors: Mapping[str, Any], anchor: CaptureAnchor | None) -> Prior | None:
    """Prior of total mRNA where it is learned: about that of the anchor, or as ``priors['capture_scaling']`` says."""
    value = user_priors.get(SCALING.name)
    if value is None and options["capture_scaling_prior"] == "none":
        return None
    if anchor is None:
        msg = (
            "capture_scaling needs a prior of capture to scale: pass priors={'organism': 'human'} (or another) or "
            "priors={'capture_efficiency': (log_M0, sigma_M)} as well."
        )
        raise ValueError(msg)
    loc, scale = (anchor.log_m0, 1.0) if value is None else pair_of(SCALING.name, value, "(log_M0, its sd)")
    return TransformedNormal(loc, scale, "identity")


def _flat(
    options: Mapping[str, Any],
    user_priors: Mapping[str, Any],
    params: Sequence[Param],
    *,
    coordinates: Coordinates,
    factors: Factors,
    unconstrained: bool,
) -> dict[str, dict[str, Any]]:
    """Populations that flat keywords ask for: axis -> site -> family, or how it deviates by factors."""
    found: dict[str, dict[str, Any]] = {"gene": {}, "dataset": {}, "component": {}}
    table = options_table(ModelOptions)
    for keyword, (targets, axis) in FLAT.items():
        value, by_default = options[keyword], options[keyword] == table[keyword].default
        site = next((p.name for p in params if p.name in targets), None)
        if value == "none" or (by_default and (site is None or site in user_priors)):
            continue
        check_family(keyword, value)
        if site is None:
            msg = f"{keyword}={value!r} needs {_needs(targets, coordinates)}"
            raise ValueError(msg)
        if axis == "gene" and site in user_priors:
            msg = f"{keyword}={value!r} and priors[{site!r}]={user_priors[site]!r} set the same prior: keep one."
            raise ValueError(msg)
        if not unconstrained and site != SCALING.name:
            msg = f"{keyword}={value!r} needs unconstrained=True: pass that as well."
            raise ValueError(msg)
        if axis == "dataset" and by_factor(value):
            value = crossed(next(p for p in params if p.name == site), value, factors, options=options)
        found[axis][site] = value
    return found


def _needs(targets: tuple[str, ...], coordinates: Coordinates) -> str:
    """What a model lacks that samples none of some parameters."""
    if targets[0] in _MODIFIED:
        return f"a model with {targets[0]!r}: pass {_MODIFIED[targets[0]]}."
    able = [c.name for c in coordinate_systems.of_family(coordinates.family) if set(targets) & set(c.names)]
    names = " or ".join(targets)
    if not able:
        return f"{names}, which the {coordinates.family!r} family does not have: leave it out."
    return (
        f"{names} to be sampled, but parameterization={coordinates.name!r} samples "
        f"{coordinates.names}. Pass parameterization={' or '.join(map(repr, able))}."
    )


def _by_site(priors: Mapping[str, Any], family: Family, coordinates: Coordinates) -> dict[str, Any]:
    """User's priors under site names; ``organism`` stays as it is."""
    if not isinstance(priors, Mapping):
        msg = f"priors takes a dict of parameter names, such as {{'dispersion': (0.0, 3.0)}}, got {priors!r}."
        raise TypeError(msg)
    out: dict[str, Any] = {}
    special = {"organism": "organism", REGIME: next((p.name for p in coordinates.sampled[2:]), None)}
    for name, value in ((str(name), value) for name, value in priors.items() if name != "annotation_logits"):
        site = special.get(name) or site_of(name)
        if site is None:
            allowed = ["organism", *DESCRIPTIVE, *DESCRIPTIVE.values()]
            msg = f"priors has an unknown key {name!r}.{nearest(name, allowed)} Known: {', '.join(allowed)}."
            raise ValueError(msg)
        if site in out:
            msg = f"priors gives {site!r} twice, under its internal and its descriptive name: keep one."
            raise ValueError(msg)
        out[site] = value
    capture = [name for name in ("organism", *CAPTURE_SITES) if name in out]
    if capture and not family.captured:
        msg = f"priors[{capture[0]!r}] needs a model with capture, e.g. model='nbvcp'; this one is {family.name}."
        raise ValueError(msg)
    return out


def _anchor(user_priors: Mapping[str, Any], family: Family) -> CaptureAnchor | None:
    """Capture anchor from ``organism`` or ``eta_capture``."""
    if "organism" in user_priors and "eta_capture" in user_priors:
        msg = "priors gives both 'organism' and 'capture_efficiency'; they set the same prior: keep one."
        raise ValueError(msg)
    if "organism" in user_priors:
        return organism(str(user_priors["organism"]))
    value = user_priors.get("eta_capture")
    if value is None:
        return None
    if isinstance(value, CaptureAnchor):
        _warn_of_width("sigma_M", value.sigma)
        return value
    if isinstance(value, Prior):
        msg = f"priors['capture_efficiency'] must be a pair (log_M0, sigma_M) or a CaptureAnchor, got {value!r}."
        raise ValueError(msg)
    log_m0, sigma = pair_of(
        "eta_capture", value, "(log_M0, sigma_M), the log of the total mRNA per cell and its spread"
    )
    _warn_of_width("sigma_M", sigma)
    return CaptureAnchor(log_m0, sigma)


def _refuse_derived(
    user_priors: Mapping[str, Any], params: Sequence[Param], *, family: Family, coordinates: Coordinates
) -> None:
    """Refuse priors on parameters that these coordinates derive rather than sample."""
    sampled = {p.name for p in params} | {"organism", "eta_capture"}
    for name, value in user_priors.items():
        if name in sampled:
            continue
        if name in CAPTURE_SITES:
            site = next(p.name for p in params if p.name in CAPTURE_SITES)
            msg = (
                f"priors[{name!r}] does not apply: with parameterization={coordinates.name!r} and these priors capture "
                f"is sampled as {site!r}. Give the prior under that name."
            )
            raise ValueError(msg)
        if name == MIXING.name:
            msg = "priors['mixing'] needs a mixture: pass n_components or annotation_key."
            raise ValueError(msg)
        if name in _MODIFIED:
            msg = f"priors[{name!r}] needs {_MODIFIED[name]}; this model is {family.name}."
            raise ValueError(msg)
        if is_family(value) and not any(name in targets for targets, axis in FLAT.values() if axis == "gene"):
            refuse_population(name, value)
        others = [c.name for c in coordinate_systems.of_family(coordinates.family) if name in c.names]
        use = f"Use parameterization={' or '.join(map(repr, others))}, or give" if others else "Give"
        msg = (
            f"priors[{name!r}] ({DESCRIPTIVE[name]}): {name} is not sampled under parameterization="
            f"{coordinates.name!r}, which samples {coordinates.names}. "
            f"{use} priors on the sampled parameters."
        )
        raise ValueError(msg)


def _links(
    positive_transform: str | Mapping[str, str] | None, params: Sequence[Param], *, unconstrained: bool
) -> dict[str, str | None]:
    """Link of every parameter whose prior is a normal on the real line; None where its usual prior brings one."""
    positive = _transforms(positive_transform, params, unconstrained=unconstrained)

    def link(param: Param) -> str | None:
        if param.support == "real":
            return "identity"
        return positive.get(param.name, "sigmoid") if unconstrained else None

    return {param.name: link(param) for param in params}


def _transforms(
    positive_transform: str | Mapping[str, str] | None, params: Sequence[Param], *, unconstrained: bool
) -> dict[str, str]:
    """Link of every positive parameter in unconstrained mode.

    By default that of the logarithm: beyond one, the normal prior of a softplus is one of the value itself, which puts
    a gene of 600 molecules at 200 of its standard deviations.
    """
    positive = [p.name for p in params if p.support == "positive" and p.name != "eta_capture"]
    default = dict.fromkeys(positive, "exp")
    if positive_transform is None:
        return default
    if not unconstrained:
        msg = (
            f"positive_transform={positive_transform!r} has an effect only with unconstrained=True: pass that as well."
        )
        raise ValueError(msg)
    if isinstance(positive_transform, str):
        asked = dict.fromkeys(positive, positive_transform)
    else:
        asked = {}
        for name, transform in positive_transform.items():
            site = site_of(name)
            if site not in positive:
                msg = f"positive_transform has {name!r}, but the positive sampled parameters are {positive}."
                raise ValueError(msg)
            asked[str(site)] = transform
    wrong = [t for t in asked.values() if t not in _POSITIVE_TRANSFORMS]
    if wrong:
        msg = f"positive_transform must be one of {_POSITIVE_TRANSFORMS}, got {wrong[0]!r}."
        raise ValueError(msg)
    return {**default, **asked}


def pair_of(name: str, value: Any, meaning: str) -> tuple[float, float]:
    """Two numbers of a prior, or an error that says what they mean."""
    return pair(f"priors[{name!r}] must be a pair {meaning} or a scribe prior object", value)
