"""Which genes one model predicts better than another."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_comparison
from scribe._types import AnyArray
from scribe.pl._canvas import ACCENT, MODEL, SOFT, drawn, legend_below, log_scale, plain
from scribe.pl._names import Name, Names
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "model_comparison_genes"]

_NAMED = 10


def frame(adata: AnnData, key: str = "scribe_compare") -> pd.DataFrame:
    """One row per detected gene and model but the best: its ``mean`` count and by how much the best one is better."""
    table, slot = read_comparison(adata, key)["table"], f"{key}_genes"
    if slot not in adata.varm:
        msg = f"No adata.varm[{slot!r}]. Run scribe.tl.compare_models(adata, keys=[...], genes=True) first."
        raise KeyError(msg)
    genes, (best, *others) = adata.varm[slot], map(str, table["model"])
    parts = [
        pd.DataFrame(
            {
                "gene": adata.var_names.astype(str),
                "best": best,
                "model": name,
                "mean": genes["mean"].to_numpy(),
                "elpd_diff": genes[f"elpd_diff_{name}"].to_numpy(),
                "elpd_diff_se": genes[f"elpd_diff_se_{name}"].to_numpy(),
            }
        )
        for name in others
    ]
    rows = pd.concat(parts)
    return rows[rows["mean"] > 0].reset_index(drop=True)


@plot(
    "model but the best, in their order",
    after=(
        'fit(adata, "poissonvcp", key_added="poisson")',
        'compare_models(adata, ["scribe", "poisson"], n_samples=100)',
    ),
)
def model_comparison_genes(adata: AnnData, *, key: str = "scribe_compare", **figure: Unpack[Panels]) -> AnyArray:
    """By how much the best model predicts every gene better than another one, against the gene's mean count.

    Genes in colour differ by more than two standard errors over cells. Few genes of high expression often decide a
    comparison: their names say where a model is wrong. The axis is linear within 2 nats and logarithmic beyond.

    Parameters
    ----------
    adata
        Annotated data with a comparison, of :func:`scribe.tl.compare_models`.
    key
        Name of the comparison.
    """
    table = frame(adata, key)
    tables = [rows for _, rows in table.groupby("model", sort=False)]
    return drawn(draw, tables, size=(4.6, 3.6), names=gene_names, **figure)


def _sure(rows: pd.DataFrame) -> pd.Series:
    """Genes that differ by more than two standard errors."""
    return rows["elpd_diff"].abs() > 2 * rows["elpd_diff_se"]


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the genes that tell most about one pair of models."""
    order = rows[_sure(rows)].sort_values("elpd_diff", key=np.abs, ascending=False)
    places = order[["gene", "mean", "elpd_diff"]].to_numpy()
    return Names([Name(str(gene), x, y, y > 0) for gene, x, y in places], _NAMED)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one pair of models: a point per gene, the names of the genes that tell most."""
    from matplotlib.ticker import FuncFormatter

    best, other = rows["best"].iloc[0], rows["model"].iloc[0]
    sure = _sure(rows)
    size = 9 if len(rows) <= 2000 else 5
    parts: tuple[tuple[Any, str, str, float], ...] = (
        (~sure, SOFT, "undecided", 0.35),
        (sure & (rows["elpd_diff"] > 0), MODEL, f"{best} better", 0.7),
        (sure & (rows["elpd_diff"] < 0), ACCENT, f"{other} better", 0.7),
    )
    for mine, colour, label, alpha in parts:
        at = rows[mine]
        ax.scatter(at["mean"], at["elpd_diff"], s=size, color=colour, alpha=alpha, lw=0, rasterized=True)
        ax.scatter([], [], s=14, color=colour, lw=0, label=f"{label} ({len(at):,})")
    ax.axhline(0.0, color=SOFT, linewidth=0.8, zorder=1)
    log_scale(ax, "x")
    ax.set_yscale("symlog", linthresh=2, linscale=0.8, subs=range(2, 10))
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    ax.margins(y=0.1)
    ax.set_xlabel("mean count")
    ax.set_ylabel("difference of elpd (nats)")
    ax.set_title(f"{best} vs {other}", fontsize="medium")
    legend_below(ax, columns=3)
