"""Settings are checked, read from the environment, and undone after `override`."""

from __future__ import annotations

import logging
import os
import sys

import jax
import pytest

from scribe import _settings
from scribe._settings import DETERMINISTIC_FLAG, Settings, _from_environment


@pytest.fixture
def fresh(monkeypatch):
    """Settings of our own, with the logger and the environment put back afterwards."""
    logger = logging.getLogger("scribe")
    level, handlers = logger.level, list(logger.handlers)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    yield Settings()
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("verbosity", "INFO", "info"),
        ("verbosity", logging.DEBUG, "debug"),
        ("verbosity", 3, "info"),
        ("verbosity", 15, 15),
        ("progress_bar", None, None),
        ("progress_bar", False, False),
        ("device", "GPU:1", "gpu:1"),
        ("deterministic", False, False),
        ("batch_size", 512, 512),
        ("max_array_gb", 2, 2.0),
    ],
)
def test_values_are_kept_in_one_form(fresh, name, given, kept):
    setattr(fresh, name, given)
    value = getattr(fresh, name)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("verbosity", "loud", r"settings\.verbosity: 'loud' is not one of \['critical'"),
        ("verbosity", True, "True is not one of"),
        ("verbosity", 7, "7 is not one of"),
        ("progress_bar", 2, "2 is not True or False"),
        ("device", "gpu:x", "'gpu:x' is not a JAX platform"),
        ("batch_size", 0, "0 is not a positive whole number"),
        ("batch_size", 0.5, "0.5 is not a positive whole number"),
        ("max_array_gb", "much", "'much' is not a positive number"),
        ("max_array_gb", float("nan"), "nan is not a positive number"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(fresh, name, given, message):
    before = getattr(fresh, name)
    with pytest.raises(ValueError, match=message):
        setattr(fresh, name, given)
    assert getattr(fresh, name) == before


def test_unknown_names_get_the_nearest_one(fresh):
    with pytest.raises(AttributeError, match=r"no setting 'verbosty'\. Did you mean 'verbosity'\?"):
        fresh.verbosty = "info"
    with pytest.raises(AttributeError, match=r"Settings are \['batch_size'"), fresh.override(quux=1):
        pass


def test_environment_gives_defaults():
    texts = {
        "SCRIBE_PROGRESS_BAR": "off",
        "SCRIBE_BATCH_SIZE": "128",
        "SCRIBE_DEVICE": "none",
        "SCRIBE_MAX_ARRAY_GB": "0.5",
        "SCRIBE_SOMETHING_ELSE": "1",
    }
    made = _from_environment(texts)
    assert (made.progress_bar, made.batch_size, made.device) == (False, 128, None)
    assert made.max_array_gb == 0.5
    with pytest.raises(ValueError, match=r"settings\.batch_size: 'many'") as caught:
        _from_environment({"SCRIBE_BATCH_SIZE": "many"})
    assert caught.value.__notes__ == ["The value comes from the environment variable SCRIBE_BATCH_SIZE."]


def test_override_is_undone_also_after_errors(fresh):
    with fresh.override(batch_size=7, progress_bar=False) as inside:
        assert inside is fresh
        assert (fresh.batch_size, fresh.progress_bar) == (7, False)
    assert (fresh.batch_size, fresh.progress_bar) == (None, None)
    with pytest.raises(ValueError, match="batch_size"), fresh.override(progress_bar=True, batch_size=-1):
        pass
    assert (fresh.batch_size, fresh.progress_bar) == (None, None)


def test_verbosity_adds_one_handler_and_only_when_set(fresh):
    logger = logging.getLogger("scribe")
    logger.handlers.clear()
    Settings()
    assert logger.handlers == []
    fresh.verbosity = "info"
    fresh.verbosity = "debug"
    assert (logger.level, len(logger.handlers)) == (logging.DEBUG, 1)


def test_messages_reach_stderr_unless_the_user_logs(fresh, capsys, monkeypatch):
    fresh.verbosity = "info"
    monkeypatch.setattr(logging.root, "handlers", [])
    _settings.logger.info("shown")
    _settings.logger.debug("below the level")
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    _settings.logger.info("left to the user's handlers")
    assert capsys.readouterr().err == "shown\n"


def _backends(monkeypatch, *platforms):
    monkeypatch.setattr(sys.modules["jax._src.xla_bridge"], "_backends", dict.fromkeys(platforms))


def test_deterministic_sets_the_flag_before_the_backend_starts(fresh, monkeypatch):
    _backends(monkeypatch)
    with fresh.override(deterministic=True):
        assert os.environ["XLA_FLAGS"].split() == ["--xla_cpu_enable_fast_math=false", DETERMINISTIC_FLAG]
        assert Settings().deterministic
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"


def test_deterministic_is_refused_once_a_gpu_has_started(fresh, monkeypatch):
    _backends(monkeypatch, "cpu", "cuda")
    with pytest.raises(RuntimeError, match=f"before JAX starts .* XLA_FLAGS={DETERMINISTIC_FLAG} exported"):
        fresh.deterministic = True
    assert not fresh.deterministic


def test_deterministic_is_free_on_the_cpu(fresh, monkeypatch):
    _backends(monkeypatch, "cpu")
    fresh.deterministic = True
    assert fresh.deterministic


def test_device_is_looked_up(fresh):
    assert fresh.jax_device() is None
    fresh.device = "cpu"
    assert fresh.jax_device() == jax.local_devices(backend="cpu")[0]
    fresh.device = "cpu:999"
    with pytest.raises(ValueError, match=r"settings\.device='cpu:999', but there are only"):
        fresh.jax_device()
    fresh.device = "nosuch"
    with pytest.raises(RuntimeError, match="nosuch") as caught:
        fresh.jax_device()
    assert "this installation of JAX sees" in caught.value.__notes__[0]
