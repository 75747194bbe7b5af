r"""Log-ratios: what of a composition can be compared.

A gene's share of all molecules falls when those of others rise, so a share is only known relative to a reference, the
logarithm of a geometric mean of some of the parts. *Centred* log-ratios take all parts,
:math:`\mathrm{clr}(\rho)_g = \log\rho_g - \frac1G\sum_h\log\rho_h`, *additive* ones a single part, *isometric* ones
:math:`V^\top\mathrm{clr}(\rho)` are coordinates in an orthonormal basis (Aitchison 1982; Egozcue et al. 2003,
doi:10.1023/A:1023818214614). Changing the reference shifts all differences by one number: their order does not change.
"""

from __future__ import annotations

import numpy as np

from scribe._model.checks import require_known
from scribe._stats.centre import Centre, null_centre
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["REFERENCES", "Reference", "balance", "basis", "reference_of"]

Reference = str | AnyArray
"""A name of `REFERENCES`, or a mask of genes."""

REFERENCES = ("unchanged", "expressed", "clr", "iqlr")

_WELL_KNOWN = 0.5
"""Largest posterior standard deviation of the log expression of a gene that the reference may rest on."""


def reference_of(
    reference: Reference,
    means: FloatArray,
    sds: FloatArray,
    difference: tuple[FloatArray, FloatArray],
    *,
    n_genes: int,
) -> Centre:
    """Weights of the parts in a reference, (parts,), which sum to one, and how sure it is.

    ``means`` and ``sds`` (groups, parts) are those of the centred log-ratios in the groups to be compared,
    ``difference`` mean and standard deviation (parts,) of the difference; the first ``n_genes`` parts are genes.
    ``"unchanged"`` finds the genes that do not change (`scribe._stats.centre`); ``"expressed"`` takes those whose
    expression every group knows well, to a standard deviation of 0.5, or the best known quarter of them; ``"clr"`` all
    parts; ``"iqlr"`` the genes whose centred log-ratio varies neither little nor much over all groups, between the
    quartiles (Wu et al. 2021, "Finding the centre"); a mask (genes,) those of the user. All but the first weigh genes
    alike.
    """
    chosen = np.zeros(means.shape[1], bool)
    if not isinstance(reference, str):
        chosen[:n_genes] = reference
    else:
        require_known("reference", reference, REFERENCES)
        if reference == "unchanged":
            found = null_centre(*(x[:n_genes] for x in difference))
            return found._replace(weights=np.pad(found.weights, (0, means.shape[1] - n_genes)))
        if reference == "clr":
            chosen[:] = True
        elif reference == "iqlr":
            spread = (np.mean(np.square(sds), axis=0) + np.var(means, axis=0))[:n_genes]
            low, high = np.quantile(spread, [0.25, 0.75])
            chosen[:n_genes] = (spread >= low) & (spread <= high)
        else:
            worst = np.max(sds, axis=0)[:n_genes]
            chosen[:n_genes] = worst <= max(_WELL_KNOWN, float(np.quantile(worst, 0.25)))
    if not chosen.any():
        msg = "The reference has none of the genes that are kept: name some that gene_mask keeps."
        raise ValueError(msg)
    return Centre(chosen / chosen.sum(), 0.0)


def basis(n_parts: int, columns: slice = slice(None)) -> FloatArray:
    """Orthonormal basis of centred log-ratios, (parts, parts - 1), or some columns: a part against those before it."""
    number = np.arange(1, n_parts)[columns]
    out = (np.arange(n_parts)[:, None] < number).astype(np.float64)
    out[number, np.arange(len(number))] = -number
    return out / np.sqrt(number * (number + 1.0))


def balance(numerator: IntArray, denominator: IntArray, n_parts: int) -> FloatArray:
    r"""Weights (parts,) of the balance of some parts against others: a unit vector that sums to zero.

    It is :math:`\sqrt{n_+n_-/(n_++n_-)}` times the difference of their mean logarithms.
    """
    n, m = len(numerator), len(denominator)
    if not n or not m or np.intersect1d(numerator, denominator).size:
        msg = f"A balance needs two sets of genes without common ones, got {n} and {m}; all genes have no opposite."
        raise ValueError(msg)
    out = np.zeros(n_parts)
    out[numerator], out[denominator] = 1.0 / n, -1.0 / m
    return out * np.sqrt(n * m / (n + m))
