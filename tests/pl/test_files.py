"""Where figures are saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

import scribe
from scribe.pl._signature import file_of


@pytest.mark.parametrize(
    ("save", "file"),
    [
        (None, None),
        (False, None),
        (True, "figures/loss.pdf"),
        (".png", "figures/loss.png"),
        (".SVG", "figures/loss.SVG"),
        ("there/.png", "there/loss.png"),
        ("mine.png", "mine.png"),
        ("a.b.png", "a.b.png"),
        (Path("new/sub/x.pdf"), "new/sub/x.pdf"),
        ("~/x.png", "home/x.png"),
        ("~/.png", "home/loss.png"),
        ("here", "here/loss"),
        ("absent", "absent"),
    ],
)
def test_files(save, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "home")
    (tmp_path / "here").mkdir()
    assert file_of(save, "loss") == (None if file is None else Path(file))


@pytest.mark.parametrize("save", ["new/sub/x.png", "~/more/x.png", True, ".png", "x.png", "here", Path("p/q")])
def test_folders_are_made_and_nothing_else(save, tmp_path, monkeypatch, small_fit):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    scribe.pl.loss(small_fit, save=save)
    expected = {True: "figures/loss.pdf", ".png": "figures/loss.png", "here": "here/loss.png", Path("p/q"): "p/q.png"}
    written = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert written == [expected.get(save, str(save).replace("~", "home"))]
    assert plt.get_fignums() == []


HOSTILE = [
    "a:b.png",
    "what?.png",
    "a*.png",
    "<a>.png",
    "a|b.png",
    'a"b.png',
    "a.",
    "a.png ",
    "CON",
    "nul.png",
    "Com1.x.pdf",
]


@pytest.mark.parametrize("name", [*HOSTILE, "lpt9 .png", "line\nbreak.png", "COM¹.png"])
@pytest.mark.parametrize("folder", ["", "new", "~"])
def test_names_that_windows_refuses(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for save in (f"{folder}/{name}".removeprefix("/"), Path(folder) / name, Path(name) / "x.png"):
        with pytest.raises(ValueError, match=r"^save=.* is no name for a file on Windows.*cannot contain"):
            file_of(save, "loss")


def test_names_that_windows_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for save in (
        "console.png",
        "com10.png",
        "a.b.png",
        "../x.png",
        "../new/../x.png",
        "./x.png",
        ".svg",
        "nul_.png",
        "ü ü.png",
    ):
        assert file_of(save, "loss") is not None
    (tmp_path / "a:b").mkdir()
    assert file_of("a:b/x.png", "loss") == Path("a:b/x.png"), "a folder that is there is no name of scribe's"
