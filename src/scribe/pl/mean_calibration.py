"""Observed against predicted mean of every gene."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import labels_of, read_fit
from scribe._adata.slots import Slots, require
from scribe._model.axes import LEVEL_AXES
from scribe._model.spec import ModelSpec
from scribe._types import FloatArray
from scribe.pl._canvas import ACCENT, MODEL, drawn, legend_below, log_scale
from scribe.pl._draws import observed_means, slot
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["frame", "mean_calibration"]


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per gene: ``observed`` and ``predicted`` mean count per cell."""
    capture = np.asarray(require(adata, key)["data"]["mean_capture"])
    table, spec = slot(adata, "varm", Slots(key).params, key=key), read_fit(adata, key=key).spec
    mean, gate = (_by_level(table, spec, site) for site in ("mu", "gate"))
    predicted = np.sum(capture[..., None] * mean * (1.0 - gate), axis=(0, 1))
    return pd.DataFrame({"observed": observed_means(adata, key), "predicted": predicted}, index=adata.var_names)


def _by_level(table: pd.DataFrame, spec: ModelSpec, site: str) -> FloatArray:
    """Posterior mean of a parameter, (components, datasets, genes), of length 1 where it is the same; 0 without it."""
    axes = spec.named_axes.get(site)
    if axes is None:
        return np.zeros((1, 1, 1))
    # levels without cells, of which nothing is known, add nothing
    columns = [table[f"{site}_mean{label}"].fillna(0.0).to_numpy(np.float64) for _, label in labels_of(spec, axes)]
    shape = [spec.lengths[axis] if axis in axes else 1 for axis in LEVEL_AXES]
    return np.reshape(columns, (*shape, len(table)))


def calibration(table: pd.DataFrame) -> tuple[float, float]:
    """Pearson correlation and slope of the first principal axis on the log scale, over genes that were seen."""
    seen = table[(table > 0).all(axis=1)]
    if len(seen) < 3:
        return np.nan, np.nan
    (a, b), (_, d) = np.cov(np.log(seen.T))
    correlation = b / np.sqrt(a * d) if a * d > 0 else np.nan
    # neither axis is the cause of the other: the principal axis treats them alike
    slope = np.tan(0.5 * np.arctan2(2 * b, a - d))
    return float(correlation), float(slope)


@plot()
def mean_calibration(adata: AnnData, *, key: str = "scribe", **figure: Unpack[OnePanel]) -> Axes:
    """Mean count of every gene as observed and as the model predicts it, both logarithmic.

    The prediction is the posterior mean expression times the mean capture probability, times the share of open gates
    in models with zero inflation; of mixtures and several datasets, their sum over the cells of all levels.
    Genes without counts are left out.
    """
    return drawn(draw, [frame(adata, key)], size=(4.2, 4.0), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw one point per gene, the identity, and how well they agree."""
    seen = table[(table > 0).all(axis=1)]
    few = len(seen) <= 2000
    x, y = seen.to_numpy().T
    ax.scatter(x, y, s=8 if few else 4, alpha=0.5 if few else 0.25, color=MODEL, lw=0, rasterized=True)
    ax.scatter([], [], s=8, color=MODEL, lw=0, label="gene")
    ends = [np.min(seen), np.max(seen)]
    ax.plot(ends, ends, color=ACCENT, linewidth=1.2, label="identity")
    log_scale(ax, "xy")
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel("observed mean (counts per cell)")
    ax.set_ylabel("predicted mean (counts per cell)")
    correlation, slope = calibration(table)
    ax.text(0.97, 0.04, f"r = {correlation:.3f}\nslope = {slope:.2f}", transform=ax.transAxes, ha="right", va="bottom")
    legend_below(ax, columns=2)
