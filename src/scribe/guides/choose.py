"""From the flat keywords of ``fit`` to a guide."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from scribe._model.axes import LEVEL_AXES
from scribe._model.checks import nearest, require_known
from scribe._model.completion import refuse_idle
from scribe._model.levels import named_params
from scribe._model.options import given_among, options_table
from scribe._model.spec import ModelSpec
from scribe._nn import MLP
from scribe.guides._base import Guide
from scribe.guides.amortised import Amortised
from scribe.guides.compose import Composed, whole
from scribe.guides.flow import Flow
from scribe.guides.joint import Joint
from scribe.guides.low_rank import LowRank
from scribe.guides.mean_field import MeanField
from scribe.priors import LATENT_SUFFIX, Informed

__all__ = ["choose", "given"]

_BY_NAME: dict[str, type[Guide]] = {guide.name: guide for guide in (MeanField, LowRank, Flow)}
"""Guides that a name alone says everything of."""

_NETWORK = {f"guide_flow_{field.name}": field.name for field in fields(MLP)}
_OF_FLOW = ("n_bins", "mixture_strategy", "soft_clamp", "loft", "log_det_f64")
_FLOW = {"guide_flow_num_layers": "n_layers", **{f"guide_flow_{name}": name for name in _OF_FLOW}}
_CAPTURE = {f"capture_{field.name}": field.name for field in fields(Amortised)}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of the guide that differ from their defaults."""
    table = options_table()
    return {name: options[name] for name in given_among(options) if table[name].group == "guide"}


def choose(options: Mapping[str, Any], spec: ModelSpec) -> Guide:
    """Guide of complete keywords; every inconsistency is an error that names the fix."""
    asked = given(options)
    if "guide" in asked:
        return _named(asked)
    if options["capture_amortization"] is None:
        refuse_idle(options, "guide")
    capture = _capture(options, asked, spec)
    genes = _genes(options, asked, spec)
    last = capture if isinstance(capture, MeanField) else MeanField()
    parts = tuple(part for part in (genes, capture) if part is not None and part is not last)
    return Composed((*parts, last)) if parts else last


def _named(asked: Mapping[str, Any]) -> Guide:
    """Guide by name or as an object."""
    value = asked["guide"]
    flat = [name for name in asked if name != "guide"]
    if flat:
        msg = (
            f"guide={value!r} and {', '.join(flat)} were given: leave out guide, or set everything on the object, "
            "e.g. guide=scribe.guides.LowRank(rank=64)."
        )
        raise ValueError(msg)
    if isinstance(value, Guide):
        return whole(value)
    require_known("guide", value, _BY_NAME)
    return whole(_BY_NAME[value]())


def _genes(options: Mapping[str, Any], asked: Mapping[str, Any], spec: ModelSpec) -> Guide | None:
    """The part for the parameters of genes; None where nothing was asked for."""
    family = _family(options, asked, leveled=_has_levels(spec))
    if options["joint_params"] is None:
        return family
    known = (spec.coordinates.sampled, spec.family.params)
    params = named_params(options["joint_params"], known, keyword="joint_params")
    _refuse_frozen("joint_params", params, spec)
    if options["dense_params"] is None:
        return Joint(params, family=family)
    dense = named_params(options["dense_params"], known, keyword="dense_params")
    extra = [name for name in dense if name not in params]
    if extra:
        msg = f"dense_params has {extra}, which joint_params={list(params)} lacks: add it there."
        raise ValueError(msg)
    if not dense:
        if family is not None:
            msg = f"dense_params names none, so that {family.name} couples no genes: leave it, or the guide, out."
            raise ValueError(msg)
        return Joint(params)
    if family is None:
        msg = f"dense_params={list(dense)} needs guide_rank, e.g. guide_rank=10, or guide_flow."
        raise ValueError(msg)
    return Joint(params, family=family, dense=dense)


