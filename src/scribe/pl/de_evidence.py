"""How many genes can be called, and how many of the calls would be wrong."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._compare.differential import DifferentialExpression
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import ACCENT, DATA, MODEL, SOFT, drawn, legend_below, log_scale
from scribe.pl._de import by_group, comparison, plot_of_comparisons, title
from scribe.pl._signature import Axes, Panels

__all__ = ["de_evidence", "frame"]


def frame(
    adata: AnnData | DifferentialExpression, key: str = "scribe", *, key_added: str | None = None
) -> pd.DataFrame:
    """One row per comparison and gene, by rising ``lfsr``; ``n_called``: genes with an lfsr up to this one."""
    table = comparison(adata, key, key_added)
    attrs = table.attrs
    table = table.sort_values(["group", "lfsr"], kind="stable")
    number = table.groupby("group")["lfsr"].rank(method="max").astype(int)
    table = table.assign(n_called=number)[["group", "reference", "names", "lfsr", "pefp", "n_called"]]
    table.attrs = attrs
    return table.reset_index(drop=True)


@plot_of_comparisons
def de_evidence(
    adata: AnnData | DifferentialExpression,
    groups: Labels | None = None,
    *,
    key: str = "scribe",
    key_added: str | None = None,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Local false sign rate of genes in rising order, and the expected share of wrong signs among the first of them.

    How far the second line stays below what is tolerated is how many genes may be called.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.de`; or one by itself, of :func:`scribe.compare`.
    """
    tables = by_group(frame(adata, key, key_added=key_added), groups, key)
    return drawn(draw, tables, size=(4.4, 3.4), **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one comparison."""
    target = rows.attrs["target_pefp"]
    number = np.arange(1, len(rows) + 1)
    ax.plot(number, rows["lfsr"], color=MODEL, linewidth=1.4, label="local false sign rate of the next gene")
    ax.plot(number, rows["pefp"], color=ACCENT, linewidth=1.4, label="expected wrong signs among all so far")
    ax.axhline(target, color=SOFT, linewidth=0.9, linestyle="--", zorder=1)
    n = int((rows["pefp"] <= target).sum())
    if n:
        ax.axvline(n, color=SOFT, linewidth=0.9, linestyle="--", zorder=1)
        ax.text(n, 0.98, f" {n:,} genes", transform=ax.get_xaxis_transform(), color=DATA, fontsize="small", va="top")
    log_scale(ax, "x")
    ax.set_ylim(0, None)
    ax.set_xlabel("genes, the surest first")
    ax.set_ylabel("probability of a wrong sign")
    ax.set_title(title(rows), fontsize="medium")
    legend_below(ax, columns=1)
