"""Capture probability of every cell against its library size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import Slots, require
from scribe.pl._canvas import ACCENT, DATA, MODEL, finish, grid, log_ticks, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["capture", "frame"]

_LABELS = {
    "absolute": "capture probability",
    "relative": "relative capture probability",
}
_NOTES = {
    "absolute": "absolute: anchored by its prior",
    "relative": "relative: known up to one common factor, which\nan anchor, priors={'organism': ...}, would fix",
}
_BINS = 12
_MANY = 2000


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per cell: ``total`` count, posterior mean ``capture`` and its ``sd``; ``attrs['capture']`` says which."""
    record, slots = require(adata, key), Slots(key)
    missing = [name for name in (slots.total, slots.capture, slots.capture_sd) if name not in adata.obs]
    if missing:
        msg = (
            f"No adata.obs[{missing[0]!r}]: the fit {key!r} has no capture probabilities. Run "
            f"scribe.tl.fit(adata, variable_capture=True, key_added={key!r}) first."
        )
        raise KeyError(msg)
    columns = {"total": slots.total, "capture": slots.capture, "sd": slots.capture_sd}
    table = pd.DataFrame({new: adata.obs[old].to_numpy(np.float64) for new, old in columns.items()}, adata.obs_names)
    table.attrs["capture"] = str(record["data"]["capture"])
    return table


def capture(
    adata: AnnData,
    *,
    key: str = "scribe",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Posterior mean and sd of the capture probability of every cell against its library size, both logarithmic.

    Cells of equal content but unequal capture lie on a line of slope one, which is drawn beside the medians. Cells
    without counts are left out.

    Parameters
    ----------
    adata
        Annotated data with a fit of a model with capture.
    key
        Name of the fit.
    ax
        Axes to draw into; None makes a figure.
    show
        Show the figure; None shows one of its own where there is a window or notebook.
    save
        File to write.

    Returns
    -------
    The axes.
    """
    table = frame(adata, key)
    panel = grid(ax, 1, size=(4.6, 3.8))[0]
    draw(panel, table)
    finish([panel], owned=ax is None, show=show, save=save)
    return panel


def draw(ax: Axes, table: pd.DataFrame) -> None:
    """Draw cells, the median over bins of the library size, and a line of slope one through it."""
    middle = draw_cells(ax, table, "capture")
    total, capture = middle["total"], middle["capture"]
    slope_one = total * np.exp(np.mean(np.log(capture / total)))
    ax.plot(total, slope_one, color=DATA, linewidth=1.0, linestyle="--", label="slope one", zorder=4)
    kind = table.attrs["capture"]
    ax.set_ylabel(_LABELS[kind])
    ax.set_title(_NOTES[kind], loc="left", fontsize="small")
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def draw_cells(ax: Axes, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Draw one column against the library size: cells with error bars, and medians over bins, which are returned.

    The relative error of the column is that of ``capture``.
    """
    seen = table[(table["total"] > 0) & (table["capture"] > 0)]
    # limits on the log scale, so that a bar never reaches zero
    factor = np.exp(seen["sd"] / seen["capture"])
    limits = [seen[name] - seen[name] / factor, seen[name] * factor - seen[name]]
    few = len(seen) <= _MANY
    ax.errorbar(
        seen["total"],
        seen[name],
        yerr=limits,
        fmt="o",
        markersize=3 if few else 2.2,
        markeredgewidth=0,
        color=MODEL,
        ecolor=MODEL,
        elinewidth=0.6,
        alpha=0.45 if few else 0.3,
        label="cell, mean ± sd",
        rasterized=True,
    )
    middle = medians(seen, name)
    ax.plot(middle["total"], middle[name], color=ACCENT, linewidth=1.8, label="median of bins", zorder=3)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        log_ticks(axis)
    ax.set_xlabel("library size (counts per cell)")
    tidy(ax)
    return middle


def medians(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Median total and another column in bins of equal numbers of cells, at most 12."""
    order = table.sort_values("total", kind="stable")[["total", name]]
    parts = np.array_split(np.arange(len(order)), min(_BINS, max(len(order) // 5, 1)))
    return pd.DataFrame([order.iloc[part].median() for part in parts if len(part)])
