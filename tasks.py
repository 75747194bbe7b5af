#!/usr/bin/env python3
"""The two commands of the README, for a machine that has nothing but Python >= 3.11 with pip.

    python3 tasks.py demo [--out DIR]   a fresh environment, then the main job on embedded real data
    python3 tasks.py test               a fresh environment, then style, types, documents and the tests

Both make `.venv` beside this file and install into it alone. `--reuse` keeps an existing `.venv`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SHARES = 40
"""Days in which all slow tests run once."""
FOREIGN = ("JAX_PLATFORMS", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables of the caller's shell that would leak another environment, or a device the CPU wheels lack, into ours."""


def say(text: str) -> None:
    """Print one line at once, so that it stands before what the next command prints."""
    print(f"[tasks] {text}", flush=True)


def run(*command: str | Path) -> int:
    """Show a command, run it in the repository root, and give its exit status."""
    words = [str(word) for word in command]
    say("$ " + " ".join(words))
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return subprocess.run(words, cwd=ROOT, env=variables, check=False).returncode


def must(*command: str | Path) -> None:
    """Run a command and leave with its exit status where it fails."""
    code = run(*command)
    if code:
        sys.exit(code)


def environment(*, reuse: bool) -> None:
    """Make `.venv`, by the venv module alone where the system lacks ensurepip (Debian without python3-venv)."""
    if reuse and PYTHON.exists():
        say(f"reusing {VENV}")
        return
    say(f"creating a fresh environment in {VENV}")
    shutil.rmtree(VENV, ignore_errors=True)
    without_pip = ["--without-pip"] if importlib.util.find_spec("ensurepip") is None else []
    must(sys.executable, "-m", "venv", *without_pip, VENV)


def install(*what: str) -> None:
    """Install into `.venv`, with its own pip or else with the caller's; pip prints errors alone."""
    has_pip = subprocess.run([PYTHON, "-c", "import pip"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    pip: list[str | Path] = [PYTHON, "-m", "pip"] if has_pip else [sys.executable, "-m", "pip", "--python", PYTHON]
    say("installing the package and what it needs; this takes a few minutes")
    # modules are compiled as they are imported: most never are
    must(*pip, "install", "-qq", "--disable-pip-version-check", "--no-input", "--no-compile", *what)


def demo(options: argparse.Namespace) -> int:
    """Fit, check, denoise, plot and save on embedded real data."""
    environment(reuse=options.reuse)
    install(".")
    return run(PYTHON, "-m", "scribe.demo", "--out", Path(options.out).resolve())


def test(options: argparse.Namespace) -> int:
    """Check style, types and documents, then run the tests and today's share of the slow ones."""
    environment(reuse=options.reuse)
    install("--editable", ".[dev,docs,test]")
    must(PYTHON, "-m", "ruff", "check")
    must(PYTHON, "-m", "ruff", "format", "--check")
    if sys.version_info[:2] == OLDEST:
        must(PYTHON, "-m", "mypy")
    else:
        # libraries of later Pythons have types that a check for the oldest one cannot read
        say("types are checked with Python {}.{} alone".format(*OLDEST))
    must(PYTHON, "-m", "sphinx", "-q", "-W", "--keep-going", "-t", "quick", "docs", ROOT / "docs" / "_build" / "quick")
    share = f"{date.today().toordinal() % SHARES}/{SHARES}"
    say(f"of the slow tests, share {share} runs today; all: python -m pytest -m slow")
    # a file at a time, so that tests of one file share what they compile
    at_once = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    return run(PYTHON, "-m", "pytest", *at_once, "--slow-share", share, "--file-order", options.file_order)


def main() -> int:
    """Read the command line and run the command it names."""
    if sys.version_info < OLDEST:
        print("scribe needs Python 3.11 or newer; this is " + sys.version.split()[0], file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (demo, test):
        entry = commands.add_parser(command.__name__, help=command.__doc__)
        entry.add_argument("--reuse", action="store_true", help="keep an existing .venv")
        entry.set_defaults(run=command)
        if command is demo:
            entry.add_argument("--out", default="demo", metavar="DIR", help="folder for results (default: demo)")
        else:
            entry.add_argument("--file-order", default="usual", metavar="ORDER", help="usual, reversed, or a seed")
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
