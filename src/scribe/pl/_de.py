"""What plots of differential expression read and share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._compare.differential import DifferentialExpression
from scribe._compare.options import DEFAULTS
from scribe._compare.tables import gene_table
from scribe._types import Labels
from scribe.pl._canvas import ACCENT, MODEL, SOFT, chosen_among
from scribe.pl._names import Name, Names
from scribe.pl._signature import Axes, plot

__all__ = ["by_group", "comparison", "names_of_genes", "plot_of_comparisons", "points", "show_doubling", "title"]

P = ParamSpec("P")
R = TypeVar("R")


def plot_of_comparisons(function: Callable[P, R]) -> Callable[P, R]:
    """Complete a plot that has a panel for every comparison; see `plot`."""
    calls = ('de(adata, "bulk_labels", group="CD19+ B")',)
    return plot("group compared", fit='dataset_key="bulk_labels", dataset_params="mean"', after=calls)(function)


def comparison(adata: AnnData | DifferentialExpression, key: str, key_added: str | None) -> pd.DataFrame:
    """Genes with a result in every comparison that was made: the columns of `scribe.get.de` that plots draw."""
    if isinstance(adata, DifferentialExpression):
        params = {name: DEFAULTS[name] for name in ("min_lfc", "target_pefp")}
        record: Mapping[str, Any] = {"table": gene_table(adata), "params": params}
    else:
        record = read_derived(adata, key=key, name="de", verb="de", place=key_added)
    columns = ["group", "reference", "names", "lfc_mean", "lfc_sd", "lfsr", "pefp", "is_de", "mean_group"]
    table = record["table"][[*columns, "mean_reference"]]
    table = table[table["lfsr"].notna()].reset_index(drop=True)
    # a file gives booleans and text back in its own types
    table = table.astype({"group": str, "reference": str, "names": str, "is_de": bool})
    table.attrs = {name: float(record["params"][name]) for name in ("min_lfc", "target_pefp")}
    return table


def by_group(table: pd.DataFrame, groups: Labels | None, key: str, *, n_names: int = 0) -> list[pd.DataFrame]:
    """The rows of every group that is asked for; so many genes are to be named in each."""
    chosen = chosen_among(
        table["group"], groups, f"scribe.tl.de(adata, groupby, group=..., key={key!r})", "comparisons"
    )
    tables = [table[table["group"] == group] for group in chosen]
    for rows in tables:
        rows.attrs = {**table.attrs, "n_names": n_names}
    return tables


def points(rows: pd.DataFrame, ax: Axes, x: str, y: str) -> None:
    """Draw a point per gene: those that are called up and down in colour, the others behind."""
    few = len(rows) <= 2000
    parts = (
        (~rows["is_de"], SOFT, "not called", 0.35),
        (rows["is_de"] & (rows["lfc_mean"] > 0), ACCENT, "higher", 0.7),
        (rows["is_de"] & (rows["lfc_mean"] <= 0), MODEL, "lower", 0.7),
    )
    for mine, colour, label, alpha in parts:
        size = 9 if few else 5
        ax.scatter(rows.loc[mine, x], rows.loc[mine, y], s=size, color=colour, alpha=alpha, lw=0, rasterized=True)
        ax.scatter([], [], s=14, color=colour, lw=0, label=f"{label} ({int(mine.sum()):,})")


def names_of_genes(rows: pd.DataFrame, x: str, y: str) -> Names:
    """Names of the called genes, those with the surest changes in both directions first."""
    called = rows[rows["is_de"]]
    order = (called["lfc_mean"] / called["lfc_sd"]).abs().sort_values(ascending=False).index
    named = called.loc[order, ["names", x, y, "lfc_mean"]].to_numpy()
    return Names([Name(str(name), a, b, lfc > 0) for name, a, b, lfc in named], rows.attrs["n_names"])


def show_doubling(ax: Axes, which: str) -> None:
    """Make an axis of log2 fold changes, "x" or "y", reach from one half to twice: changes of nothing look like it."""
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = axis.get_view_interval()
    ax.set(**{f"{which}lim": (min(low, -1.0), max(high, 1.0))})


def title(rows: pd.DataFrame) -> str:
    """What is compared with what."""
    return f"{rows['group'].iloc[0]} vs {rows['reference'].iloc[0]}"
