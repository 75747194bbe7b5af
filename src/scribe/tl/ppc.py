"""Check a fit against the data by replicates drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.design import groups_of
from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_target, write_derived
from scribe._counts.container import Counts
from scribe._model.keywords import verb
from scribe._posterior.indexing import index_of
from scribe._progress import Progress, progress
from scribe._rng import as_seed
from scribe._stats.joint import diverse
from scribe._stats.ppc import LEVELS, Check, bands, check, distinct, pairs, shares, spread, summary
from scribe._stats.ranks import two_sided
from scribe._stats.statistics import Block, Watch
from scribe._types import AnyArray, IntArray, Rng

__all__ = ["ppc"]

_BLOCK_CELLS = 4096
_HISTOGRAMS = 25
_CANDIDATES, _SOME_CELLS = 100, 5000


@verb
def ppc(
    adata: AnnData,
    *,
    key: str = "scribe",
    n_samples: int = 50,
    genes: Sequence[str] | str | None = None,
    n_genes: int | None = None,
    groupby: str | None = None,
    joint: Sequence[str] | int = 4,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Posterior predictive check: how far the fitted model makes data like those it was fitted to.

    Draws ``n_samples`` replicate data sets, each with its own draw of the parameters, and ranks the observed statistics
    of every gene, every cell and the whole data set among the replicated ones [Gelman13]_. The replicates are streamed:
    no more than a block of cells is in memory at a time.

    Parameters
    ----------
    n_samples
        Number of replicate data sets; p-values are resolved to ``1/(n_samples + 1)``.
    genes
        Genes whose histograms are kept for :func:`scribe.pl.ppc`; None takes ``n_genes`` of them.
    n_genes
        Number of genes to keep where ``genes`` is None: at equal steps of the logarithm of their mean count, or, with
        ``groupby``, those whose share of the counts differs most between groups. None takes 25, with ``groupby`` as
        many as make 25 histograms.
    groupby
        Column of ``adata.obs``; histograms are kept of each of its groups of cells, such as the components of a
        mixture, ``key + '_component'``, or annotated cell types. Cells without a value are in no histogram.
    joint
        Genes to look at together, for :func:`scribe.pl.corner_ppc` and :func:`scribe.pl.compositional_ppc`: names, or
        how many, of the pairs that correlate most and least among the hundred found in most cells.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.var[key + '_ppc_<statistic>_p']`` : float (genes)
        p-values of ``mean``, ``variance`` and ``zero_fraction`` over cells: small where the observed value is larger
        than the model's, near one where it is smaller.
    ``adata.var[key + '_ppc_coverage_<level>']`` : float (genes)
        Share of the bins of the gene's histogram (counts 0, 1, 2, 3, 4, 5-6, 7-9, 10-14, ...) whose observed number of
        cells lies in the central 50, 68 or 95 % of the replicates, which are also the expected values; NaN for genes
        that are never detected.
    ``adata.varm[key + '_ppc']`` : :class:`pandas.DataFrame` (genes)
        Observed ``mean``, ``variance``, ``zero_fraction``, and ``<statistic>_expected``, their means over replicates:
        how large a difference is, where the p-value says how surprising.
    ``adata.obs[key + '_ppc_<statistic>_p']`` : float (cells)
        p-values of the ``total`` count and of the number of genes ``detected``.
    ``adata.uns[key + '_ppc']`` : dict
        ``table``: statistics of the whole data set (``statistic``, ``level``: over cells or genes, ``observed``,
        ``expected``, ``lower`` and ``upper`` 95 % limits, ``p_value``); ``bands``: histograms of the chosen genes, in
        cells (``gene``, ``group``, which is ``"all"`` without ``groupby``, ``count`` to ``count_to``,
        ``observed``, ``lower_95``, ``lower_68``, ``lower_50``, ``median``,
        ``upper_50``, ``upper_68``, ``upper_95``); ``pairs``: numbers of cells by the counts of the genes of every pair
        looked at together (``gene`` from ``count`` to ``count_to``, ``other`` from ``other_count`` to
        ``other_count_to``, ``observed``, ``expected``); ``shares``: by the share of such a gene in all counts of a cell
        (``gene``, ``share`` to ``share_to``, ``observed``, ``median``, limits, and ``pseudobulk``, its share in the
        counts of all cells); ``coverage``: mean over genes by level; ``flagged``: share of genes or cells with a
        two-sided p-value of at most 5 %, by statistic; ``groupby`` if given; ``n_samples``, ``n_cells``,
        ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit, no such gene or no such column.
    ValueError
        If the counts are no longer in the layer the fit was made on.

    Notes
    -----
    With :math:`G` replicates above the observed value and :math:`E` equal to it,
    :math:`p = \{G + (E+1)/2\}/(S+1)` estimates :math:`P(T^{rep} \ge T^{obs})` with ties counted half;
    :math:`2\min(p, 1-p)` is its two-sided form and never below :math:`1/(S+1)`. The data were used to fit the
    parameters that make the replicates, so p-values of a good model gather around one half: they are not uniform, and
    extreme ones mean more than they seem to.

    References
    ----------
    .. [Gelman13] Gelman et al., *Bayesian Data Analysis*, 3rd ed., chapter 6, 2013.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.ppc(adata, n_samples=10)
    >>> table = adata.uns["scribe_ppc"]["table"]
    """
    if n_samples < 1:
        msg = f"n_samples must be at least 1, got {n_samples}; 50 resolve p-values of 2 %."
        raise ValueError(msg)
    check_target(adata, copy=copy)
    fitted = read_fit(adata, key=key)
    counts = fitted.counts()
    groups = pd.Categorical(["all"] * counts.n_cells) if groupby is None else groups_of(adata, groupby)
    n_groups = len(groups.categories)
    group = np.asarray(groups.codes, np.int64)
    if genes is not None:
        chosen = index_of(genes, counts.n_genes, counts.gene_names, what="gene")
    else:
        chosen = _chosen(counts, group, n_genes=n_genes, n_groups=n_groups)
    together = _together(counts, joint)
    seed = fitted.seed if rng is None else as_seed(rng)
    with progress(n_samples, desc="ppc", unit="data set") as bar:
        result = check(
            counts.entries_by(_BLOCK_CELLS),
            _watched(fitted.simulate(n_samples, rng=seed), bar),
            n_cells=counts.n_cells,
            n_genes=counts.n_genes,
            largest=counts.max_count,
            watch=Watch(chosen, group, n_groups, together),
        )
    slots = _gene_and_cell_slots(result, key, index=adata.var_names)
    record = _record(result, adata.var_names, groups.categories)
    record |= {} if groupby is None else {"groupby": groupby}
    target = adata.copy() if copy else adata
    write_derived(target, slots, key=key, name="ppc", record={**record, "n_samples": n_samples, "seed": seed})
    return target if copy else None


