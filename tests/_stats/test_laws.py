"""Laws of effects against scipy, and each against the others where they describe the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scribe._stats.laws import Drawn, LowRankNormal, NormalMixture

N, RANK, S = 6, 2, 40_000


@pytest.fixture(scope="module")
def normal() -> LowRankNormal:
    rng = np.random.default_rng(0)
    return LowRankNormal(rng.normal(size=N), rng.normal(size=(N, RANK)), rng.uniform(0.1, 0.5, N))


@pytest.fixture(scope="module")
def covariance(normal) -> np.ndarray:
    return normal.factors @ normal.factors.T + np.diag(normal.noise)


@pytest.fixture(scope="module")
def drawn(normal, covariance) -> Drawn:
    return Drawn(np.random.default_rng(1).multivariate_normal(normal.loc, covariance, S))


def agree(law, mean, covariance) -> None:
    """Marginals of a law are normal with the given moments."""
    exact = stats.norm(mean, np.sqrt(np.diag(covariance)))
    loose = 0.02 if isinstance(law, Drawn) else 1e-10
    np.testing.assert_allclose(law.mean, exact.mean(), atol=loose)
    np.testing.assert_allclose(law.sd, exact.std(), rtol=loose)
    for threshold in (-0.4, 0.0, 1.3):
        np.testing.assert_allclose(law.above(threshold), exact.sf(threshold), atol=loose)
        np.testing.assert_allclose(law.below(threshold), exact.cdf(threshold), atol=loose)
    for q in (0.05, 0.5, 0.9):
        np.testing.assert_allclose(law.quantile(q), exact.ppf(q), atol=4 * loose)


@pytest.mark.parametrize("name", ["normal", "drawn"])
def test_marginals_contrasts_and_references(name, request, normal, covariance) -> None:
    law, rng = request.getfixturevalue(name), np.random.default_rng(2)
    agree(law, normal.loc, covariance)
    weights = rng.normal(size=(N, 3))
    agree(law.contrast(weights), weights.T @ normal.loc, weights.T @ covariance @ weights)
    reference = np.array([0.5, 0.0, 0.25, 0.25, 0.0, 0.0])
    centre = np.eye(N) - reference
    agree(law.relative(reference), centre @ normal.loc, centre @ covariance @ centre.T)
    agree(law.take(slice(2)), normal.loc[:2], covariance[:2, :2])


def test_differences_of_normals_are_those_of_independent_ones(normal, covariance) -> None:
    agree(normal - normal, np.zeros(N), 2 * covariance)


def test_pooling_adds_what_is_left_out() -> None:
    shares = np.random.default_rng(3).dirichlet(np.ones(5), 20)
    kept = np.array([True, False, True, False, True])
    pooled = Drawn(np.log(shares)).pooled(kept)
    np.testing.assert_allclose(np.exp(pooled.draws), np.c_[shares[:, kept], shares[:, ~kept].sum(axis=1)])
    assert Drawn(shares).pooled(np.ones(5, bool)).draws is shares


def test_mixture_against_its_parts() -> None:
    weights = np.array([[0.3, 0.7], [1.0, 0.0]])
    locs, sds = np.array([[-1.0, 2.0], [0.5, 9.0]]), np.array([[0.5, 2.0], [1.0, 1.0]])
    law = NormalMixture(weights, locs, sds)
    for threshold in (-1.5, 0.0, 2.5):
        parts = stats.norm(locs, sds).sf(threshold)
        np.testing.assert_allclose(law.above(threshold), np.sum(weights * parts, axis=1))
        np.testing.assert_allclose(law.above(threshold) + law.below(threshold), 1.0)
    mean = np.sum(weights * locs, axis=1)
    np.testing.assert_allclose(law.mean, mean)
    np.testing.assert_allclose(law.sd, np.sqrt(np.sum(weights * (sds**2 + locs**2), axis=1) - mean**2))
    for q in (0.01, 0.3, 0.5, 0.99):
        np.testing.assert_allclose([law.below(x)[i] for i, x in enumerate(law.quantile(q))], q, atol=1e-9)


def test_mixtures_relative_to_a_reference_that_they_are_part_of() -> None:
    """The covariance of independent genes with a weighted mean of them, to which something unknown is added."""
    sds, weights, extra = np.array([0.5, 1.0, 2.0]), np.array([0.7, 0.3, 0.0]), 0.4
    law = NormalMixture(np.ones((3, 1)), np.array([[1.0], [-2.0], [0.5]]), sds[:, None])
    error = np.hypot(extra, np.sqrt(np.sum(np.square(weights * sds))))
    found = law.relative(weights, float(weights @ law.mean), error)
    centre = np.eye(3) - weights
    np.testing.assert_allclose(found.mean, centre @ law.mean)
    np.testing.assert_allclose(found.sd, np.sqrt(np.diag(centre @ np.diag(sds**2) @ centre.T) + extra**2))


def test_a_point_is_on_neither_side_of_itself() -> None:
    at = Drawn(np.array([[1.0], [0.0]]))
    assert (at.above(1.0), at.below(1.0), at.below(0.0)) == (0.0, 0.5, 0.0)
    law = NormalMixture(np.array([[0.6, 0.4]]), np.zeros((1, 2)), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose([law.above(0.0)[0], law.below(0.0)[0]], 0.2)
    np.testing.assert_allclose([law.above(-0.1)[0], law.below(0.1)[0]], 0.6 + 0.4 * stats.norm.cdf(0.1))
