"""Assign cells to the components of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_target, write_derived
from scribe._model.keywords import verb
from scribe._posterior.assign import Assignment
from scribe._rng import as_seed
from scribe._types import Rng

__all__ = ["assign"]


@verb
def assign(
    adata: AnnData,
    *,
    key: str = "scribe",
    n_samples: int = 100,
    temper: bool = True,
    doublet_rate: float = 0.0,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Assign cells to the components of a mixture, by the posterior of each cell.

    At given parameters a cell is of component :math:`k` with probability

    .. math:: \gamma_{ck} \propto w_{ck} \prod_g P(u_{cg} \mid \theta_{kg}, \nu_c)^\lambda,

    its *responsibility*; :math:`w_{ck}` are the weights of the components, changed by the cell's annotation where it
    has one. Responsibilities are averaged over draws from the posterior of the parameters. Parameters separate the
    cells that they were learned from better than others, the more so the more genes and the fewer cells there are; the
    *reliability* :math:`\lambda` of likelihood ratios, the part of their variance between cells that is not due to
    unknown parameters, takes that back (``temper``).

    Components without annotation are numbered by the size of the clusters the fit started from. Their numbers have no
    meaning beyond one fit: compare fits by the cells they put together, not by the number of the component. Draws of
    MCMC that number them differently have been brought to the numbering of the first chain, and
    ``results.verdict.relabelled`` says how many.

    Parameters
    ----------
    adata
        Annotated data with a fit of a mixture and the counts it was made on.
    n_samples
        Draws of the parameters to average over; 0 takes them at their most probable values, as :func:`scribe.tl.fit`
        does: the quickest way, and too certain where types overlap.
    temper
        Whether likelihoods are tempered by their reliability; False is the posterior of the model as it is.
    doublet_rate
        Share of cells that hold two types, 0.05 say: above 0 every pair of components, in the shares of a quarter, a
        half and three quarters, is a component as well, at the cost of as many more.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.obs[key + '_component']`` : categorical (cells)
        Most probable component, under the label of the annotation or its number.
    ``adata.obs[key + '_entropy']`` : float (cells)
        Entropy of the responsibilities divided by that of a uniform guess: 0 where a cell is certain, 1 where nothing
        is known of it.
    ``adata.obs[key + '_doublet']`` : float (cells)
        With ``doublet_rate``, the probability that the cell is of two components.
    ``adata.obsm[key + '_responsibilities']`` : float (cells, components)
        Responsibilities, which sum to one in every cell; a cell of two components counts for both by their shares.
    ``adata.uns[key + '_assign']`` : dict
        ``table``: for every component its ``label``, the ``n_cells`` for which it is the most probable, its share
        ``weight`` (the mean responsibility, which the data determine far better than the weights of the model),
        ``mean_responsibility`` and mean ``reliability`` of the cells assigned to it (NaN without cells);
        ``n_samples``, ``temper``, ``doublet_rate``, ``seed``, ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit.
    ValueError
        If the fit is not of a mixture, or the counts are no longer where they were.

    Warns
    -----
    ComponentsWarning
        If a mixture of one component less has the better evidence lower bound: the counts do not tell the components
        apart, and what is said to be 90 % right may be right less often. If one component holds all cells.

    Notes
    -----
    How often assignments are right is measured in :doc:`/benchmarks`, on overlapping types, with and without labels:
    those said to be 90 % right are right in 85 to 95 % where components share what does not differ between them
    (``expression_prior="gaussian"``), and not always by default, nor without tempering. Where a mixture of one
    component less has the better bound, which a warning says, this cannot be had.

    Two things a probability per component cannot say. A cell of a type that the model lacks is assigned to the
    component that is least unlike it; such cells show by their residuals (:func:`scribe.tl.gof`). And with many genes
    every cell is certain, also a droplet or well with two types in it, unless ``doublet_rate`` provides for it. That
    takes components of single types: where most cells are mixtures, components are themselves.

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
    options: dict[str, Any] = {"n_samples": n_samples, "temper": temper, "doublet_rate": doublet_rate}
    found = results.cell_type_assignments(rng=seed, **options)
    labels = list(levels.labels)
    slots = Slots(key)
    placed = {
        "obs": {
            slots.component: pd.Categorical.from_codes(found.component, labels),
            slots.of("entropy"): found.entropy / np.log(len(labels)),
            **({slots.of("doublet"): found.doublet} if doublet_rate else {}),
        },
        "obsm": {slots.responsibilities: found.probabilities.astype(np.float32)},
    }
    target = adata.copy() if copy else adata
    record = {"table": _table(found, labels), **options, "seed": seed}
    write_derived(target, placed, key=key, name="assign", record=record)
    return target if copy else None


def _table(found: Assignment, labels: list[str]) -> pd.DataFrame:
    """One row per component, with means over the cells that are assigned to it."""
    of_cells = {"mean_responsibility": found.probabilities.max(axis=1), "reliability": found.reliability}
    means = pd.DataFrame(of_cells).groupby(found.component).mean().reindex(range(len(labels)))
    n_cells = np.bincount(found.component, minlength=len(labels))
    return pd.DataFrame({"label": labels, "n_cells": n_cells, "weight": found.weights, **means})
