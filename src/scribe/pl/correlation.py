"""Correlation of genes in the posterior."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._counts.checks import outside_stacklevel
from scribe._posterior.by_engine import draws_by_chain
from scribe._posterior.results import Results
from scribe._types import FloatArray, IntArray
from scribe.guides import Composed, Guide, MeanField
from scribe.pl._canvas import drawn, group_name
from scribe.pl._draws import chosen_params, named, observed_means
from scribe.pl._names import short_names
from scribe.pl._signature import Axes, OnePanel, plot

__all__ = ["correlation", "frame"]

_LEGIBLE = 4.2
"""Points that the name of a gene needs."""
_WEAK = 0.3


def frame(
    adata: AnnData,
    key: str = "scribe",
    *,
    param: str = "mu",
    genes: Sequence[str] | int = 100,
    component: str | int | None = None,
    dataset: str | int | None = None,
    n_samples: int = 1000,
) -> pd.DataFrame:
    """One row per pair of genes, ``gene`` and ``other``, both in clustered order, with their ``correlation``."""
    results = read_fit(adata, key=key)
    results = results if component is None else results.get_component(component)
    results = results if dataset is None else results.get_dataset(dataset)
    chosen = {"component": component, "dataset": dataset}
    level = ", ".join(group_name(str(label), axis) for axis, label in chosen.items() if label is not None)
    name = _gene_param(results, param)
    if _by_gene(results):
        msg = (
            f"The fit {key!r} has a mean-field guide, which holds the parameters of genes independent: these correlate "
            "only by what they share, the rest is chance. Fit with guide_rank=8, or by inference_method='mcmc'."
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
    if isinstance(genes, int):
        some = results[np.sort(np.argsort(-observed_means(adata, key), kind="stable")[:genes])]
    else:
        some = results[list(genes)]
    if some.n_genes < 2:
        msg = f"A correlation needs two genes or more, got {some.n_genes}."
        raise ValueError(msg)
    values = draws_by_chain(some.cells([0]), n_samples)[name]
    # Spearman's correlation is that of ranks
    matrix = np.corrcoef(pd.DataFrame(values.reshape(-1, some.n_genes)).rank().T)
    order = _clustered(matrix)
    names = np.asarray(some.gene_names, object)[order]
    pairs = pd.MultiIndex.from_product([pd.CategoricalIndex(names, names)] * 2, names=["gene", "other"])
    table = pd.DataFrame({"correlation": matrix[np.ix_(order, order)].ravel()}, pairs).reset_index()
    table.attrs["what"] = named(name, level=level)
    return table


def _gene_param(results: Results, param: str) -> str:
    """Internal name of a parameter that has one value per gene."""
    (name,) = chosen_params(results, param)
    axes = results.posterior.named_axes
    if "gene" not in axes[name]:
        others = ", ".join(other for other, mine in axes.items() if "gene" in mine)
        msg = f"{param!r} has no value per gene: choose among {others}."
        raise ValueError(msg)
    levels = [axis for axis in axes[name] if axis != "gene"]
    if levels:
        labels = ", ".join(results.spec.levels[levels[0]].labels)
        msg = f"{param!r} differs between levels of {levels[0]!r}: pass {levels[0]}=, one of {labels}."
        raise ValueError(msg)
    return name


def _by_gene(results: Results) -> bool:
    """Whether the posterior is one of independent genes by construction: none but mean-field guides for them."""
    guide, rest = results.posterior.guide, results.spec.latents
    if not isinstance(guide, Guide):
        return False
    for part in guide.parts if isinstance(guide, Composed) else (guide,):
        mine = part.select(rest)
        if not isinstance(part, MeanField) and any("gene" in latent.axes for latent in mine):
            return False
        rest = tuple(latent for latent in rest if latent not in mine)
    return True


def _clustered(matrix: FloatArray) -> IntArray:
    """Order of genes in which those that correlate stand together."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1.0 - matrix, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree))


@plot(fit="guide_rank=8")
def correlation(
    adata: AnnData,
    param: str = "mu",
    *,
    genes: Sequence[str] | int = 100,
    component: str | int | None = None,
    dataset: str | int | None = None,
    key: str = "scribe",
    n_samples: int = 1000,
    **figure: Unpack[OnePanel],
) -> Axes:
    """Rank correlation between genes of a parameter in the posterior, genes in clustered order.

    It tells what the counts leave undecided jointly, not which genes are expressed together. Spearman's correlation is
    the same on every scale of the parameter. Of ``S`` draws it has a standard error of about ``1/sqrt(S)``.

    Parameters
    ----------
    adata
        Annotated data with a fit by MCMC, or with a guide that has correlations. With a mean-field guide there is a
        warning: it has none.
    param
        A parameter with one value per gene, by internal or descriptive name.
    genes
        Genes to draw, or how many of the most expressed ones.
    component, dataset
        Level at which to take a parameter that differs between them, by label or number.
    n_samples
        Draws of a fit by SVI; of one by MCMC all are used.
    """
    table = frame(adata, key, param=param, genes=genes, component=component, dataset=dataset, n_samples=n_samples)
    return drawn(draw, [table], size=(5.4, 4.6), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw the matrix, its names where there is room for them, and the scale of its colours."""
    names = table["gene"].cat.categories
    matrix = table["correlation"].to_numpy().reshape(len(names), len(names)).copy()
    off = np.abs(matrix[~np.eye(len(names), dtype=bool)])
    # the diagonal is one for all: the colours serve the rest, but do not make chance look strong
    limit = max(float(np.quantile(off, 0.99)), _WEAK)
    np.fill_diagonal(matrix, np.nan)
    room = ax.get_window_extent().height / ax.figure.dpi * 72 / len(names)
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.set_facecolor("#D9D9D9")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, extend="both", label="rank correlation over draws")
    shown = short_names(map(str, names)) if room >= _LEGIBLE else []
    ax.set_yticks(range(len(shown)), shown, fontsize=min(room, 9))
    ax.set_xticks(range(len(shown)), shown, fontsize=min(room, 9), rotation=90)
    ax.spines[:].set_visible(True)
    ax.tick_params(length=0)
    ax.set_xlabel("gene")
    ax.set_ylabel("gene")
    ax.set_title(table.attrs["what"], fontsize="medium", loc="left")
