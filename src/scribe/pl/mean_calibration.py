"""Observed against predicted mean of every gene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import labels_of, read_fit
from scribe._adata.slots import Slots, require
from scribe._model.spec import LEVEL_AXES, ModelSpec
from scribe._types import FloatArray
from scribe.pl._canvas import ACCENT, MODEL, finish, grid, log_ticks, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "mean_calibration"]


class Calibration(NamedTuple):
    """Agreement of two positive arrays on the log scale: Pearson correlation and slope of the first principal axis."""

    correlation: float
    slope: float


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene: ``observed`` and ``predicted`` mean count per cell."""
    record, name = require(adata, key), Slots(key).params
    if name not in adata.varm:
        msg = f"No adata.varm[{name!r}]. Run scribe.tl.fit(adata, key_added={key!r}) first."
        raise KeyError(msg)
    table = adata.varm[name]
    spec, capture = read_fit(adata, key=key).spec, np.asarray(record["data"]["mean_capture"])
    mean, gate = (_by_level(table, spec, site) for site in ("mu", "gate"))
    predicted = np.sum(capture[..., None] * mean * (1.0 - gate), axis=(0, 1))
    observed = table["observed_mean"].to_numpy(np.float64)
    return pd.DataFrame({"observed": observed, "predicted": predicted}, index=adata.var_names)


def _by_level(table: pd.DataFrame, spec: ModelSpec, site: str) -> FloatArray:
    """Posterior mean of a parameter, (components, datasets, genes), of length 1 where it is the same; 0 without it."""
    axes = spec.readable_axes.get(site)
    if axes is None:
        return np.zeros((1, 1, 1))
    columns = [table[f"{site}_mean{label}"].to_numpy(np.float64) for _, label in labels_of(spec, axes)]
    shape = [spec.lengths[axis] if axis in axes else 1 for axis in LEVEL_AXES]
    return np.reshape(columns, (*shape, len(table)))


def calibration(table: pd.DataFrame) -> Calibration:
    """Correlation and slope on the log scale, over genes that were seen."""
    seen = table[(table["observed"] > 0) & (table["predicted"] > 0)]
    if len(seen) < 3:
        return Calibration(np.nan, np.nan)
    x, y = np.log(seen["observed"]), np.log(seen["predicted"])
    (a, b), (_, d) = np.cov(x, y)
    correlation = b / np.sqrt(a * d) if a * d > 0 else np.nan
    # neither axis is the cause of the other: the principal axis treats them alike
    slope = np.tan(0.5 * np.arctan2(2 * b, a - d))
    return Calibration(float(correlation), float(slope))


def mean_calibration(
    adata: AnnData,
    *,
    key: str = "scribe",
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> Axes:
    """Mean count of every gene as observed and as the model predicts it, both logarithmic.

    The prediction is the posterior mean expression times the mean capture probability, times the share of open gates
    in models with zero inflation; of mixtures and several datasets, their sum over the cells of all levels.
    Genes without counts are left out.

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
    panel = grid(ax, 1, size=(4.2, 4.0))[0]
    draw(panel, table)
    finish([panel], owned=ax is None, show=show, save=save)
    return panel


def draw(ax: Axes, table: pd.DataFrame) -> None:
    """Draw one point per gene, the identity, and how well they agree."""
    seen = table[(table["observed"] > 0) & (table["predicted"] > 0)]
    correlation, slope = calibration(table)
    ax.scatter(
        seen["observed"],
        seen["predicted"],
        s=8 if len(seen) <= 2000 else 4,
        alpha=0.5 if len(seen) <= 2000 else 0.25,
        color=MODEL,
        linewidths=0,
        label="gene",
        rasterized=True,
    )
    ends = [float(seen.min().min()), float(seen.max().max())]
    ax.plot(ends, ends, color=ACCENT, linewidth=1.2, label="identity")
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        log_ticks(axis)
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel("observed mean (counts per cell)")
    ax.set_ylabel("predicted mean (counts per cell)")
    ax.text(0.97, 0.04, f"r = {correlation:.3f}\nslope = {slope:.2f}", transform=ax.transAxes, ha="right", va="bottom")
    legend = ax.legend(frameon=False, fontsize="small", loc="upper left")
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
    tidy(ax)
