r"""Goodness of fit by randomized quantile residuals.

:math:`Q = \Phi^{-1}(V)` of the values V of `scribe._posterior.residuals` is standard normal, for every gene over its
cells and for every cell over its genes, if the model holds (Dunn and Smyth 1996, doi:10.1080/10618600.1996.10474708).
Counts pass once, block by block of genes. What is kept is per gene or per cell, and a histogram per group of genes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy.special import ndtr, ndtri

from scribe._model.keywords import verb
from scribe._posterior.residuals import residual_blocks
from scribe._posterior.results import Results, require_results
from scribe._posterior.uniformity import SmoothTest
from scribe._progress import progress
from scribe._rng import as_key
from scribe._types import AnyArray, Array, FloatArray, IntArray, Rng

__all__ = [
    "GENE_SCORES",
    "GROUPS",
    "NORMAL",
    "SCORES",
    "GoodnessOfFit",
    "check_rate",
    "compute_gof_mask",
    "expression_group",
    "goodness_of_fit",
    "pooled_quantiles",
]

SCORES = ("mean", "variance", "tail_excess", "ks")
"""Of the residuals of a gene or cell: mean, variance, share beyond 2 less 0.0455, distance to the normal law."""

GENE_SCORES = (*SCORES, "p_value")
"""Those of a gene: the p-value is that of `scribe._posterior.uniformity`."""

NORMAL = np.linspace(-3.0, 3.0, 25)
"""Normal scores at which quantiles of residuals are kept."""

GROUPS = ("below 0.1", "0.1 to 1", "above 1")
"""Groups of genes by their mean count per cell: the more counts, the more their residuals tell."""

_LIMITS = (0.1, 1.0)

_TAIL = 2.0
_BEYOND = 2.0 * float(ndtr(-_TAIL))
_CELL_BINS, _POOLED_BINS = 128, 8192

_LEVELS = 2**16
"""Steps of probability that values are told apart by."""

_CELLS_AT_A_TIME = 2048


@dataclass(frozen=True)
class GoodnessOfFit:
    """How far the randomized quantile residuals of a fit are from the standard normal law.

    Parameters
    ----------
    gene, cell
        Scores of every gene and every cell, (genes,) and (cells,) by name: ``mean`` (0 if the model holds),
        ``variance`` (1), ``tail_excess``, the share of residuals beyond -2 and 2 less the 4.55 % of a normal law (0),
        and ``ks``, the Kolmogorov-Smirnov distance to it (about 0.87 over the square root of the number of residuals;
        of cells it is the largest at 127 equidistant probabilities). Genes have the ``p_value`` of a smooth test.
    quantiles
        Quantiles of the residuals of every gene, (genes, `NORMAL`), at the probabilities of these normal scores.
    pooled
        Number of residuals of all genes of a group, by their probability under the normal law, (`GROUPS`, bins).
    group
        The group that every gene is in, (genes,); -1 for genes that were never detected.
    """

    gene: dict[str, FloatArray]
    cell: dict[str, FloatArray]
    quantiles: FloatArray
    pooled: IntArray
    group: IntArray

    def mask(
        self,
        *,
        min_variance: float = 0.5,
        max_variance: float = 1.5,
        max_ks: float | None = None,
        false_positive_rate: float | None = 0.01,
    ) -> AnyArray:
        """Whether the model describes a gene, (genes,).

        Parameters
        ----------
        min_variance, max_variance
            Limits of the variance: above, the counts vary more than the model says, below less.
        max_ks
            Largest distance to the normal law; None sets no limit.
        false_positive_rate
            Share of genes that the test rejects though the model describes them; None leaves it out. With ``max_ks``
            genes fail that the test rejects and that are farther from the normal law, too.
        """
        check_rate(false_positive_rate)
        variance, kept = self.gene["variance"], np.ones(len(self.gene["ks"]), bool)
        if max_ks is not None:
            kept = self.gene["ks"] <= max_ks
        if false_positive_rate is not None:
            tested = self.gene["p_value"] >= false_positive_rate
            kept = tested if max_ks is None else kept | tested
        return kept & (variance >= min_variance) & (variance <= max_variance)


def check_rate(rate: float | None) -> None:
    """Raise unless a rate of false positives is one."""
    if rate is not None and not 0.0 < rate < 1.0:
        msg = f"false_positive_rate is a share of genes between 0 and 1, such as 0.01, or None; got {rate!r}."
        raise ValueError(msg)


@verb
def goodness_of_fit(
    results: Results,
    counts: Any | None = None,
    *,
    n_samples: int = 10,
    rng: Rng = None,
) -> GoodnessOfFit:
    """Randomized quantile residuals of all counts, summed up by gene and by cell; see `scribe.tl.gof`.

    Parameters
    ----------
    results
        Results of a fit; those of one component, ``results.get_component(0)``, judge all cells by it.
    counts
        Counts, cells x genes; None takes those the fit was made on.
    n_samples
        Draws of the parameters over which the distribution of every count is averaged; 0 takes their most probable
        values.
    rng
        Seed, key or generator; the seed of the fit unless given.

    Returns
    -------
    Scores of genes and cells, quantiles of genes, and a mask.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> results = scribe.fit(adata, parameterization="mean_disp")
    >>> scores = scribe.goodness_of_fit(results)
    """
    require_results(results, verb="goodness_of_fit")
    found, key = results.counts(counts), as_key(results.seed if rng is None else rng)
    group = expression_group(found.gene_totals / found.n_cells)
    totals, test = _Cells(*found.shape), SmoothTest(results.posterior, found)
    pooled = np.zeros((len(GROUPS), _POOLED_BINS), np.int64)
    genes, quantiles = [], []
    with progress(found.n_genes, desc="gof", unit="gene") as bar:
        for block in residual_blocks(results.posterior, found, key, n_samples=n_samples):
            residual = np.asarray(_normal_scores(block.value))
            level = (block.value * _LEVELS).astype(np.uint16)
            totals.add(level, residual)
            _add_pooled(pooled, level, group[block.genes])
            # 16-bit numbers are sorted by counting
            value = (np.sort(level, axis=1, kind="stable") + np.float32(0.5)) / np.float32(_LEVELS)
            p_value = test.p_values(block.genes, block.cell, block.gene, block.u, size=block.size)
            genes.append({**_of_genes(value, residual), "p_value": p_value})
            quantiles.append(_quantiles(value))
            bar.update(len(value))
    gene = {name: np.concatenate([part[name] for part in genes]) for name in GENE_SCORES}
    return GoodnessOfFit(gene, totals.scores(), np.concatenate(quantiles), pooled, group)


@verb
def compute_gof_mask(
    counts: Any | None,
    results: Results,
    *,
    component: str | int | None = None,
    min_variance: float = 0.5,
    max_variance: float = 1.5,
    max_ks: float | None = None,
    false_positive_rate: float | None = 0.01,
    n_samples: int = 10,
    rng: Rng = None,
) -> AnyArray:
    """Genes that the model describes, for ``gene_mask``.

    Parameters
    ----------
    counts
        Counts, cells x genes; None takes those the fit was made on.
    results
        Results of a fit.
    component
        Judge all cells by one component of a mixture; None by those they may be of.
    min_variance, max_variance, max_ks, false_positive_rate
        Limits, see `scribe.tl.gof`.
    n_samples, rng
        Draws of the parameters, and their seed.

    Returns
    -------
    A mask (genes,).

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> results = scribe.fit(adata, parameterization="mean_disp")
    >>> mask = scribe.compute_gof_mask(adata.X, results)
    """
    chosen = results if component is None else results.get_component(component)
    check_rate(false_positive_rate)
    fit = goodness_of_fit(chosen, counts, n_samples=n_samples, rng=rng)
    return fit.mask(
        min_variance=min_variance, max_variance=max_variance, max_ks=max_ks, false_positive_rate=false_positive_rate
    )


def expression_group(means: FloatArray) -> IntArray:
    """Number of the group that a gene is in by its mean count, (genes,); -1 if it was never detected."""
    return np.where(means > 0.0, np.searchsorted(_LIMITS, means, side="right"), -1)


def pooled_quantiles(pooled: IntArray) -> FloatArray:
    """Quantiles of residuals at the `NORMAL` scores, from the number in equal steps of probability, (bins,)."""
    share = np.concatenate([[0.0], np.cumsum(pooled) / max(pooled.sum(), 1)])
    return ndtri(np.interp(ndtr(NORMAL), share, np.linspace(0.0, 1.0, len(share))))


@jax.jit
def _normal_scores(value: FloatArray) -> Array:
    return math.sqrt(2.0) * jax.lax.erf_inv(2.0 * value - 1.0)


def _of_genes(value: FloatArray, residual: FloatArray) -> dict[str, FloatArray]:
    """Scores of genes, (genes, cells) in; the values are sorted."""
    n = value.shape[1]
    steps = np.arange(n + 1, dtype=value.dtype) / n
    mean = residual.mean(axis=1, dtype=np.float64)
    return {
        "mean": mean,
        # along rows NumPy sums in pairs, which float32 bears
        "variance": (np.square(residual).sum(axis=1) - n * mean * mean) / max(n - 1, 1),
        "tail_excess": np.count_nonzero(np.abs(residual) > _TAIL, axis=1) / n - _BEYOND,
        "ks": np.maximum((steps[1:] - value).max(axis=1), (value - steps[:-1]).max(axis=1)).astype(np.float64),
    }


def _quantiles(value: FloatArray) -> FloatArray:
    """Quantiles of residuals from sorted values (genes, cells), at the probabilities of `NORMAL`."""
    n = value.shape[1]
    place = np.clip(ndtr(NORMAL) * n - 0.5, 0, n - 1)
    low = np.floor(place).astype(int)
    rest = (place - low).astype(value.dtype)
    return ndtri((1 - rest) * value[:, low] + rest * value[:, np.minimum(low + 1, n - 1)])


def _add_pooled(pooled: IntArray, level: IntArray, group: IntArray) -> None:
    """Add the levels (genes, cells) of the values of a block to the histograms of the groups of its genes."""
    for number in range(len(pooled)):
        bins = level[group == number] // (_LEVELS // _POOLED_BINS)
        pooled[number] += np.bincount(bins.ravel(), minlength=_POOLED_BINS)


class _Cells:
    """Sums over genes of what scores of cells are made of."""

    def __init__(self, n_cells: int, n_genes: int) -> None:
        self.n = 0
        self.sum, self.square, self.beyond = np.zeros((3, n_cells))
        self.histogram = np.zeros((n_cells, _CELL_BINS), np.min_scalar_type(n_genes))

    def add(self, level: IntArray, residual: FloatArray) -> None:
        """Take in a block (genes, cells): the levels of the values, and their normal scores."""
        self.n += len(level)
        self.sum += residual.sum(axis=0, dtype=np.float64)
        self.square += np.square(residual).sum(axis=0, dtype=np.float64)
        self.beyond += np.count_nonzero(np.abs(residual) > _TAIL, axis=0)
        # few cells at a time, whose histograms stay in the cache
        for first in range(0, level.shape[1], _CELLS_AT_A_TIME):
            histogram = self.histogram[first : first + _CELLS_AT_A_TIME]
            some = level[:, first : first + len(histogram)] // (_LEVELS // _CELL_BINS)
            bins = np.arange(len(histogram), dtype=np.int64) * _CELL_BINS + some
            np.add.at(histogram.reshape(-1), bins.reshape(-1), histogram.dtype.type(1))

    def scores(self) -> dict[str, FloatArray]:
        """Scores of all cells."""
        mean, uniform = self.sum / self.n, np.arange(1, _CELL_BINS) / _CELL_BINS
        parts = np.split(self.histogram, range(_CELLS_AT_A_TIME, len(mean), _CELLS_AT_A_TIME))
        below = (np.cumsum(part, axis=1, dtype=np.int64)[:, :-1] / self.n for part in parts)
        return {
            "mean": mean,
            "variance": np.maximum(self.square - self.n * mean * mean, 0.0) / max(self.n - 1, 1),
            "tail_excess": self.beyond / self.n - _BEYOND,
            "ks": np.concatenate([np.abs(part - uniform).max(axis=1) for part in below]),
        }
