"""Marginal posterior of chosen parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray, Rng
from scribe.pl._canvas import colours, drawn, log_scale
from scribe.pl._draws import QUANTITY, named, span_decades
from scribe.pl._draws import draws as frame
from scribe.pl._names import short_name
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "posterior"]

_BINS = 30


@plot("parameter and gene, parameter by parameter")
def posterior(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    n_samples: int = 1000,
    rng: Rng = None,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Marginal posterior of parameters: histograms of draws, one colour per component, dataset or both.

    Histograms have equal areas on the axis they are drawn on, which is logarithmic where the draws span a factor of
    twenty and more.
    """
    table = frame(adata, key, genes=genes, params=params, n_samples=n_samples, rng=rng)
    groups = dict(list(table.groupby(["parameter", "gene"], sort=False)))
    row, column = ({name: i for i, name in enumerate(filter(None, table[part].unique()))} for part in QUANTITY[:2])
    width = max(len(column), 1)
    places = [row[parameter] * width + column.get(gene, 0) for parameter, gene in groups]
    shades = dict(zip(levels := table["level"].unique(), colours(len(levels)), strict=True))
    paint = partial(draw, shades=shades)
    return drawn(paint, [*groups.values()], size=(2.9, 2.2), columns=width, places=places, **figure)


def draw(rows: pd.DataFrame, ax: Axes, shades: dict[str, str]) -> None:
    """Draw one histogram per level, each with bins of its own."""
    from matplotlib.ticker import MaxNLocator

    parameter, gene, _ = rows[QUANTITY].iloc[0]
    logarithmic = span_decades(rows["value"].to_numpy())
    for level, part in rows.groupby("level", sort=False):
        values = part["value"].to_numpy()
        density, edges = np.histogram(np.log(values) if logarithmic else values, _BINS, density=True)
        edges = np.exp(edges) if logarithmic else edges
        ax.stairs(density, edges, fill=True, color=shades[str(level)], alpha=0.35, linewidth=0)
        ax.stairs(density, edges, color=shades[str(level)], linewidth=1.2, label=str(level) or None)
    if logarithmic:
        log_scale(ax, "x")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.set_ylim(0, None)
    ax.set_yticks([])
    ax.set_xlabel(named(parameter, unit=True))
    ax.set_ylabel("posterior density")
    ax.set_title(short_name(gene), fontsize="medium")
