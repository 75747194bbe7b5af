"""Ranks of the draws of every chain of a fit by MCMC among those of all chains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray
from scribe.pl._canvas import DATA, SOFT, colours, finish, grid, legend, tidy
from scribe.pl._draws import QUANTITY, draws, named, require_chains

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "rank"]

_BINS = 20


def frame(
    adata: AnnData,
    key: str = "scribe",
    *,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
) -> pd.DataFrame:
    """One row per quantity, chain and bin of ranks, ``from`` to ``to`` as shares of all draws: its ``n_draws``."""
    require_chains(adata, key)
    table = draws(adata, key, params=params, genes=genes)
    ranks = table.groupby(QUANTITY, sort=False)["value"].rank(pct=True)
    table["bin"] = np.minimum(np.ceil(ranks.to_numpy() * _BINS).astype(int), _BINS) - 1
    counts = table.groupby([*QUANTITY, "chain"], sort=False)["bin"].value_counts().unstack("bin", fill_value=0)
    whole = counts.reindex(columns=range(_BINS), fill_value=0).stack().rename("n_draws").reset_index()
    whole.insert(4, "from", whole["bin"] / _BINS)
    whole.insert(5, "to", (whole.pop("bin") + 1) / _BINS)
    return whole


def rank(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> AnyArray:
    r"""Rank histograms of a fit by MCMC, one colour per chain [Vehtari21]_.

    The draws of all chains are ranked together. If the chains mixed, each has its draws spread evenly over the ranks;
    a chain that keeps to low or high ones explores another region than the rest, one with too many at both ends
    another width. The grey band holds 95 % of the bins of independent draws; draws of chains are not independent, so
    that bins leave it more often.

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

    References
    ----------
    .. [Vehtari21] Vehtari et al., Rank-normalization, folding, and localization: an improved R-hat for assessing
       convergence of MCMC, *Bayesian Analysis* 16, 2021, doi:10.1214/20-BA1221.
    """
    table = frame(adata, key, genes=genes, params=params)
    groups = list(table.groupby(QUANTITY, sort=False))
    panels = grid(ax, len(groups), size=(3.0, 1.9))
    for panel, (quantity, rows) in zip(panels, groups, strict=True):
        draw(panel, rows)
        panel.set_title(named(*quantity), fontsize="medium")
        panel.set_xlabel("rank among all draws (share)")
        panel.set_ylabel("draws per bin")
    legend(panels, owned=ax is None)
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def draw(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the histogram of every chain, and what is expected of independent draws."""
    from scipy.stats import binom

    chains = list(rows.groupby("chain"))
    n = int(chains[0][1]["n_draws"].sum())
    low, high = binom.interval(0.95, n, 1 / _BINS)
    ax.axhspan(low, high, color=SOFT, alpha=0.2, linewidth=0)
    ax.axhline(n / _BINS, color=DATA, linewidth=0.8, linestyle="--")
    for (chain, part), colour in zip(chains, colours(len(chains)), strict=True):
        edges = np.append(part["from"], part["to"].iloc[-1])
        ax.stairs(part["n_draws"], edges, color=colour, linewidth=1.4, baseline=None, label=f"chain {chain}")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, None)
    tidy(ax)
