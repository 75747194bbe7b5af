"""What several plots read: slots of a fit, and posterior draws of chosen parameters and genes as one tidy table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots
from scribe._model.names import describe, site_among, site_of
from scribe._posterior.by_engine import draws_by_chain
from scribe._posterior.indexing import one_selector
from scribe._posterior.results import Results
from scribe._stats.ppc import spread
from scribe._types import AnyArray, FloatArray, Rng
from scribe.pl._canvas import group_name
from scribe.pl._names import short_name

__all__ = ["QUANTITY", "chosen_params", "draws", "named", "observed_means", "slot", "span_decades"]

QUANTITY = ["parameter", "gene", "level"]
"""Columns that tell one number of a model from another."""

_UNITS = {"mu": "molecules per cell"}
_WIDE = 20.0


def slot(adata: AnnData, attribute: str, name: str, *, key: str, lacks: str = "", option: str = "") -> Any:
    """Value of a slot of the fit ``key``; an error says what the fit lacks without it, and which option gives it."""
    holder = getattr(adata, attribute)
    if name not in holder:
        why = f": the fit {key!r} {lacks}" if lacks else ""
        msg = f"No adata.{attribute}[{name!r}]{why}. Run scribe.tl.fit(adata, {option}key_added={key!r}) first."
        raise KeyError(msg)
    return holder[name]


def observed_means(adata: AnnData, key: str) -> FloatArray:
    """Mean count of every gene over the cells of the fit."""
    return slot(adata, "varm", Slots(key).params, key=key)["observed_mean"].to_numpy(np.float64)


def draws(
    adata: AnnData,
    key: str = "scribe",
    *,
    params: Sequence[str] | str | None = None,
    genes: Sequence[str] | str | None = None,
    n_genes: int = 3,
    n_samples: int = 1000,
    rng: Rng = None,
    chains: bool = False,
) -> pd.DataFrame:
    """One row per draw: ``parameter``, ``gene`` and ``level`` ("" where it has none), ``chain``, ``draw``, ``value``.

    Where no genes are named there are ``n_genes`` of them, from rare to common. With ``chains``, raise where the fit
    was not made by MCMC.
    """
    results = read_fit(adata, key=key)
    if chains and results.posterior.n_draws is None:
        msg = (
            f"The fit {key!r} was made by {results.engine.upper()}, which runs no chains: see scribe.pl.loss for its "
            f"convergence, or run scribe.tl.fit(adata, inference_method='mcmc', key_added={key!r})."
        )
        raise ValueError(msg)
    names = chosen_params(results, params)
    if genes is None:
        some = results[spread(observed_means(adata, key) * adata.n_obs, n_genes)]
    else:
        some = results[one_selector(genes)]
    values = draws_by_chain(some.cells([0]), n_samples, rng=rng)
    labels = {"gene": [""] if some.gene_names is None else list(map(str, some.gene_names))}
    for axis, levels in results.spec.levels.items():
        labels[axis] = [group_name(label, axis) for label in levels.labels]
    parts = []
    for name in names:
        axes = some.posterior.named_axes[name]
        # genes first, then levels
        order = sorted(range(len(axes)), key=lambda i: axes[i] != "gene")
        value = np.asarray(values[name], np.float64).transpose(*(2 + i for i in order), 0, 1)
        gene = labels["gene"] if "gene" in axes else [""]
        level = [", ".join(words) for words in itertools.product(*(labels[axis] for axis in axes if axis != "gene"))]
        index = pd.MultiIndex.from_product([[name], gene, level, *map(range, value.shape[-2:])])
        parts.append(pd.Series(value.ravel(), index, name="value"))
    return pd.concat(parts).rename_axis([*QUANTITY, "chain", "draw"]).reset_index()


def chosen_params(results: Results, params: Sequence[str] | str | None) -> list[str]:
    """Parameters by internal name; an error where one has a value per cell."""
    axes = results.posterior.named_axes
    if params is None:
        return [site.name for site in results.spec.sites if "cell" not in axes[site.name]]
    names = [site_among(name, list(axes)) for name in ([params] if isinstance(params, str) else params)]
    if not names:
        msg = f"params is empty: name some of {', '.join(axes)}, or leave it out."
        raise ValueError(msg)
    by_cell = [name for name in names if "cell" in axes[name]]
    if by_cell:
        others = ", ".join(name for name, mine in axes.items() if "cell" not in mine)
        msg = f"{by_cell[0]!r} has a value for every cell: see scribe.pl.capture, or choose among {others}."
        raise ValueError(msg)
    return names


def named(parameter: str, gene: str = "", level: str = "", *, unit: bool = False) -> str:
    """How a quantity is written on axes: ``expression mu, CD3D [T cell]``."""
    parameter = site_of(parameter) or parameter
    word = describe(parameter, descriptive=True).replace("_", " ")
    plain = parameter.replace("_", " ")
    text = plain if word in plain else f"{word} {plain}"
    text += f", {short_name(gene)}" if gene else ""
    text += f" [{level}]" if level else ""
    return f"{text} ({_UNITS[parameter]})" if unit and parameter in _UNITS else text


def span_decades(values: AnyArray) -> bool:
    """Whether draws are better shown on a logarithmic axis: positive, and over a factor of twenty and more."""
    low, high = np.quantile(values, [0.001, 0.999])
    return bool(np.min(values) > 0 and high > _WIDE * low)
