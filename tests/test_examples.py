"""Every public function has an example, and examples run as they are printed; fits end where they start."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from matplotlib import pyplot as plt

import scribe

NAMESPACES = ("scribe", "scribe.tl", "scribe.pl", "scribe.get", "scribe.datasets")
FUNCTIONS = {
    f"{namespace}.{name}": item
    for namespace in NAMESPACES
    for name, item in vars(importlib.import_module(namespace)).items()
    if inspect.isfunction(item) and name in importlib.import_module(namespace).__all__
}
CLASSES = {f"scribe.{name}": item for name, item in vars(scribe).items() if inspect.isclass(item)}


def examples(item: object) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(item) or "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_calls_it(name: str) -> None:
    assert any(f"{name}(" in example.source for example in examples(FUNCTIONS[name]))


@pytest.fixture(scope="module")
def few() -> AnnData:
    """Every fourth cell, with the genes that examples name among forty common ones."""
    adata = scribe.datasets.pbmc68k_counts()
    common = adata.var_names[np.asarray(adata.X.sum(0)).ravel().argsort()[::-1][:40]]
    return adata[::4, common.union(["CD79A", "NKG7"])].copy()


@pytest.fixture(scope="module")
def reached() -> dict[tuple[str, ...], dict[str, Any]]:
    """Where the statements of an example lead, but the last one: many begin alike."""
    return {}


@pytest.mark.parametrize("name", [name for name, item in (FUNCTIONS | CLASSES).items() if examples(item)])
@pytest.mark.usefixtures("no_steps", "few_draws")
@pytest.mark.loose_promotion
# what verbs say of data and fits, of which nothing was optimised
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_run(
    name: str,
    reached: dict[tuple[str, ...], dict[str, Any]],
    few: AnnData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scribe.datasets, "pbmc68k_counts", few.copy)
    # UMAP compiles for half a minute
    places = importlib.import_module("scribe.tl.ppc_umap")
    monkeypatch.setattr(places, "_map", lambda observed, simulated, **_: (observed[:, :2], simulated[:, :2]))
    runner = doctest.DebugRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    space: dict[str, Any] = {}
    done: tuple[str, ...] = ()
    shown = examples((FUNCTIONS | CLASSES)[name])
    for example in shown:
        done = (*done, example.source)
        if done in reached:
            space = _copied(reached[done])
            continue
        test = doctest.DocTest([example], space, name, None, None, None)
        runner.run(test, clear_globs=False)
        space = test.globs
        if example is not shown[-1]:
            reached[done] = _copied(space)
    plt.close("all")


def _copied(space: dict[str, Any]) -> dict[str, Any]:
    """Names with data of their own."""
    return {name: value.copy() if isinstance(value, AnnData) else value for name, value in space.items()}
