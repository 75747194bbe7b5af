"""Capture probability of every cell against its library size."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import Slots, require
from scribe.pl._canvas import ACCENT, DATA, MODEL, drawn, filled, legend_below, log_scale
from scribe.pl._draws import slot
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["capture", "frame"]

_NOTES = {
    "absolute": "absolute: anchored by its prior",
    "relative": "relative: known up to one common factor, which an anchor, priors={'organism': ...}, would fix",
}
_BINS = 12
_MANY = 2000


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per cell: ``total`` count, posterior mean ``capture`` and its ``sd``; ``attrs['capture']`` says which."""
    record, slots = require(adata, key), Slots(key)
    columns = {"total": slots.total, "capture": slots.capture, "sd": slots.capture_sd}
    lacking = {"lacks": "has no capture probabilities", "option": "variable_capture=True, "}
    found = {new: slot(adata, "obs", old, key=key, **lacking).to_numpy(np.float64) for new, old in columns.items()}
    table = pd.DataFrame(found, adata.obs_names)
    table.attrs["capture"] = str(record["data"]["capture"])
    return table


@plot()
def capture(adata: AnnData, *, key: str = "scribe", **figure: Unpack[OnePanel]) -> Axes:
    """Posterior mean and sd of the capture probability of every cell against its library size, both logarithmic.

    Cells of equal content but unequal capture lie on a line of slope one, which is drawn beside the medians. Cells
    without counts are left out.

    Parameters
    ----------
    adata
        Annotated data with a fit of a model with capture.
    """
    return drawn(draw, [frame(adata, key)], size=(4.6, 3.8), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw cells, the median over bins of the library size, and a line of slope one through it."""
    middle = draw_cells(table, ax, "capture")
    total, capture = middle["total"], middle["capture"]
    slope_one = total * np.exp(np.mean(np.log(capture / total)))
    ax.plot(total, slope_one, color=DATA, linewidth=1.0, linestyle="--", label="slope one", zorder=4)
    kind = table.attrs["capture"]
    ax.set_ylabel("relative capture probability" if kind == "relative" else "capture probability")
    ax.set_title(filled(_NOTES[kind], ax), loc="left", fontsize="small")
    legend_below(ax, columns=3)


def draw_cells(table: pd.DataFrame, ax: Axes, name: str) -> pd.DataFrame:
    """Draw one column against the library size: cells with error bars, and medians over bins, which are returned.

    The relative error of the column is that of ``capture``.
    """
    seen = table[(table["total"] > 0) & (table["capture"] > 0)]
    # limits on the log scale, so that a bar never reaches zero
    factor = np.exp(seen["sd"] / seen["capture"])
    bars = [seen[name] - seen[name] / factor, seen[name] * factor - seen[name]]
    size, alpha = (3.0, 0.45) if len(seen) <= _MANY else (2.2, 0.3)
    look: dict[str, Any] = {"mew": 0, "elinewidth": 0.6, "rasterized": True, "label": "cell, mean ± sd"}
    ax.errorbar(seen["total"], seen[name], yerr=bars, fmt="o", color=MODEL, markersize=size, alpha=alpha, **look)
    middle = medians(seen, name)
    ax.plot(middle["total"], middle[name], color=ACCENT, linewidth=1.8, label="median of bins", zorder=3)
    log_scale(ax, "xy")
    ax.set_xlabel("library size (counts per cell)")
    return middle


def medians(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Median total and another column in bins of equal numbers of cells, at most 12."""
    order = table.sort_values("total", kind="stable")[["total", name]]
    parts = np.array_split(np.arange(len(order)), min(_BINS, max(len(order) // 5, 1)))
    return pd.DataFrame([order.iloc[part].median() for part in parts if len(part)])
