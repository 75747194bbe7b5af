"""Clusters of cells from which the components of a mixture start."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse

from scribe._counts.container import Counts
from scribe._types import FloatArray, IntArray

__all__ = ["components_at_start"]

_MOST_GENES = 2000
_MOST_AXES = 20
_TRIES = 10


def components_at_start(
    counts: Counts, n_components: int, logits: FloatArray | None, *, seed: int, restart: bool = False
) -> IntArray:
    """Component of every cell to start from, (cells,).

    Cells with prior odds (``logits``, (cells, components), equal where nothing is known) start in their most probable
    component and the others in that with the nearest mean; without prior odds components are the clusters of k-means++,
    by decreasing size. Distances are those of the first principal axes of log-normalised counts. A ``restart`` takes
    the first clustering that is found, to start elsewhere than others do, not the best of several.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    known = np.zeros(counts.n_cells, bool) if logits is None else np.ptp(logits, axis=1) > 0
    if logits is not None and known.all():
        return np.argmax(logits, axis=1)
    where = _embedding(counts, seed=seed)
    if logits is None or not known.any():
        with warnings.catch_warnings():
            # fewer different cells than components: some of these start empty
            warnings.simplefilter("ignore", ConvergenceWarning)
            n_clusters = min(n_components, counts.n_cells)
            found = KMeans(n_clusters, n_init=1 if restart else _TRIES, random_state=seed).fit_predict(where)
        by_size = np.argsort(-np.bincount(found, minlength=n_components), kind="stable")
        return np.argsort(by_size)[found]
    label = np.argmax(logits, axis=1)
    present = np.unique(label[known])
    means = np.stack([where[known & (label == k)].mean(axis=0) for k in present])
    nearest = present[np.argmin(np.square(where[:, None] - means[None]).sum(axis=2), axis=1)]
    return np.where(known, label, nearest)


def _embedding(counts: Counts, *, seed: int) -> FloatArray:
    """First principal axes of the most variable genes after normalising totals and taking logarithms."""
    from sklearn.decomposition import PCA

    matrix = sparse.csr_matrix(counts.to_csr(), dtype=np.float64, copy=True)
    totals = np.maximum(counts.totals, 1.0)
    matrix = sparse.diags(np.median(totals) / totals) @ matrix
    matrix.data = np.log1p(matrix.data)
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    variance = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - np.square(mean)
    genes = np.argsort(-variance)[:_MOST_GENES]
    n_axes = min(_MOST_AXES, min(matrix.shape[0], genes.size) - 1)
    chosen = matrix[:, np.sort(genes)]
    if n_axes < 1:
        return np.asarray(chosen.toarray())
    embedding: FloatArray = PCA(n_axes, svd_solver="arpack", random_state=seed).fit_transform(chosen)
    return embedding
