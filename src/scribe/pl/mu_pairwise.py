"""Mean expression of all genes in two datasets or components at a time."""

from __future__ import annotations

import itertools
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import labels_of, level_names, read_fit
from scribe._adata.slots import Slots
from scribe._model.checks import nearest
from scribe._model.labels import as_labels
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import ACCENT, DATA, MODEL, drawn, group_name, log_scale
from scribe.pl._draws import slot
from scribe.pl._names import Name, Names
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "mu_pairwise"]

_MOST, _NAMED = 8, 6


def frame(adata: AnnData, key: str = "scribe", *, levels: Labels | None = None) -> pd.DataFrame:
    """One row per gene and pair of levels, ``level`` and ``other``: ``mean`` and ``other_mean`` with their ``sd``."""
    spec = read_fit(adata, key=key).spec
    table = slot(adata, "varm", Slots(key).params, key=key)
    axes = spec.named_axes["mu"]
    every, named = dict(labels_of(spec, axes)), level_names(spec, axes)
    suffix = {named[at]: label for at, label in every.items() if at and table[f"mu_mean{label}"].notna().any()}
    names = list(suffix)
    chosen = names if levels is None else as_labels(levels)
    missing = [name for name in chosen if name not in names]
    if missing:
        msg = f"There is no level {missing[0]!r}.{nearest(missing[0], names)} There are: {'; '.join(names)}."
        raise KeyError(msg)
    if not 2 <= len(chosen) <= _MOST:
        if names:
            remedy = f"Choose levels among {'; '.join(names)}."
        else:
            remedy = f"Fit with n_components=5 or dataset_key=..., dataset_params='mean', key_added={key!r}."
        msg = f"Pairs need 2 to {_MOST} datasets or components that differ in mu, these are {len(chosen)}. {remedy}"
        raise ValueError(msg)
    parts = []
    for x, y in itertools.combinations(chosen, 2):
        columns = {"gene": adata.var_names.to_numpy()}
        for level, prefix, name in (("level", "", x), ("other", "other_", y)):
            columns[level] = group_name(name, " and ".join(axis for axis in axes if axis != "gene"))
            columns |= {f"{prefix}{part}": table[f"mu_{part}{suffix[name]}"].to_numpy() for part in ("mean", "sd")}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def surest(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """The ``n`` genes whose ratio differs most surely from that of most genes, by posterior standard deviations."""
    ratio = np.log(rows["other_mean"] / rows["mean"])
    sd = np.hypot(rows["sd"] / rows["mean"], rows["other_sd"] / rows["other_mean"])
    distance = ((ratio - ratio.median()) / sd).abs()
    return rows.loc[distance.sort_values(ascending=False, kind="stable").index[:n]]


@plot("pair, row by row of the lower triangle", fit="n_components=3")
def mu_pairwise(
    adata: AnnData, levels: Labels | None = None, *, key: str = "scribe", **figure: Unpack[Panels]
) -> AnyArray:
    """Mean expression of all genes, each pair of datasets or components of a fit against one another.

    Posterior means, both axes logarithmic, with the identity; without a capture anchor a shift of all genes along it
    means nothing. The genes named are those whose ratio differs most surely from that of the median gene, counted in
    posterior standard deviations. :func:`scribe.compare_datasets` says how sure that is, gene by gene.

    Parameters
    ----------
    adata
        Annotated data with a fit whose expression differs between datasets or components.
    levels
        Datasets or components to compare, by label; None takes all.
    """
    table = frame(adata, key, levels=levels)
    tables = [rows for _, rows in table.groupby(["level", "other"], sort=False)]
    names = list(dict.fromkeys([*table["level"], *table["other"]]))
    columns = len(names) - 1
    at = {pair: number for number, pair in enumerate(itertools.combinations(range(len(names)), 2))}
    pairs = [(x, y) for y in range(1, len(names)) for x in range(y)]
    places = [(y - 1) * columns + x for x, y in pairs]
    shown = [tables[at[pair]] for pair in pairs]
    return drawn(draw, shown, size=(3.2, 3.1), columns=columns, places=places, names=gene_names, **figure)


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the genes of one pair that differ most surely."""
    places = surest(rows, _NAMED)[["gene", "mean", "other_mean"]].to_numpy()
    return Names([Name(str(gene), across, up, across >= up) for gene, across, up in places], _NAMED)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one pair: a point per gene, the identity, and the names of the genes that differ most surely."""
    few = len(rows) <= 2000
    x, y = rows["mean"], rows["other_mean"]
    ax.scatter(x, y, s=8 if few else 4, alpha=0.4 if few else 0.2, color=MODEL, lw=0, rasterized=True)
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    ax.plot(ends, ends, color=ACCENT, linewidth=1.2, label="identity")
    named = surest(rows, _NAMED)
    ax.scatter(named["mean"], named["other_mean"], s=10, color=DATA, lw=0, label="surest differences")
    log_scale(ax, "xy")
    ax.set_xlabel(f"mean in {rows['level'].iloc[0]}")
    ax.set_ylabel(f"mean in {rows['other'].iloc[0]}")
