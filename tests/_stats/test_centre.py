"""The centre of the genes that do not change, where many change to one side."""

from __future__ import annotations

import numpy as np
import pytest

from scribe._stats.centre import null_centre


def differences(
    n_genes: int, share: float, size: float, *, seed: int, balanced: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Differences and errors as two groups of cells of unequal depth give them; the centre is at 1."""
    rng = np.random.default_rng(seed)
    effect = np.where(np.arange(n_genes) < share * n_genes, size * np.exp(rng.normal(0, 0.3, n_genes)), 0.0)
    effect = effect * rng.choice([-1, 1], n_genes) if balanced else effect
    errors = np.sqrt(np.exp(rng.normal(-4.5, 1.3, n_genes)) + 0.01)
    return 1.0 + effect + errors * rng.normal(size=n_genes), errors


@pytest.mark.parametrize("n_genes", [100, 300])
@pytest.mark.parametrize("size", [np.log(2.0), np.log(8.0)])
@pytest.mark.parametrize(("share", "bound"), [(0.0, 0.05), (0.15, 0.05), (0.3, 0.05), (0.4, 0.1)])
def test_one_sided_change_does_not_move_it(n_genes, size, share, bound) -> None:
    """Bias in log2, as the mean over data sets; the plain mean is off by share x size, up to 1.2."""
    found = []
    for seed in range(6):
        d, errors = differences(n_genes, share, size, seed=seed)
        centre = null_centre(d, errors)
        np.testing.assert_allclose(centre.weights.sum(), 1.0)
        found.append((centre.weights @ d - 1.0) / np.log(2.0))
    assert abs(np.mean(found)) < bound


@pytest.mark.parametrize(("share", "size"), [(0.3, np.log(8.0)), (0.5, 0.7)])
def test_its_error_is_as_large_as_it_says(share, size) -> None:
    """Standardised by its error, the distance from the truth has variance one, also where changes are hard to see."""
    standardised = []
    for seed in range(60):
        d, errors = differences(150, share, size, seed=seed, balanced=True)
        centre = null_centre(d, errors)
        error = np.hypot(centre.error, np.sqrt(np.sum(np.square(centre.weights * errors))))
        standardised.append((centre.weights @ d - 1.0) / error)
    assert 0.75 < np.sqrt(np.mean(np.square(standardised))) < 1.25


def test_where_most_genes_change_both_ways_it_is_in_the_middle_and_doubtful() -> None:
    for seed in range(3):
        d, errors = differences(600, 0.8, np.log(3.0), seed=seed, balanced=True)
        centre = null_centre(d, errors)
        assert centre.doubtful
        assert centre.changed > 0.55
        assert abs(centre.weights @ d - 1.0) < 0.25


def test_two_groups_of_equal_size_are_rivals() -> None:
    d, errors = differences(200, 0.5, np.log(8.0), seed=0)
    assert null_centre(d, errors).rival > 0.3
    few, errors = differences(200, 0.1, np.log(8.0), seed=0)
    assert not null_centre(few, errors).doubtful


@pytest.mark.parametrize("n_genes", [200, 600])
def test_of_two_like_groups_either_may_have_changed(n_genes) -> None:
    """Half of the genes are up by the same factor: the error reaches from one group to the other."""
    rng = np.random.default_rng(n_genes)
    d = np.repeat([0.0, 1.0], n_genes // 2) + rng.normal(0.0, 0.1, n_genes)
    centre = null_centre(d, np.full(n_genes, 0.1))
    assert centre.doubtful
    assert 0.3 < centre.error < 1.0
    # the changes of one group differ: the other is the unchanged one
    d = np.concatenate([np.zeros(n_genes // 2), rng.uniform(0.5, 2.0, n_genes // 2)]) + rng.normal(0.0, 0.1, n_genes)
    centre = null_centre(d, np.full(n_genes, 0.1))
    assert abs(centre.weights @ d) < 0.05
    assert centre.error < 0.05


def test_where_most_genes_change_one_way_any_may_be_unchanged() -> None:
    rng = np.random.default_rng(1)
    effects = rng.uniform(0.3, 3.0, 600) * (np.arange(600) < 480)
    d, errors = effects + rng.normal(0.0, 0.15, 600), np.full(600, 0.15)
    one_way = null_centre(d, errors)
    assert one_way.doubtful
    assert one_way.error > 0.5 * abs(one_way.weights @ d)
    # those that go either way agree on two centres of their own, between which the unchanged ones are
    effects = rng.uniform(0.5, 1.2, 600) * (np.arange(600) < 480) * rng.choice([-1, 1], 600)
    both = null_centre(effects + rng.normal(0.0, 0.3, 600), np.full(600, 0.3))
    assert both.doubtful
    assert both.error < 0.15


def test_the_rival_is_the_largest_of_the_other_groups() -> None:
    d = np.repeat([0.0, 2.0, -2.0], [100, 60, 45]) + np.random.default_rng(0).normal(0, 0.1, 205)
    centre = null_centre(d, np.full(205, 0.1))
    assert centre.rival == pytest.approx(0.6, abs=0.05)
    assert abs(centre.weights @ d) < 0.05


@pytest.mark.parametrize(("n_genes", "share", "seed"), [(120, 0.4, 3), (20, 0.0, 2), (60, 0.5, 2), (200, 0.7, 1)])
def test_turned_round_it_is_the_same_to_the_last_digit(n_genes, share, seed) -> None:
    d, errors = differences(n_genes, share, np.log(2.0), seed=seed, balanced=seed % 2 == 0)
    there, back = null_centre(d, errors), null_centre(-d, errors)
    np.testing.assert_array_equal(there.weights, back.weights)
    assert there[1:] == back[1:]


@pytest.mark.parametrize("n_genes", [2, 3, 10])
def test_few_genes_or_equal_ones(n_genes) -> None:
    centre = null_centre(np.zeros(n_genes), np.full(n_genes, 0.1))
    np.testing.assert_allclose(centre.weights, 1.0 / n_genes)
    np.testing.assert_allclose(centre.error, 0.0, atol=1e-6)
