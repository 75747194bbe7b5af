"""Residuals of genes against the normal law that they follow if the model holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from scribe._adata.slots import Slots, read_derived
from scribe._posterior.indexing import index_of
from scribe._stats.residuals import GROUPS, NORMAL, expression_group
from scribe._types import AnyArray, FloatArray
from scribe.pl._canvas import DATA, MODEL, SOFT, drawn
from scribe.pl._draws import observed_means
from scribe.pl._names import short_name
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "gof"]

_GENES = "90 % of genes"


def frame(adata: AnnData, key: str = "scribe", *, genes: Sequence[str] | str | None = None) -> pd.DataFrame:
    """One row per panel and normal score: the quantile ``residual`` there, and limits of what is expected by chance.

    A ``panel`` holds the ``n_genes`` of similar mean count, with the limits ``genes_lower`` and ``genes_upper`` of the
    central 90 % of the quantiles of single ones, or one gene. ``lower`` and ``upper`` have the quantile of a single
    gene between them in 90 % of the cases if the model is right.
    """
    record, slots = read_derived(adata, key=key, name="gof", verb="gof"), Slots(key)
    quantiles = np.asarray(adata.varm[slots.of("gof")], np.float64)
    lower, upper = _by_chance(int(record["n_cells"]))
    expected = pd.DataFrame({"normal": NORMAL, "lower": lower, "upper": upper})
    if genes is not None:
        chosen = index_of(genes, adata.n_vars, adata.var_names, what="gene")
        parts = [expected.assign(panel=adata.var_names[i], residual=quantiles[i]) for i in chosen]
        return pd.concat(parts, ignore_index=True)
    group, pooled = expression_group(observed_means(adata, key)), record["table"].set_index("expression")["residual"]
    parts = []
    for number, name in enumerate(GROUPS):
        mine = quantiles[group == number]
        if len(mine):
            low, high = np.quantile(mine, (0.05, 0.95), axis=0)
            limits = {"genes_lower": low, "genes_upper": high}
            parts.append(expected.assign(panel=name, residual=pooled[name].to_numpy(), n_genes=len(mine), **limits))
    return pd.concat(parts, ignore_index=True)


def _by_chance(n_cells: int) -> tuple[FloatArray, FloatArray]:
    """Central 90 % limits of quantiles of so many normal residuals, by the law of order statistics."""
    rank = np.clip(ndtr(NORMAL) * n_cells + 0.5, 1, n_cells)
    return ndtri(beta.ppf(0.05, rank, n_cells + 1 - rank)), ndtri(beta.ppf(0.95, rank, n_cells + 1 - rank))


@plot("group of genes, or gene", after=("gof(adata)",))
def gof(
    adata: AnnData, genes: Sequence[str] | str | None = None, *, key: str = "scribe", **figure: Unpack[Panels]
) -> AnyArray:
    """Quantiles of the residuals of genes against those of the normal law, which they follow if the model holds.

    The counts of a gene are larger than the model says where the points are above the diagonal. A line steeper than it
    says that they vary more than the model allows, one that is flatter that they vary less; a bend at one end is a tail
    that is too long or too short. Without ``genes`` there is a panel for those with a mean count below 0.1, from there
    to 1, and above, with the residuals of all together and a band that has 90 % of the genes: where the model holds it
    is as wide as the grey one, which chance alone would give a single gene.

    Parameters
    ----------
    adata
        Annotated data with residuals, of :func:`scribe.tl.gof`.
    genes
        Genes to draw; None draws all that were detected, by mean count.
    """
    table = frame(adata, key, genes=genes)
    tables = [part for _, part in table.groupby("panel", sort=False)]
    columns = len(tables) if len(tables) <= len(GROUPS) else None
    return drawn(draw, tables, size=(2.6, 2.7), columns=columns, **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one panel: what chance gives, the band of genes if there is one, the diagonal, and the quantiles."""
    normal, name = rows["normal"], rows["panel"].iloc[0]
    chance = "90 % by chance, one gene"
    ax.fill_between(normal, rows["lower"], rows["upper"], color=SOFT, alpha=0.35, linewidth=0, label=chance)
    if "genes_lower" in rows:
        ax.fill_between(
            normal, rows["genes_lower"], rows["genes_upper"], color=MODEL, alpha=0.3, linewidth=0, label=_GENES
        )
        ax.set_title(f"mean count {name}\n{rows['n_genes'].iloc[0]:,} genes", fontsize="medium")
    else:
        ax.set_title(short_name(name), fontsize="medium")
    ax.plot(NORMAL[[0, -1]], NORMAL[[0, -1]], color=SOFT, linewidth=0.9, zorder=1.5)
    ax.plot(normal, rows["residual"], "o", color=DATA, markersize=2.6, label="residuals", zorder=3)
    ax.set_xlim(-3.3, 3.3)
    ax.set_ylim(-4.9, 4.9)
    ax.set_xticks([-2, 0, 2])
    ax.set_yticks([-4, -2, 0, 2, 4])
    ax.set_xlabel("normal quantile")
    ax.set_ylabel("residual quantile")
