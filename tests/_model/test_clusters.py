"""Where the components of a mixture start."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scribe._counts.container import Counts
from scribe._model import clusters
from scribe._model.clusters import components_at_start


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    group = rng.choice(3, 200, p=[0.2, 0.5, 0.3])
    mu = rng.gamma(1.0, 4.0, (3, 40))
    return Counts.from_matrix(rng.poisson(mu[group] * rng.lognormal(0, 0.5, (200, 1))) + np.eye(200, 40)), group


def test_clusters_by_size(groups) -> None:
    counts, group = groups
    found = components_at_start(counts, 3, None, seed=0)
    assert adjusted_rand_score(group, found) > 0.95
    assert np.all(np.diff(np.bincount(found)) <= 0)
    np.testing.assert_array_equal(found, components_at_start(counts, 3, None, seed=0))


def test_a_restart_takes_whatever_clusters_come_first(groups):
    counts, _ = groups
    where = clusters._embedding(counts, seed=0)

    def spread(found):
        return sum(np.square(where[found == k] - where[found == k].mean(0)).sum() for k in np.unique(found))

    careful, quick = (
        [spread(components_at_start(counts, 8, None, seed=seed, restart=restart)) for seed in range(5)]
        for restart in (False, True)
    )
    assert np.ptp(quick) > np.ptp(careful)
    assert np.mean(quick) > np.mean(careful)


def test_labels_attract_their_neighbours(groups) -> None:
    counts, group = groups
    logits = np.zeros((200, 4))
    logits[np.arange(0, 200, 10), group[::10]] = 3.0
    found = components_at_start(counts, 4, logits, seed=0)
    assert np.mean(found == group) > 0.95
    known = np.eye(4)[group]
    np.testing.assert_array_equal(components_at_start(counts, 4, known, seed=0), group)


def test_fewer_genes_than_axes() -> None:
    counts = Counts.from_matrix(np.random.default_rng(0).poisson(4.0, (9, 1)) + 1)
    assert set(components_at_start(counts, 2, None, seed=0)) <= {0, 1}
