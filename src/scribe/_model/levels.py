"""Which parameters differ between components and between datasets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from scribe._model.names import nearest, site_of
from scribe._model.spec import MIXING, Levels
from scribe.families import Param

__all__ = ["named_params", "resolve_levels"]


Sampled = tuple[Sequence[Param], Sequence[Param]]
"""Parameters of the coordinates and those of modifiers."""


def named_params(asked: str | Sequence[str], sampled: Sampled, *, keyword: str) -> tuple[str, ...]:
    """Names of parameters from their names or shorthands.

    Parameters
    ----------
    asked
        Names, or one of the shorthands: ``"all"`` parameters of genes, the ``"biological"`` ones of the coordinates,
        the ``"mean"`` (that of genes which carries their level of expression), ``"prob"`` (the others), ``"gate"``.
    sampled
        The parameters there are.
    keyword
        Keyword they were given under, for messages.
    """
    shorthands = _shorthands(sampled)
    names: list[str] = []
    for name in [asked] if isinstance(asked, str) else asked:
        if name in shorthands:
            names += shorthands[name]
            continue
        site = site_of(name)
        if site not in shorthands["all"]:
            known = list(dict.fromkeys([*shorthands["all"], *(k for k, v in shorthands.items() if v)]))
            msg = f"{keyword} has {name!r}.{nearest(name, known)} Choose from: {', '.join(known)}."
            raise ValueError(msg)
        names.append(str(site))
    if not names and isinstance(asked, str):
        msg = f"{keyword}={asked!r} names nothing: this model samples {', '.join(shorthands['all'])}."
        raise ValueError(msg)
    return tuple(dict.fromkeys(names))


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
    }


def resolve_levels(
    sampled: Sampled,
    *,
    components: tuple[str, ...],
    datasets: tuple[str, ...],
    mixture_params: str | Sequence[str],
    dataset_params: str | Sequence[str] | None,
    dataset_mixing: bool | None,
    downgrade: bool,
) -> dict[str, Levels]:
    """Levels of a model.

    Parameters
    ----------
    sampled
        The parameters there are.
    components, datasets
        Labels of the levels; none where the model has no such axis.
    mixture_params, dataset_params, dataset_mixing
        The user's keywords.
    downgrade
        Whether a single dataset leads to a warning rather than an error.
    """
    levels: dict[str, Levels] = {}
    if components:
        levels["component"] = Levels(components, named_params(mixture_params, sampled, keyword="mixture_params"))
    elif mixture_params != "all":
        msg = f"mixture_params={mixture_params!r} needs a mixture: pass n_components or annotation_key."
        raise ValueError(msg)
    if len(datasets) == 1:
        _single_dataset(datasets[0], downgrade=downgrade)
    elif datasets:
        params = () if dataset_params is None else named_params(dataset_params, sampled, keyword="dataset_params")
        params = (*params, *_mixing(asked=dataset_mixing, mixture=bool(components)))
        levels["dataset"] = Levels(datasets, _required(params))
    return levels


def _mixing(*, asked: bool | None, mixture: bool) -> tuple[str, ...]:
    if asked and not mixture:
        msg = "dataset_mixing=True needs a mixture: pass n_components or annotation_key."
        raise ValueError(msg)
    return (MIXING.name,) if mixture and asked in (None, True) else ()


def _required(params: tuple[str, ...]) -> tuple[str, ...]:
    if not params:
        msg = (
            "dataset_key tells datasets apart, but no parameter differs between them. Name some, for example "
            'dataset_params="mean".'
        )
        raise ValueError(msg)
    return params


def _single_dataset(label: str, *, downgrade: bool) -> None:
    msg = f"dataset_key has one dataset only, {label!r}: nothing can differ between datasets."
    if not downgrade:
        msg += " Leave it out, or pass auto_downgrade_single_dataset_hierarchy=True."
        raise ValueError(msg)
    warnings.warn(f"{msg} Fitting without dataset levels.", UserWarning, stacklevel=6)
