"""Histograms of genes against what the fitted model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._types import AnyArray
from scribe.pl._canvas import DATA, MODEL, finish, grid, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "ppc"]

_SHADES = {95: 0.18, 68: 0.32, 50: 0.5}


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene and bin of its counts: cells ``observed``, ``median`` and limits of the predictive bands."""
    table: pd.DataFrame = read_derived(adata, key=key, name="ppc", verb="ppc")["bands"]
    return table.reset_index(drop=True)


def ppc(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    *,
    key: str = "scribe",
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> AnyArray:
    """Histogram of the counts of every gene, and the 50, 68 and 95 % bands of the posterior predictive distribution.

    Counts and cells are on axes that are linear near zero and logarithmic above, so that the many zeros and the few
    large counts are both seen. Where the points leave the darkest bands for the model's liking too often, the gene is
    not described by it; :func:`scribe.tl.ppc` says how often.

    Parameters
    ----------
    adata
        Annotated data with a posterior predictive check.
    genes
        Genes to draw among those the check kept; None draws all.
    key
        Name of the fit.
    ax
        Axes to draw into, one per gene; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    Array of the axes, one per gene.
    """
    table = frame(adata, key)
    chosen = _chosen(table, genes, key=key)
    panels = grid(ax, len(chosen), size=(2.3, 2.0))
    for panel, gene in zip(panels, chosen, strict=True):
        draw(panel, table[table["gene"] == gene], gene)
    label(panels, owned=ax is None)
    finish(panels, owned=ax is None, show=show, save=save)
    return np.asarray(panels, dtype=object)


def _chosen(table: pd.DataFrame, genes: Sequence[str] | str | None, *, key: str) -> list[str]:
    kept = list(dict.fromkeys(table["gene"].astype(str)))
    if genes is None and kept:
        return kept
    genes = [] if genes is None else genes
    wanted = [genes] if isinstance(genes, str) else list(genes)
    missing = [gene for gene in wanted if gene not in kept]
    if missing or not wanted:
        msg = (
            f"The check of the fit {key!r} kept no histograms of {missing or 'any gene'}. Run "
            f"scribe.tl.ppc(adata, genes={wanted or '...'}, key={key!r}) first."
        )
        raise KeyError(msg)
    return wanted


def draw(ax: Axes, rows: pd.DataFrame, gene: str) -> None:
    """Draw one gene: bands as steps over the bins, the observed histogram as points in their middle."""
    from matplotlib.ticker import FuncFormatter

    shown = (rows["observed"] > 0) | (rows["upper_95"] > 0)
    rows = rows.iloc[: int(np.flatnonzero(shown)[-1]) + 1]
    left, right = rows["count"].to_numpy() - 0.5, rows["count_to"].to_numpy() + 0.5
    width = right - left
    edges = np.append(left, right[-1])
    for level, alpha in _SHADES.items():
        ax.stairs(
            rows[f"upper_{level}"] / width,
            edges,
            baseline=(rows[f"lower_{level}"] / width).to_numpy(),
            fill=True,
            color=MODEL,
            alpha=alpha,
            linewidth=0,
            label=f"{level} % of replicates",
        )
    observed = rows["observed"].to_numpy() / width
    middle = (rows["count"].to_numpy() + rows["count_to"].to_numpy()) / 2
    ax.plot(middle, observed, "o", color=DATA, markersize=3.2, label="observed", clip_on=False, zorder=3)
    ax.set_xscale("symlog", linthresh=2, linscale=0.6)
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    if right[-1] < 30:
        ax.set_xticks([tick for tick in (0, 1, 2, 5, 10, 20) if tick < right[-1]])
    ax.set_ylim(0, None)
    ax.set_xlim(left[0], right[-1])
    ax.set_title(gene, fontsize="medium")
    tidy(ax)


def label(panels: Sequence[Axes], *, owned: bool) -> None:
    """Name axes and colours once per figure, or in every panel of the user's own."""
    for panel in panels if not owned else ():
        panel.set_xlabel("count")
        panel.set_ylabel("cells per count")
    if not owned:
        panels[0].legend(frameon=False, fontsize="small")
        return
    figure = panels[0].get_figure(root=True)
    if figure is None:
        return
    figure.supxlabel("count", fontsize="medium")
    figure.supylabel("cells per count", fontsize="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize="small")
