"""Marginal posterior of chosen parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray, Rng
from scribe.pl._canvas import colours, finish, grid, legend, log_ticks, tidy
from scribe.pl._draws import draws, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "posterior"]

_BINS = 30
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
    return draws(adata, key, params=params, genes=genes, n_samples=n_samples, rng=rng)


def posterior(
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
    """Marginal posterior of parameters: histograms of draws, one colour per component, dataset or both.

    Histograms have equal areas on the axis they are drawn on, which is logarithmic where the draws span a factor of
    twenty and more.

    Parameters
    ----------
    adata
        Annotated data with a fit.
    genes
        Genes to draw; None takes three of them, from rare to common.
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
        Axes to draw into, one per parameter and gene, parameter by parameter; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    Array of the axes, one per parameter and gene, parameter by parameter.
    """
    table = frame(adata, key, genes=genes, params=params, n_samples=n_samples, rng=rng)
    groups = list(table.groupby(["parameter", "gene"], sort=False))
    rows = {name: i for i, name in enumerate(table["parameter"].unique())}
    columns = {name: i for i, name in enumerate(gene for gene in table["gene"].unique() if gene)}
    width = max(len(columns), 1)
    places = [rows[parameter] * width + columns.get(gene, 0) for (parameter, gene), _ in groups]
    panels = grid(ax, len(groups), size=(2.9, 2.2), columns=width, places=places)
    shades = dict(zip(levels := table["level"].unique(), colours(len(levels)), strict=True))
    for panel, ((parameter, gene), part) in zip(panels, groups, strict=True):
        draw(panel, part, shades)
        panel.set_xlabel(named(parameter, unit=True))
        panel.set_title(gene, fontsize="medium")
    legend(panels, owned=ax is None)
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def draw(ax: Axes, rows: pd.DataFrame, shades: dict[str, str]) -> None:
    """Draw one histogram per level, each with bins of its own."""
    low, high = rows["value"].quantile([0.001, 0.999])
    logarithmic = low > 0 and high / low > _WIDE
    for level, part in rows.groupby("level", sort=False):
        values = part["value"].to_numpy()
        density, edges = np.histogram(np.log(values) if logarithmic else values, _BINS, density=True)
        edges = np.exp(edges) if logarithmic else edges
        ax.stairs(density, edges, fill=True, color=shades[str(level)], alpha=0.35, linewidth=0)
        ax.stairs(density, edges, color=shades[str(level)], linewidth=1.2, label=str(level) or None)
    if logarithmic:
        ax.set_xscale("log")
        log_ticks(ax.xaxis)
    ax.set_ylim(0, None)
    ax.set_yticks([])
    ax.set_ylabel("posterior density")
    tidy(ax)
