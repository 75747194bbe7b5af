"""Joint posterior of pairs of quantities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import pandas as pd
from anndata import AnnData

from scribe._types import AnyArray, Rng
from scribe.pl._canvas import MODEL, drawn, filled, log_scale
from scribe.pl._draws import QUANTITY, draws, named, span_decades
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "posterior_pairs"]

_MOST = 10

frame = partial(draws, n_genes=1)


@plot("pair, row by row of the lower triangle")
def posterior_pairs(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    params: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    n_samples: int = 1000,
    rng: Rng = None,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Joint posterior of every pair of chosen quantities: their draws, and Spearman's rank correlation.

    A quantity is a parameter of one gene, of one component or dataset where it differs between them. Mean-field guides
    hold all sampled parameters independent, whatever the counts say.

    Parameters
    ----------
    genes
        Genes to draw; None takes one of them, from rare to common.
    """
    table = frame(adata, key, genes=genes, params=params, n_samples=n_samples, rng=rng)
    names = list(table[QUANTITY].drop_duplicates().itertuples(index=False, name=None))
    if not 2 <= len(names) <= _MOST:
        found = ", ".join(named(*name) for name in names[:_MOST])
        msg = f"Pairs need 2 to {_MOST} quantities, these are {len(names)}: {found}. Choose genes and params."
        raise ValueError(msg)
    wide = table.pivot(index=["chain", "draw"], columns=QUANTITY, values="value")
    pairs = [(x, y) for y in range(1, len(names)) for x in range(y)]
    columns = len(names) - 1
    places = [(y - 1) * columns + x for x, y in pairs]
    tables = [wide[[names[x], names[y]]] for x, y in pairs]
    return drawn(draw, tables, size=(2.4, 2.2), columns=columns, places=places, **figure)


def draw(pair: pd.DataFrame, ax: Axes) -> None:
    """Draw one pair."""
    from scipy.stats import spearmanr

    x, y = pair.to_numpy().T
    ax.scatter(x, y, s=6, color=MODEL, alpha=0.35, linewidths=0, rasterized=True)
    log_scale(ax, "x" * span_decades(x) + "y" * span_decades(y))
    # adding zero turns -0.00 into 0.00
    correlation = round(float(spearmanr(x, y).statistic), 2) + 0.0
    ax.set_title(f"rank correlation {correlation:.2f}", fontsize="small", loc="right")
    across, up = (filled(named(*quantity), ax) for quantity in pair)
    ax.set_xlabel(across, fontsize="small")
    ax.set_ylabel(up, fontsize="small")
