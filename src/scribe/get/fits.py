"""Results and tables of a fit."""

from __future__ import annotations

import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, require
from scribe._model.keywords import verb
from scribe._posterior.results import Results

__all__ = ["params", "results"]


@verb
def results(adata: AnnData, *, key: str = "scribe") -> Results:
    """Rebuild the results object of a fit from its slots.

    Parameters
    ----------
    adata
        Annotated data with a fit, possibly a subset of the one that was fitted.

    Returns
    -------
    Results for the genes and cells ``adata`` has now.

    Raises
    ------
    KeyError
        If there is no such fit, naming the verb to call.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata)
    >>> results = scribe.get.results(adata[:, ["CD79A", "NKG7"]])
    >>> results.get_posterior_samples(100)["mu"].shape
    (100, 2)
    """
    return read_fit(adata, key=key)


@verb
def params(adata: AnnData, *, key: str = "scribe") -> pd.DataFrame:
    """Table of posterior summaries per gene.

    Parameters
    ----------
    adata
        Annotated data with a fit.

    Returns
    -------
    One row per gene: posterior mean and sd of every per-gene parameter, whether counts determine dispersions
    (``r_identified``), and ``status``.

    Raises
    ------
    KeyError
        If there is no such fit, naming the verb to call.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata)
    >>> table = scribe.get.params(adata)
    """
    require(adata, key)
    return adata.varm[Slots(key).params].copy()