def _refuse_frozen(keyword: str, params: Iterable[str], spec: ModelSpec) -> None:
    """Raise where a keyword is about a parameter of which there is nothing to infer."""
    for latent in spec.frozen:
        site = latent.name.removesuffix(LATENT_SUFFIX)
        if site in params:
            msg = f"{keyword} is about {site!r}, which informative_priors_freeze holds fixed: leave one of the two out."
            raise ValueError(msg)


def _has_levels(spec: ModelSpec) -> bool:
    """Whether any parameter of genes differs between components or datasets."""
    return any("gene" in latent.axes and set(LEVEL_AXES) & set(latent.axes) for latent in spec.latents)


def _family(options: Mapping[str, Any], asked: Mapping[str, Any], *, leveled: bool) -> LowRank | Flow | None:
    rank, kind = options["guide_rank"], options["guide_flow"]
    if kind is None:
        return None if rank is None else LowRank(rank)
    if rank is not None:
        msg = f"guide_rank={rank!r} and guide_flow={kind!r} are two guides for the same parameters: keep one."
        raise ValueError(msg)
    network = MLP(**{field: asked[name] for name, field in _NETWORK.items() if name in asked})
    flow = Flow(kind, network=network, **{field: options[name] for name, field in _FLOW.items()})
    _refuse_idle(asked, flow, leveled=leveled)
    return flow


def _refuse_idle(asked: Mapping[str, Any], flow: Flow, *, leveled: bool) -> None:
    """Raise at keywords that this flow makes nothing of."""
    pairs = itertools.pairwise(flow.network.hidden_dims)
    needs = {
        "guide_flow_n_bins": (flow.has_splines, "guide_flow='spline_coupling'"),
        "guide_flow_soft_clamp": (not flow.has_splines, "a flow without splines, e.g. guide_flow='affine_coupling'"),
        "guide_flow_mixture_strategy": (leveled, "parameters of genes that differ between components or datasets"),
        "guide_flow_residual": (any(a == b for a, b in pairs), "neighbouring layers of one width"),
    }
    for name, (met, what) in needs.items():
        if name in asked and not met:
            msg = f"{name}={asked[name]!r} has an effect only with {what}: leave it out, or change that."
            raise ValueError(msg)


def _capture(options: Mapping[str, Any], asked: Mapping[str, Any], spec: ModelSpec) -> Guide | None:
    """The part for capture: a table over totals where that is exact, otherwise a network; None for rows of cells."""
    flat = {field: asked[name] for name, field in _CAPTURE.items() if name in asked}
    config = options["capture_amortization"]
    if config is None and not options["amortize_capture"]:
        return None
    if not spec.family.captured:
        msg = f"amortize_capture needs a model with capture, e.g. model='nbvcp'; this one is {spec.family.name}."
        raise ValueError(msg)
    _refuse_frozen("amortize_capture", (str(spec.capture_site),), spec)
    if config is not None:
        return _from_config(config, flat)
    # cells of one total differ in capture between datasets whose genes differ
    exact = spec.totals_suffice and not (spec.levels or isinstance(spec.priors[str(spec.capture_site)], Informed))
    return MeanField(by_total=True) if exact and not flat else Amortised(**flat)


def _from_config(config: Any, flat: Mapping[str, Any]) -> Amortised | None:
    if flat:
        msg = f"capture_amortization replaces {', '.join(f'capture_{name}' for name in flat)}: set them there."
        raise ValueError(msg)
    if isinstance(config, Amortised):
        return config
    if not isinstance(config, Mapping):
        msg = f"capture_amortization must be a dict or scribe.guides.Amortised(...), got {config!r}."
        raise TypeError(msg)
    settings = {str(name).removeprefix("capture_"): value for name, value in config.items()}
    enabled = settings.pop("enabled", True)
    allowed = ["enabled", *(_CAPTURE.values())]
    for name in settings:
        if name not in allowed:
            msg = f"capture_amortization has {name!r}.{nearest(name, allowed)} It takes: {', '.join(allowed)}."
            raise ValueError(msg)
    return Amortised(**settings) if enabled else None
