"""What is compared between two groups of cells, and relative to what."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd

from scribe._model.checks import nearest, require_known
from scribe._posterior.expression import Estimand
from scribe._posterior.indexing import Selector, index_of
from scribe._stats.centre import Centre
from scribe._stats.contrasts import Comparison, Evidence
from scribe._stats.effects import called_at, lfsr
from scribe._stats.laws import Law, NormalMixture
from scribe._stats.logratios import REFERENCES, Reference
from scribe._stats.shrinkage import WEAK, Shrunk, posterior_under, shrink
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["Method", "RelativeExpression", "check_genes", "chosen_method", "covering"]

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


@dataclass(eq=False)
class RelativeExpression:
    """Differences of log-ratios between two groups; what it holds is said in `DifferentialExpression`."""

    evidence: Evidence
    _: KW_ONLY
    gene_names: AnyArray | None = None
    label_A: str = "A"
    label_B: str = "B"
    method: Method = "empirical"
    estimand: Estimand = "mean"
    level: Literal["cell", "sample"] = "cell"
    reference: Selector = "unchanged"
    gene_mask: Selector | None = None
    shrinkage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        chosen_method(self.method, self.estimand)
        self._kept = self._mask(self.gene_mask)

    def __repr__(self) -> str:
        kept = f"{int(self._kept.sum()):,} of {self.n_genes:,} genes"
        what = f"{self.method}, estimand {self.estimand!r}, level {self.level!r}, reference {self.reference!r:.40}"
        return f"{self.label_A} vs {self.label_B} (positive = higher in {self.label_A}): {kept}; {what}"

    @functools.cached_property
    def expression(self) -> tuple[FloatArray, FloatArray]:
        """Expression in A and in B, (genes,) each: the expected share of a gene times 10,000."""
        return self.evidence.expression()

    @property
    def relative_to(self) -> str:
        """What differences are relative to, in words: a reference by its name, or genes."""
        if isinstance(self.reference, str):
            return self.reference
        genes = np.flatnonzero(self._kept)[self._reference_genes()]
        names = self.names[genes]
        return ", ".join(names) if len(names) <= _FEW else f"{len(names):,} genes"

    @property
    def n_genes(self) -> int:
        """Number of all genes, kept or not."""
        return self.evidence.n_genes

    @property
    def kept(self) -> AnyArray:
        """Which genes are kept, (genes,): the others are one part together and have no result of their own."""
        return self._kept

    @functools.cached_property
    def comparison(self) -> Comparison[Law]:
        """Differences of the genes that are kept, before shrinkage."""
        return self.evidence.compare(self._kept, self._reference())

    @functools.cached_property
    def shrunk(self) -> Shrunk | None:
        """Shrunken differences and the population they are drawn towards, with ``method="shrinkage"``."""
        if self.method != "shrinkage":
            return None
        return shrink(self._likelihood.law, **self.shrinkage_options)

    @functools.cached_property
    def _likelihood(self) -> Comparison[NormalMixture]:
        return self.evidence.likelihood(self._kept, self._reference())

    @property
    def centre(self) -> Centre:
        """Weights of the reference, how many genes change relative to it, and whether that makes it doubtful."""
        return (self.comparison if self.method != "shrinkage" else self._likelihood).reference

    @property
    def law(self) -> Law:
        """Law of the differences of the genes that are kept."""
        return self.comparison.law if self.shrunk is None else self.shrunk.law

    def left_without_extreme(self) -> FloatArray | None:
        """Share of the difference that is left without its most extreme sample, of the genes that are kept.

        None where there are no samples, or fewer than three in a group.
        """
        less = self.evidence.without_extreme()
        if less is None:
            return None
        laws = (self._likelihood.law, less.likelihood(self._kept, self._reference()).law)
        whole, rest = (posterior_under(law, WEAK).mean for law in laws)
        return rest / np.where(whole == 0, 1.0, whole)

    @property
    def null_proportion(self) -> float:
        """Share of genes without any difference, as shrinkage estimates it; NaN without shrinkage."""
        return np.nan if self.shrunk is None else self.shrunk.null_proportion

    def shrink(self, **options: Any) -> Self:
        """Return the same comparison with its differences shrunk towards a population learned from all genes.

        Parameters
        ----------
        **options
            ``sds`` (grid of standard deviations, from zero), ``max_iterations`` and ``tolerance``.

        Returns
        -------
        A comparison with ``method="shrinkage"``.
        """
        given = {**self.shrinkage_options, **options}
        return replace(self, method="shrinkage", shrinkage_options=given)

    def set_gene_mask(self, genes: Selector) -> Self:
        """Keep some genes and pool all others into one part, whose share counts but has no result.

        Parameters
        ----------
        genes
            Names, numbers or a mask.

        Returns
        -------
        The comparison itself.
        """
        return self._change(kept=self._mask(genes))

    def set_expression_threshold(self, min_mean_expression: float) -> Self:
        """Keep genes that have so many of 10,000 molecules in one of the groups.

        Parameters
        ----------
        min_mean_expression
            Molecules among 10,000.

        Returns
        -------
        The comparison itself.
        """
        return self._change(kept=self._mask(np.maximum(*self.expression) >= min_mean_expression))

    def set_composition_coverage(self, coverage: float = 0.95) -> Self:
        """Keep the most expressed genes that make up a share of the molecules of either group.

        Parameters
        ----------
        coverage
            Share of the molecules, between 0 and 1.

        Returns
        -------
        The comparison itself.
        """
        return self._change(kept=np.logical_or(*(covering(share, coverage) for share in self.expression)))

    def clear_mask(self) -> Self:
        """Keep all genes.

        Returns
        -------
        The comparison itself.
        """
        return self._change(kept=self._mask(None))

    def set_reference(self, reference: Selector) -> Self:
        """Choose what differences are relative to, which shifts them all by one number.

        Parameters
        ----------
        reference
            ``"unchanged"``: the largest group of genes that agree on a log-ratio, found among those that change one way
            or the other; where more than half change, the middle fifth of all. ``"expressed"``: genes whose expression
            is well known in both groups; ``"clr"``: all genes that are kept and the others together; ``"iqlr"``: genes
            that vary neither little nor much; or genes, by name, number or mask: one for additive log-ratios, several
            known to be stable.

        Returns
        -------
        The comparison itself.
        """
        return self._change(reference=reference)

    def reference_agreement(
        self, references: Sequence[Selector] = REFERENCES, *, target_pefp: float = 0.05, tau: float = 0.0
    ) -> pd.DataFrame:
        """Under how many references a gene is called, with the same sign: calls of all of them rest on none.

        Parameters
        ----------
        references
            References as `set_reference` takes them.
        target_pefp
            Expected share of wrong signs among the genes that are called, under each reference.
        tau
            Absolute differences up to this one, in natural logarithms, count as none.

        Returns
        -------
        One row per gene that is kept: ``gene``; ``n_up`` and ``n_down``, the numbers of references under which it is
        called higher in A and lower; ``n_references``; ``delta_min`` and ``delta_max``, least and largest difference.
        """
        laws = [replace(self, reference=reference, gene_mask=self._kept).law for reference in references]
        called = np.stack([called_at(lfsr(law, tau), target_pefp) for law in laws])
        means = np.stack([law.mean for law in laws])
        up = np.stack([law.above(tau) >= law.below(-tau) for law in laws])
        return pd.DataFrame(
            {
                "gene": self.names[self._kept],
                "n_up": np.sum(called & up, axis=0),
                "n_down": np.sum(called & ~up, axis=0),
                "n_references": len(laws),
                "delta_min": means.min(axis=0),
                "delta_max": means.max(axis=0),
            }
        )

    def _change(self, *, kept: AnyArray | None = None, reference: Selector | None = None) -> Self:
        if kept is not None:
            self._kept = self.gene_mask = kept
        if reference is not None:
            self.reference = reference
        for name in ("comparison", "shrunk", "_likelihood"):
            self.__dict__.pop(name, None)
        return self

    def _mask(self, genes: Selector | None) -> AnyArray:
        out = np.zeros(self.n_genes, bool)
        out[slice(None) if genes is None else index_of(genes, self.n_genes, self.gene_names, what="gene")] = True
        if out.sum() < 2:
            msg = f"Log-ratios need two genes or more, but {int(out.sum())} of {self.n_genes:,} are kept."
            raise ValueError(msg)
        return out

    @property
    def names(self) -> AnyArray:
        """Names of all genes, their numbers where they have none."""
        return np.asarray(np.arange(self.n_genes) if self.gene_names is None else self.gene_names, str)

    def _reference(self) -> Reference:
        named = isinstance(self.reference, str) and self.reference in REFERENCES
        return self.reference if named else self._reference_genes()

    def _reference_genes(self) -> AnyArray:
        named = reference_genes(self.reference, self.n_genes, self.gene_names)
        inside = np.zeros(self.n_genes, bool)
        inside[named] = True
        if not np.all(self._kept[inside]):
            msg = (
                f"{int(np.sum(inside & ~self._kept)):,} of {int(inside.sum()):,} reference genes are not kept by "
                "gene_mask, so that they have no log-ratio of their own: keep them, or choose others."
            )
            raise ValueError(msg)
        return inside[self._kept]


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
