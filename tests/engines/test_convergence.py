"""The convergence rule: a table of loss curves and what is said of each."""

from __future__ import annotations

import numpy as np
import pytest

from scribe.engines import EarlyStopping
from scribe.engines.convergence import RATES, Tracker

NOISE = np.random.default_rng(0)


def follow(rule, losses, *, adaptive=False):
    """Feed a loss curve through a tracker as the engine does; the tracker and the step it stopped at."""
    tracker = Tracker(rule, adaptive)
    for step in range(rule.check_every, len(losses) + 1, rule.check_every):
        tracker.add(losses[step - rule.check_every : step], step)
        tracker.lower_rate()
        if tracker.done(step):
            return tracker, step
    return tracker, len(losses)


def flat_after(drop_until, n=6000, *, level=1000.0, noise=0.0):
    curve = level + np.maximum(drop_until - np.arange(n), 0.0)
    return curve + noise * NOISE.normal(size=n)


@pytest.mark.parametrize(
    ("settings", "losses", "stops"),
    [
        # flat from step 2,000: the check at 2,100 is the last to see progress, patience runs out 500 later
        ({}, flat_after(2000), 2600),
        ({"patience": 1000}, flat_after(2000), 3100),
        ({"check_every": 250, "smoothing_window": 1}, flat_after(2000), 2750),
        # flat from the start: not before the warmup
        ({}, flat_after(0), 1000),
        ({"warmup": 3000}, flat_after(0), 3000),
        ({"warmup": 0}, flat_after(0), 600),
        # the window remembers the fall for its length
        ({"smoothing_window": 1000}, flat_after(2000), 3500),
        # a fall of 1 per 1,000 steps is progress where the tolerance is small, and none where it is large
        ({"min_delta": 0.05}, 1000 - 1e-3 * np.arange(6000), 6000),
        ({"min_delta": 5.0}, 1000 - 1e-3 * np.arange(6000), 1000),
        ({"min_delta_pct": 0.005}, 1000 - 1e-3 * np.arange(6000), 6000),
        ({"min_delta_pct": 0.5}, 1000 - 1e-3 * np.arange(6000), 1000),
        # percent takes precedence
        ({"min_delta_pct": 0.5, "min_delta": 0.05}, 1000 - 1e-3 * np.arange(6000), 1000),
        ({"enabled": False}, flat_after(0), 6000),
    ],
)
def test_where_a_fit_stops(settings, losses, stops):
    _, step = follow(EarlyStopping(**settings), losses)
    assert step == stops


def test_standing_still_is_an_end_at_the_lowest_rate_alone():
    tracker = Tracker(EarlyStopping(), adaptive=True)
    for step in range(100, 1000, 100):
        tracker.add(np.full(100, 5.0), step)
    assert not tracker.flat
    tracker.stage = len(RATES) - 1
    assert tracker.flat
    tracker.start_again()
    assert (tracker.rate, tracker.waited, tracker.flat) == (RATES[1], 0, False)


def test_noise_is_not_progress():
    """Averages of 100 losses of sd 50 differ by 14 by chance; the tolerance of 0.001 alone would go on for long."""
    stops = [follow(EarlyStopping(), flat_after(0, 20_000, noise=50.0))[1] for _ in range(20)]
    assert np.median(stops) <= 1500
    assert max(stops) <= 3000


def test_slow_progress_adds_up():
    """A drift below the tolerance from check to check, but above it over the patience, is not an end."""
    losses = 1000 - 4e-4 * np.arange(8000)
    rule = EarlyStopping(min_delta=0.1)  # 0.04 per check, 0.2 in 500 steps
    assert follow(rule, losses)[1] == 8000


def test_rate_falls_when_progress_ends_and_the_fit_at_the_lowest_rate():
    tracker, step = follow(EarlyStopping(), flat_after(2000, 10_000), adaptive=True)
    assert step == 2100 + 200 * (len(RATES) - 1) + 500
    assert tracker.rate == RATES[-1]
    assert tracker.verdict(step, retries=0, rate=0.001).converged


def test_best_average_is_remembered():
    tracker = Tracker(EarlyStopping(), adaptive=False)
    assert tracker.add(np.full(100, 50.0), 100)
    assert tracker.add(np.full(100, 40.0), 200)
    assert not tracker.add(np.full(100, 45.0), 300)
    assert (tracker.best, tracker.best_step) == (40.0, 200)


