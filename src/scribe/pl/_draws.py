"""Posterior draws of chosen parameters and genes as one tidy table, which several plots draw in their own way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots
from scribe._model.names import describe, site_among, site_of
from scribe._posterior.by_engine import ScribeMCMCResults, draws_by_chain
from scribe._posterior.results import Results
from scribe._stats.ppc import spread
from scribe._types import Rng
from scribe.pl._canvas import group_name

__all__ = ["QUANTITY", "chosen_params", "draws", "named", "require_chains"]

QUANTITY = ["parameter", "gene", "level"]
"""Columns that tell one number of a model from another."""

_UNITS = {"mu": "molecules per cell"}


def draws(
    adata: AnnData,
    key: str,
    *,
    params: Sequence[str] | str | None = None,
    genes: Sequence[str] | str | None = None,
    n_genes: int = 3,
    n_samples: int = 1000,
    rng: Rng = None,
) -> pd.DataFrame:
    """One row per draw: ``parameter``, ``gene`` and ``level`` ("" where it has none), ``chain``, ``draw``, ``value``.

    Parameters
    ----------
    adata, key
        Annotated data with a fit, and its name.
    params
        Parameters that vary over genes and levels, or over nothing; None takes those of them that are sampled.
    genes
        Genes; None takes ``n_genes`` of them, from rare to common.
    n_genes
        Number of genes to choose.
    n_samples
        Draws of a fit by SVI; of one by MCMC all are taken.
    rng
        Seed, key or generator of these draws.
    """
    results = read_fit(adata, key=key)
    names = chosen_params(results, params)
    if genes is None:
        observed = adata.varm[Slots(key).params]["observed_mean"].to_numpy(np.float64)
        some = results[spread(observed * adata.n_obs, n_genes)]
    else:
        some = results[[genes] if isinstance(genes, str) else list(genes)]
    values = draws_by_chain(some.cells([0]), n_samples, rng=rng)
    labels = {"gene": list(map(str, some.gene_names))} if some.gene_names is not None else {}
    labels |= {
        axis: [group_name(label, axis) for label in levels.labels] for axis, levels in results.spec.levels.items()
    }
    parts = []
    for name in names:
        axes = some.posterior.readable_axes[name]
        at_gene = axes.index("gene") if "gene" in axes else None
        # genes first, then levels
        order = sorted(range(len(axes)), key=lambda i: i != at_gene)
        value = np.moveaxis(np.asarray(values[name], np.float64), [2 + i for i in order], range(len(axes)))
        for place in itertools.product(*(range(len(labels[axes[i]])) for i in order)):
            words = [labels[axes[i]][number] for i, number in zip(order, place, strict=True)]
            gene = words.pop(0) if at_gene is not None else ""
            drawn = value[place]
            chain, draw = np.indices(drawn.shape)
            what = {"parameter": name, "gene": gene, "level": ", ".join(words)}
            table = pd.DataFrame({"chain": chain.ravel(), "draw": draw.ravel(), "value": drawn.ravel()})
            parts.append(table.assign(**what)[[*QUANTITY, *table]])
    return pd.concat(parts, ignore_index=True)


def chosen_params(results: Results, params: Sequence[str] | str | None) -> list[str]:
    """Parameters by internal name; an error where one has a value per cell."""
    axes = results.posterior.readable_axes
    if params is None:
        return [site.name for site in results.spec.sites if "cell" not in axes[site.name]]
    names = [site_among(name, list(axes)) for name in ([params] if isinstance(params, str) else params)]
    if not names:
        msg = f"params is empty: name some of {', '.join(axes)}, or leave it out."
        raise ValueError(msg)
    by_cell = [name for name in names if "cell" in axes[name]]
    if by_cell:
        others = ", ".join(name for name, mine in axes.items() if "cell" not in mine)
        msg = f"{by_cell[0]!r} has a value for every cell: see scribe.pl.capture, or choose among {others}."
        raise ValueError(msg)
    return names


def require_chains(adata: AnnData, key: str) -> None:
    """Raise where a fit was not made by MCMC."""
    results = read_fit(adata, key=key)
    if not isinstance(results, ScribeMCMCResults):
        msg = (
            f"The fit {key!r} was made by {results.engine.upper()}, which runs no chains: see scribe.pl.loss for its "
            f"convergence, or run scribe.tl.fit(adata, inference_method='mcmc', key_added={key!r})."
        )
        raise ValueError(msg)


def named(parameter: str, gene: str = "", level: str = "", *, unit: bool = False) -> str:
    """How a quantity is written on axes: ``expression mu, CD3D [T cell]``."""
    parameter = site_of(parameter) or parameter
    word = describe(parameter, descriptive=True).replace("_", " ")
    plain = parameter.replace("_", " ")
    text = plain if word in plain else f"{word} {plain}"
    text += f", {gene}" if gene else ""
    text += f" [{level}]" if level else ""
    return f"{text} ({_UNITS[parameter]})" if unit and parameter in _UNITS else text
