"""Share of genes in the counts of a cell against what the fitted model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._types import AnyArray
from scribe.pl._canvas import ACCENT, DATA, SHADES, bands, chosen_among, drawn, plain
from scribe.pl._names import short_name
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["compositional_ppc", "frame"]


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene and bin of shares: cells ``observed``, ``median`` and limits of bands, and ``pseudobulk``."""
    table: pd.DataFrame = read_derived(adata, key=key, name="ppc", verb="ppc")["shares"].reset_index(drop=True)
    return table


@plot("gene", after=("ppc(adata, joint=3)",))
def compositional_ppc(
    adata: AnnData, genes: Sequence[str] | str | None = None, *, key: str = "scribe", **figure: Unpack[Panels]
) -> AnyArray:
    """Share of a gene in all counts of a cell, and the 50, 68 and 95 % bands of the posterior predictive distribution.

    The size of the cell is divided out, so that what is left is how cells differ in composition, and noise. A line
    marks the pseudobulk, the share of the gene in the counts of all cells together. Shares are on a logarithmic axis
    with the cells that do not show the gene at its left end; single counts make separate peaks there.

    Parameters
    ----------
    adata
        Annotated data with a posterior predictive check.
    genes
        Genes to draw among those the check looked at together, its ``joint``; None draws all.
    """
    table = frame(adata, key)
    call = f"scribe.tl.ppc(adata, joint={genes or '...'!r}, key={key!r})"
    chosen = chosen_among(table["gene"], genes, call, "shares")
    return drawn(draw, [table[table["gene"] == gene] for gene in chosen], size=(2.9, 2.3), **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one gene: cells without it, then steps over the bins of the logarithm of its share."""
    from matplotlib.ticker import FuncFormatter

    inner = rows[rows["share"] > 0]
    shown = inner[(inner["observed"] > 0) | (inner["upper_95"] > 0)]
    inner = inner[(inner["share"] >= shown["share"].min()) & (inner["share"] <= shown["share"].max())]
    places = np.log10(np.append(inner["share"], inner["share_to"].iloc[-1]))
    width = places[1] - places[0]
    none = places[0] - 3 * width
    ax.axvline(np.log10(rows["pseudobulk"].iloc[0]), color=ACCENT, linewidth=1.2, label="pseudobulk")
    bands(ax, inner, places)
    cells = pd.concat([rows.iloc[:1], inner])
    x = np.append(none, places[:-1] + width / 2)
    seen = ((cells["observed"] > 0) | (cells["median"] > 0)).to_numpy()
    ax.plot(x[seen], cells["observed"][seen], "o", color=DATA, markersize=3, label="observed", zorder=3, clip_on=False)
    bands(ax, rows.iloc[:1], none + width * np.array([-0.5, 0.5]))
    for patch in ax.patches[-len(SHADES) :]:
        patch.set_label("_without the gene")
    decades = np.arange(np.ceil(none + 0.15 * (places[-1] - none)), np.floor(places[-1]) + 1)
    ax.set_xticks([none, *decades], ["0", *(plain(100 * 10.0**d) for d in decades)])
    ax.set_yscale("symlog", linthresh=1, linscale=0.5, subs=range(2, 10))
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    ax.set_ylim(0, None)
    ax.set_xlabel("share of the counts of a cell (%)")
    ax.set_ylabel("cells")
    ax.set_title(short_name(rows["gene"].iloc[0]), fontsize="medium")
