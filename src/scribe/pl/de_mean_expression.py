"""Expression of all genes in two groups of cells."""

from __future__ import annotations

from typing import Unpack

import pandas as pd
from anndata import AnnData

from scribe._compare.differential import DifferentialExpression
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import SOFT, drawn, legend_below, log_scale
from scribe.pl._de import by_group, comparison, names_of_genes, plot_of_comparisons, points, title
from scribe.pl._names import Names
from scribe.pl._signature import Axes, Panels

__all__ = ["de_mean_expression", "frame"]


def frame(
    adata: AnnData | DifferentialExpression, key: str = "scribe", *, key_added: str | None = None
) -> pd.DataFrame:
    """One row per comparison and gene with a result."""
    return comparison(adata, key, key_added)


@plot_of_comparisons
def de_mean_expression(
    adata: AnnData | DifferentialExpression,
    groups: Labels | None = None,
    *,
    key: str = "scribe",
    key_added: str | None = None,
    n_names: int = 8,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Expression of every gene in a group and in the one it was compared with, both logarithmic.

    Expected molecules among 10,000. Genes on the identity have the same share in both; the differences that were
    compared are relative to a reference, which may lie beside it.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.de`; or one by itself, of :func:`scribe.compare`.
    """
    tables = by_group(frame(adata, key, key_added=key_added), groups, key, n_names=n_names)
    return drawn(draw, tables, size=(4.2, 4.0), names=gene_names, **figure)


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the surest genes of one comparison."""
    return names_of_genes(rows, "mean_reference", "mean_group")


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one comparison."""
    points(rows, ax, "mean_reference", "mean_group")
    both = rows[["mean_reference", "mean_group"]]
    ends = [both.min(axis=None), both.max(axis=None)]
    ax.plot(ends, ends, color=SOFT, linewidth=0.9, linestyle="--", zorder=1)
    log_scale(ax, "xy")
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel(f"molecules per 10,000 in {rows['reference'].iloc[0]}")
    ax.set_ylabel(f"molecules per 10,000 in {rows['group'].iloc[0]}")
    ax.set_title(title(rows), fontsize="medium")
    legend_below(ax, columns=3)
