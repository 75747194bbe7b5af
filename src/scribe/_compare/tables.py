"""Tables of differential expression: one row per group and gene, and the form that scanpy reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scribe._compare.differential import DifferentialExpression
from scribe._stats.effects import called_at, lfsr, s_values
from scribe._types import AnyArray

__all__ = ["as_ranked", "gene_table"]

_LOG2 = 1.0 / np.log(2.0)


def gene_table(found: DifferentialExpression, *, min_lfc: float, target_pefp: float, seen: AnyArray) -> pd.DataFrame:
    """All genes of one comparison in their order, log2 fold changes; ``seen`` (genes,) are those with counts."""
    law, kept = found.law, found.kept
    shown = kept & seen
    tau = min_lfc / _LOG2
    up, down = law.above(tau), law.below(-tau)
    rates = np.where(seen[kept], lfsr(law, tau), np.nan)
    expected = s_values(rates)
    columns: dict[str, Any] = {
        "lfc_mean": _LOG2 * law.mean,
        "lfc_sd": _LOG2 * law.sd,
        "lfc_q05": _LOG2 * law.quantile(0.05),
        "lfc_q95": _LOG2 * law.quantile(0.95),
        "prob_up": up,
        "prob_down": down,
        "prob_de": np.maximum(up, down),
        "lfsr": rates,
        "pefp": expected,
    }
    names = np.arange(len(kept)).astype(str) if found.gene_names is None else np.asarray(found.gene_names, str)
    out = pd.DataFrame({"group": found.label_A, "reference": found.label_B, "names": names})
    for name, value in columns.items():
        column = np.full(len(kept), np.nan)
        column[kept] = value
        out[name] = np.where(shown, column, np.nan)
    out["is_de"] = called_at(out["lfsr"].to_numpy(), target_pefp)
    out["mean_group"], out["mean_reference"] = found.expression
    status = np.where(~seen, "no counts", np.where(kept, "ok", "pooled"))
    out["status"] = pd.Categorical(status, categories=["ok", "no counts", "pooled"])
    out["level"] = found.level
    out["replicates"], out["relative_to"] = found.evidence.replicates, found.relative_to
    return out


_FIELDS = {"names": "names", "logfoldchanges": "lfc_mean", "pvals": "lfsr", "pvals_adj": "pefp"}


def as_ranked(table: pd.DataFrame) -> dict[str, AnyArray]:
    """Arrays with a field per group, genes by falling score, as ``sc.tl.rank_genes_groups`` writes them."""
    columns: dict[str, dict[str, AnyArray]] = {name: {} for name in ("names", "scores", *_FIELDS)}
    for group, rows in table.groupby("group", sort=False):
        score = (rows["lfc_mean"] / rows["lfc_sd"]).to_numpy()
        order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
        columns["scores"][str(group)] = np.nan_to_num(score[order]).astype(np.float32)
        for field, name in _FIELDS.items():
            columns[field][str(group)] = rows[name].to_numpy()[order]
    out = {}
    for field, by_group in columns.items():
        kinds = [(group, "O" if field == "names" else value.dtype) for group, value in by_group.items()]
        array = np.empty(len(next(iter(by_group.values()))), dtype=kinds)
        for group, value in by_group.items():
            array[group] = value
        out[field] = array
    return out
