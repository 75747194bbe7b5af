"""A fit as the tree of arrays that ArviZ reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._model.checks import require_known
from scribe._model.keywords import verb
from scribe._posterior.by_engine import ScribeMCMCResults, draws_by_chain, values_by_chain
from scribe._posterior.marginal import log_likelihood_of_cells
from scribe._posterior.results import Results
from scribe._posterior.simulate import Sparse
from scribe._rng import as_key, as_seed
from scribe._types import AnyArray, FloatArray, Rng

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = ["datatree"]

_NAMES = {"num_steps": "n_steps", "accept_prob": "acceptance_rate", "diverging": "diverging", "energy": "energy"}
"""ArviZ's names for what the sampler says of every draw."""

_GROUPS = ("posterior", "log_likelihood", "posterior_predictive", "observed_data")
_DRAWS = ("chain", "draw")
_FEWER = "Pass adata[cells, genes] or fewer n_samples, or read scribe.get.results(adata).simulate()"

_Variables = dict[str, tuple[tuple[str, ...], AnyArray]]
"""Dimensions and values by name."""


@verb
def datatree(
    adata: AnnData,
    *,
    key: str = "scribe",
    n_samples: int = 1000,
    groups: Sequence[str] = ("posterior", "log_likelihood"),
    integrate_capture: bool = False,
    rng: Rng = None,
) -> DataTree:
    """Posterior draws of a fit and what follows from them as a :class:`xarray.DataTree`, as ArviZ 1.0 takes it.

    Needs xarray: ``pip install "scribe-bayes[arviz]"``.

    Parameters
    ----------
    adata
        Annotated data with a fit, possibly a subset of the one that was fitted.
    n_samples
        Draws of a fit by SVI, which are one chain. Of a fit by MCMC all are returned, chain by chain.
    groups
        Which groups to make, of those below. All but ``"posterior"`` need the counts for ``"log_likelihood"`` and
        ``"observed_data"``; ``"posterior_predictive"`` and ``"observed_data"`` are dense.
    integrate_capture
        Integrate the capture of a cell out of its log-likelihood, over the captures that the other cells have at the
        draw. Leave-one-out needs it: given its capture a cell is not left out. Without capture nothing changes.
    rng
        Seed, key or generator of the draws of a fit by SVI, and of replicates.

    Returns
    -------
    A tree of groups at the same draws, those of ``get_posterior_samples`` with this ``rng``. Dimensions are chain, draw
    and those of the parameter (``gene``, ``cell``, ``component``, ``dataset``) under their names.

    ``posterior``
        All parameters, sampled and derived.
    ``log_likelihood``
        ``counts`` (chain, draw, cell), nats: the counts of a cell are one observation.
    ``posterior_predictive``
        ``counts`` (chain, draw, cell, gene): one replicate of the data for every draw.
    ``observed_data``
        ``counts`` (cell, gene).
    ``sample_stats``
        What the sampler says of every draw; of a fit by MCMC, with ``posterior``.

    Raises
    ------
    KeyError
        If there is no such fit, naming the verb to call.
    ValueError
        If there is no such group, or a dense one is larger than ``settings.max_array_gb``.

    Examples
    --------
    Leave-one-out cross-validation, as `scribe.compare_models` does it:

    >>> import arviz_stats
    >>> import scribe
    >>> adata = scribe.datasets.simulate(60, 20)
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> tree = scribe.get.datatree(adata, n_samples=200, integrate_capture=True)
    >>> loo = arviz_stats.loo(tree)
    """
    import xarray as xr

    for group in groups:
        require_known("group", group, _GROUPS)
    results = read_fit(adata, key=key)
    # a generator gives one seed, so that all groups are at the same draws
    options: dict[str, Any] = {"n_samples": n_samples, "rng": results.seed if rng is None else as_seed(rng)}
    make: dict[str, Callable[[], _Variables]] = {
        "posterior": lambda: _parameters(results, **options),
        "log_likelihood": lambda: _log_likelihood(results, integrated=integrate_capture, **options),
        "posterior_predictive": lambda: _replicates(results, **options),
        "observed_data": lambda: {"counts": (("cell", "gene"), results.dense(_observed(results), 1, remedy=_FEWER)[0])},
    }
    made = {group: make[group]() for group in _GROUPS if group in groups}
    if "posterior" in made and isinstance(results, ScribeMCMCResults):
        made["sample_stats"] = _sample_stats(results)
    attributes = {"created_by": "scribe", "model": results.spec.family.name, "engine": results.engine}
    return xr.DataTree.from_dict(
        {group: xr.Dataset(found, coords=_coords(results, found), attrs=attributes) for group, found in made.items()}
    )


def _parameters(results: Results, **options: Any) -> _Variables:
    axes = results.spec.named_axes
    return {name: ((*_DRAWS, *axes[name]), value) for name, value in draws_by_chain(results, **options).items()}


def _sample_stats(results: ScribeMCMCResults) -> _Variables:
    found = results.get_extra_fields(group_by_chain=True)
    stats = {_NAMES[name]: value for name, value in found.items() if name in _NAMES}
    stats |= {"lp": -found["potential_energy"], "tree_depth": np.ceil(np.log2(found["num_steps"] + 1)).astype(int)}
    return {name: (_DRAWS, value) for name, value in stats.items()}


def _log_likelihood(results: Results, *, integrated: bool, **options: Any) -> _Variables:
    posterior, counts, values = results.posterior, results.counts(), values_by_chain(results, **options)
    if integrated:
        rows = list(log_likelihood_of_cells(posterior, counts, values))
    else:
        data, likelihood = posterior.data(counts), posterior.spec.likelihood
        rows = [np.asarray(likelihood.by_cell(posterior.parameters(one), data)) for one in values]
    return {"counts": ((*_DRAWS, "cell"), _by_chain(results, np.stack(rows)))}


def _replicates(results: Results, *, n_samples: int, rng: int) -> _Variables:
    n = results.posterior.n_draws or n_samples
    data_sets = results.replicates(values_by_chain(results, n, rng=rng), as_key(rng))
    return {"counts": ((*_DRAWS, "cell", "gene"), _by_chain(results, results.dense(data_sets, n, remedy=_FEWER)))}


def _by_chain(results: Results, draws: FloatArray) -> FloatArray:
    """Draws (draws, ...) as (chains, draws, ...)."""
    return draws.reshape(results.n_chains, -1, *draws.shape[1:])


def _observed(results: Results) -> list[list[Sparse]]:
    """Observed counts in the form of one simulated data set."""
    return [[Sparse(*results.counts().entries())]]


def _coords(results: Results, variables: _Variables) -> dict[str, AnyArray]:
    """Labels of all dimensions of some variables."""
    names = {
        "gene": results.gene_names,
        "cell": results.cell_names,
        **{axis: np.asarray(levels.labels) for axis, levels in results.spec.levels.items()},
    }
    sizes = {axis: n for axes, value in variables.values() for axis, n in zip(axes, value.shape, strict=True)}
    return {axis: np.arange(n) if axis in _DRAWS else np.asarray(names[axis], str) for axis, n in sizes.items()}
