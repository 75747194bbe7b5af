"""Differences of absolute expression: of means, variances and the gamma laws of rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scribe._stats.contrasts import Moments
from scribe._stats.divergences import gamma_hellinger, gamma_jeffreys
from scribe._stats.effects import lfsr
from scribe._stats.laws import Drawn
from scribe._types import AnyArray, FloatArray

__all__ = ["biological_level", "table_of"]

_GENES_AT_ONCE = 1000
_FEWEST = 1e-12
"""Least variance of a rate: that of a Poisson gene is zero, which no gamma law has."""


def biological_level(
    of_A: Moments, of_B: Moments, *, tau_lfc: float, tau_var: float, tau_kl: float
) -> dict[str, FloatArray]:
    """Summaries, (genes,) each, of log ratios of means and variances and of the divergence of laws."""
    n_genes = of_A.log_mean.shape[1]
    blocks = [slice(first, first + _GENES_AT_ONCE) for first in range(0, n_genes, _GENES_AT_ONCE)]
    parts = []
    for block in blocks:
        groups = [Moments(*(x[:, block] for x in moments)) for moments in (of_A, of_B)]
        parts.append(_of_genes(*groups, tau_lfc=tau_lfc, tau_var=tau_var, tau_kl=tau_kl))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_genes(of_A: Moments, of_B: Moments, *, tau_lfc: float, tau_var: float, tau_kl: float) -> dict[str, FloatArray]:
    out = _summary("lfc", Drawn(of_A.log_mean - of_B.log_mean), tau_lfc)
    out |= _summary("lvr", Drawn(of_A.log_variance - of_B.log_variance), tau_var)
    laws = (*_gamma(of_A), *_gamma(of_B))
    divergence = Drawn(gamma_jeffreys(*laws))
    out |= {"kl_mean": divergence.mean, "kl_sd": divergence.sd, "kl_prob_effect": divergence.above(tau_kl)}
    out |= {"hellinger_mean": gamma_hellinger(*laws).mean(axis=0)}
    named = zip(("mu_A_mean", "var_A_mean", "mu_B_mean", "var_B_mean"), (*of_A, *of_B), strict=True)
    return out | {name: np.exp(np.asarray(draws, np.float64)).mean(axis=0) for name, draws in named}


def _summary(name: str, law: Drawn, tau: float) -> dict[str, FloatArray]:
    effect = law.above(tau) + law.below(-tau)
    values = {"mean": law.mean, "sd": law.sd, "lfsr": lfsr(law, tau), "prob_effect": effect}
    return {f"{name}_{what}": value for what, value in values.items()}


def _gamma(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Shape and rate of the gamma law of rates, whose variance is that of the molecules less their mean."""
    mean, variance = (np.exp(np.asarray(x, np.float64)) for x in moments)
    excess = np.maximum(variance - mean, _FEWEST * np.square(mean))
    return np.square(mean) / excess, mean / excess


def table_of(found: Mapping[str, Any], kept: AnyArray) -> dict[str, AnyArray]:
    """Columns over all genes from what is known of those that are kept: NaN, or False, for the others."""
    out = {}
    for name, value in found.items():
        if name in ("tau_values", "gene_names", "null_proportion"):
            continue
        rows = value if value.ndim == 2 else value[None]
        for tau, row in zip(found["tau_values"], rows, strict=False):
            column = np.zeros(len(kept), bool) if row.dtype == bool else np.full(len(kept), np.nan)
            column[kept] = row
            out[f"{name}_tau{tau:g}" if value.ndim == 2 else name] = column
    return out
