"""Chains of a fit by MCMC, draw after draw."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray
from scribe.engines import diagnostics
from scribe.pl._canvas import colours, drawn, filled
from scribe.pl._draws import QUANTITY, draws, named
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "trace"]

frame = partial(draws, chains=True)


@plot("parameter, gene and level", fit='inference_method="mcmc", n_samples=200, n_warmup=200, n_chains=4')
def trace(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    **figure: Unpack[Panels],
) -> AnyArray:
    """Draws of a fit by MCMC in the order they were made, one colour per chain, with R-hat and effective sample size.

    Chains that mixed look alike and like noise: none drifts, sticks or keeps to a level of its own.

    Parameters
    ----------
    adata
        Annotated data with a fit by MCMC.
    """
    quantities = frame(adata, key, genes=genes, params=params).groupby(QUANTITY, sort=False)
    return drawn(draw, [rows for _, rows in quantities], size=(3.4, 2.1), **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw the chains of one quantity, and how well they mixed."""
    wide = rows.pivot(index="chain", columns="draw", values="value")
    for (chain, values), colour in zip(wide.iterrows(), colours(len(wide)), strict=True):
        ax.plot(wide.columns, values, color=colour, linewidth=0.7, alpha=0.75, label=f"chain {chain}", rasterized=True)
    found = diagnostics(wide.to_numpy())
    mixed = f"R-hat {found.r_hat:.3f}, effective draws {found.ess_bulk:,.0f}"
    ax.set_title(filled(f"{named(*rows[QUANTITY].iloc[0])}\n{mixed}", ax), fontsize="small", loc="left")
    ax.set_xlabel("draw")
    ax.set_ylabel("value")
    ax.set_xlim(wide.columns[0], wide.columns[-1])
