"""Tables of differential expression: one row per group and gene, and the form that scanpy reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scribe._compare.differential import DifferentialExpression
from scribe._stats.contrasts import Samples
from scribe._stats.effects import MAX_LFSR, called_at, lfsr, s_values
from scribe._types import AnyArray, FloatArray

__all__ = ["Calls", "as_ranked", "gene_table"]

_LOG2 = 1.0 / np.log(2.0)
_STATUS = ("ok", "no counts", "pooled", "few cells", "one sample")

_MOST_HELD = 0.5
"""Share of the counts of a gene, held by the most extreme cells, beyond which it rests on few cells."""

_LEAST_LEFT = 1 / 3
"""Share of a difference that is left without its most extreme sample, below which it rests on this sample."""


class Calls(NamedTuple):
    """When a gene is called: see `scribe.tl.de`."""

    min_lfc: float = 0.0
    target_pefp: float = 0.05
    max_lfsr: float = MAX_LFSR
    call_extremes: bool = False


_DEFAULT = Calls()


def gene_table(
    found: DifferentialExpression,
    calls: Calls = _DEFAULT,
    *,
    seen: AnyArray | None = None,
    held: tuple[FloatArray, FloatArray] | None = None,
) -> pd.DataFrame:
    """All genes of one comparison in their order, log2 fold changes.

    ``seen`` (genes,) are those with counts, ``held`` the shares (genes,) of counts that the most extreme cells of both
    groups hold, where known.
    """
    law, kept, n_genes = found.law, found.kept, found.n_genes
    seen = np.ones(n_genes, bool) if seen is None else seen
    tau = calls.min_lfc / _LOG2
    up, down = law.above(tau), law.below(-tau)
    rates = np.where(seen[kept], lfsr(law, tau), np.nan)
    columns: dict[str, Any] = {
        "lfc_mean": _LOG2 * law.mean,
        "lfc_sd": _LOG2 * law.sd,
        "lfc_q05": _LOG2 * law.quantile(0.05),
        "lfc_q95": _LOG2 * law.quantile(0.95),
        "prob_up": up,
        "prob_down": down,
        "prob_de": np.maximum(up, down),
        "lfsr": rates,
        "pefp": s_values(rates),
    }
    out = pd.DataFrame({"group": found.label_A, "reference": found.label_B, "names": found.names})
    for name, value in columns.items():
        out[name] = np.where(seen, _of_all(value, kept), np.nan)
    out["is_de"] = False
    out["mean_group"], out["mean_reference"] = found.expression
    held = (np.full(n_genes, np.nan), np.full(n_genes, np.nan)) if held is None else held
    out["top_cells_group"], out["top_cells_reference"] = held
    samples = found.evidence.top_share if isinstance(found.evidence, Samples) else (np.nan, np.nan)
    out["top_sample_group"], out["top_sample_reference"] = samples
    out["is_de"], status = _called(out, found, calls, pooled=~kept, unseen=~seen)
    out["status"] = pd.Categorical(status, categories=_STATUS)
    out["level"] = found.level
    out["replicates"], out["relative_to"] = found.evidence.replicates, found.relative_to
    return out


def _of_all(value: FloatArray, kept: AnyArray) -> FloatArray:
    """Values of the genes that are kept as ones of all genes, the others NaN."""
    out = np.full(len(kept), np.nan)
    out[kept] = value
    return out


def _called(
    table: pd.DataFrame, found: DifferentialExpression, calls: Calls, *, pooled: AnyArray, unseen: AnyArray
) -> tuple[AnyArray, AnyArray]:
    """Which genes are called, and the status of all."""

    def call() -> AnyArray:
        rates = np.where((status == "ok") | calls.call_extremes, table["lfsr"], np.nan)
        return called_at(rates, calls.target_pefp, max_lfsr=calls.max_lfsr)

    status = np.where(unseen, "no counts", np.where(pooled, "pooled", "ok")).astype(object)
    # the group with more expression is the one whose cells make the difference
    more = table["mean_group"] > table["mean_reference"]
    held = np.where(more, table["top_cells_group"], table["top_cells_reference"])
    status[(status == "ok") & (held > _MOST_HELD)] = "few cells"
    called = call()
    left = found.relative.left_without_extreme() if called.any() else None
    if left is not None:
        status[called & (_of_all(left, found.kept) < _LEAST_LEFT)] = "one sample"
        called = call()
    return called, status


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
