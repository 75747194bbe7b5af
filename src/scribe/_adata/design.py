"""What a model may know of cells beside their counts, out of the columns of an AnnData."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._counts.checks import outside_stacklevel
from scribe._counts.design import Design
from scribe._model.checks import nearest, require_whole
from scribe._model.completion import refuse_idle
from scribe._model.labels import as_labels, joined, label_of
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["Covariates", "combinations", "groups_of", "obs_column", "read_covariates"]


@dataclass(frozen=True)
class Covariates:
    """Covariates of the cells and the labels of their levels, empty where the model has none.

    ``factors`` holds for every column that tells datasets apart its label in each of them.
    """

    design: Design = field(default_factory=Design)
    components: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    factors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_covariates(data: object, options: Mapping[str, Any], *, n_cells: int) -> Covariates:
    """Annotations and datasets of cells as the complete options of a fit ask for them.

    ``data`` is what the counts were read from; columns are read from an AnnData alone.
    """
    refuse_idle(options, "mixture", "dataset")
    components, logits = _components(data, options, n_cells=n_cells)
    datasets, dataset, factors = _datasets(data, options)
    if len(components) < 2:
        components, logits = (), None
    # a single dataset is none
    return Covariates(Design(dataset if len(datasets) > 1 else None, logits), components, datasets, factors)


def obs_column(data: object, key: str, *, keyword: str) -> pd.Series:
    """A column of ``obs``; errors name the ``keyword`` that asked for it."""
    if not isinstance(key, str):
        msg = f"{keyword} is the name of one column of adata.obs, got {key!r}."
        raise TypeError(msg)
    if not isinstance(data, AnnData):
        msg = (
            f"{keyword}={key!r} names a column of adata.obs, but the counts are {type(data).__name__}: pass an AnnData."
        )
        raise TypeError(msg)
    if key not in data.obs:
        allowed = list(map(str, data.obs.columns))
        msg = (
            f"{keyword}={key!r} is not a column of adata.obs.{nearest(str(key), allowed)} It has: {', '.join(allowed)}."
        )
        raise KeyError(msg)
    return data.obs[key]


_MOST_NUMBERS = 50
"""A column of numbers with more of them than this is a measurement, not a label."""


def groups_of(adata: AnnData, groupby: str, *, keyword: str = "groupby") -> pd.Categorical:
    """Groups of cells by a column of ``obs``, in its order, under text labels; cells without a value are of none."""
    column = obs_column(adata, groupby, keyword=keyword)
    found = _as_text(column)
    if len(found.categories) == 0:
        msg = f"{keyword}={groupby!r} has a value in none of the cells: name a column of adata.obs that has."
        raise ValueError(msg)
    if pd.api.types.is_numeric_dtype(column.dtype) and len(found.categories) > _MOST_NUMBERS:
        msg = (
            f"{keyword}={groupby!r} has {len(found.categories):,} different numbers: a column of groups is needed. Cut "
            f"it into some, pd.cut(adata.obs[{groupby!r}], 4), or make its type category if they are labels."
        )
        raise ValueError(msg)
    return found


def _as_text(column: pd.Series) -> pd.Categorical:
    """Labels of cells as text, in the order of the column's own values; labels that read alike are one."""
    found = pd.Categorical(column).remove_unused_categories()
    texts = list(map(label_of, found.categories))
    labels = list(dict.fromkeys(texts))
    codes = np.array([*map(labels.index, texts), -1])[found.codes]
    return pd.Categorical.from_codes(codes, labels)


def combinations(
    columns: Mapping[str, AnyArray], separator: str = " | "
) -> tuple[tuple[str, ...], IntArray, dict[str, tuple[str, ...]]]:
    """Labels of the combinations of text labels that there are, that of every cell by number, and what they are of."""
    grouped = pd.DataFrame(columns).groupby(list(columns))
    found = grouped.size().index.to_frame()
    factors = {name: tuple(map(str, found[name])) for name in columns}
    return joined(factors, separator), grouped.ngroup().to_numpy(np.int32), factors


