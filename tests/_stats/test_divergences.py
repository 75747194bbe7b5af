"""Divergences of gamma laws against integrals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from scribe._stats.divergences import gamma_hellinger, gamma_jeffreys


@pytest.mark.parametrize("laws", [(2.0, 0.5, 3.0, 1.0), (1.2, 4.0, 1.2, 1.0), (30.0, 2.0, 25.0, 2.5)])
def test_against_integrals(laws) -> None:
    first, second = (stats.gamma(shape, scale=1 / rate) for shape, rate in (laws[:2], laws[2:]))
    ends = {"a": 0, "b": max(first.isf(1e-14), second.isf(1e-14)), "epsabs": 1e-10, "limit": 500}
    jeffreys = integrate.quad(
        lambda x: (first.pdf(x) - second.pdf(x)) * (first.logpdf(x) - second.logpdf(x)) if x > 0 else 0.0, **ends
    )[0]
    overlap = integrate.quad(lambda x: np.sqrt(first.pdf(x) * second.pdf(x)), **ends)[0]
    arrays = [np.array([x]) for x in laws]
    np.testing.assert_allclose(gamma_jeffreys(*arrays), jeffreys, rtol=1e-6)
    np.testing.assert_allclose(gamma_hellinger(*arrays), np.sqrt(1 - overlap), rtol=1e-6)


def test_of_equal_laws() -> None:
    same = np.array([2.0]), np.array([0.7])
    np.testing.assert_allclose([gamma_jeffreys(*same, *same), gamma_hellinger(*same, *same)], 0.0, atol=1e-7)
