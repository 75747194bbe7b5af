"""Denoise counts: what a cell held before capture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.denoised import FEWER, computed, record_of, warn_of_fit
from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_free, check_target, refuse_taken, write_derived
from scribe._model.keywords import verb
from scribe._posterior.denoise import Method
from scribe._posterior.indexing import check_dense, one_selector
from scribe._rng import as_seed
from scribe._types import Rng

__all__ = ["denoise"]


@verb
def denoise(
    adata: AnnData,
    *,
    key: str = "scribe",
    method: Method = "mean",
    n_samples: int = 100,
    genes: Sequence[str] | str | None = None,
    key_added: str | None = None,
    sd: bool = False,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Denoise counts: the posterior of the molecules each cell held before capture, given the observed count.

    The fitted model says how many molecules of a gene went unseen in a cell that showed :math:`u` of them. The answer
    keeps what was observed, adds what was missed, and shrinks the more towards the gene's mean the less was captured.
    With ``n_samples`` it is integrated over the posterior of the parameters. Values of different cells and genes share
    these parameters: they are estimates, smoother than data, and neither counts to fit nor independent observations to
    test; :func:`scribe.tl.fit` refuses them.

    Parameters
    ----------
    method
        ``"mean"`` of the posterior, its ``"mode"`` (a whole number, at the most probable parameters), or one
        ``"sample"`` (whole numbers with the spread of real molecules). A pair of them is for observed counts and for
        zeros: ``("mean", "sample")``.
    n_samples
        Draws of the parameters to integrate over; 0 takes them at their most probable values.
    genes
        Genes to denoise; None takes all. The result for some genes goes to ``.obsm``.
    key_added
        Name of the slots; ``key + '_denoised'`` unless given.
    sd
        Write the posterior standard deviation as well.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.layers[key_added]`` : float32 (cells, genes)
        Denoised counts, dense. Unless ``genes`` is given.
    ``adata.layers[key_added + '_sd']`` : float32 (cells, genes)
        Posterior standard deviation, with ``sd=True``.
    ``adata.obsm[key_added]``, ``adata.obsm[key_added + '_sd']`` : :class:`pandas.DataFrame` (cells)
        The same with one column per gene, where ``genes`` is given.
    ``adata.uns[key_added]`` : dict
        ``quantity``, ``unit`` (absolute or relative molecules, as the fit knows capture) and ``formula``; ``method``,
        ``n_samples``, ``seed``; ``derived_from`` (the fit) and ``slots`` (what was written, JSON).

    Warns
    -----
    UserWarning
        If the fit takes cells for more alike than they are, so that markers of one type appear in others: more than
        1 % of the genes have over twice the variance that it predicts (Pearson residuals), or residuals of different
        genes go together five times as much as independent ones would. Fit ``n_components`` or ``annotation_key`` then.

    Raises
    ------
    KeyError
        If there is no such fit or no such gene.
    ValueError
        If the counts are no longer in the layer the fit was made on, or the result is larger than
        ``settings.max_array_gb``.

    Notes
    -----
    For the negative binomial with size :math:`r`, odds :math:`\phi = r/\mu` and capture :math:`\nu`, the unseen
    molecules :math:`d = m - u` follow

    .. math:: d \mid u \sim \mathrm{NB}\{r + u,\ \text{mean } (r+u)\,w\}, \qquad w = \frac{1-\nu}{\phi+\nu}.

    A zero may also come from zero inflation, with probability :math:`\pi/\{\pi + (1-\pi)P(0)\}`; then it says nothing
    of the count, which follows the model before capture.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.denoise(adata, n_samples=10)
    >>> molecules = adata.layers["scribe_denoised"]
    """
    check_target(adata, copy=copy)
    place = Slots(key).denoised if key_added is None else key_added
    results = read_fit(adata, key=key)
    attribute = "layers" if genes is None else "obsm"
    refuse_taken(adata, key=key, name="denoised", place=place)
    check_free(adata, {attribute: [place, f"{place}_sd"][: 1 + sd]}, key=key)
    part = results if genes is None else results[one_selector(genes)]
    check_dense((1 + sd, part.n_cells, part.n_genes), remedy=FEWER)
    seed = results.seed if rng is None else as_seed(rng)
    warn_of_fit(results, part.gene_names)
    values = computed(part, method=method, n_samples=n_samples, sd=sd, seed=seed)
    named: dict[str, Any] = dict(zip((place, f"{place}_sd"), values, strict=False))
    if genes is not None:
        columns = pd.Index(np.asarray(part.gene_names, str))
        named = {name: pd.DataFrame(value, adata.obs_names, columns) for name, value in named.items()}
    target = adata.copy() if copy else adata
    record = record_of(results, method=method, n_samples=n_samples, seed=seed)
    write_derived(target, {attribute: named}, key=key, name="denoised", place=place, record=record)
    return target if copy else None
