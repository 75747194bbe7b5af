"""What is compared between two groups of cells, and relative to what."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from scribe._model.checks import nearest, require_known
from scribe._posterior.indexing import Selector, index_of
from scribe._stats.centre import Centre
from scribe._stats.contrasts import Comparison, Evidence
from scribe._stats.laws import Law, NormalMixture
from scribe._stats.logratios import REFERENCES, Reference
from scribe._stats.shrinkage import WEAK, Shrunk, posterior_under, shrink
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["Method", "RelativeExpression", "check_genes", "chosen_method", "covering", "mask_of"]

Method = Literal["empirical", "shrinkage", "parametric"]
_FEW = 3
"""So many genes are named."""


def check_genes(gene_mask: Selector | None, reference: Selector, n_genes: int, names: AnyArray | None) -> None:
    """Raise where genes to keep or to refer to are not there, before anything is computed."""
    if gene_mask is not None:
        index_of(gene_mask, n_genes, names, what="gene")
    if not (isinstance(reference, str) and reference in REFERENCES):
        reference_genes(reference, n_genes, names)


def chosen_method(method: Method | None, estimand: str) -> Method:
    """The method, unless given the default for what is compared; what does not go together is an error.

    Shrinkage takes the spread of a difference for the error of its estimate. That of two random cells is no error.
    """
    if method is None:
        return "empirical" if estimand == "cell" else "shrinkage"
    require_known("method", method, get_args(Method))
    if method == "shrinkage" and estimand == "cell":
        msg = (
            "method='shrinkage' shrinks differences by the error they are known with, but estimand='cell' varies as "
            "cells do, however well it is known: use method='empirical', or estimand='mean'."
        )
        raise ValueError(msg)
    return method


@dataclass(frozen=True, eq=False)
class RelativeExpression:
    """Differences of log-ratios of the genes that are kept (genes,), relative to a reference.

    The other genes are one part together, and have no result of their own. ``shrinkage`` are the options of
    `scribe._stats.shrinkage.shrink`, None where differences stay as they are.
    """

    evidence: Evidence
    names: AnyArray | None
    kept: AnyArray
    reference: Selector
    shrinkage: Mapping[str, Any] | None

    @functools.cached_property
    def comparison(self) -> Comparison[Law]:
        """Differences before shrinkage."""
        return self.compare(self.evidence)

    def compare(self, evidence: Evidence) -> Comparison[Law]:
        """The same differences from other evidence."""
        return evidence.compare(self.kept, self._reference())

    @functools.cached_property
    def shrunk(self) -> Shrunk | None:
        """Shrunken differences and the population they are drawn towards."""
        return None if self.shrinkage is None else shrink(self._likelihood.law, **self.shrinkage)

    @functools.cached_property
    def _likelihood(self) -> Comparison[NormalMixture]:
        return self.evidence.likelihood(self.kept, self._reference())

    @property
    def centre(self) -> Centre:
        """Weights of the reference, how many genes change relative to it, and whether that makes it doubtful."""
        return (self.comparison if self.shrinkage is None else self._likelihood).reference

    @property
    def law(self) -> Law:
        """Law of the differences."""
        return self.comparison.law if self.shrunk is None else self.shrunk.law

    @property
    def relative_to(self) -> str:
        """What differences are relative to, in words: a reference by its name, or genes."""
        if isinstance(self.reference, str):
            return self.reference
        genes = np.flatnonzero(self.kept)[self._reference_genes()]
        shown = [str(gene if self.names is None else self.names[gene]) for gene in genes]
        return ", ".join(shown) if len(shown) <= _FEW else f"{len(shown):,} genes"

    def left_without_extreme(self) -> FloatArray | None:
        """Share of the difference that is left without its most extreme sample, of the genes that are kept.

        None where there are no samples, or fewer than three in a group.
        """
        less = self.evidence.without_extreme()
        if less is None:
            return None
        laws = (self._likelihood.law, less.likelihood(self.kept, self._reference()).law)
        whole, rest = (posterior_under(law, WEAK).mean for law in laws)
        return rest / np.where(whole == 0, 1.0, whole)

    def _reference(self) -> Reference:
        named = isinstance(self.reference, str) and self.reference in REFERENCES
        return self.reference if named else self._reference_genes()

    def _reference_genes(self) -> AnyArray:
        inside = np.zeros(len(self.kept), bool)
        inside[reference_genes(self.reference, len(self.kept), self.names)] = True
        if not np.all(self.kept[inside]):
            msg = (
                f"{int(np.sum(inside & ~self.kept)):,} of {int(inside.sum()):,} reference genes are not kept by "
                "gene_mask, so that they have no log-ratio of their own: keep them, or choose others."
            )
            raise ValueError(msg)
        return inside[self.kept]


def mask_of(genes: Selector | None, n_genes: int, names: AnyArray | None) -> AnyArray:
    """Mask of the genes to keep (genes,); None keeps all."""
    out = np.zeros(n_genes, bool)
    out[slice(None) if genes is None else index_of(genes, n_genes, names, what="gene")] = True
    if out.sum() < 2:
        msg = f"Log-ratios need two genes or more, but {int(out.sum())} of {n_genes:,} are kept."
        raise ValueError(msg)
    return out


def reference_genes(reference: Selector, n_genes: int, names: AnyArray | None) -> IntArray:
    """Numbers of the genes of a reference that is none of the named ones."""
    if isinstance(reference, str) and (names is None or reference not in set(map(str, names))):
        hint = nearest(reference.lower(), list(REFERENCES))
        msg = f"The reference {reference!r} is neither a gene nor one of {', '.join(map(repr, REFERENCES))}.{hint}"
        raise KeyError(msg)
    return index_of(reference, n_genes, names, what="gene")


def covering(share: FloatArray, coverage: float) -> AnyArray:
    """Mask of the fewest genes whose shares add up to a share of all."""
    if not 0.0 < coverage <= 1.0:
        msg = f"coverage must lie above 0 and not above 1, got {coverage!r}."
        raise ValueError(msg)
    order = np.argsort(-share, kind="stable")
    reached = np.cumsum(share[order]) / share.sum()
    out = np.zeros(len(share), bool)
    out[order[: int(np.searchsorted(reached, coverage - 1e-12)) + 1]] = True
    return out
