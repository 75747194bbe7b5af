r"""How well chains mixed: rank-normalised split R-hat and effective sample sizes.

As Vehtari et al. (2021, doi:10.1214/20-BA1221) recommend, draws are used if every R-hat is below 1.01 and every
effective sample size, of the bulk and of the tails, above 400, or 100 per chain where that is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scribe._types import AnyArray, FloatArray
from scribe.engines.outcome import Outcome
from scribe.priors import LATENT_SUFFIX

__all__ = ["ChainDiagnostics", "Diagnostics", "diagnostics", "judge"]

_R_HAT = 1.01
_ESS, _ESS_PER_CHAIN = 400, 100
_DIVERGENT = 1e-3
"""Largest share of divergent draws."""

_LONG = 0.05
"""Share of trajectories cut off at the largest depth above which the advice is to allow longer ones."""


@dataclass(frozen=True)
class ChainDiagnostics(Outcome):
    """How well the chains mixed.

    ``r_hat`` is the largest, ``ess_bulk`` and ``ess_tail`` are the smallest of all latents; ``divergences`` counts
    draws, ``step_size``, ``tree_depth`` and ``acceptance`` are means. ``relabelled`` counts draws of a mixture whose
    components have been renumbered to agree with the first chain, before all else.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float
    divergences: int
    step_size: float
    tree_depth: float
    acceptance: float
    relabelled: int = 0


class Diagnostics(NamedTuple):
    """Rank-normalised split R-hat and effective sample sizes of every element."""

    r_hat: FloatArray
    ess_bulk: FloatArray
    ess_tail: FloatArray


class _Worst(NamedTuple):
    """The worst value of a diagnostic and the parameter that has it."""

    value: float
    name: str
    place: tuple[int, ...]

    def __str__(self) -> str:
        index = f"[{', '.join(map(str, self.place))}]" if self.place else ""
        return f"{self.value:.4g} ({self.name}{index})"


def diagnostics(draws: AnyArray) -> Diagnostics:
    """R-hat and effective sample sizes of (chains, draws, ...), by arviz-stats; NaN where draws are all equal.

    One chain by itself is cut in two for R-hat, which compares chains, and their halves.
    """
    from arviz_stats.base.array import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    values = np.asarray(draws, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Diagnostics(
            np.asarray(array_stats.rhat(values if len(values) > 1 else _halves(values), method="rank", **axes)),
            np.asarray(array_stats.ess(values, method="bulk", **axes)),
            np.asarray(array_stats.ess(values, method="tail", prob=(0.05, 0.95), **axes)),
        )


def _halves(draws: FloatArray) -> FloatArray:
    """One chain as two; of an odd number of draws the first is left out."""
    half = draws.shape[1] // 2
    return draws[0, draws.shape[1] - 2 * half :].reshape(2, half, *draws.shape[2:])


def _worst(found: Mapping[str, Diagnostics], which: int) -> _Worst:
    """Largest R-hat (0) or smallest effective sample size (1, 2); what is not defined is worse than all."""
    sign = -1.0 if which == 0 else 1.0
    candidates = []
    for name, diagnostic in found.items():
        value = np.nan_to_num(sign * diagnostic[which], nan=-np.inf if which == 0 else 0.0)
        index = np.unravel_index(np.argmin(value), value.shape)
        candidates.append(_Worst(float(sign * value[index]), name.removesuffix(LATENT_SUFFIX), tuple(map(int, index))))
    return min(candidates, key=lambda one: sign * one.value)


def judge(
    draws: Mapping[str, AnyArray],
    statistics: Mapping[str, AnyArray],
    *,
    step_size: FloatArray,
    max_tree_depth: int,
    relabelled: int = 0,
) -> ChainDiagnostics:
    """Sum up draws of all latents, (chains, draws, ...) each, and what the sampler said of them."""
    found = {name: diagnostics(value) for name, value in draws.items()}
    r_hat, bulk, tail = (_worst(found, which) for which in range(3))
    divergences, depth = int(statistics["diverging"].sum()), np.log2(statistics["num_steps"] + 1.0)
    n_chains, n_draws = statistics["diverging"].shape
    needed = max(_ESS, _ESS_PER_CHAIN * n_chains)
    faults = [f"R-hat is {r_hat}, not below {_R_HAT}"] if not r_hat.value < _R_HAT else []
    for what, least in (("bulk", bulk), ("tails", tail)):
        faults += [f"the effective sample size of the {what} is {least}, below {needed}"] * (not least.value >= needed)
    remedies = ["raise n_samples and n_warmup, or start from a fit by SVI (svi_init=results)"] if faults else []
    if divergences > _DIVERGENT * n_chains * n_draws:
        faults.append(f"{divergences:,} of {n_chains * n_draws:,} draws diverged")
        remedies.append("raise target_accept, scribe.engines.NUTS(target_accept=0.95)")
    if faults and np.mean(depth >= max_tree_depth) > _LONG:
        remedies.append(f"allow longer trajectories, scribe.engines.NUTS(max_tree_depth={max_tree_depth + 2})")
    good = (
        f"{n_chains} x {n_draws:,} draws, R-hat at most {r_hat.value:.3f}, effective sample sizes at least "
        f"{bulk.value:,.0f} (bulk) and {tail.value:,.0f} (tails), {divergences:,} divergences"
    )
    reason = f"{'; '.join(faults)}; {'; '.join(remedies)}" if faults else good
    if relabelled:
        reason += f"; components of {relabelled:,} draws were renumbered to agree with the first chain"
    step, deep, accepted = (float(np.mean(x)) for x in (step_size, depth, statistics["accept_prob"]))
    worst = (r_hat.value, bulk.value, tail.value)
    return ChainDiagnostics(not faults, reason, *worst, divergences, step, deep, accepted, relabelled)