def _components(data: object, options: Mapping[str, Any], *, n_cells: int) -> tuple[tuple[str, ...], FloatArray | None]:
    """Labels of the components, and the log prior odds of every cell."""
    n, given = options["n_components"], (options["priors"] or {}).get("annotation_logits")
    if n is not None:
        require_whole("n_components", n, 2)
    _check_confidence(options)
    if given is not None:
        return _given_logits(np.asarray(given, np.float64), options, n_cells=n_cells)
    if options["annotation_key"] is None:
        return tuple(str(k) for k in range(n or 0)), None
    labels = _labels(data, options)
    order = _order(labels, options)
    extra = () if n is None else tuple(f"unlabelled {k}" for k in range(1, n - len(order) + 1))
    if n is not None and n < len(order):
        msg = (
            f"n_components={n} is fewer than the {len(order)} labels of annotation_key={options['annotation_key']!r}: "
            f"{', '.join(order)}. Leave n_components out, or raise annotation_min_cells to drop rare labels."
        )
        raise ValueError(msg)
    if len(order) + len(extra) < 2:
        msg = (
            f"annotation_key={options['annotation_key']!r} has {len(order)} label(s), so there is nothing to tell "
            "apart: fitting one component. Pass n_components=2 or more for a mixture."
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
        return (), None
    codes = pd.Categorical(labels, categories=list(order)).codes
    logits = np.zeros((n_cells, len(order) + len(extra)))
    known = codes >= 0
    logits[np.flatnonzero(known), codes[known]] = float(options["annotation_confidence"])
    return (*order, *extra), logits if np.any(logits) else None


def _check_confidence(options: Mapping[str, Any]) -> None:
    if options["annotation_confidence"] < 0:
        msg = f"annotation_confidence must not be negative, got {options['annotation_confidence']!r}; 0 ignores labels."
        raise ValueError(msg)


def _given_logits(
    logits: FloatArray, options: Mapping[str, Any], *, n_cells: int
) -> tuple[tuple[str, ...], FloatArray | None]:
    n = options["n_components"]
    if options["annotation_key"] is not None:
        msg = "annotation_key and priors['annotation_logits'] both set the prior odds of the components: keep one."
        raise ValueError(msg)
    if logits.ndim != 2 or len(logits) != n_cells or logits.shape[1] != (n or logits.shape[1]) or logits.shape[1] < 2:
        shape = f"({n_cells:,}, {n or 'components'})"
        msg = f"priors['annotation_logits'] must be finite numbers of shape {shape}, got {logits.shape}."
        raise ValueError(msg)
    if not np.isfinite(logits).all():
        msg = "priors['annotation_logits'] has values that are not finite; use large numbers for near certainty."
        raise ValueError(msg)
    return tuple(str(k) for k in range(logits.shape[1])), logits


def _labels(data: object, options: Mapping[str, Any]) -> pd.Series:
    """Label of every cell, missing where it has none; labels of several columns are joined."""
    keys = options["annotation_key"]
    columns = [obs_column(data, key, keyword="annotation_key") for key in ([keys] if isinstance(keys, str) else keys)]
    missing = np.any([column.isna().to_numpy() for column in columns], axis=0)
    texts = {str(i): np.asarray(_as_text(column), object)[~missing] for i, column in enumerate(columns)}
    names, number, _ = combinations(texts, "__")
    labels = pd.Series(None, columns[0].index, object)
    labels[~missing] = np.asarray(names, object)[number]
    if options["annotation_min_cells"] is not None:
        n = labels.value_counts()
        labels = labels.where(labels.isin(n.index[n >= options["annotation_min_cells"]]), None)
    return labels


def _order(labels: pd.Series, options: Mapping[str, Any]) -> tuple[str, ...]:
    found = sorted(labels.dropna().unique())
    if options["annotation_component_order"] is None:
        return tuple(found)
    order = as_labels(options["annotation_component_order"])
    missing, unknown = sorted(set(found) - set(order)), sorted(set(order) - set(found))
    if missing or unknown:
        msg = (
            f"annotation_component_order must name every label once; missing {missing}, not found {unknown}. "
            f"Labels: {found}."
        )
        raise ValueError(msg)
    return tuple(order)


def _datasets(
    data: object, options: Mapping[str, Any]
) -> tuple[tuple[str, ...], IntArray | None, dict[str, tuple[str, ...]]]:
    """Labels of the datasets, the number of every cell's, and the label of each column in every dataset."""
    asked, n = options["dataset_key"], options["n_datasets"]
    if asked is None:
        return (), None, {}
    keys = list(dict.fromkeys([asked] if isinstance(asked, str) else asked))
    if not keys:
        msg = "dataset_key names no column: name those of adata.obs that tell datasets apart, or leave it out."
        raise ValueError(msg)
    columns = {}
    for key in keys:
        column = obs_column(data, key, keyword="dataset_key")
        if column.isna().any():
            msg = (
                f"dataset_key={key!r} is missing in {int(column.isna().sum()):,} cells: every cell must belong to a "
                f"dataset. Leave these out, adata[adata.obs[{key!r}].notna()]."
            )
            raise ValueError(msg)
        columns[key] = np.asarray(_as_text(column), str)
    labels, number, factors = combinations(columns)
    if n is not None and n != len(labels):
        named = f"adata.obs[{asked!r}]"
        msg = f"n_datasets={n}, but {named} has {len(labels)}: {', '.join(labels)}. Leave n_datasets out."
        raise ValueError(msg)
    return labels, number, factors
