"""Scores of goodness of fit against the expression of genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.slots import Slots, read_derived
from scribe._stats.residuals import GENE_SCORES
from scribe._types import AnyArray
from scribe.pl._canvas import ACCENT, MODEL, SOFT, drawn, log_scale
from scribe.pl._draws import observed_means
from scribe.pl._names import Name, Names
from scribe.pl._signature import Axes, Panels, plot

__all__ = ["frame", "gof_scores"]

_LABELS = {
    "mean": "mean of residuals",
    "variance": "variance of residuals",
    "tail_excess": "share beyond -2 and 2, excess",
    "ks": "distance to the normal law",
    "p_value": "p-value of the test",
}
_NAMED = 6
_LEAST_P = 1e-16


def frame(adata: AnnData, key: str = "scribe", *, scores: Sequence[str] | str = ("variance", "ks")) -> pd.DataFrame:
    """One row per score and detected gene: its ``value``, mean ``expression`` and whether the gene is ``described``."""
    record, slots = read_derived(adata, key=key, name="gof", verb="gof"), Slots(key)
    chosen = [scores] if isinstance(scores, str) else list(scores)
    unknown = [name for name in chosen if name not in GENE_SCORES]
    if unknown or not chosen:
        msg = f"scores must be some of {', '.join(GENE_SCORES)}, got {unknown or chosen}."
        raise ValueError(msg)
    genes = pd.DataFrame(
        {"expression": observed_means(adata, key), "described": adata.var[slots.of("gof")].to_numpy(bool)},
        index=adata.var_names.rename("gene"),
    )
    # below the smallest there are no ticks
    floor = {"p_value": _LEAST_P}
    parts = [
        genes.assign(score=name, value=np.maximum(adata.var[slots.gof(name)].to_numpy(), floor.get(name, -np.inf)))
        for name in chosen
    ]
    table = pd.concat(parts).reset_index()
    table = table[table["expression"] > 0].reset_index(drop=True)
    limits = {
        "variance": ("min_variance", "max_variance"),
        "ks": ("max_ks",),
        "p_value": ("false_positive_rate",),
    }
    table.attrs = {name: [float(record[limit]) for limit in limits.get(name, ()) if limit in record] for name in chosen}
    return table


@plot("score", after=("gof(adata)",))
def gof_scores(
    adata: AnnData,
    scores: Sequence[str] | str = ("variance", "ks"),
    *,
    key: str = "scribe",
    **figure: Unpack[Panels],
) -> AnyArray:
    """Scores of the residuals of every gene against its mean count; genes that fail the limits are marked.

    What a rare gene counts is mostly zero, and its residuals are mostly chance: few of them can fail. A model that is
    wrong in kind, such as one component for several populations, shows at the right, where the counts tell.

    Parameters
    ----------
    adata
        Annotated data with residuals, of :func:`scribe.tl.gof`.
    scores
        Some of ``mean``, ``variance``, ``tail_excess``, ``ks`` and ``p_value``.
    """
    table = frame(adata, key, scores=scores)
    tables = [part for _, part in table.groupby("score", sort=False)]
    for part in tables:
        part.attrs = table.attrs
    return drawn(draw, tables, size=(4.2, 3.4), columns=len(tables), names=gene_names, **figure)


def gene_names(rows: pd.DataFrame) -> Names:
    """Names of the genes that fail one score the most."""
    failing = rows[~rows["described"]].sort_values("value", ascending=rows["score"].iloc[0] == "p_value")
    failing = failing[["gene", "expression", "value"]]
    return Names([Name(str(gene), x, y, right=True) for gene, x, y in failing.to_numpy()], _NAMED)


def draw(rows: pd.DataFrame, ax: Axes) -> None:
    """Draw one score: genes, those that fail with the names of the most extreme, the limits."""
    score = rows["score"].iloc[0]
    size, alpha = (8, 0.5) if len(rows) <= 2000 else (4, 0.25)
    for described, colour, label in ((True, MODEL, "described"), (False, ACCENT, "fails")):
        mine = rows[rows["described"] == described]
        look: dict[str, Any] = {"s": size, "alpha": alpha} if described else {"s": 2 * size, "alpha": 0.7}
        ax.scatter(mine["expression"], mine["value"], color=colour, lw=0, rasterized=True, **look)
        ax.scatter([], [], s=12, color=colour, lw=0, label=f"{label} ({len(mine):,})")
    for limit in rows.attrs[score]:
        ax.axhline(limit, color=SOFT, linewidth=0.9, linestyle="--", zorder=1)
    log_scale(ax, "x")
    if score in ("variance", "p_value"):
        log_scale(ax, "y")
    ax.set_xlabel("mean count")
    ax.set_ylabel(_LABELS[score])
