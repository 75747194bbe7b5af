"""How far models lie below the best one."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_comparison
from scribe._stats.information import NATS, told_apart
from scribe.pl._canvas import ACCENT, DATA, MODEL, SOFT, drawn, plain
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["frame", "model_comparison"]

_BY = {
    "psis_loo": "leave-one-{}-out",
    "waic": "WAIC",
    "thinned": "held-out molecules",
    "held_out": "held-out cells",
}


def frame(adata: AnnData, key: str = "scribe_compare") -> pd.DataFrame:
    """One row per model, the best first: ``elpd_diff`` below the best in nats, its error ``dse``, ``weight``."""
    record = read_comparison(adata, key)
    table: pd.DataFrame = record["table"][["model", "elpd", "elpd_diff", "dse", "weight"]].reset_index(drop=True)
    table.attrs["criterion"] = _BY[str(record["criterion"])].format(record["observations"])
    return table.astype({"model": str})


@plot(
    after=(
        'fit(adata, "poissonvcp", key_added="poisson")',
        'compare_models(adata, ["scribe", "poisson"], n_samples=100)',
    )
)
def model_comparison(adata: AnnData, *, key: str = "scribe_compare", **figure: Unpack[OnePanel]) -> Axes:
    """How much worse every model predicts than the best one, in nats, with two standard errors to either side.

    Models in the grey zone, up to 4 nats, or whose interval reaches the best one at zero cannot be told from it. The
    axis is linear up to 10 nats and logarithmic beyond: differences of thousands of nats are common where a model is
    wrong for many genes.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.compare_models`.
    key
        Name of the comparison.
    """
    table = frame(adata, key)
    return drawn(draw, [table], size=(5.6, 1.2 + 0.34 * len(table)), **figure)[0]


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one line per model, the best on top."""
    from matplotlib.ticker import FuncFormatter

    place = -np.arange(len(rows))
    ax.axvspan(-NATS, NATS, color=SOFT, alpha=0.18, linewidth=0)
    close = ~told_apart(rows["elpd_diff"], rows["dse"])
    for mine, colour in ((close, MODEL), (~close, ACCENT)):
        at = rows[mine]
        ax.errorbar(at["elpd_diff"], place[mine], xerr=2 * at["dse"], fmt="o", color=colour, markersize=5, capsize=2)
    ax.set_xscale("symlog", linthresh=10, linscale=0.8, subs=range(2, 10))
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
    high = max(float((rows["elpd_diff"] + 2 * rows["dse"]).max()), 12.0)
    # every other power of ten where there are many
    ax.set_xticks([0.0, *np.logspace(1, 9, 9)[:: 1 if high < 2e4 else 2]])
    ax.set_xlim(-NATS, (3 if high > 100 else 1.2) * high)
    ax.text(0, 0.02, "not told\napart", transform=ax.get_xaxis_transform(), ha="center", fontsize="x-small", color=SOFT)
    ax.set_ylim(place[-1] - 0.6, 0.6)
    ax.set_yticks(place, rows["model"])
    ax.tick_params(axis="y", length=0)
    for y, (difference, error) in zip(place[1:], rows[["elpd_diff", "dse"]].to_numpy()[1:], strict=True):
        text = f"{difference:,.0f} ± {error:,.0f}" if difference >= 10 else f"{difference:.1f} ± {error:.1f}"
        ax.annotate(
            text, (difference, y), (0, 6), textcoords="offset points", ha="center", fontsize="x-small", color=DATA
        )
    ax.set_xlabel("worse than the best model (nats)")
    ax.set_ylabel("model")
    ax.set_title(rows.attrs["criterion"], fontsize="medium", loc="left")
