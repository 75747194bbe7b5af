"""Which parameters differ between components and between datasets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from scribe._model.names import nearest, site_of
from scribe._model.spec import MIXING, Levels
from scribe.families import Param

__all__ = ["named_params", "resolve_levels"]


def named_params(
    asked: str | Sequence[str], coordinates: Sequence[Param], added: Sequence[Param], *, keyword: str
) -> tuple[str, ...]:
    """Names of parameters from their names or shorthands.

    Parameters
    ----------
    asked
        Names, or one of the shorthands: ``"all"`` parameters of genes, the ``"biological"`` ones of the coordinates,
        the ``"mean"`` (that of genes which carries their level of expression), ``"prob"`` (the other one), ``"gate"``.
    coordinates, added
        Parameters of the coordinates and of modifiers.
    keyword
        Keyword they were given under, for messages.
    """
    shorthands = _shorthands(coordinates, added)
    names: list[str] = []
    for name in [asked] if isinstance(asked, str) else asked:
        if name in shorthands:
            names += shorthands[name]
            continue
        site = site_of(name)
        if site not in shorthands["all"]:
            known = [*shorthands["all"], *(k for k, v in shorthands.items() if v)]
            msg = f"{keyword} has {name!r}.{nearest(name, known)} Choose from: {', '.join(dict.fromkeys(known))}."
            raise ValueError(msg)
        names.append(site)
    if not names and isinstance(asked, str):
        msg = f"{keyword}={asked!r} names nothing: this model samples {', '.join(shorthands['all'])}."
        raise ValueError(msg)
    return tuple(dict.fromkeys(names))


def _shorthands(coordinates: Sequence[Param], added: Sequence[Param]) -> dict[str, list[str]]:
    biological, others = [p.name for p in coordinates], [p.name for p in added]
    # where expression itself is not sampled, the size carries it
    mean = "mu" if "mu" in biological else "r"
    return {
        "all": [*biological, *others],
        "biological": biological,
        "mean": [name for name in biological if name == mean],
        "prob": [name for name in biological if name != mean],
        "gate": [name for name in others if name == "gate"],
    }


def resolve_levels(
    coordinates: Sequence[Param],
    added: Sequence[Param],
    options: Mapping[str, Any],
    *,
    components: tuple[str, ...],
    datasets: tuple[str, ...],
) -> dict[str, Levels]:
    """Levels of a model.

    Parameters
    ----------
    coordinates, added
        Parameters of the coordinates and of modifiers.
    options
        ``mixture_params``, ``dataset_params``, ``dataset_mixing`` and ``auto_downgrade_single_dataset_hierarchy``.
    components, datasets
        Labels of the levels; none where the model has no such axis.
    """
    levels: dict[str, Levels] = {}
    if components:
        params = named_params(options["mixture_params"], coordinates, added, keyword="mixture_params")
        levels["component"] = Levels(components, params)
    elif options["mixture_params"] != "all":
        msg = f"mixture_params={options['mixture_params']!r} needs a mixture: pass n_components or annotation_key."
        raise ValueError(msg)
    if len(datasets) == 1:
        _single_dataset(datasets[0], options)
    elif datasets:
        levels["dataset"] = Levels(datasets, _of_datasets(coordinates, added, options, mixture=bool(components)))
    return levels


def _of_datasets(
    coordinates: Sequence[Param], added: Sequence[Param], options: Mapping[str, Any], *, mixture: bool
) -> tuple[str, ...]:
    asked, mixing = options["dataset_params"], options["dataset_mixing"]
    params = () if asked is None else named_params(asked, coordinates, added, keyword="dataset_params")
    if mixing and not mixture:
        msg = "dataset_mixing=True needs a mixture: pass n_components or annotation_key."
        raise ValueError(msg)
    if mixture and mixing in (None, True):
        params = (*params, MIXING.name)
    if not params:
        msg = (
            "dataset_key tells datasets apart, but no parameter differs between them. Name some, for example "
            'dataset_params="mean", or give them a hierarchical prior, expression_dataset_prior="gaussian".'
        )
        raise ValueError(msg)
    return params


def _single_dataset(label: str, options: Mapping[str, Any]) -> None:
    msg = f"dataset_key has one dataset only, {label!r}: nothing can differ between datasets."
    if not options["auto_downgrade_single_dataset_hierarchy"]:
        msg += " Leave it out, or pass auto_downgrade_single_dataset_hierarchy=True."
        raise ValueError(msg)
    warnings.warn(f"{msg} Fitting without dataset levels.", UserWarning, stacklevel=6)
