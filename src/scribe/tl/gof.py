"""Check a fit against the data count by count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_target, read_derived, write_derived
from scribe._model.keywords import verb
from scribe._rng import as_seed
from scribe._stats.residuals import GROUPS, NORMAL, GoodnessOfFit, check_rate, goodness_of_fit, pooled_quantiles
from scribe._types import AnyArray, IntArray, Rng

__all__ = ["gof"]


@verb
def gof(
    adata: AnnData,
    *,
    key: str = "scribe",
    n_samples: int = 10,
    min_variance: float = 0.5,
    max_variance: float = 1.5,
    max_ks: float | None = None,
    false_positive_rate: float | None = 0.01,
    max_calibration_failure: float | None = None,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Goodness of fit by randomized quantile residuals, per gene and per cell, and a mask of genes.

    Every count is placed in the distribution that the model predicts for it: that of its gene in this very cell, with
    the cell's capture and dataset, zero inflation and mixing, averaged over the components the cell may be of and over
    the posterior of the parameters. The residuals are standard normal if the model holds, whatever the distribution
    [Dunn96]_.

    Parameters
    ----------
    min_variance, max_variance
        Genes whose residuals vary less or more than that fail.
    max_ks
        Genes fail only if their residuals are farther from the normal law than that. With thousands of cells the test
        finds what does not matter; 0.1 is a loose limit. None sets none.
    false_positive_rate
        Genes fail that a test of the residuals rejects, as it does with this share of those that the model describes;
        the test finds what a dispersion can hide from the variance: silent cells, two populations under one component,
        heavy tails. None leaves it out: then ``max_ks`` alone decides.
    max_calibration_failure
        Genes fail, too, if more than this share of the bins of their histogram is outside the central 95 % of the
        replicates of :func:`scribe.tl.ppc`, which must have been run. None leaves it out; 0.05 is expected of a good
        model, 0.5 a loose limit.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.var[key + '_gof']`` : bool (genes)
        Whether the model describes the gene; a ``gene_mask`` for :func:`scribe.tl.de`.
    ``adata.var[key + '_gof_<score>']`` : float (genes)
        ``mean`` of the residuals (0 if the model holds), their ``variance`` (1), ``tail_excess``, the share beyond -2
        and 2 less the 4.55 % of the normal law (0), ``ks``, the largest distance between their distribution function
        and the normal one (about 0.87 over the square root of the number of cells), and ``p_value`` of the test that
        they are normal (uniform).
    ``adata.obs[key + '_gof_<score>']`` : float (cells)
        The same, without a test, over the genes of every cell; ``ks`` at 127 equidistant probabilities.
    ``adata.varm[key + '_gof']`` : float (genes, 25)
        Quantiles of the residuals of every gene at normal scores from -3 to 3, for :func:`scribe.pl.gof`.
    ``adata.uns[key + '_gof']`` : dict
        ``table``: quantiles of all residuals (``residual``) of the genes with a mean ``expression`` below 0.1, of 0.1
        to 1 and above 1 counts per cell, beside those of the normal law (``normal``); ``n_genes`` and ``failing``, the
        number of genes by that; the limits, ``n_samples``, ``n_cells``, ``seed``, ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit, or no predictive check where ``max_calibration_failure`` asks for one.
    ValueError
        If the counts are no longer in the layer the fit was made on.

    Notes
    -----
    Of a count :math:`u` with the distribution function F, and W uniform, the residual is :math:`Q = \Phi^{-1}(V)`,
    :math:`V = F(u-1) + W\{F(u) - F(u-1)\}`, with V kept within :math:`[10^{-6}, 1 - 10^{-6}]`. Where nearly all counts
    are zero, W decides, and residuals look normal whatever the model says of the few others: a rare gene is seldom
    found out. The variance is above one where counts vary more than the model allows, as when one component has to
    describe two populations, and below one where a dispersion is too large.

    The test is Neyman's smooth test with four polynomials of V, averaged over W, in its C(α) form [Neyman59]_: its
    p-value holds although the parameters were estimated from the same counts. :doc:`/benchmarks` has its power.

    References
    ----------
    .. [Dunn96] Dunn and Smyth, *Randomized quantile residuals*, 1996, doi:10.1080/10618600.1996.10474708.
    .. [Neyman59] Neyman, *Optimal asymptotic tests of composite statistical hypotheses*, 1959; for discrete counts
       Czado, Gneiting and Held, *Predictive model assessment for count data*, 2009,
       doi:10.1111/j.1541-0420.2009.01191.x.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.gof(adata)
    >>> described = adata.var["scribe_gof"]
    """
    check_target(adata, copy=copy)
    check_rate(false_positive_rate)
    results, slots = read_fit(adata, key=key), Slots(key)
    calibrated = _calibrated(adata, key, max_calibration_failure)
    seed = results.seed if rng is None else as_seed(rng)
    found = goodness_of_fit(results, n_samples=n_samples, rng=seed)
    limits: dict[str, Any] = {
        "min_variance": min_variance,
        "max_variance": max_variance,
        "max_ks": max_ks,
        "false_positive_rate": false_positive_rate,
    }
    kept = found.mask(**limits) & calibrated
    placed: dict[str, dict[str, AnyArray]] = {
        "var": {
            slots.of("gof"): kept,
            **{slots.gof(name): value for name, value in found.gene.items()},
        },
        "obs": {slots.gof(name): value for name, value in found.cell.items()},
        "varm": {slots.of("gof"): found.quantiles},
    }
    limits["max_calibration_failure"] = max_calibration_failure
    record = {
        "table": _table(found),
        "n_genes": dict(zip(GROUPS, _by_group(found.group), strict=True)),
        "failing": dict(zip(GROUPS, _by_group(found.group[~kept]), strict=True)),
        **{name: value for name, value in limits.items() if value is not None},
        "n_samples": n_samples,
        "n_cells": results.n_cells,
        "seed": seed,
    }
    target = adata.copy() if copy else adata
    write_derived(target, placed, key=key, name="gof", record=record)
    return target if copy else None


def _calibrated(adata: AnnData, key: str, most: float | None) -> AnyArray:
    """Genes of which no more than a share of the bins fails the predictive check; those it says nothing of are kept."""
    if most is None:
        return np.ones(adata.n_vars, bool)
    read_derived(adata, key=key, name="ppc", verb="ppc")
    coverage = adata.var[Slots(key).ppc("coverage_95")].to_numpy()
    return ~(1.0 - coverage > most)


def _by_group(group: IntArray) -> list[int]:
    return [int(np.sum(group == number)) for number in range(len(GROUPS))]


def _table(found: GoodnessOfFit) -> pd.DataFrame:
    """Pooled quantiles of every group that has genes."""
    parts = [
        pd.DataFrame({"expression": name, "normal": NORMAL, "residual": pooled_quantiles(pooled)})
        for name, pooled in zip(GROUPS, found.pooled, strict=True)
        if pooled.sum()
    ]
    return pd.concat(parts, ignore_index=True)
