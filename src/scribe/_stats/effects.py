r"""Errors of sign among effects that are called.

The *local false sign rate* of gene :math:`g` is the probability that the sign one would give it is wrong,
:math:`\mathrm{lfsr}_g = 1 - \max\{P(\Delta_g > \tau), P(\Delta_g < -\tau)\}`, with :math:`\tau = 0` unless small
effects are to count as none (Stephens 2017, doi:10.1093/biostatistics/kxw041). The mean of these rates over a set of
genes is the share of wrong signs to be expected in it, its *posterior expected false proportion*, PEFP.
"""

from __future__ import annotations

import numpy as np

from scribe._stats.laws import Law
from scribe._types import AnyArray, FloatArray

__all__ = [
    "MAX_LFSR",
    "called_at",
    "check_max_lfsr",
    "check_target_pefp",
    "check_tau",
    "find_threshold",
    "lfsr",
    "pefp",
    "s_values",
]

MAX_LFSR = 0.2
"""Largest local false sign rate of a gene that is called, unless asked otherwise."""


def check_tau(tau: AnyArray | float, *, name: str = "tau") -> None:
    """Raise at a negative threshold of differences."""
    if not np.all(np.asarray(tau) >= 0):
        msg = f"{name} must not be negative, got {tau!r}: differences up to it count as none."
        raise ValueError(msg)


def check_target_pefp(target: float) -> None:
    """Raise where an expected share of wrong signs is none."""
    if not 0.0 < target < 1.0:
        msg = f"target_pefp must lie between 0 and 1, got {target!r}; 0.05 expects one wrong sign among twenty calls."
        raise ValueError(msg)


def lfsr(law: Law, tau: float = 0.0) -> FloatArray:
    """Local false sign rates, (genes,): no smaller than what the law can tell from zero."""
    check_tau(tau)
    return np.maximum(np.minimum(law.not_above(tau), law.not_below(-tau)), law.resolution)


def check_max_lfsr(max_lfsr: float) -> None:
    """Raise where the largest rate of a called gene is no probability."""
    if not 0.0 < max_lfsr <= 1.0:
        msg = f"max_lfsr must lie above 0 and not above 1, got {max_lfsr!r}; 1 calls by target_pefp alone."
        raise ValueError(msg)


def pefp(rates: FloatArray, called: AnyArray) -> float:
    """Mean rate among the genes that are called; 0 where none is."""
    return float(np.mean(rates[called])) if np.any(called) else 0.0


def s_values(rates: FloatArray) -> FloatArray:
    """PEFP of the genes whose rates are at most that of each gene, (genes,); NaN where the rate is."""
    out = np.full(len(rates), np.nan)
    known = np.flatnonzero(np.isfinite(rates))
    order = known[np.argsort(rates[known], kind="stable")]
    values = rates[order]
    running = np.cumsum(values) / np.arange(1, len(values) + 1)
    # genes of equal rates are called together
    out[order] = running[np.searchsorted(values, values, side="right") - 1]
    return out


def called_at(rates: FloatArray, target: float, *, max_lfsr: float = MAX_LFSR) -> AnyArray:
    """Mask of the most genes, the surest first, of which no larger share of signs is expected to be wrong.

    Many sure genes would carry unsure ones, so none with a rate above ``max_lfsr`` is called.
    """
    check_target_pefp(target)
    check_max_lfsr(max_lfsr)
    return (s_values(rates) <= target) & (rates <= max_lfsr)


def find_threshold(rates: FloatArray, target: float, *, max_lfsr: float = MAX_LFSR) -> float:
    """Largest threshold such that genes with a rate below it have a PEFP of at most ``target``; 0 if none can be.

    It is no larger than makes ``max_lfsr`` the largest rate below it.
    """
    check_target_pefp(target)
    check_max_lfsr(max_lfsr)
    values = np.sort(rates[np.isfinite(rates)])
    expected = np.cumsum(values) / np.arange(1, len(values) + 1)
    good = np.flatnonzero((expected <= target) & (values <= max_lfsr))
    if not good.size:
        return 0.0
    last = int(good[-1])
    return float(values[last + 1]) if last + 1 < len(values) else float(np.nextafter(values[-1], np.inf))
