"""Real counts that need no file of ours."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from scipy import sparse

from scribe._model.keywords import verb

__all__ = ["pbmc3k", "pbmc68k_counts"]


@verb
def pbmc68k_counts() -> AnnData:
    """Counts of 700 peripheral blood mononuclear cells and 765 genes, ten labelled types (Zheng et al. 2017).

    scanpy ships a reduced version of the data whose ``.raw`` holds log1p of counts per ten thousand; together with the
    stored totals of every cell that gives the counts back exactly. No network is needed.

    Returns
    -------
    Counts in ``.X`` as sparse float32; ``.obs["bulk_labels"]`` holds the cell types.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> adata.obs["bulk_labels"].nunique()
    10
    """
    import scanpy as sc

    reduced = sc.datasets.pbmc68k_reduced()
    scaled = np.expm1(np.asarray(reduced.raw.X.todense(), np.float64))
    counts = np.rint(scaled * reduced.obs["n_counts"].to_numpy()[:, None] / 1e4)
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=reduced.obs[["bulk_labels"]].copy())
    adata.var_names = reduced.raw.var_names
    return adata


@verb
def pbmc3k() -> AnnData:
    """Counts of 2,700 peripheral blood mononuclear cells and 32,738 genes, fetched once through scanpy.

    Returns
    -------
    Counts in ``.X`` as sparse float32; the file is kept in scanpy's data directory.

    Raises
    ------
    OSError
        If the file is not in the cache and there is no network.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc3k()  # doctest: +SKIP
    """
    import scanpy as sc

    return sc.datasets.pbmc3k()
