"""The loss of a fit, and whether it converged."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import require
from scribe.pl._canvas import ACCENT, DATA, MODEL, SOFT, finish, grid, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "loss"]

_SKIP = 0.1


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """Loss of every step (``step``, ``loss`` in nats) and its running median (``smoothed``)."""
    values = np.asarray(require(adata, key)["loss"], np.float64)
    window = max(min(len(values) // 100, 101), 1)
    smoothed = pd.Series(values).rolling(window, center=True, min_periods=1).median()
    return pd.DataFrame({"step": np.arange(1, len(values) + 1), "loss": values, "smoothed": smoothed.to_numpy()})


def loss(
    adata: AnnData,
    *,
    key: str = "scribe",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Loss of a fit against its steps, with the verdict on convergence.

    The axis shows the last nine tenths of the steps at full height; the steep descent before them leaves the panel at
    the top.

    Parameters
    ----------
    adata
        Annotated data with a fit.
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
    verdict = require(adata, key)["convergence"]
    panel = grid(ax, 1, size=(5.2, 3.6))[0]
    draw(panel, table, converged=bool(verdict["converged"]), reason=str(verdict["reason"]))
    finish([panel], owned=ax is None, show=show, save=save)
    return panel


def draw(ax: Axes, table: pd.DataFrame, *, converged: bool, reason: str) -> None:
    """Draw the curve, its smoothed form and the verdict."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.plot(table["step"], table["loss"], color=SOFT, linewidth=0.6, alpha=0.6, label="each step", rasterized=True)
    ax.plot(table["step"], table["smoothed"], color=MODEL, linewidth=1.6, label="running median")
    tail = table.iloc[int(len(table) * _SKIP) :]
    low, high = float(tail["loss"].min()), float(tail["smoothed"].max())
    room = 0.06 * max(high - low, abs(low) * 1e-6)
    ax.set_ylim(low - room, high + 4 * room)
    ax.set_xlim(0, len(table) * 1.01)
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("step")
    ax.set_ylabel("negative ELBO (nats)")
    ax.set_title(
        textwrap.fill(("converged " if converged else "NOT converged: ") + reason, 62),
        loc="left",
        fontsize="small",
        color=DATA if converged else ACCENT,
    )
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    tidy(ax)
