"""Groups of cells by a column of ``obs``, as the levels of a fit: of the one there is, or of one made for them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.design import Covariates, combinations
from scribe._adata.slots import Slots
from scribe._counts.design import Design
from scribe._fit import fit_counts
from scribe._model.completion import complete
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe._posterior.expression import Level
from scribe._posterior.level_counts import LevelCounts
from scribe._posterior.results import Results
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["Leaves", "leaves_by_obs"]

_log = logging.getLogger("scribe")


@dataclass(frozen=True)
class Leaves:
    """Levels of a fit that groups of cells are made of.

    Parameters
    ----------
    results
        The fit.
    levels
        Its levels.
    group
        Number of the group of every level.
    sample
        Label of the sample of every level, or None where samples are not told apart.
    n_cells
        Cells of every level.
    """

    results: Results
    levels: tuple[Level, ...]
    group: IntArray
    sample: AnyArray | None
    n_cells: AnyArray

    @functools.cached_property
    def counts(self) -> LevelCounts:
        """What the counts of every level say of the means of genes."""
        return self.results.count_levels(self.levels)


def leaves_by_obs(
    adata: AnnData,
    results: Results,
    groups: pd.Categorical,
    samples: pd.Categorical | None,
    *,
    key: str,
    names: tuple[str, str | None],
    component: str | int | None,
    seed: int,
) -> Leaves:
    """Levels of the fit ``key`` by group and, where samples are told apart, by sample; ``names`` are their columns.

    Of a mixture groups are its components, or its datasets within one ``component``. Where the fit does not know them,
    one is made that does, of the same family: see `_fit_leaves`.
    """
    if component is not None and "component" not in results.spec.levels:
        msg = f"component={component!r} chooses a component, but the fit is no mixture: leave it out."
        raise ValueError(msg)
    found = None
    if samples is None and component is None:
        found = _of_components(results, groups, key=key, groupby=names[0])
    found = found or _of_datasets(adata, results, groups, samples, key=key, component=component)
    if found is None and "component" in results.spec.levels:
        raise ValueError(_not_told_apart(results, names, component, of_components=Slots(key).component))
    return found or _fit_leaves(results, groups, samples, names=names, seed=seed)


def _of_components(results: Results, groups: pd.Categorical, *, key: str, groupby: str) -> Leaves | None:
    """Components of a mixture, where groups are these or the annotation of these; those of all datasets together."""
    levels = results.spec.levels.get("component")
    if levels is None:
        return None
    labels = list(levels.labels)
    if not set(groups.categories) <= set(labels):
        return None
    if groupby != Slots(key).component and not _is_annotation(groups, labels, results.posterior.design.logits):
        return None
    if "component" not in results.spec.natural_axes["log_mean"]:
        msg = (
            f"Expression is the same in all components of the fit {key!r}, so that {groupby!r} has nothing to compare: "
            "fit with the mean among mixture_params."
        )
        raise ValueError(msg)
    dataset = results.posterior.design.datasets(results.n_cells)
    n_cells = np.zeros((len(groups.categories), int(dataset.max()) + 1), int)
    known = groups.codes >= 0
    np.add.at(n_cells, (groups.codes[known], dataset[known]), 1)
    present = n_cells > 0
    present[~present.any(axis=1), 0] = True  # a component may be the most probable one of no cell
    group, at = np.nonzero(present)
    numbers = tuple((labels.index(groups.categories[g]), int(d)) for g, d in zip(group, at, strict=True))
    return Leaves(results, numbers, group, None, n_cells[group, at])


def _is_annotation(groups: pd.Categorical, labels: list[str], logits: FloatArray | None) -> bool:
    """Whether groups are what the components were fitted to: the label that every cell with one has by prior odds."""
    if logits is None:
        return False
    known = np.any(logits > 0, axis=1)
    return bool(np.all(np.asarray(groups)[known] == np.asarray(labels)[np.argmax(logits[known], axis=1)]))


def _of_datasets(
    adata: AnnData,
    results: Results,
    groups: pd.Categorical,
    samples: pd.Categorical | None,
    *,
    key: str,
    component: str | int | None,
) -> Leaves | None:
    """Datasets whose cells are all of one group and, if asked, of one sample, with means of their own."""
    design, axes = results.posterior.design, results.spec.natural_axes["log_mean"]
    if design.dataset is None or "dataset" not in axes or ("component" in axes and component is None):
        return None
    n = len(results.spec.levels["dataset"].labels)
    of_group = _of_level(design.dataset, np.asarray(groups.codes), n)
    of_sample = None if samples is None else _of_level(design.dataset, np.asarray(samples.codes), n)
    if of_group is None or (samples is not None and of_sample is None):
        return None
    number, inside = 0, np.ones(len(design.dataset), bool)
    if component is not None:
        number = results.get_component(component).posterior.chosen["component"]
        assigned = adata.obs.get(Slots(key).component)
        # before tl.assign the sizes of datasets stand for those of the component in them
        inside = inside if assigned is None else np.asarray(assigned) == results.spec.levels["component"].labels[number]
    n_cells = np.bincount(design.dataset[inside], minlength=n)
    known = np.flatnonzero((of_group >= 0) & (n_cells > 0))
    sample = None if samples is None or of_sample is None else np.asarray(samples.categories)[of_sample[known]]
    return Leaves(results, tuple((number, int(d)) for d in known), of_group[known], sample, n_cells[known])


def _of_level(dataset: IntArray, codes: IntArray, n: int) -> IntArray | None:
    """What the cells of every dataset have in common, -1 where they have no value; None where they differ."""
    table = pd.DataFrame({"dataset": dataset, "code": codes}).drop_duplicates()
    if table["dataset"].duplicated().any():
        return None
    out = np.full(n, -1)
    out[table["dataset"]] = table["code"]
    return out


def _fit_leaves(
    results: Results,
    groups: pd.Categorical,
    samples: pd.Categorical | None,
    *,
    names: tuple[str, str | None],
    seed: int,
) -> Leaves:
    """Fit the family again with a mean for every gene and group, or group and sample, on the cells that have one."""
    columns = {names[0]: groups} | ({} if samples is None or names[1] is None else {names[1]: samples})
    known = np.flatnonzero(np.all([column.codes >= 0 for column in columns.values()], axis=0))
    labels, dataset, factors = combinations({n: np.asarray(x)[known].astype(str) for n, x in columns.items()})
    if len(labels) < 2:
        msg = f"All cells with a value are of one group, {labels[0]!r}: there is nothing to compare."
        raise ValueError(msg)
    spec = _spec_of_leaves(results.spec, labels, factors)
    _log.info("%s: fitting %s with means of %d groups of cells", " and ".join(columns), spec.family.name, len(labels))
    counts = results.counts().subset(cells=known)
    options = complete({"model_config": spec})
    covariates = Covariates(Design(dataset), (), labels, factors)
    fitted = fit_counts(counts, None, options, seed=seed, covariates=covariates)
    of_group = pd.Categorical(factors[names[0]], categories=groups.categories).codes
    sample = None if names[1] is None else np.asarray(factors[names[1]])
    levels = tuple((0, d) for d in range(len(labels)))
    return Leaves(fitted, levels, np.asarray(of_group), sample, np.bincount(dataset, minlength=len(labels)))


def _not_told_apart(
    results: Results, names: tuple[str, str | None], component: str | int | None, *, of_components: str
) -> str:
    """Why a mixture cannot answer, and what can."""
    columns = [name for name in names if name]
    if component is None and "dataset" in results.spec.levels:
        labels = ", ".join(results.spec.levels["component"].labels)
        return (
            f"The fit is a mixture of components with datasets. To compare the datasets of {columns!r} say in which "
            f"component, component=, one of {labels}; to compare components pass groupby={of_components!r}."
        )
    return (
        f"The fit is a mixture and does not tell the groups of {columns!r} apart: compare its components "
        f"(groupby={of_components!r}), or fit with dataset_key={columns!r} and dataset_params='mean'."
    )


def _spec_of_leaves(spec: ModelSpec, labels: tuple[str, ...], factors: Mapping[str, tuple[str, ...]]) -> ModelSpec:
    """The model with independent means of datasets, and of negative binomial genes a dispersion for each.

    Priors of what both models sample are kept.
    """
    coordinates = "mean_disp" if spec.family.layers[0] == "nb" else spec.coordinates.name
    anchor = {} if spec.anchor is None else {"capture_efficiency": (spec.anchor.log_m0, spec.anchor.sigma)}
    about: dict[str, Any] = {"parameterization": coordinates, "priors": anchor or None}
    made = resolve_spec(spec.family, **about, datasets=labels, factors=factors, dataset_params="mean")
    same = coordinates == spec.coordinates.name
    own = {param.name for param in made.coordinates.sampled}
    kept = {name: prior for name, prior in spec.priors.items() if name in made.priors and (same or name not in own)}
    return made.with_priors({name: prior for name, prior in kept.items() if not prior.adds})
