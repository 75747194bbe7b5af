"""Assign cells to the components of a mixture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_target, write_derived
from scribe._model.keywords import verb
from scribe._posterior.assign import assign as posterior_assign
from scribe._rng import as_key, as_seed
from scribe._types import Rng

__all__ = ["assign"]


@verb
def assign(
    adata: AnnData, *, key: str = "scribe", n_samples: int = 100, rng: Rng = None, copy: bool = False
) -> AnnData | None:
    r"""Assign cells to the components of a mixture, by the posterior of each cell.

    At given parameters a cell is of component :math:`k` with probability

    .. math:: \gamma_{ck} \propto w_{ck} \prod_g P(u_{cg} \mid \theta_{kg}, \nu_c),

    its *responsibility*; :math:`w_{ck}` are the weights of the components, changed by the cell's annotation where it
    has one. Responsibilities are averaged over draws from the posterior of the parameters. With thousands of genes the
    likelihood outweighs the weights by far, and most cells are certain.

    Components without annotation are numbered by the size of the clusters the fit started from. Their numbers have no
    meaning beyond one fit: compare fits by the cells they put together, not by the number of the component. Draws of
    MCMC that number them differently have been brought to the numbering of the first chain, and
    ``results.verdict.relabelled`` says how many.

    Parameters
    ----------
    adata
        Annotated data with a fit of a mixture and the counts it was made on.
    key
        Name of the fit.
    n_samples
        Draws of the parameters to average over; 0 takes them at their most probable values, as :func:`scribe.tl.fit`
        does.
    rng
        Seed, NumPy generator or JAX key; the seed of the fit unless given.
    copy
        Return a copy of ``adata`` with the results instead of writing into it.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.obs[key + '_component']`` : categorical (cells)
        Most probable component, under the label of the annotation or its number.
    ``adata.obs[key + '_entropy']`` : float (cells)
        Entropy of the responsibilities divided by that of a uniform guess: 0 where a cell is certain, 1 where nothing
        is known of it.
    ``adata.obsm[key + '_responsibilities']`` : float (cells, components)
        Responsibilities, which sum to one in every cell.
    ``adata.uns[key + '_assign']`` : dict
        ``table``: for every component its ``label``, the ``n_cells`` for which it is the most probable, its share
        ``weight`` (the mean responsibility, which the data determine far better than the weights of the model) and
        ``mean_responsibility`` of the cells assigned to it; ``n_samples``, ``seed``, ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit.
    ValueError
        If the fit is not of a mixture, or the counts are no longer where they were.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_components=2, n_steps=200, early_stopping=False)
    >>> scribe.tl.assign(adata, n_samples=10)
    >>> components = adata.obs["scribe_component"]
    """
    check_target(adata, copy=copy)
    results = read_fit(adata, key=key)
    levels = results.spec.levels.get("component")
    if levels is None:
        msg = (
            f"The fit {key!r} has one component only. Fit a mixture first: scribe.tl.fit(adata, n_components=5), or "
            "annotation_key= with a column of labels."
        )
        raise ValueError(msg)
    seed = results.seed if rng is None else as_seed(rng)
    found = posterior_assign(results.posterior, results.counts(), key=as_key(seed), n_samples=n_samples)
    labels, n = list(levels.labels), np.bincount(found.component, minlength=len(levels.labels))
    certainty = np.bincount(found.component, found.probabilities.max(axis=1), minlength=len(labels)) / np.maximum(n, 1)
    table = pd.DataFrame({"label": labels, "n_cells": n, "weight": found.weights, "mean_responsibility": certainty})
    slots = Slots(key)
    placed = {
        "obs": {
            slots.component: pd.Categorical.from_codes(found.component, labels),
            slots.of("entropy"): found.entropy / np.log(len(labels)),
        },
        "obsm": {slots.responsibilities: found.probabilities.astype(np.float32)},
    }
    target = adata.copy() if copy else adata
    record = {"table": table, "n_samples": n_samples, "seed": seed}
    write_derived(target, placed, key=key, name="assign", record=record)
    return target if copy else None
