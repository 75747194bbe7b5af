"""Ranks of the draws of every chain of a fit by MCMC among those of all chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray
from scribe.pl._canvas import DATA, SOFT, colours, drawn, filled
from scribe.pl._draws import QUANTITY, draws, named
from scribe.pl._signature import Axes, Panels, plot

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
    table = draws(adata, key, params=params, genes=genes, chains=True)
    ranks = table.groupby(QUANTITY, sort=False)["value"].rank(pct=True)
    table["bin"] = np.minimum(np.ceil(ranks.to_numpy() * _BINS).astype(int), _BINS) - 1
    counts = table.groupby([*QUANTITY, "chain"], sort=False)["bin"].value_counts().unstack("bin", fill_value=0)
    whole = counts.reindex(columns=range(_BINS), fill_value=0).stack().rename("n_draws").reset_index()
    whole.insert(4, "from", whole["bin"] / _BINS)
    whole.insert(5, "to", (whole.pop("bin") + 1) / _BINS)
    return whole


@plot("parameter, gene and level", fit='inference_method="mcmc", n_samples=200, n_warmup=200, n_chains=4')
def rank(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    **figure: Unpack[Panels],
) -> AnyArray:
    r"""Rank histograms of a fit by MCMC, one colour per chain.

    The draws of all chains are ranked together [Vehtari21]_. If the chains mixed, each has its draws spread evenly over
    the ranks; a chain that keeps to low or high ones explores another region than the rest, one with too many at both
    ends another width. The grey band holds 95 % of the bins of independent draws; draws of chains are not independent,
    so that bins leave it more often.

    Parameters
    ----------
    adata
        Annotated data with a fit by MCMC.

    References
    ----------
    .. [Vehtari21] Vehtari et al., Rank-normalization, folding, and localization: an improved R-hat for assessing
       convergence of MCMC, *Bayesian Analysis* 16, 2021, doi:10.1214/20-BA1221.
    """
    quantities = frame(adata, key, genes=genes, params=params).groupby(QUANTITY, sort=False)
    return drawn(draw, [rows for _, rows in quantities], size=(3.0, 1.9), **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
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
    ax.set_title(filled(named(*rows[QUANTITY].iloc[0]), ax), fontsize="small", loc="left")
    ax.set_xlabel("rank among all draws (share)")
    ax.set_ylabel("draws per bin")
