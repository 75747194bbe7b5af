"""What the documentation promises: it lists all that is public, links lead somewhere, and each thing is said once."""

from __future__ import annotations

import importlib
import re
import runpy
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    path
    for folder in (DOCS, ROOT / "tutorials")
    for path in folder.rglob("*.md")
    if not {"_build", "generated"} & set(path.parts) and path.parent != DOCS / "tutorials"
]
NAMESPACES = ("", "tl.", "pl.", "get.", "datasets.")
ALIASES = {"EarlyStoppingConfig", "AmortizationConfig"}
"""Other names of what is listed under engines and guides."""


def listed() -> list[str]:
    return re.findall(r"^   ([\w.]+)$", (DOCS / "api.md").read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_all_that_is_public_is_in_the_reference(namespace: str) -> None:
    module = importlib.import_module(f"scribe.{namespace}".rstrip("."))
    public = {name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)} - ALIASES
    assert {namespace + name for name in public} - set(listed()) == set()


def test_all_that_is_in_the_reference_exists_once() -> None:
    scribe = importlib.import_module("scribe")
    assert len(listed()) == len(set(listed()))
    for name in listed():
        place, _, attribute = name.rpartition(".")
        assert attribute in (vars(scribe)[place] if place else scribe).__all__, name


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    """In a clone; images of the README have to be found by PyPI as well, by their address in the repository."""
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Source"]
    raw = sources.replace("github.com", "raw.githubusercontent.com") + "/main/"
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)#\s]+)", page.read_text("utf-8"))
    for image, target in found:
        if page.name == "README.md" and image:
            assert target.startswith(raw)
        if target.startswith(raw):
            assert (ROOT / target.removeprefix(raw)).is_file(), target
        elif "://" not in target:
            # Sphinx finds the tutorials beside the guide
            places = [page.parent / target, ROOT / "tutorials" / Path(target).name]
            assert any(place.exists() for place in places), target


def test_every_page_of_a_folder_is_in_a_table_of_contents() -> None:
    contents = (DOCS / "index.md").read_text("utf-8")
    for page in PAGES:
        name = page.relative_to(DOCS if page.is_relative_to(DOCS) else ROOT).with_suffix("").as_posix()
        assert name in {"index"} or name.startswith("developer/") or re.search(rf"^{name}$", contents, re.M), name


def test_what_is_missing_is_said_in_one_place() -> None:
    """The page names all features that the users' documents wait for, and no other page does."""
    waiting = runpy.run_path(str(Path(__file__).with_name("test_documents.py")))["NOT_YET"]
    page = (DOCS / "guide" / "not-yet.md").read_text("utf-8").lower()
    assert {what for what in waiting.values() if what not in page} == set()
    marks = re.compile(r'"vae"|"laplace"|"(?:pln|nbln|lnm)"|scribe-infer|not yet|does not have yet')
    others = [page for page in [ROOT / "README.md", *PAGES] if page.name != "not-yet.md"]
    assert [page.name for page in others if marks.search(page.read_text("utf-8").replace("(not-yet.md)", ""))] == []
