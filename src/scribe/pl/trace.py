"""Chains of a fit by MCMC, draw after draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray
from scribe.engines import diagnostics
from scribe.pl._canvas import colours, finish, grid, legend, tidy
from scribe.pl._draws import QUANTITY, draws, named, require_chains

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "trace"]


def frame(
    adata: AnnData,
    key: str = "scribe",
    *,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
) -> pd.DataFrame:
    """One row per draw of every chosen quantity."""
    require_chains(adata, key)
    return draws(adata, key, params=params, genes=genes)


def trace(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> AnyArray:
    """Draws of a fit by MCMC in the order they were made, one colour per chain, with R-hat and effective sample size.

    Chains that mixed look alike and like noise: none drifts, sticks or keeps to a level of its own.

    Parameters
    ----------
    adata
        Annotated data with a fit by MCMC.
    genes
        Genes to draw; None takes three of them, from rare to common.
    params
        Parameters to draw, by internal or descriptive names; None takes those that are sampled, without those that
        have a value per cell.
    key
        Name of the fit.
    ax
        Axes to draw into, one per parameter, gene and level; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    Array of the axes, one per parameter, gene and level.
    """
    table = frame(adata, key, genes=genes, params=params)
    groups = list(table.groupby(QUANTITY, sort=False))
    panels = grid(ax, len(groups), size=(3.4, 2.1))
    for panel, (quantity, rows) in zip(panels, groups, strict=True):
        draw(panel, rows, named(*quantity))
    legend(panels, owned=ax is None)
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def draw(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    """Draw the chains of one quantity, and how well they mixed."""
    wide = rows.pivot(index="chain", columns="draw", values="value")
    for (chain, values), colour in zip(wide.iterrows(), colours(len(wide)), strict=True):
        ax.plot(wide.columns, values, color=colour, linewidth=0.7, alpha=0.75, label=f"chain {chain}", rasterized=True)
    found = diagnostics(wide.to_numpy())
    mixed = f"R-hat {found.r_hat:.3f}, effective draws {found.ess_bulk:,.0f}"
    ax.set_title(f"{title}\n{mixed}", fontsize="small", loc="left")
    ax.set_xlabel("draw")
    ax.set_ylabel("value")
    ax.set_xlim(wide.columns[0], wide.columns[-1])
    tidy(ax)