def test_skipped_steps_do_not_count():
    tracker = Tracker(EarlyStopping(), adaptive=False)
    losses = np.full(100, 10.0)
    losses[::2] = np.nan
    tracker.add(losses, 100)
    assert tracker.smoothed() == (10.0, 0.0)
    tracker.add(np.full(100, np.nan), 200)
    assert tracker.smoothed().average == np.inf


@pytest.mark.parametrize(
    ("losses", "converged", "message"),
    [
        (flat_after(2000), True, r"at step 2,600, no improvement above 0\.001 \(loss 1000\) in 500 steps"),
        (
            np.linspace(2000, 1000, 3000),
            False,
            r"all 3,000 steps used, loss 1016\.\d+ changing by -0\.333 per step; continue the fit \(resume=True",
        ),
        (
            np.concatenate([np.linspace(2000, 1000, 1000), np.full(2000, 1500.0)]),
            False,
            r"the loss rose from 1049\.\d+ at step 1,000 to 1500 at step 1,500; lower the step_size",
        ),
    ],
)
def test_verdict(losses, converged, message):
    tracker, step = follow(EarlyStopping(), losses)
    verdict = tracker.verdict(step, retries=0, rate=0.1)
    assert verdict.converged is converged
    assert str(verdict).startswith("converged: " if converged else "NOT converged: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(verdict.reason)


def test_verdict_tells_of_recoveries():
    tracker, step = follow(EarlyStopping(), flat_after(0))
    assert "the loss was not finite 2 times and the rate was lowered each time" in str(
        tracker.verdict(step, retries=2, rate=0.1)
    )


def test_config_forms():
    rule = EarlyStopping(patience=7)
    assert EarlyStopping.from_config(None) == EarlyStopping.from_config(True) == EarlyStopping()
    assert EarlyStopping.from_config({"patience": 7}) == EarlyStopping.from_config(rule) == rule
    off = EarlyStopping.from_config(False)
    assert not off.enabled
    assert not off.restore_best, "without early stopping the last parameters are the result"
    assert EarlyStopping.from_config(False, restore_best=True).restore_best
    assert EarlyStopping.from_config({"restore_best": False}, restore_best=True).restore_best


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"patient": 3}, ValueError, r"Unknown early_stopping keys \['patient'\]. Allowed: 'enabled', 'patience'"),
        ({"patience": 0}, ValueError, r"early_stopping\['patience'\] must be at least 1, got 0"),
        ({"check_every": 2.5}, ValueError, r"\['check_every'\] must be at least 1, got 2.5"),
        ({"warmup": -1}, ValueError, r"\['warmup'\] must be a number of steps, got -1"),
        ({"min_delta_pct": -0.1}, ValueError, r"\['min_delta_pct'\] must be 0 or above, got -0.1"),
        ({"restore_best": "yes"}, ValueError, r"\['restore_best'\] must be True or False, got 'yes'"),
        ("soon", TypeError, "early_stopping is a dictionary such as"),
    ],
)
def test_errors(config, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping.from_config(config)


def test_numbers_of_steps_stretch_with_the_epoch():
    """100 steps are no less than two epochs; what is no number of steps to wait stays."""
    assert EarlyStopping().stretched(30) == EarlyStopping()
    stretched = EarlyStopping().stretched(200)
    assert (stretched.check_every, stretched.patience, stretched.warmup) == (400, 2000, 4000)
    assert stretched.checkpoint_every == EarlyStopping().checkpoint_every


def test_the_loss_over_all_cells_counts_where_it_is_measured():
    """Losses of minibatches are noise around it; what it moves by from check to check is its own noise."""
    tracker = Tracker(EarlyStopping(), adaptive=False)
    for check, measured in enumerate([1000.0, 900.0, 899.0, 901.0, 900.0, 898.0, 899.5, 900.5]):
        tracker.add(NOISE.normal(1000, 500, 100), 100 * (check + 1), measured=measured)
    assert tracker.best == 898.0
    assert tracker.smoothed().average == 900.5
    assert tracker.smoothed().error == pytest.approx(np.median([2, 1, 2, 1.5, 1]) / np.sqrt(2))
    assert tracker.waited >= 500
    assert tracker.verdict(800, retries=0, rate=0.1).converged
