"""What to compare: genes with enough expression, and components with a common label."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from scribe._compare.compare import compare
from scribe._compare.options import CompareOptions
from scribe._compare.relative import covering
from scribe._model.checks import require_known
from scribe._model.keywords import verb
from scribe._model.labels import label_of
from scribe._posterior.results import Results
from scribe._types import AnyArray, Label

__all__ = [
    "compute_composition_coverage_mask",
    "compute_expression_mask",
    "get_shared_labels",
    "match_components_by_label",
]


@verb
def compute_expression_mask(
    results_A: Results, results_B: Results, *, min_mean_expression: float = 1.0, **options: Unpack[CompareOptions]
) -> AnyArray:
    """Genes with enough expression in one of two fits to be compared.

    Parameters
    ----------
    results_A, results_B
        Results of fits.
    min_mean_expression
        Molecules among 10,000.
    **options
        Those of `compare`: ``component_A``, ``component_B``, ...

    Returns
    -------
    A mask (genes,), for ``gene_mask``.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> halves = adata[::2].copy(), adata[1::2].copy()
    >>> first, second = (scribe.fit(half) for half in halves)
    >>> mask = scribe.compute_expression_mask(first, second, min_mean_expression=2.0)
    >>> de = scribe.compare(first, second, gene_mask=mask)
    """
    return compare(results_A, results_B, **options).set_expression_threshold(min_mean_expression).kept


@verb
def compute_composition_coverage_mask(
    results_A: Results, results_B: Results, *, coverage: float = 0.95, **options: Unpack[CompareOptions]
) -> AnyArray:
    """Most expressed genes that make up a share of all molecules in one of two fits to be compared.

    Parameters
    ----------
    results_A, results_B
        Results of fits.
    coverage
        Share of the molecules, between 0 and 1.
    **options
        Those of `compare`: ``component_A``, ``component_B``, ...

    Returns
    -------
    A mask (genes,), for ``gene_mask``.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> halves = adata[::2].copy(), adata[1::2].copy()
    >>> first, second = (scribe.fit(half) for half in halves)
    >>> mask = scribe.compute_composition_coverage_mask(first, second, coverage=0.9)
    >>> de = scribe.compare(first, second, gene_mask=mask)
    """
    return np.logical_or(*(covering(share, coverage) for share in compare(results_A, results_B, **options).expression))


@verb
def get_shared_labels(results_A: Results, results_B: Results) -> list[str]:
    """Labels of components that two fits have in common.

    Parameters
    ----------
    results_A, results_B
        Fits of mixtures.

    Returns
    -------
    Labels in the order of the first.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> halves = adata[::2].copy(), adata[1::2].copy()
    >>> first, second = (scribe.fit(half, annotation_key="bulk_labels") for half in halves)
    >>> labels = scribe.get_shared_labels(first, second)
    """
    mine, others = (_component_labels(results) for results in (results_A, results_B))
    return [label for label in mine if label in others]


@verb
def match_components_by_label(results_A: Results, results_B: Results, label: Label) -> tuple[int, int]:
    """Numbers of the components that have a label in two fits.

    Parameters
    ----------
    results_A, results_B
        Fits of mixtures.
    label
        A label that both have.

    Returns
    -------
    Numbers for ``component_A`` and ``component_B``.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> halves = adata[::2].copy(), adata[1::2].copy()
    >>> first, second = (scribe.fit(half, annotation_key="bulk_labels") for half in halves)
    >>> of_first, of_second = scribe.match_components_by_label(first, second, "Dendritic")
    >>> de = scribe.compare(first, second, component_A=of_first, component_B=of_second)
    """
    shared = get_shared_labels(results_A, results_B)
    text = label_of(label)
    require_known("label", text, shared)
    first, second = (_component_labels(results).index(text) for results in (results_A, results_B))
    return first, second


def _component_labels(results: Results) -> list[str]:
    levels = results.spec.levels.get("component")
    if levels is None:
        msg = "A fit of one component has no labels: fit a mixture, with annotation_key= or n_components=."
        raise ValueError(msg)
    return list(levels.labels)
