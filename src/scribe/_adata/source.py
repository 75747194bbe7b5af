"""The counts a fit was made on, read again from where they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from anndata import AnnData

from scribe._adata.read import read_counts
from scribe._adata.records import read_config, require
from scribe._counts.checks import CountsWarning, NonInteger
from scribe._counts.container import Counts
from scribe._types import FloatArray

__all__ = ["counts_reader", "counts_to_continue"]


def counts_reader(
    adata: AnnData, layer: str | None, *, non_integer: NonInteger, totals: Any | None, all_genes: bool
) -> Callable[[], Counts]:
    """Return a function that reads the counts of a fit and makes sure that they still are those of the fit.

    ``totals`` are those of every cell at the time of the fit; None skips the check. Without ``all_genes`` of the fit,
    totals can only be smaller.
    """

    def read() -> Counts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CountsWarning)
            counts = read_counts(adata, layer=layer, non_integer=non_integer)
        if totals is not None:
            _check_same(counts, np.asarray(totals, float), all_genes=all_genes)
        return counts

    return read


def counts_to_continue(
    adata: AnnData, key: str, read: Callable[[], Counts], *, layer: str | None
) -> tuple[Counts, str | None, NonInteger]:
    """Counts of a fit that is to be continued, the layer they are in and how values that are not whole were treated.

    ``read`` reads the counts of the fit ``key`` and makes sure that they still are those. A ``layer`` users name can
    but confirm the one of the fit.
    """
    record = require(adata, key)
    config, shape = read_config(record, key), (int(record["data"]["n_cells"]), int(record["data"]["n_genes"]))
    if layer is not None and layer != config.layer:
        msg = f"resume=True continues a fit of {record['data']['source']}, not of layers[{layer!r}]: leave out layer."
        raise ValueError(msg)
    if adata.shape != shape:
        msg = (
            f"resume=True continues a fit of {shape[0]:,} cells x {shape[1]:,} genes, but adata has {adata.n_obs:,} x "
            f"{adata.n_vars:,}: leave out resume to fit what is left."
        )
        raise ValueError(msg)
    return read(), config.layer, config.non_integer


def _check_same(counts: Counts, totals: FloatArray, *, all_genes: bool) -> None:
    excess = counts.totals - totals
    wrong = np.flatnonzero((np.abs(excess) if all_genes else excess) > 1e-4 * totals + 1e-6)
    if wrong.size:
        first = wrong[0]
        cell = first if counts.cell_names is None else repr(counts.cell_names[first])
        msg = (
            f"{counts.source} no longer holds the counts of the fit: {wrong.size:,} of {counts.n_cells:,} cells have "
            f"other totals, cell {cell} {counts.totals[first]:g} instead of {totals[first]:g}. Were they normalised? "
            'Keep raw counts in a layer, adata.layers["counts"] = adata.X.copy(), and fit with layer="counts".'
        )
        raise ValueError(msg)
