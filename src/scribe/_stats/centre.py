r"""Where the log-ratios of genes that do not change lie, when many others do.

Differences :math:`d_g` of log means are known up to one number :math:`c` that all genes share: library size, depth, or
what a few genes that change take from the others' shares. Genes without a change lie about it,

.. math:: d_g \sim \pi_0 N(c,\ s_g^2 + \tau^2) + \sum_k \pi_k N(c + m_k,\ s_g^2 + \sigma_k^2),

the others anywhere: normals side by side on both sides of it. The mean of all genes moves with every gene that changes;
the centre :math:`c` of the largest narrow group of genes does not. It is found by EM from several starts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from scribe._types import FloatArray

__all__ = ["Centre", "null_centre"]

_TOLERATED = 0.1
"""Standard deviation of log-ratios of genes that count as unchanged: no gene is exactly constant."""

_UNCHANGED = 9.0
"""Genes beside that do not change, as in `scribe._stats.shrinkage`."""

_FIRST, _RATIO, _OVERLAP = 0.35, 1.3, 0.7
"""Least distance of a group of genes that change, distance of the next over that, and widths over distances."""

_MOST_GENES = 3000
"""Genes that are looked at: those that are known best."""

_STARTS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Quantiles of the differences from which the centre is sought."""

_ITERATIONS, _TOLERANCE = 300, 1e-5
_MOST_LOST = 0.7

_MOST_CHANGED = 0.55
"""Share of genes that change, beyond which none of them is a reference."""

_BELIEVED, _LARGER = 0.5, 5.0
"""Of groups of genes that agree one is the unchanged one: how much their likelihoods count, as genes are not quite what
the model says, and how much a larger group is the likelier one, a power of its size."""

_RIVALS = 0.5
"""Size of another group of genes that agree, over that of the largest, beyond which either may have changed."""

_TRIMMED = 0.4
"""Share of genes left out on either side, where most change."""

_TAILS, _LOPSIDED, _SURE = 0.1, 1 / 3, 4.0
"""Changes do not balance if of the genes that are as far from the middle as at least a tenth are, the difference of the
sides exceeds a third, and so many of its standard errors."""


class Centre(NamedTuple):
    """The centre as a weighted mean, ``weights`` (genes,).

    ``error`` is its standard error beyond the errors of the genes it is the mean of: it is not certain which genes
    change, nor which of several groups does not, and unchanged ones scatter. ``changed`` is the share of genes that
    change, ``rival`` the size of another group of genes that agree on a centre of their own, over that of the chosen
    one: of two equal groups either may have changed.
    """

    weights: FloatArray
    error: float
    changed: float = np.nan
    rival: float = 0.0

    @property
    def doubtful(self) -> bool:
        """Whether too many genes change for any of them to be taken as a reference."""
        return self.changed > _MOST_CHANGED or self.rival > _RIVALS


class _Found(NamedTuple):
    log_likelihood: float
    centre: float
    unchanged: FloatArray

    @property
    def changed(self) -> float:
        return 1.0 - float(self.unchanged.mean())

    @property
    def log_chance(self) -> float:
        """Log-probability that this is the group that does not change, up to a constant."""
        return float(_BELIEVED * self.log_likelihood + _LARGER * np.log(max(1.0 - self.changed, 1e-3)))


