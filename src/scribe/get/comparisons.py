"""Tables of a comparison of models."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_comparison
from scribe._model.checks import require_known
from scribe._model.keywords import verb

__all__ = ["model_comparison"]

_TABLES = ("table", "differences", "diagnostics")


@verb
def model_comparison(
    adata: AnnData,
    *,
    table: Literal["table", "differences", "diagnostics"] = "table",
    key: str = "scribe_compare",
) -> pd.DataFrame:
    """Table of a comparison of models that :func:`scribe.tl.compare_models` wrote.

    Parameters
    ----------
    adata
        Annotated data with a comparison.
    table
        ``"table"``: the models from best to worst; ``"differences"``: all pairs; ``"diagnostics"``: how far PSIS-LOO
        can be relied on.
    key
        Name of the comparison.

    Returns
    -------
    One row per model, by its name, or per pair; the columns are described in :func:`scribe.tl.compare_models`.

    Raises
    ------
    KeyError
        If there is no such comparison, or it has no such table.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata)
    >>> scribe.tl.fit(adata, "poissonvcp", key_added="poisson")
    >>> scribe.tl.compare_models(adata, ["scribe", "poisson"], n_samples=100)
    >>> table = scribe.get.model_comparison(adata)
    """
    require_known("table", table, _TABLES)
    record = read_comparison(adata, key)
    if table not in record:
        by = f"The models were compared by {record['criterion']}, which has no table {table!r}"
        msg = f'{by}: run scribe.tl.compare_models(adata, keys=[...], criterion="psis_loo").'
        raise KeyError(msg)
    found: pd.DataFrame = record[table]
    return found.reset_index(drop=True) if table == "differences" else found.set_index("model")
