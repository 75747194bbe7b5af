"""The README's example and the tutorials run as they are printed, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "tutorials").glob("*.md"))]
CHECK = """
assert adata.uns["scribe"]["convergence"]["converged"]
assert adata.layers["scribe_denoised"].shape == adata.shape
"""


def code_cells(text: str) -> list[str]:
    """Python cells of a notebook in Markdown, or the python blocks of a plain document."""
    return re.findall(r"```(?:\{code-cell\} python|python)\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_runs(document: Path, tmp_path: Path) -> None:
    cells = code_cells(document.read_text())
    assert cells
    script = tmp_path / "document.py"
    script.write_text("\n".join([*cells, CHECK]))
    done = subprocess.run([sys.executable, script], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
