"""What the whole suite rests on: shared fixtures are alike in every order of files, shares of slow tests add up."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
SHARED = """

TRACES = []
compiled = jax.jit(lambda x: TRACES.append(x) or x + 1)


def optimized():
    before = len(TRACES)
    compiled(1.0)
    return not jax.config.read("jax_disable_most_optimizations"), len(TRACES) > before


@pytest.fixture(scope="session")
def shared():
    return optimized()[0]


@pytest.fixture
def own():
    return optimized()
"""
QUICK = """
import pytest

def test_quick(shared, own):
    assert not shared and not own[0]

@pytest.mark.slow
@pytest.mark.parametrize("x", range(5))
def test_slow(x): pass

@pytest.mark.slow
@pytest.mark.parametrize("x", range(5))
def test_too(x): pass

@pytest.mark.slow(minutes=9)
def test_long(): pass
"""
OPTIMIZED = """
import pytest

@pytest.mark.optimized
def test_first(own):
    assert own == (True, True), "compiled anew"

@pytest.mark.optimized
def test_then(shared, own):
    assert not shared and own[0]

def test_last(own):
    assert own == (False, True), "compiled anew"
"""


def passed(folder: Path, *options: str) -> list[str]:
    """Names of the tests that pass in the files above, in the order in which they ran."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options, folder]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return re.findall(r"::(\S+) PASSED", done.stdout)


def test_fixtures_and_shares_of_slow_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text() + SHARED)
    (tmp_path / "test_a.py").write_text(QUICK)
    (tmp_path / "test_b.py").write_text(OPTIMIZED)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -m 'not slow'\nmarkers =\n  slow\n  optimized\n")
    usual, reverse = passed(tmp_path, "--slow-share=0/2"), passed(tmp_path, "--slow-share=1/2", "--file-order=reversed")
    assert [name for name in usual if "[" not in name] == ["test_quick", "test_first", "test_then", "test_last"]
    assert [name for name in reverse if "[" not in name] == ["test_first", "test_then", "test_last", "test_quick"]
    assert {name for name in usual if "[" in name} == {f"test_{n}[{x}]" for n in ("slow", "too") for x in (0, 2, 4)}
    assert {name for name in reverse if "[" in name} == {f"test_{n}[{x}]" for n in ("slow", "too") for x in (1, 3)}
