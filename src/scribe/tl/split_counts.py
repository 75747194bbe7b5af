"""Split the molecules of every cell in two."""

from __future__ import annotations

import warnings

import numpy as np
from anndata import AnnData

from scribe._adata.read import read_counts
from scribe._adata.slots import check_name, check_target, write_slots
from scribe._counts.checks import CountsWarning, outside_stacklevel
from scribe._model.keywords import verb
from scribe._rng import as_seed
from scribe._types import Rng

__all__ = ["split_counts"]


@verb
def split_counts(
    adata: AnnData,
    *,
    layer: str | None = None,
    fraction: float = 0.5,
    rng: Rng = None,
    key_added: str = "counts",
    copy: bool = False,
) -> AnnData | None:
    r"""Split the molecules of every cell into two data sets of the same cells.

    Every molecule goes to one of the two at random, as if the library had been split before sequencing. What is chosen
    on one half, such as clusters, can be tested on the other without being tested on itself [Neufeld24]_: of Poisson
    counts the halves are independent, and of overdispersed ones independent given what cells of a group share.

    Parameters
    ----------
    adata
        Annotated data with raw counts.
    layer
        Layer that holds the counts; None is ``.X``.
    fraction
        Share of the molecules that go to the second, the test half.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.
    key_added
        Name of the two layers.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.layers[key_added + '_train']``, ``adata.layers[key_added + '_test']`` : sparse float32 (cells, genes)
        The two parts of the counts, which add up to them.

    Raises
    ------
    ValueError
        If the values are not whole numbers, or ``fraction`` is not between 0 and 1.

    References
    ----------
    .. [Neufeld24] Neufeld et al., Inference after latent variable estimation for single-cell RNA sequencing data,
       Biostatistics 25, 2024.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.split_counts(adata)
    >>> scribe.tl.fit(adata, layer="counts_train", n_components=3, n_steps=200, early_stopping=False)
    """
    if not 0 < fraction < 1:
        msg = f"fraction must be between 0 and 1, got {fraction!r}: 0.5 splits the molecules in halves."
        raise ValueError(msg)
    check_name(key_added)
    check_target(adata, copy=copy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CountsWarning)
        counts = read_counts(adata, layer=layer)
    train, test = counts.split(fraction, np.random.default_rng(as_seed(rng)))
    target = adata.copy() if copy else adata
    parts = {f"{key_added}_train": train.to_csr(), f"{key_added}_test": test.to_csr()}
    if replaced := [name for name in parts if name in adata.layers]:
        msg = f"layers[{replaced[0]!r}] is replaced: to keep it choose another key_added."
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
    write_slots(target, {"layers": parts})
    return target if copy else None
