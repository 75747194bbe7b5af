"""Simulated cells in the map of the observed ones."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import Slots, read_derived
from scribe.pl._canvas import MODEL, SOFT, drawn, legend_below
from scribe.pl._draws import slot
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["frame", "umap_ppc"]


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per cell, observed or simulated (``source``), with its place, ``umap1`` and ``umap2``."""
    record = read_derived(adata, key=key, name="ppc_umap", verb="ppc_umap")
    places = {"observed": slot(adata, "obsm", Slots(key).of("ppc_umap"), key=key), "simulated": record["simulated"]}
    parts = [pd.DataFrame({"source": source, "umap1": at[:, 0], "umap2": at[:, 1]}) for source, at in places.items()]
    table = pd.concat(parts, ignore_index=True)
    table.attrs |= {name: float(record[name]) for name in ("mixing", "expected")}
    return table


@plot(after=("ppc_umap(adata)",))
def umap_ppc(adata: AnnData, *, key: str = "scribe", **figure: Unpack[OnePanel]) -> Axes:
    """Cells simulated from the model in the UMAP of the observed ones.

    Simulated cells of a good model lie where real ones do. The title says how well the two mix: how many of a simulated
    cell's nearest neighbours, on the principal axes behind the map, are simulated, and how many would be if both were
    the same.

    Parameters
    ----------
    adata
        Annotated data with the map of :func:`scribe.tl.ppc_umap`.
    """
    return drawn(draw, [frame(adata, key)], size=(4.8, 4.4), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw a point per cell, observed ones beneath."""
    size = float(np.clip(2e4 / len(table), 1.5, 12.0))
    for source, colour in (("observed", SOFT), ("simulated", MODEL)):
        rows = table[table["source"] == source]
        ax.scatter(rows["umap1"], rows["umap2"], s=size, color=colour, alpha=0.5, lw=0, rasterized=True)
        ax.scatter([], [], s=14, color=colour, lw=0, label=source)
    ax.set_title(
        f"{table.attrs['mixing']:.0%} of a simulated cell's neighbours are simulated,\n"
        f"{table.attrs['expected']:.0%} where both are the same",
        fontsize="small",
        loc="left",
    )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("UMAP 1")
    ax.set_ylabel("UMAP 2")
    legend_below(ax, columns=2)
