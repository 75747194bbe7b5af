"""Cell types found by a mixture: agreement with known ones, without and with some of their labels.

    python benchmarks/mixture.py --data ../shared/data

Counts of the 2,000 most variable genes (scanpy, after normalisation), everything else by default. Agreement is the
adjusted Rand index; with labels, of the cells that have none.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc
from sklearn.metrics import adjusted_rand_score

import scribe
from scribe._adata.read import read_counts
from scribe._model.clusters import components_at_start


def variable_genes(path: Path, n_top: int, *, also: Sequence[str] = ()) -> anndata.AnnData:
    """Cells of a file with its most variable genes and some others."""
    adata = anndata.read_h5ad(path)
    normalised = adata.copy()
    sc.pp.normalize_total(normalised)
    sc.pp.log1p(normalised)
    sc.pp.highly_variable_genes(normalised, n_top_genes=n_top)
    adata = adata[:, normalised.var["highly_variable"] | adata.var_names.isin(also)].copy()
    return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()


def row(name: str, adata: anndata.AnnData, truth: str, *, share: float = 0.0, seed: int = 0, **options) -> None:
    """Fit, and print one line of the table."""
    known = np.random.default_rng(seed).random(adata.n_obs) < share
    kind = adata.obs[truth].astype(str)
    n = kind.nunique()
    if share:
        adata.obs["some"] = np.where(known, kind, None)
        options["annotation_key"] = "some"
    else:
        options["n_components"] = n
    counts = read_counts(adata)
    start = components_at_start(counts, n, None, seed=seed)
    begin = time.perf_counter()
    results = scribe.fit(adata, **options)
    seconds = time.perf_counter() - begin
    found = results.cell_type_assignments(n_samples=0)
    agreement = adjusted_rand_score(kind[~known], found.component[~known])
    at_start = adjusted_rand_score(kind[~known], start[~known])
    certain = float(np.mean(found.probabilities.max(axis=1) > 0.99))
    print(
        f"{name:28} {share:6.0%} {at_start:8.3f} {agreement:8.3f} {certain:8.1%} "
        f"{results.verdict.steps:7,} {results.verdict.converged!s:>6} {seconds:7.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    warnings.simplefilter("ignore")
    scribe.settings.verbosity = "error"
    print(
        f"{'data, model':28} {'labels':>6} {'k-means':>8} {'fit':>8} {'certain':>8} {'steps':>7} {'done':>6} {'s':>7}"
    )
    blood = variable_genes(folder / "pbmc_facs.h5ad", 2000)
    row("pbmc_facs nbvcp", blood, "subpop")
    row("pbmc_facs nbvcp mean_disp", blood, "subpop", parameterization="mean_disp")
    row("pbmc_facs nbvcp", blood, "subpop", share=0.1)
    lines = variable_genes(folder / "sc_celseq2.h5ad", 2000)
    row("sc_celseq2 nbvcp", lines, "cell_line")


if __name__ == "__main__":
    main()
