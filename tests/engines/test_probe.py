"""A verdict of convergence against longer runs: over optimisers, rates, models and minibatches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Optimizer, Task, Verdict
from scribe.engines.convergence import Remaining, Tracker, most_left
from scribe.guides import MeanField

pytestmark = pytest.mark.loose_promotion

MODELS = {"mean_disp": ("nbvcp", "mean_disp"), "canonical": ("nbvcp", "canonical")}


@pytest.fixture(scope="module")
def counts() -> Counts:
    rng = np.random.default_rng(5)
    mean = np.exp(rng.normal(0, 1.5, 40))
    mean, size = mean / mean.sum() * 1500, np.exp(rng.normal(0.5, 0.8, 40))
    rate = np.exp(rng.normal(-1, 0.4, (120, 1))) * mean
    return Counts.from_matrix(rng.poisson(rng.gamma(size, rate / size)).astype(np.float32))


def verdict(counts: Counts, model: str, optimizer: Optimizer, **options) -> Verdict:
    spec = resolve_spec(MODELS[model][0], parameterization=MODELS[model][1])
    return SVI(3000, optimizer=optimizer, **options).fit(Task(spec, counts, MeanField()), seed=0).verdict


@pytest.fixture(scope="module")
def best(counts) -> dict[str, float]:
    """Loss of every model at the end of the schedule."""
    found = {model: verdict(counts, model, Optimizer()) for model in MODELS}
    assert all(one.converged for one in found.values())
    return {model: one.loss for model, one in found.items()}


OPTIMIZERS = [
    *(Optimizer("adam", step_size=rate) for rate in (5.0, 0.3, 0.03, 0.01, 1e-3, 1e-4, 1e-6)),
    *(Optimizer("sgd", step_size=rate) for rate in (1e-5, 1e-7, 1e-9)),
    *(Optimizer("rmsprop", step_size=rate) for rate in (0.1, 0.01)),
    Optimizer("adagrad", step_size=0.01),
]


@pytest.mark.parametrize(
    ("model", "optimizer"), list(itertools.product(MODELS, OPTIMIZERS)), ids=lambda x: getattr(x, "name", x)
)
def test_no_fit_far_from_its_optimum_says_converged(counts, best, model, optimizer) -> None:
    found = verdict(counts, model, optimizer)
    short = found.loss - best[model]
    if found.converged:
        assert short < 10
    if short > 100:
        assert not found.converged
        assert "converged" not in found.reason
    if short > 10 and np.isfinite(found.remaining):
        assert found.remaining > 10 or "is known to" in found.reason or "rose" in found.reason


def test_fits_by_minibatches_are_probed_over_all_cells(counts, best) -> None:
    for rate in (None, 0.1, 1e-6):
        found = verdict(counts, "mean_disp", Optimizer(step_size=rate), batch_size=30)
        assert not (found.converged and found.loss > best["mean_disp"] + 40)
        if np.isfinite(found.remaining):
            assert "over all cells" in found.reason


def test_a_fit_with_a_schedule_goes_on_where_a_probe_finds_more(counts, best, monkeypatch) -> None:
    """A rule that takes the first standstill for the end goes on until little is left."""
    monkeypatch.setattr("scribe.engines.convergence._MOST_LEFT", 2.0)
    rule = EarlyStopping(patience=20, check_every=20, smoothing_window=20, warmup=0, min_delta=1e4)
    found = verdict(counts, "mean_disp", Optimizer(), early_stopping=rule)
    assert found.steps > 200, "it stands still at step 120"
    assert found.loss < best["mean_disp"] + 8


def test_what_may_be_left() -> None:
    assert most_left(500.0) == most_left(-3.0) == 10.0
    assert most_left(1e6) == 100.0
    assert Remaining(4.0, 2.0, "").negligible(0.0)
    assert not Remaining(4.0, 4.0, "").negligible(0.0), "an estimate too noisy to tell is no evidence"
    assert not Remaining(np.inf, np.inf, "").negligible(1e9)
    assert Remaining(50.0, 5.0, "").clear
    assert not Remaining(5.0, 5.0, "").clear


@pytest.mark.parametrize(
    ("remaining", "converged", "message"),
    [
        (Remaining(0.5, 0.1, "a probe"), True, r"by a probe 0\.5 nats are left"),
        (Remaining(80.0, 1.0, "a probe"), False, r"by a probe 80 nats are left, and 10 may be: leave step_size out"),
    ],
)
def test_verdict_says_what_is_left(remaining, converged, message) -> None:
    tracker = Tracker(EarlyStopping(), adaptive=False)
    for check, value in enumerate([1500.0, *[1000.0] * 8]):
        tracker.add(np.full(100, value), 100 * (check + 1))
    found = tracker.verdict(900, retries=0, rate=0.1, remaining=remaining)
    assert found.converged is converged
    assert found.remaining == remaining.nats
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found.reason)


def test_a_loss_that_is_all_noise_has_not_converged() -> None:
    tracker = Tracker(EarlyStopping(), adaptive=False)
    tracker.add(np.array([5e4]), 1)
    rng = np.random.default_rng(0)
    for check in range(9):
        tracker.add(1e6 + 1e5 * rng.normal(size=100), 100 * (check + 1))
    found = tracker.verdict(900, retries=0, rate=5.0, remaining=Remaining(-1e5, 10.0, "a probe"))
    assert not found.converged
