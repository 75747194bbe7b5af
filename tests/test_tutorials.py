"""The README's example and the tutorials run as they are printed, in a process beside pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
CHECK = """
fits = [record for record in adata.uns.values() if "convergence" in record]
assert fits
assert all(record["convergence"]["converged"] for record in fits)
"""


def code_cells(text: str) -> list[str]:
    """Python cells of a notebook in Markdown, or the python blocks of a plain document."""
    return re.findall(r"```(?:\{code-cell\} python|python)\n(.*?)```", text, flags=re.DOTALL)


def test_code_runs(tmp_path: Path) -> None:
    """Every document from an empty namespace; in one process, because scanpy compiles for half a minute."""
    for document in DOCUMENTS:
        cells = code_cells(document.read_text())
        assert cells
        (tmp_path / f"{document.stem}.py").write_text("\n".join([*cells, CHECK]))
    script = f"import runpy\nfor name in {[d.stem for d in DOCUMENTS]}:\n    runpy.run_path(name + '.py')"
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
