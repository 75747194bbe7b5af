"""Which levels of a fit stand for the samples of a comparison, and with what weights."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest

import scribe
from scribe._adata.fits import read_fit
from scribe._compare.by_obs import Leaves, leaves_by_obs
from scribe._compare.contrasts import between_cells, between_samples, pairs_of_groups
from scribe._compare.pairs import paired_levels
from scribe._posterior.level_counts import LevelCounts

LABELS = ["control", "treated", "other"]


class Fit(NamedTuple):
    """What `Leaves` asks of a fit: its counts."""

    counts: LevelCounts

    def count_levels(self, levels: Any) -> LevelCounts:
        """Of some levels."""
        return self.counts.take([dataset for _, dataset in levels])


def leaves(group: list[int], sample: list[str], n_cells: list[int]) -> Leaves:
    """Three genes at as many levels, of equal exposure."""
    n = len(group)
    molecules = np.random.default_rng(0).poisson(50.0, (n, 3)).astype(float)
    counts = LevelCounts(molecules, np.full((n, 3), 10.0), np.full((n, 3), 100.0))
    levels = tuple((0, d) for d in range(n))
    return Leaves(Fit(counts), levels, np.array(group), np.array(sample), np.array(n_cells))  # type: ignore[arg-type]


def test_samples_of_both_groups_are_pairs_and_others_are_left_out() -> None:
    these = leaves([0, 0, 0, 1, 1], ["a", "b", "c", "b", "a"], [5] * 5)
    with pytest.warns(
        UserWarning, match=r"1 of 3 samples have some of the groups only and are left out .*: c\. .*'sample'"
    ):
        found = between_samples(these, 1, (0,), labels=LABELS)
    assert found.replicates == "2 pairs"
    assert list(found.of_A) == [True, True, False, False]
    assert list(found.block) == [0, 1, 0, 1]
    # treated samples a and b, then control ones
    np.testing.assert_array_equal(found.counts.molecules, these.counts.molecules[[4, 3, 0, 1]])


def test_samples_with_names_of_their_own_are_no_pairs() -> None:
    found = between_samples(leaves([0, 0, 1, 1], list("abcd"), [5] * 4), 1, (0,), labels=LABELS)
    assert found.replicates == "2 vs 2"
    assert len(set(found.block)) == 1
    few = leaves([0, 0, 1], list("abc"), [5] * 3)
    with pytest.raises(ValueError, match=r"Group 'treated' has 1 sample"):
        between_samples(few, 1, (0,), labels=LABELS)


def test_other_groups_of_a_sample_are_averaged_by_their_cells() -> None:
    """Sample a has 10 control cells and 30 of another group: its mean is that of all 40."""
    these = leaves([0, 2, 0, 1, 1], ["a", "a", "b", "a", "b"], [10, 30, 5, 5, 5])
    found = between_samples(these, 1, (0, 2), labels=LABELS)
    means = found.counts.molecules / found.counts.exposure
    own = these.counts.aligned()
    rates = own.molecules / own.exposure
    np.testing.assert_allclose(means[2], 0.25 * rates[0] + 0.75 * rates[1])
    np.testing.assert_allclose(means[3], rates[2])


def test_levels_of_a_group_of_cells_are_averaged_by_their_cells(mixture) -> None:
    found = found_in(mixture, "half", component="x")
    about = {"n_draws": 10, "estimand": "mean", "method": "empirical", "rank": None}
    evidence = between_cells(found, 0, (1,), labels=["first", "second"], key=jax.random.key(0), **about)
    first, second = (group.populations for group in (evidence.group_A, evidence.group_B))
    assert first[0].weights is None
    np.testing.assert_allclose(second[0].weights, [0.2, 0.8])


def test_pairs_are_of_datasets_that_have_cells() -> None:
    """Of donor c no cell is left in the treated ones."""
    labels = ("a|t", "b|t", "c|t", "a|u", "b|u", "c|u")
    factors = {"donor": tuple("abcabc"), "condition": tuple("tttuuu")}
    spec = SimpleNamespace(levels={"dataset": SimpleNamespace(labels=labels, factors=factors)})
    fit = SimpleNamespace(spec=spec, levels=lambda dataset: ((0, dataset),), has_cells=lambda level: level != (0, 2))
    found = paired_levels(fit, "condition", ("t", "u"), None)
    assert found.labels == ("a", "b")
    assert found.of_A == ((0, 0), (0, 1))
    assert found.of_B == ((0, 3), (0, 4))
    assert found.incomplete == ("c",)


def test_groups_to_compare() -> None:
    assert pairs_of_groups(LABELS, None, "rest", groupby="g") == [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))]
    assert pairs_of_groups(LABELS, None, "control", groupby="g") == [(1, (0,)), (2, (0,))]
    assert pairs_of_groups(LABELS, ["other"], "control", groupby="g") == [(2, (0,))]
    with pytest.raises(ValueError, match="group and reference are both 'control'"):
        pairs_of_groups(LABELS, "control", "control", groupby="g")


@pytest.fixture(scope="module")
def mixture():
    """Two types in three batches, of which the last has cells of type x alone; some cells have no label."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 0, 1, 0], [20, 10, 5, 25, 20])
    batch = np.repeat(["p", "q", "r"], [30, 30, 20])
    mean = np.where(kind[:, None] == 0, [20.0] * 5 + [1.0] * 5 + [8.0] * 5, [1.0] * 5 + [20.0] * 5 + [8.0] * 5)
    adata = scribe.datasets.simulate(80, 15, "nbdm")
    adata.X = rng.poisson(mean).astype(np.float32)
    adata.obs["type"] = pd.Categorical(np.where(np.arange(80) % 7 == 0, None, np.array(["x", "y"])[kind]))
    adata.obs["batch"] = batch
    adata.obs["half"] = np.where(batch == "p", "first", "second")
    about = {"annotation_key": "type", "dataset_key": "batch", "dataset_params": "mean", "check_components": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scribe.tl.fit(adata, parameterization="mean_disp", n_steps=200, early_stopping=False, **about)
    scribe.tl.assign(adata)
    return adata


def found_in(adata: Any, groupby: str, *, component: str | None) -> Leaves:
    groups = pd.Categorical(adata.obs[groupby])
    about = {"key": "scribe", "names": (groupby, None), "component": component, "seed": 0}
    return leaves_by_obs(adata, read_fit(adata), groups, None, **about)


def test_datasets_count_with_their_cells_of_a_component(mixture) -> None:
    """A batch without cells of the component takes no part."""
    of_x, of_y = (found_in(mixture, "half", component=name) for name in ("x", "y"))
    assert of_x.levels == ((0, 0), (0, 1), (0, 2))
    assert list(of_x.n_cells) == [20, 5, 20]
    assert of_y.levels == ((1, 0), (1, 1))
    assert list(of_y.n_cells) == [10, 25]
    assert list(of_y.group) == [0, 1]


def test_an_annotation_of_some_cells_names_the_components(mixture) -> None:
    found = found_in(mixture, "type", component=None)
    assert {k for k, _ in found.levels} == {0, 1}
    assert found.n_cells.sum() == mixture.obs["type"].notna().sum()
    mixture.obs["wrong"] = mixture.obs["type"].cat.rename_categories({"x": "y", "y": "x"})
    with pytest.raises(ValueError, match="To compare the datasets of"):
        found_in(mixture, "wrong", component=None)
