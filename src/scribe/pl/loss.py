"""The loss of a fit, and whether it converged."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import require
from scribe.pl._canvas import ACCENT, DATA, MODEL, SOFT, drawn, filled, legend_below, plain
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["frame", "loss"]

_SKIP = 0.1


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """Loss of every step (``step``, ``loss`` in nats) and its running median (``smoothed``); the verdict in `attrs`."""
    record = require(adata, key)
    if "loss" not in record:
        msg = f"The fit {key!r} was made by MCMC, which has no loss: see scribe.pl.trace and scribe.pl.rank."
        raise ValueError(msg)
    values = np.asarray(record["loss"], np.float64)
    window = max(min(len(values) // 100, 101), 1)
    smoothed = pd.Series(values).rolling(window, center=True, min_periods=1).median()
    table = pd.DataFrame({"step": np.arange(1, len(values) + 1), "loss": values, "smoothed": smoothed.to_numpy()})
    verdict = record["convergence"]
    table.attrs |= {"converged": bool(verdict["converged"]), "reason": str(verdict["reason"])}
    return table


@plot()
def loss(adata: AnnData, *, key: str = "scribe", **figure: Unpack[OnePanel]) -> Axes:
    """Loss of a fit against its steps, with the verdict on convergence.

    The axis shows the last nine tenths of the steps at full height; the steep descent before them leaves the panel at
    the top.
    """
    return drawn(draw, [frame(adata, key)], size=(5.2, 3.6), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw the curve, its smoothed form and the verdict."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.plot(table["step"], table["loss"], color=SOFT, linewidth=0.6, alpha=0.6, label="each step", rasterized=True)
    ax.plot(table["step"], table["smoothed"], color=MODEL, linewidth=1.6, label="running median")
    tail = table.iloc[int(len(table) * _SKIP) :]
    low, high = float(tail["loss"].min()), float(tail["smoothed"].max())
    room = 0.06 * max(high - low, abs(low) * 1e-6)
    ax.set_ylim(low - room, high + 4 * room)
    ax.set_xlim(0, len(table) * 1.01)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("step")
    ax.set_ylabel("negative ELBO (nats)")
    converged = table.attrs["converged"]
    verdict = filled(("converged " if converged else "NOT converged: ") + table.attrs["reason"], ax)
    ax.set_title(verdict, loc="left", fontsize="small", color=DATA if converged else ACCENT)
    legend_below(ax, columns=2)