def _chosen(counts: Counts, group: IntArray, *, n_genes: int | None, n_groups: int) -> IntArray:
    """Genes from rare to common, or those that tell groups apart best."""
    n_genes = max(_HISTOGRAMS // n_groups, 1) if n_genes is None else n_genes
    if n_groups == 1:
        return spread(counts.gene_totals, n_genes)
    sums = [counts.subset(cells=group == number).gene_totals for number in range(n_groups)]
    return distinct(np.stack(sums), n_genes)


def _together(counts: Counts, genes: Sequence[str] | int) -> IntArray:
    """Genes by name, each once, or of pairs that correlate much and little, judged from some cells."""
    if not isinstance(genes, int):
        index = index_of(genes, counts.n_genes, counts.gene_names, what="gene")
        return np.asarray(list(dict.fromkeys(index)), np.int64)
    candidates = np.argsort(-counts.cells_with(np.zeros(counts.n_cells, int), 1)[0], kind="stable")[:_CANDIDATES]
    some = counts.subset(cells=np.arange(0, counts.n_cells, -(-counts.n_cells // _SOME_CELLS)))
    return candidates[diverse(some.subset(genes=candidates).rows(slice(None)), some.totals, genes)]


def _watched(replicates: Iterable[Iterable[Block]], bar: Progress) -> Iterator[Iterable[Block]]:
    for replicate in replicates:
        yield replicate
        bar.update()


def _gene_and_cell_slots(
    result: Check, key: str, *, index: pd.Index[str]
) -> Mapping[str, Mapping[str, pd.DataFrame | AnyArray]]:
    slots = Slots(key)
    var = {slots.ppc(f"{name}_p"): tally.p_value for name, tally in result.gene.items()}
    var |= {slots.ppc(f"coverage_{level}"): result.histogram.coverage(level / 100) for level in LEVELS}
    sizes = {}
    for name, tally in result.gene.items():
        sizes[name], sizes[f"{name}_expected"] = tally.observed, tally.expected
    obs = {slots.ppc(f"{name}_p"): tally.p_value for name, tally in result.cell.items()}
    return {"var": var, "varm": {slots.of("ppc"): pd.DataFrame(sizes, index=index)}, "obs": obs}


def _record(result: Check, names: pd.Index[str], groups: pd.Index[str]) -> dict[str, Any]:
    table = bands(result)
    table["group"] = groups.to_numpy().astype(str)[table["group"]]
    table["gene"] = names.to_numpy()[table["gene"]]
    coverage = {str(level): result.histogram.coverage(level / 100) for level in LEVELS}
    flagged = {
        name: float(np.mean(two_sided(tally.p_value) <= 0.05)) for name, tally in {**result.gene, **result.cell}.items()
    }
    return {
        "table": pd.DataFrame(summary(result)),
        "bands": pd.DataFrame(table),
        "pairs": pd.DataFrame(pairs(result, names.to_numpy()[result.watch.together])),
        "shares": pd.DataFrame(shares(result, names.to_numpy()[result.watch.together])),
        "coverage": {level: float(np.mean(values[np.isfinite(values)])) for level, values in coverage.items()},
        "flagged": flagged,
        "n_cells": len(result.cell["total"].observed),
    }
