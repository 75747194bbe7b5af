"""Joint posterior of pairs of quantities."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray, Rng
from scribe.pl._canvas import MODEL, finish, grid, log_ticks, tidy
from scribe.pl._draws import QUANTITY, draws, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "posterior_pairs"]

_MOST = 10
_WIDE = 20.0


def frame(
    adata: AnnData,
    key: str = "scribe",
    *,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    n_samples: int = 1000,
    rng: Rng = None,
) -> pd.DataFrame:
    """One row per draw of every chosen quantity."""
    return draws(adata, key, params=params, genes=genes, n_genes=1, n_samples=n_samples, rng=rng)


def posterior_pairs(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    n_samples: int = 1000,
    rng: Rng = None,
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> AnyArray:
    """Joint posterior of every pair of chosen quantities: their draws, and Spearman's rank correlation.

    A quantity is a parameter of one gene, of one component or dataset where it differs between them. Mean-field guides
    hold all sampled parameters independent, whatever the counts say.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    genes
        Genes to draw; None takes one of them, from rare to common.
    params
        Parameters to draw, by internal or descriptive names; None takes those that are sampled, without those that
        have a value per cell.
    key
        Name of the fit.
    n_samples
        Draws of a fit by SVI; of one by MCMC all are shown.
    rng
        Seed, key or generator of these draws; the seed of the fit unless given.
    ax
        Axes to draw into, one per pair, row by row of the lower triangle; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    Array of the axes, one per pair, row by row of the lower triangle.
    """
    table = frame(adata, key, genes=genes, params=params, n_samples=n_samples, rng=rng)
    wide = table.pivot(index=["chain", "draw"], columns=QUANTITY, values="value")
    names = list(table[QUANTITY].drop_duplicates().itertuples(index=False, name=None))
    if not 2 <= len(names) <= _MOST:
        found = ", ".join(named(*name) for name in names[:_MOST])
        msg = f"Pairs need 2 to {_MOST} quantities, these are {len(names)}: {found}. Choose genes and params."
        raise ValueError(msg)
    pairs = [(x, y) for y, x in itertools.product(range(1, len(names)), range(len(names) - 1)) if x < y]
    columns = len(names) - 1
    places = [(y - 1) * columns + x for x, y in pairs]
    panels = grid(ax, len(pairs), size=(2.4, 2.2), columns=columns, places=places)
    for panel, (x, y) in zip(panels, pairs, strict=True):
        draw(panel, wide[names[x]].to_numpy(), wide[names[y]].to_numpy())
        # within a triangle of our own, labels at its edges suffice
        if ax is not None or y == columns:
            panel.set_xlabel(named(*names[x]))
        if ax is not None or x == 0:
            panel.set_ylabel(named(*names[y]))
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def draw(ax: Axes, x: AnyArray, y: AnyArray) -> None:
    """Draw one pair."""
    from scipy.stats import spearmanr

    ax.scatter(x, y, s=6, color=MODEL, alpha=0.35, linewidths=0, rasterized=True)
    for axis, values, scale in ((ax.xaxis, x, ax.set_xscale), (ax.yaxis, y, ax.set_yscale)):
        if values.min() > 0 and np.quantile(values, 0.999) / np.quantile(values, 0.001) > _WIDE:
            scale("log")
            log_ticks(axis)
    # adding zero turns -0.00 into 0.00
    correlation = round(float(spearmanr(x, y).statistic), 2) + 0.0
    ax.set_title(f"rank correlation {correlation:.2f}", fontsize="small", loc="right")
    tidy(ax)
