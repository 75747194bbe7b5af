"""The compiler keeps to itself while a verb runs, and only then."""

from __future__ import annotations

import jax
import pytest
from jaxlib import utils

import scribe
from scribe._device import quiet_compiler


@pytest.fixture
def levels(monkeypatch):
    """Levels of the messages of XLA in the order in which they are set; 1 is what JAX starts with."""
    found = []
    monkeypatch.setattr(utils, "absl_set_min_log_level", found.append)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    return found


def test_quiet_once_and_back(levels):
    with quiet_compiler(), quiet_compiler():
        assert levels == [3]
    assert levels == [3, 1]
    with pytest.raises(RuntimeError, match="stop"), quiet_compiler():
        raise RuntimeError("stop")
    assert levels == [3, 1, 3, 1]


def test_every_verb_is_quiet(levels, small_fit):
    scribe.get.params(small_fit)
    assert levels == [3, 1]
    with pytest.raises(KeyError):
        scribe.get.params(small_fit, key="absent")
    assert levels == [3, 1, 3, 1]
    scribe.pl.loss(small_fit)
    assert levels == [3, 1, 3, 1, 3, 1]


def test_who_asks_for_messages_gets_them(levels, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with quiet_compiler():
        assert levels == []
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setattr(type(jax.config), "jax_logging_level", "INFO")
    with quiet_compiler():
        assert levels == []


def test_a_level_of_the_user_comes_back(levels, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_compiler():
        pass
    assert levels == [3, 2]
