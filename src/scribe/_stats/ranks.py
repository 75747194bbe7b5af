r"""How observed statistics rank among those of replicates that pass by one at a time.

With :math:`S` replicates of which :math:`G` have a statistic above the observed one and :math:`E` one equal to it, the
p-value is :math:`p = \{G + (E+1)/2\}/(S+1)`: the observed data count as one more data set and ties for half (the mid-p
rule). It estimates :math:`P(T^{rep} \ge T^{obs})`, lies between :math:`1/(2(S+1))` and its complement, and
:math:`2\min(p, 1-p) \ge 1/(S+1)` is its two-sided form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["Tally", "two_sided"]


@dataclass
class Tally:
    """How an array of observed statistics ranks among those of the ``n`` replicates seen so far.

    So many of them had a ``greater`` or ``equal`` value, elementwise; ``total`` is the sum of their values.
    """

    observed: AnyArray
    n: int = 0
    greater: IntArray | int = 0
    equal: IntArray | int = 0
    total: FloatArray | float = 0.0

    def add(self, replicate: AnyArray) -> None:
        """Take in the values of one replicate."""
        self.n += 1
        self.greater = self.greater + (replicate > self.observed).astype(np.int32)
        self.equal = self.equal + (replicate == self.observed).astype(np.int32)
        self.total = self.total + replicate

    @property
    def expected(self) -> FloatArray:
        """Mean over the replicates."""
        return np.asarray(self.total / self.n)

    @property
    def p_value(self) -> FloatArray:
        """Estimate of the probability of a value at least as large as the observed one; ties count half."""
        return np.asarray((self.greater + (np.asarray(self.equal) + 1) / 2) / (self.n + 1))

    def coverage(self, level: float) -> FloatArray:
        """Share of the last axis inside the central band of the replicates, with a mean of ``level`` if all is well.

        Ties are counted for the part of them that is inside, as a rank among tied values broken at random would be on
        average. Elements that are the same in all data sets say nothing and are left out; NaN where none is left.
        """
        equal = np.asarray(self.equal)
        low = (self.n - np.asarray(self.greater) - equal) / (self.n + 1)
        high = low + (equal + 1) / (self.n + 1)
        inside = np.minimum(high, (1 + level) / 2) - np.maximum(low, (1 - level) / 2)
        share = np.maximum(inside, 0.0) / (high - low)
        tells = equal < self.n
        n_told = tells.sum(axis=-1)
        return np.where(n_told > 0, (share * tells).sum(axis=-1) / np.maximum(n_told, 1), np.nan)


def two_sided(p_value: FloatArray) -> FloatArray:
    """Two-sided form ``2 min(p, 1 - p)`` of the p-values of `Tally`, at least 1/(replicates + 1)."""
    return 2 * np.minimum(p_value, 1 - p_value)
