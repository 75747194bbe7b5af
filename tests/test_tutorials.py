"""The README's example and the tutorials run as they are printed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

pytestmark = pytest.mark.loose_promotion

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "tutorials").glob("*.md"))]


def code_cells(text: str) -> list[str]:
    """Python cells of a notebook in Markdown, or the python blocks of a plain document."""
    return re.findall(r"```(?:\{code-cell\} python|python)\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = code_cells(document.read_text())
    assert cells
    namespace: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of scanpy and its dependencies; ours are tested elsewhere
        for cell in cells:
            exec(compile(cell, str(document), "exec"), namespace)
    adata = namespace["adata"]
    assert adata.uns["scribe"]["convergence"]["converged"]  # type: ignore[attr-defined]
    assert adata.layers["scribe_denoised"].shape == adata.shape  # type: ignore[attr-defined]