def null_centre(means: FloatArray, sds: FloatArray) -> Centre:
    """Centre of the genes that do not change, from differences known with errors, (genes,) each.

    Where more than half of the genes change no group of unchanged ones stands out. Changes are then taken to balance:
    the centre is the mean of the middle fifth of the genes. Where more genes lie far from it on one side than on the
    other, the error reaches to the groups of genes that agree.
    """
    best = np.argsort(sds, kind="stable")[:_MOST_GENES]
    d, variance = means[best], np.square(sds[best])
    null = variance + _TOLERATED**2
    # B against A is A against B with the other sign, to the last digit
    d = d if np.sum(d / null) >= 0 else -d
    order = np.argsort(d)
    reached = np.cumsum(1.0 / null[order])
    starts = np.unique(d[order][np.searchsorted(reached, np.asarray(_STARTS) * reached[-1])])
    every = [_search(d, variance, float(start)) for start in starts]
    groups = _different(every)
    found = groups[0]
    rival = max((1.0 - one.changed for one in groups[1:]), default=0.0) / max(1.0 - found.changed, 1e-3)
    chances, centres = softmax([one.log_chance for one in groups]), np.array([one.centre for one in groups])
    if found.changed > _MOST_CHANGED:
        low, middle, high = np.quantile(d, [_TRIMMED, 0.5, 1.0 - _TRIMMED])
        own = ((d >= low) & (d <= high)).astype(np.float64)
        # standard error of a median of normals with the quartiles of the differences
        least = np.square(1.25 * np.ptp(np.quantile(d, [0.25, 0.75])) / 1.35) / len(d)
        least += float(chances @ np.square(centres - middle)) if _one_sided(d - middle) else 0.0
    else:
        own = found.unchanged / null
        # information on the centre that is lost as genes may be of either kind (Louis 1982)
        lost = found.unchanged * (1.0 - found.unchanged) * np.square((d - found.centre) / null)
        left = 1.0 - min(float(np.sum(lost) / np.sum(own)), _MOST_LOST)
        share = own / own.sum()
        scatter = np.sum(np.square(share * (d - found.centre)))
        least = max(scatter, float(np.sum(np.square(share) * variance))) / left**2
        least += float(chances @ np.square(centres - found.centre))
    weights = np.zeros(len(means))
    weights[best] = own / own.sum()
    known = np.sum(np.square(weights * sds))
    return Centre(weights, float(np.sqrt(max(least - known, 0.0))), found.changed, rival)


def _different(every: list[_Found]) -> list[_Found]:
    """Those that are apart from likelier ones, the likeliest first."""
    out: list[_Found] = []
    for one in sorted(every, key=lambda one: -one.log_chance):
        if all(abs(one.centre - other.centre) > _FIRST for other in out):
            out.append(one)
    return out


def _one_sided(off: FloatArray) -> bool:
    """Whether more genes lie far from the middle on one side than on the other, from distances to it."""
    number, order = np.arange(1, len(off) + 1), np.argsort(-np.abs(off))
    excess = np.abs(np.cumsum(np.sign(off[order])))
    far = number >= _TAILS * len(off)
    return bool(np.any(far & (excess > _LOPSIDED * number) & (excess > _SURE * np.sqrt(number))))


def _search(d: FloatArray, variance: FloatArray, centre: float) -> _Found:
    """EM from one start."""
    distances = _FIRST * _RATIO ** np.arange(40.0)
    distances = distances[: max(int(np.searchsorted(distances, np.ptp(d) + _FIRST)), 1)]
    widths = _OVERLAP * np.append(np.diff(distances), distances[-1] * (_RATIO - 1.0))
    means = np.concatenate([[0.0], distances, -distances])
    total = variance[:, None] + np.square(np.concatenate([[_TOLERATED], widths, widths]))
    constant, prior = -0.5 * np.log(total), np.append(_UNCHANGED, np.zeros(len(means) - 1))
    weights, last = np.append(0.6, np.full(len(means) - 1, 0.4 / (len(means) - 1))), -np.inf
    for _ in range(_ITERATIONS):
        joint = weights * np.exp(constant - 0.5 * np.square(d[:, None] - centre - means) / total)
        sums = joint.sum(axis=1) + 1e-300
        now = float(np.log(sums).sum() + _UNCHANGED * np.log(weights[0]))
        share = joint / sums[:, None]
        weights = (share.sum(axis=0) + prior) / (len(d) + _UNCHANGED)
        precision = share[:, 0] / total[:, 0]
        moved = float(np.sum(precision * d) / max(np.sum(precision), 1e-300)) - centre
        centre += moved
        if abs(now - last) < _TOLERANCE and abs(moved) < _TOLERANCE:
            break
        last = now
    return _Found(now, centre, share[:, 0])
