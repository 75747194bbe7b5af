"""What a threshold of expression would leave of the genes and of the calls."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._compare.differential import DifferentialExpression
from scribe._stats.effects import s_values
from scribe._types import AnyArray, Labels
from scribe.pl._canvas import ACCENT, MODEL, drawn, legend_below, log_scale
from scribe.pl._de import by_group, comparison, plot_of_comparisons, title
from scribe.pl._signature import Axes, Panels

__all__ = ["de_mask_threshold", "frame"]

_STEPS = 60


def frame(
    adata: AnnData | DifferentialExpression, key: str = "scribe", *, key_added: str | None = None
) -> pd.DataFrame:
    """One row per comparison and ``threshold``: genes ``kept``, and those of them that would be ``called``."""
    table, parts = comparison(adata, key, key_added), []
    for group, rows in table.groupby("group", sort=False):
        mean = rows[["mean_group", "mean_reference"]].max(axis=1).to_numpy()
        rates = rows["lfsr"].to_numpy()
        low, high = np.quantile(mean[mean > 0], [0.001, 0.999])
        thresholds = np.geomspace(low, high, _STEPS)
        kept = [mean >= threshold for threshold in thresholds]
        called = [int(np.sum(s_values(rates[mask]) <= table.attrs["target_pefp"])) for mask in kept]
        about = {"group": group, "reference": rows["reference"].iloc[0], "threshold": thresholds}
        parts.append(pd.DataFrame({**about, "kept": [int(mask.sum()) for mask in kept], "called": called}))
    return pd.concat(parts, ignore_index=True)


@plot_of_comparisons
def de_mask_threshold(
    adata: AnnData | DifferentialExpression,
    groups: Labels | None = None,
    *,
    key: str = "scribe",
    key_added: str | None = None,
    **figure: Unpack[Panels],
) -> AnyArray:
    """Genes that a threshold of expression keeps, and genes that would be called among them.

    Where the second line is flat while the first falls, the genes that are left out had nothing to say.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.de`; or one by itself, of :func:`scribe.compare`.
    """
    tables = by_group(frame(adata, key, key_added=key_added), groups, key)
    return drawn(draw, tables, size=(4.4, 3.4), **figure)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one comparison."""
    ax.plot(rows["threshold"], rows["kept"], color=MODEL, linewidth=1.4, label="genes kept")
    ax.plot(rows["threshold"], rows["called"], color=ACCENT, linewidth=1.4, label="called among them")
    log_scale(ax, "x")
    ax.set_ylim(0, None)
    ax.set_xlabel("least expression in either group (molecules per 10,000)")
    ax.set_ylabel("genes")
    ax.set_title(title(rows), fontsize="medium")
    legend_below(ax, columns=2)
