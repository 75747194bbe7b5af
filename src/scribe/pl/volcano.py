"""Fold changes against how sure their sign is."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._compare.differential import DifferentialExpression
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import SOFT, drawn, legend_below
from scribe.pl._de import by_group, comparison, names_of_genes, plot_of_comparisons, points, show_doubling, title
from scribe.pl._names import Names
from scribe.pl._signature import Axes, Panels

__all__ = ["frame", "volcano"]


def frame(
    adata: AnnData | DifferentialExpression, key: str = "scribe", *, key_added: str | None = None
) -> pd.DataFrame:
    """One row per comparison and gene with a result."""
    return comparison(adata, key, key_added)


@plot_of_comparisons
def volcano(
    adata: AnnData | DifferentialExpression,
    groups: Labels | None = None,
    *,
    key: str = "scribe",
    key_added: str | None = None,
    n_names: int = 12,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Log2 fold change of every gene against its local false sign rate, the surest at the top.

    Coloured are the genes that are called: among them no larger share of signs is expected to be wrong than was asked
    for. With draws as they are, ``method="empirical"``, no rate is below one over their number, and the surest genes
    lie in one line; rates of normal laws are drawn down to 1e-12.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.de`; or one by itself, of :func:`scribe.compare`.
    """
    tables = by_group(frame(adata, key, key_added=key_added), groups, key, n_names=n_names)
    return drawn(draw, tables, size=(4.4, 3.8), names=gene_names, **figure)


_LEAST = 1e-12
"""Least rate that is drawn: laws of normals go on for ever."""


_LOW = 1.5
"""Evidence that the axis shows at least: that of a rate of 3 %."""


def _with_evidence(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(evidence=-np.log10(rows["lfsr"].clip(lower=_LEAST)))


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the surest genes of one comparison."""
    return names_of_genes(_with_evidence(rows), "lfc_mean", "evidence")


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one comparison."""
    shown = _with_evidence(rows)
    points(shown, ax, "lfc_mean", "evidence")
    ax.set_ylim(0, 1.12 * max(shown["evidence"].max(), _LOW))
    limit = rows.attrs["min_lfc"]
    for at in {-limit, limit}:
        ax.axvline(at, color=SOFT, linewidth=0.8, linestyle="--", zorder=1)
    ax.margins(x=0.25)  # names stand outwards of their genes
    show_doubling(ax, "x")
    ax.set_xlabel("log2 fold change")
    ax.set_ylabel("$-\\log_{10}$ local false sign rate")
    ax.set_title(title(rows), fontsize="medium")
    legend_below(ax, columns=3)
