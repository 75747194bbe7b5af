"""Fold changes against mean expression."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._compare.differential import DifferentialExpression
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import SOFT, drawn, legend_below, log_scale
from scribe.pl._de import by_group, comparison, names_of_genes, plot_of_comparisons, points, show_doubling, title
from scribe.pl._names import Names
from scribe.pl._signature import Axes, Panels

__all__ = ["frame", "ma"]


def frame(
    adata: AnnData | DifferentialExpression, key: str = "scribe", *, key_added: str | None = None
) -> pd.DataFrame:
    """One row per comparison and gene with a result; ``mean`` is the geometric mean of the two groups."""
    table = comparison(adata, key, key_added)
    return table.assign(mean=np.sqrt(table["mean_group"] * table["mean_reference"]))


@plot_of_comparisons
def ma(
    adata: AnnData | DifferentialExpression,
    groups: Labels | None = None,
    *,
    key: str = "scribe",
    key_added: str | None = None,
    n_names: int = 12,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Log2 fold change of every gene against its mean expression, the geometric mean of both groups.

    Most genes should lie about zero at every level of expression: a cloud that bends or is shifted as a whole tells of
    a reference that changes itself.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.de`; or one by itself, of :func:`scribe.compare`.
    """
    tables = by_group(frame(adata, key, key_added=key_added), groups, key, n_names=n_names)
    return drawn(draw, tables, size=(4.6, 3.6), names=gene_names, **figure)


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the surest genes of one comparison."""
    return names_of_genes(rows, "mean", "lfc_mean")


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one comparison."""
    points(rows, ax, "mean", "lfc_mean")
    ax.axhline(0.0, color=SOFT, linewidth=0.8, zorder=1)
    log_scale(ax, "x")
    ax.margins(x=0.12)
    show_doubling(ax, "y")
    ax.set_xlabel("mean expression (molecules per 10,000)")
    ax.set_ylabel("log2 fold change")
    ax.set_title(title(rows), fontsize="medium")
    legend_below(ax, columns=3)
