"""A fit as the tree of arrays that ArviZ reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._model.keywords import verb
from scribe._posterior.by_engine import ScribeMCMCResults, draws_by_chain
from scribe._posterior.results import Results
from scribe._types import Rng

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = ["datatree"]

_NAMES = {"num_steps": "n_steps", "accept_prob": "acceptance_rate", "diverging": "diverging", "energy": "energy"}
"""ArviZ's names for what the sampler says of every draw."""


@verb
def datatree(adata: AnnData, *, key: str = "scribe", n_samples: int = 1000, rng: Rng = None) -> DataTree:
    """Posterior draws of a fit as a :class:`xarray.DataTree`, as ArviZ 1.0 takes it.

    Needs xarray: ``pip install "scribe-bayes[arviz]"``.

    Parameters
    ----------
    adata
        Annotated data with a fit, possibly a subset of the one that was fitted.
    key
        Name of the fit.
    n_samples
        Draws of a fit by SVI, which are one chain. Of a fit by MCMC all are returned, chain by chain.
    rng
        Seed, key or generator of the draws of a fit by SVI.

    Returns
    -------
    A tree with the group ``posterior``, whose variables have the dimensions chain, draw and those of the parameter
    (``gene``, ``cell``, ``component``, ``dataset``) under their names, and for MCMC ``sample_stats``.

    Raises
    ------
    KeyError
        If there is no such fit, naming the verb to call.
    """
    import xarray as xr

    results = read_fit(adata, key=key)
    draws = draws_by_chain(results, n_samples, rng=rng)
    axes = results.spec.readable_axes
    attributes = {"created_by": "scribe", "model": results.spec.family.name, "engine": results.engine}
    groups = {
        "posterior": xr.Dataset(
            {name: (("chain", "draw", *axes[name]), value) for name, value in draws.items()},
            coords=_coords(results, next(iter(draws.values())).shape[:2], {a for name in draws for a in axes[name]}),
            attrs=attributes,
        )
    }
    if isinstance(results, ScribeMCMCResults):
        found = results.get_extra_fields(group_by_chain=True)
        stats = {_NAMES[name]: value for name, value in found.items() if name in _NAMES}
        stats |= {"lp": -found["potential_energy"], "tree_depth": np.ceil(np.log2(found["num_steps"] + 1)).astype(int)}
        groups["sample_stats"] = xr.Dataset(
            {name: (("chain", "draw"), value) for name, value in stats.items()},
            coords=_coords(results, found["energy"].shape, set()),
            attrs=attributes,
        )
    return xr.DataTree.from_dict(groups)


def _coords(results: Results, shape: tuple[int, ...], axes: set[str]) -> dict[str, Any]:
    """Labels of all dimensions."""
    names = {
        "gene": results.gene_names,
        "cell": results.cell_names,
        **{axis: np.asarray(levels.labels) for axis, levels in results.spec.levels.items()},
    }
    numbered = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    return {**numbered, **{axis: np.asarray(names[axis], str) for axis in axes}}
