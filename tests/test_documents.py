"""The code of the users' documents runs as it is printed; `documents` holds copies of it, one file per document.

What a fit costs is left out: by default it ends where it would start, and chains have two draws. The same fits of a few
steps are in `test_recipes.py`, and all of them here under the marker `slow`.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import scribe
from scribe.engines import SVI, EarlyStopping

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = [
    pytest.mark.loose_promotion,
    # what verbs say of data and fits, of which nothing was optimised
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

HERE = Path(__file__).parent / "documents"
DOCUMENTS = sorted(HERE.glob("*.txt"))
SEEDS = HERE.parents[2] / "shared" / "seeds"

NOT_YET = {
    'inference_method="vae"': "variational autoencoders",
    "get_latent_": "variational autoencoders",
    'inference_method="laplace"': "log-normal models",
    "laplace_results": "log-normal models",
    "diag[": "log-normal models",
}
"""What in a statement asks for a feature that does not exist yet; the command line has no code in these documents."""


def statements(document: Path) -> list[tuple[str, str | None]]:
    """Statements of a document in their order, and the feature that each of them waits for."""
    text = document.read_text("utf-8")
    sources = [ast.get_source_segment(text, node) or "" for node in ast.parse(text).body]
    return [(source, next((what for mark, what in NOT_YET.items() if mark in source), None)) for source in sources]


@pytest.fixture(scope="module")
def data() -> AnnData:
    """The 50 most common genes of 700 cells: five cell types, some without label, two treatments and two batches."""
    adata = scribe.datasets.pbmc68k_counts()
    adata = adata[:, np.sort(np.asarray(adata.X.sum(0)).ravel().argsort()[::-1][:50])].copy()
    kinds = {"CD14+": "monocyte", "Dendritic": "dendritic", "CD19+": "B", "CD56+": "NK"}
    labels = [kinds.get(str(label).split()[0], "T") for label in adata.obs["bulk_labels"]]
    adata.layers["raw_counts"] = adata.X.copy()
    adata.obs["cell_type"] = [None if i % 10 == 9 else label for i, label in enumerate(labels)]
    adata.obs["treatment"] = np.where(np.arange(adata.n_obs) % 4, "ctrl", "stim")
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 3, "a", "b")
    return adata


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of three steps."""
    optimise = SVI.fit
    few = {"n_steps": 3, "early_stopping": EarlyStopping(enabled=False)}
    monkeypatch.setattr(SVI, "fit", lambda self, *a, **k: optimise(dataclasses.replace(self, **few), *a, **k))


@pytest.mark.parametrize("cost", ["no_steps", pytest.param("few_steps", marks=pytest.mark.slow)])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("few_draws")
def test_code_runs(document: Path, cost: str, data: AnnData, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In one namespace, as a reader would; what does not exist yet is refused, and an entry of `NOT_YET` until then."""
    request.getfixturevalue(cost)
    request.getfixturevalue("monkeypatch").chdir(tmp_path)
    data.write_h5ad("your_data.h5ad")
    ctrl, treat = (data[data.obs["batch"] == name].copy() for name in "ab")
    few = data[:60]
    space: dict[str, Any] = {
        "scribe": scribe,
        "adata": data,
        "counts_array": data.X.toarray(),
        "adata_ctrl": ctrl,
        "adata_treat": treat,
        "counts": few.X,
        "gene_names": list(few.var_names),
        "results_nb": scribe.fit(few, "nbdm"),
        "results_hierarchical": scribe.fit(few, "nbdm", unconstrained=True, prob_prior="gaussian"),
    }
    for source, missing in statements(document):
        if missing is None:
            exec(compile(source, document.name, "exec"), space)
            continue
        with pytest.raises((AttributeError, NameError, TypeError, ValueError)):
            exec(compile(source, document.name, "exec"), space)


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the users' documents are kept beside the repository")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_copies_are_complete(document: Path) -> None:
    """Every line of a copy stands in the document, and every call of the document in the copy."""
    whole, copied = ((folder / document.name).read_text("utf-8").splitlines() for folder in (SEEDS, HERE))
    assert [line for line in copied if line and line not in whole] == []
    calls = [[line for line in lines if re.match(r"\w+ = scribe\.", line)] for lines in (whole, copied)]
    assert calls[0] == calls[1]
    names = {path.name for path in DOCUMENTS}
    assert names == {path.name for path in SEEDS.glob("*.txt") if " = scribe." in path.read_text("utf-8")}
