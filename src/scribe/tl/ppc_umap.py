"""Simulated cells in the map of the observed ones."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import check_target, write_derived
from scribe._model.keywords import verb
from scribe._posterior.results import Results
from scribe._posterior.simulate import compressed_rows
from scribe._progress import progress
from scribe._rng import as_seed
from scribe._types import AnyArray, FloatArray, Rng

__all__ = ["ppc_umap"]

_VARIABLE_GENES = 2000


@verb
def ppc_umap(
    adata: AnnData,
    *,
    key: str = "scribe",
    n_cells: int = 5000,
    n_neighbors: int = 15,
    n_comps: int = 30,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Map simulated cells among the observed ones, and count how well the two mix.

    Do simulated cells fall where real ones are? Counts observed and simulated from the posterior are normalised,
    logarithms taken and reduced to the principal axes that they have together, of the genes most variable among the
    observed. UMAP [McInnes18]_ maps observed cells, and has a place among them for any simulated one. How well they mix
    is therefore counted on the axes: the share of simulated cells among the nearest neighbours of simulated ones. A
    model without cell types makes cells between the types, where there are none, and this share is near one; a model
    that makes real cells comes close to the ``expected`` share; below it, cells are scattered wider than real ones.

    Parameters
    ----------
    n_cells
        Number of simulated cells, at most those of the fit: replicates of so many of its cells, taken at random.
    n_neighbors
        Neighbours of a cell, for the map and for the mixing.
    n_comps
        Number of principal axes.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.obsm[key + '_ppc_umap']`` : float32 (cells, 2)
        Places of the observed cells.
    ``adata.uns[key + '_ppc_umap']`` : dict
        ``simulated`` (simulated cells, 2), their places; ``mixing``, the mean share of simulated cells among the
        neighbours of simulated cells, and the ``expected`` one if both were the same; ``n_neighbors``, ``seed``,
        ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit.
    ValueError
        If there are too few cells, or the counts are no longer in the layer the fit was made on.

    References
    ----------
    .. [McInnes18] McInnes, Healy and Melville, UMAP: uniform manifold approximation and projection for dimension
       reduction, 2018, arXiv:1802.03426.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.ppc_umap(adata)
    >>> share = adata.uns["scribe_ppc_umap"]["mixing"]
    """
    check_target(adata, copy=copy)
    results = read_fit(adata, key=key)
    least = max(n_neighbors, 2)
    if min(results.n_cells, n_cells) <= least or results.n_genes <= 2:
        msg = (
            f"A map with n_neighbors={n_neighbors} needs more than {least} cells, observed and simulated, and 3 genes: "
            f"found {results.n_cells:,} cells x {results.n_genes:,} genes and n_cells={n_cells}."
        )
        raise ValueError(msg)
    seed = results.seed if rng is None else as_seed(rng)
    with progress(3, desc="ppc_umap", unit="step") as bar:
        counts = results.counts().to_csr()
        replicate = _replicate(results, n_cells, seed)
        bar.update()
        observed, simulated = _axes(counts, replicate, n_comps=min(n_comps, *(n - 1 for n in counts.shape)))
        bar.update()
        places = _map(observed, simulated, n_neighbors=n_neighbors, seed=seed)
        bar.update()
    record = {
        "simulated": places[1],
        "mixing": mixing(observed, simulated, n_neighbors),
        "expected": (len(simulated) - 1) / (len(simulated) + len(observed) - 1),
        "n_neighbors": n_neighbors,
        "seed": seed,
    }
    target = adata.copy() if copy else adata
    slot = f"{key}_ppc_umap"
    write_derived(target, {"obsm": {slot: places[0]}}, key=key, name="ppc_umap", record=record)
    return target if copy else None


def _replicate(results: Results, n_cells: int, seed: int) -> sp.csr_matrix:
    """Counts of one replicate of some cells."""
    if n_cells < results.n_cells:
        chosen = np.random.default_rng(seed).choice(results.n_cells, n_cells, replace=False)
        results = results.cells(np.sort(chosen))
    (blocks,) = results.simulate(1, rng=seed)
    indptr, indices, data = compressed_rows(blocks, results.n_cells)
    return sp.csr_matrix((data, indices, indptr), shape=(results.n_cells, results.n_genes))


def _axes(counts: sp.csr_matrix, replicate: sp.csr_matrix, *, n_comps: int) -> tuple[FloatArray, FloatArray]:
    """Scores on principal axes of all cells: on those of the observed ones, others would lie nearer to the centre."""
    import scanpy as sc

    both = [AnnData(matrix.astype(np.float32)) for matrix in (counts, replicate)]
    target = float(np.median(np.asarray(counts.sum(axis=1))))
    with warnings.catch_warnings():
        # of scanpy: cells without counts, and announcements of its own
        warnings.simplefilter("ignore")
        for data in both:
            sc.pp.normalize_total(data, target_sum=target)
            sc.pp.log1p(data)
        if both[0].n_vars > _VARIABLE_GENES:
            sc.pp.highly_variable_genes(both[0], n_top_genes=_VARIABLE_GENES)
            both = [data[:, both[0].var["highly_variable"].to_numpy()].copy() for data in both]
        whole = AnnData(sp.vstack([data.X for data in both]))
        sc.pp.pca(whole, n_comps=n_comps)
    scores = whole.obsm["X_pca"].astype(np.float32)
    return scores[: counts.shape[0]], scores[counts.shape[0] :]


def _map(observed: FloatArray, simulated: FloatArray, *, n_neighbors: int, seed: int) -> tuple[AnyArray, AnyArray]:
    """Places of observed cells, and of simulated ones among them."""
    with warnings.catch_warnings():
        # of umap: optional backends, and announcements of numba
        warnings.simplefilter("ignore")
        from umap import UMAP

        fitted = UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1).fit(observed)
        return np.asarray(fitted.embedding_, np.float32), np.asarray(fitted.transform(simulated), np.float32)


def mixing(observed: FloatArray, simulated: FloatArray, n_neighbors: int) -> float:
    """Mean share of simulated points among the nearest neighbours of simulated ones."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(np.concatenate([simulated, observed]))
    neighbours = search.kneighbors(simulated, return_distance=False)
    # a point is the nearest to itself, unless another is at its very place
    itself = neighbours == np.arange(len(simulated))[:, None]
    others = np.where(itself.any(axis=1), (neighbours < len(simulated)).sum(axis=1) - 1, n_neighbors)
    return float(others.mean() / n_neighbors)
