"""`scribe.fit`: arrays in, results out; engines and guides as objects; continuation; recovery of the truth."""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

import jax
import numpy as np
import pytest

import scribe
from scribe.engines import SVI, EarlyStopping, Optimizer
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion


@pytest.fixture(scope="module")
def counts() -> np.ndarray[Any, Any]:
    return scribe.datasets.simulate(40, 12, params={"mu": 20.0}).X.toarray()


def quick(counts: Any, *args: Any, **options: Any) -> scribe.ScribeSVIResults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        return scribe.fit(counts, *args, **{"n_steps": 10, "early_stopping": False} | options)


def test_objects_and_names_are_the_same(counts):
    by_name = quick(counts, optimizer_config={"name": "clipped_adam", "step_size": 0.01}, guide="mean_field")
    engine = SVI(
        n_steps=10, optimizer=Optimizer("clipped_adam", step_size=0.01), early_stopping=EarlyStopping(enabled=False)
    )
    with pytest.warns(scribe.ConvergenceWarning):
        by_object = scribe.fit(counts, engine=engine, guide=MeanField())
    for name, value in by_name.params.items():
        np.testing.assert_array_equal(value, by_object.params[name])


def test_an_engine_object_excludes_its_keywords(counts):
    with pytest.raises(
        ValueError, match=r"n_steps, batch_size and an engine object were given: set them on the object"
    ):
        scribe.fit(counts, engine=SVI(), n_steps=5, batch_size=3)


def test_a_continued_fit_keeps_seed_model_and_guide(counts):
    first = quick(counts, "zinb", rng=5, guide=MeanField(init_scale=0.2))
    again = quick(counts, resume=first)
    assert again.seed == 5
    assert again.spec == first.spec
    assert again.posterior.guide == MeanField(init_scale=0.2)
    assert len(again.loss_history) == 20
    with pytest.raises(ValueError, match=r"resume= continues a fit with MeanField.*0.2.*, not guide=MeanField"):
        quick(counts, resume=first, guide=MeanField(init_scale=0.3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x[:, :5], ValueError, "a fit of 40 cells x 12 genes, but the counts are 40 x 5"),
        (lambda x: x[:7], ValueError, "a fit of 40 cells x 12 genes, but the counts are 7 x 12"),
    ],
)
def test_a_fit_of_other_data_is_not_continued(counts, change, error, message):
    with pytest.raises(error, match=message):
        quick(change(counts), resume=quick(counts))


def test_resume_takes_results(counts):
    with pytest.raises(
        TypeError, match=r"takes the results of an earlier fit, got True.*scribe\.tl\.fit\(adata, resume"
    ):
        scribe.fit(counts, resume=True)


def test_lines_are_logged_where_asked(counts, caplog):
    with caplog.at_level(logging.WARNING, logger="scribe"):
        quick(counts, n_steps=1100, log_progress_lines=True)
        lines = [message for message in caplog.messages if message.startswith("step ")]
        caplog.clear()
        quick(counts, n_steps=600)
    assert len(lines) == 2
    assert lines[0].startswith("step 500 of 1,100: ELBO -")
    assert not [message for message in caplog.messages if message.startswith("step ")]


def test_best_parameters_are_restored(counts):
    """At a rate that is too high the last parameters are worse than the best ones."""
    options = {"n_steps": 400, "early_stopping": False, "optimizer_config": {"step_size": 0.8}, "rng": 1}
    last, best = quick(counts, **options), quick(counts, restore_best=True, **options)
    np.testing.assert_array_equal(last.loss_history, best.loss_history)
    different = [n for n in last.params if not np.array_equal(last.params[n], best.params[n])]
    smoothed = np.convolve(last.loss_history, np.ones(100) / 100, "valid")[::100]
    assert bool(different) == (np.nanargmin(smoothed) != len(smoothed) - 1)
    assert different, "this run must not end at its best"


def test_double_precision_is_kept_and_local(counts):
    results = quick(counts, enable_x64=True)
    assert {str(value.dtype) for value in results.params.values()} == {"float64"}
    assert jax.numpy.zeros(()).dtype == np.float32


def test_settings_give_the_batch_size(counts, monkeypatch):
    plain = quick(counts, batch_size=8)
    monkeypatch.setattr(scribe.settings, "batch_size", 8)
    set_once = quick(counts)
    for name, value in plain.params.items():
        np.testing.assert_array_equal(value, set_once.params[name])


COORDINATES = ["canonical", "mean_prob", "mean_odds", "mean_disp"]


@pytest.mark.parametrize(
    "parameterization",
    [pytest.param(name, marks=[] if name == "mean_disp" else pytest.mark.slow) for name in COORDINATES],
)
def test_the_truth_is_found(parameterization):
    """Anchored capture, 400 cells: means within intervals, in every coordinate system."""
    prior = {"capture_efficiency": (math.log(2000), 0.2)}
    adata = scribe.datasets.simulate(400, 25, "nbvcp", parameterization=parameterization, priors=prior, rng=4)
    results = scribe.fit(adata, "nbvcp", parameterization=parameterization, priors=prior)
    assert results.converged
    truth = adata.varm["truth"]["mu"].to_numpy()
    draws = np.log(np.asarray(results.get_posterior_samples(n_samples=500, rng=0)["mu"]))
    z = (draws.mean(0) - np.log(truth)) / draws.std(0)
    assert np.mean(np.abs(z) < 3.0) >= 0.85
    assert np.abs(np.mean(draws.mean(0) - np.log(truth))) < 0.15


def test_intervals_that_independent_normals_get_wrong_are_said(counts, caplog):
    said = []
    for options in ({}, {"parameterization": "mean_disp"}, {"joint_params": "biological"}):
        with caplog.at_level(logging.INFO, logger="scribe"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scribe.fit(counts, n_steps=3, early_stopping=False, **options)
        said.append([message for message in caplog.messages if message.startswith("Intervals of p, and of r")])
        caplog.clear()
    assert list(map(len, said)) == [1, 0, 0]
