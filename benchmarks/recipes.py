"""Every recipe of the users' documents on all of a file with cell types: seconds, loss, and whether all is finite.

    python benchmarks/recipes.py ../shared/data/pbmc_facs.h5ad --steps 60

The recipes are those of `tests/test_recipes.py`; only numbers of steps, and of cells in a batch or behind a label, are
those of the file. A few steps show that a recipe runs at this size, and what a step costs; they do not make a fit.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import time
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import jax
import numpy as np

import scribe

RECIPES = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tests" / "test_recipes.py"))["RECIPES"]


def prepared(path: str, labels: str) -> ad.AnnData:
    """The file with the columns that recipes name: its own cell types, and treatments and batches drawn by lot."""
    adata, rng = ad.read_h5ad(path), np.random.default_rng(0)
    adata.layers["raw_counts"] = adata.X
    adata.obs["cell_type"] = adata.obs[labels].astype(str)
    for column, levels in {"treatment": ("ctrl", "stim"), "batch": ("a", "b")}.items():
        adata.obs[column] = rng.choice(levels, adata.n_obs, p=(0.6, 0.4))
    return adata


def at_this_size(options: dict[str, Any], adata: ad.AnnData) -> dict[str, Any]:
    """Options with cells in batches, cells behind labels and components for this file."""
    sized = dict(options)
    if "batch_size" in sized:
        sized["batch_size"] = 512
    if "annotation_min_cells" in sized:
        sized["annotation_min_cells"] = 50
    if "annotation_key" in sized and "n_components" in sized:
        sized["n_components"] = max(sized["n_components"], adata.obs["cell_type"].nunique())
    return sized


def timed(adata: ad.AnnData, options: dict[str, Any], n_steps: int) -> tuple[float, Any]:
    """Seconds of a fit, and its results."""
    start = time.perf_counter()
    results = scribe.fit(adata, **{**options, "n_steps": n_steps, "early_stopping": False})
    return time.perf_counter() - start, results


def main() -> None:
    """Print the table as markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an .h5ad file with counts in X")
    parser.add_argument("--labels", default="subpop", help="column of obs with cell types")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", nargs="*", help="names of recipes")
    arguments = parser.parse_args()
    adata = prepared(arguments.data, arguments.labels)
    warnings.simplefilter("ignore", scribe.ConvergenceWarning)
    print(f"{adata.n_obs:,} cells x {adata.n_vars:,} genes, {arguments.steps} steps of every recipe")
    print("| recipe | s, with compilation | loss of the first steps | of the last | all finite |")
    print("|---|---|---|---|---|", flush=True)
    for name in arguments.only or RECIPES:
        seconds, results = timed(adata, at_this_size(RECIPES[name].options, adata), arguments.steps)
        loss, point = results.loss_history, results.get_map()
        finite = np.isfinite(loss).all() and all(np.isfinite(np.asarray(value)).all() for value in point.values())
        first, last = loss[:5].mean(), loss[-5:].mean()
        print(f"| {name} | {seconds:.0f} | {first:,.0f} | {last:,.0f} | {'yes' if finite else 'NO'} |", flush=True)
        jax.clear_caches()
    print(f"\npeak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
