"""Progress bars show what they are told, and only where someone sees them."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from scribe import _progress
from scribe._progress import progress
from scribe._settings import settings


def run(**options):
    with progress(4, desc="fit", unit="step", **options) as bar:
        for step in range(4):
            bar.update(elbo=-10.5 * step)


def test_bar_shows_description_total_unit_and_postfix(capsys):
    run(enabled=True)
    shown = capsys.readouterr().err
    assert "fit: 100%" in shown
    assert "4/4" in shown
    assert "step" in shown
    assert "elbo=-31.5" in shown


def test_bar_is_off_where_nobody_watches(capsys):
    run()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("setting", "argument", "shown"), [(True, None, True), (False, None, False), (True, False, False)]
)
def test_argument_wins_over_setting(capsys, setting, argument, shown):
    with settings.override(progress_bar=setting):
        run(enabled=argument)
    assert bool(capsys.readouterr().err) == shown


def test_bar_closes_on_errors(capsys):
    with pytest.raises(ZeroDivisionError), progress(2, desc="fit", enabled=True):
        raise ZeroDivisionError
    assert capsys.readouterr().err.endswith("\n")


def test_total_may_be_unknown(capsys):
    with progress(None, desc="read", enabled=True) as bar:
        bar.update(5)
    assert "5it" in capsys.readouterr().err


def test_terminals_and_notebooks_are_watched(monkeypatch):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert _progress._is_watched()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for config, watched in (({"IPKernelApp": {}}, True), ({}, False)):
        shell = SimpleNamespace(config=config)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert _progress._is_watched() == watched
    monkeypatch.delitem(sys.modules, "IPython")
    assert not _progress._is_watched()
