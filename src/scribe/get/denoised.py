"""Denoised counts as data sets of their own."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from anndata import AnnData

from scribe._adata.denoised import FEWER, computed, record_of, warn_of_fit
from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, computed_x
from scribe._model.keywords import verb
from scribe._posterior.denoise import Method
from scribe._posterior.indexing import check_dense, index_of
from scribe._rng import as_key, as_seed
from scribe._types import Rng

__all__ = ["denoised"]


@verb
def denoised(
    adata: AnnData,
    *,
    key: str = "scribe",
    method: Method = ("mean", "sample"),
    n_datasets: int = 1,
    n_samples: int = 100,
    genes: Sequence[str] | str | None = None,
    rng: Rng = None,
) -> AnnData | list[AnnData]:
    """Denoised counts as an AnnData of their own, or as several that differ by what is not known of them.

    :func:`scribe.tl.denoise` says what they are, and writes them beside the counts instead. Means are smoother than
    molecules are: where spread or correlations matter, look at several data sets with ``"sample"`` in their method.

    Parameters
    ----------
    method
        ``"mean"``, ``"mode"`` or ``"sample"`` of the posterior of every count, or a pair of them: for observed counts
        and for zeros.
    n_datasets
        Number of data sets, each with draws of its own.
    n_samples
        Draws of the parameters to integrate a mean over; 0 takes them at their most probable values.
    genes
        Genes to keep; None keeps all.

    Returns
    -------
    Annotated data, or a list of them for ``n_datasets`` above 1: denoised counts in ``.X``, dense, with ``.obs``,
    ``.var`` and ``.obsm`` of ``adata``. ``.uns[key + '_denoised']`` tells ``quantity``, ``unit``, ``formula``,
    ``method``, ``n_samples``, ``seed``, the number ``dataset`` and ``derived_from``, the fit; because of it
    :func:`scribe.tl.fit` refuses ``.X``.

    Raises
    ------
    KeyError
        If there is no such fit or no such gene.
    ValueError
        If the counts are no longer in the layer the fit was made on, or the result is larger than
        ``settings.max_array_gb``.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> molecules = scribe.get.denoised(adata, n_samples=10)
    """
    if n_datasets < 1:
        msg = f"n_datasets must be at least 1, got {n_datasets}."
        raise ValueError(msg)
    results = read_fit(adata, key=key)
    index = slice(None) if genes is None else index_of(genes, adata.n_vars, adata.var_names, what="gene")
    part = results if genes is None else results[index]
    check_dense((n_datasets, part.n_cells, part.n_genes), remedy=FEWER)
    warn_of_fit(results, part.gene_names)
    seed = results.seed if rng is None else as_seed(rng)
    # the first as `tl.denoise` makes it
    seeds = [seed, *(as_seed(jax.random.fold_in(as_key(seed), number)) for number in range(1, n_datasets))]
    made = []
    for number, own in enumerate(seeds):
        (values,) = computed(part, method=method, n_samples=n_samples, sd=False, seed=own)
        record = {**record_of(results, method=method, n_samples=n_samples, seed=own), "dataset": number}
        uns = {Slots(key).denoised: computed_x(record, key=key)}
        obs, var, obsm = adata.obs.copy(), adata.var.iloc[index].copy(), dict(adata.obsm)
        made.append(AnnData(values, obs=obs, var=var, obsm=obsm, uns=uns))
    return made[0] if n_datasets == 1 else made
