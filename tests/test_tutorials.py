"""The README's example and the tutorials run as they are printed, in a process beside pytest."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "tutorials"
FIRST = [ROOT / "README.md", TUTORIALS / "quickstart.md"]
"""One story at two lengths: what both have is run once, and what the first alone has after the second."""
OTHERS = sorted(set(TUTORIALS.glob("*.md")) - set(FIRST))
CHECK = """
fits = [record for record in adata.uns.values() if "convergence" in record]
assert fits
assert all(record["convergence"]["converged"] for record in fits)
"""


def statements(document: Path) -> list[str]:
    """Statements of the Python cells of a notebook in Markdown, or of the python blocks of a plain document."""
    cells = re.findall(r"```(?:\{code-cell\} python|python)\n(.*?)```", document.read_text(), flags=re.DOTALL)
    assert cells
    return [ast.unparse(statement) for statement in ast.parse("\n".join(cells)).body]


def test_code_runs(tmp_path: Path) -> None:
    """Every story from an empty namespace; in one process, because scanpy compiles for half a minute."""
    short, long = (statements(document) for document in FIRST)
    stories = [long + [statement for statement in short if statement not in long], *map(statements, OTHERS)]
    for number, story in enumerate(stories):
        (tmp_path / f"{number}.py").write_text("\n".join([*story, CHECK]))
    script = f"import runpy\nfor number in range({len(stories)}):\n    runpy.run_path(f'{{number}}.py')"
    # with optimisations, which what compiles quickly without them takes longer for
    flags = os.environ["XLA_FLAGS"].replace("--xla_cpu_opt_preset=FAST_COMPILE", "")
    variables = {**os.environ, "XLA_FLAGS": flags}
    about = {"cwd": tmp_path, "env": variables, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], check=False, **about)
    assert done.returncode == 0, done.stderr[-3000:]
