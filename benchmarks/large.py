"""CPU seconds and memory of fits with gene-specific dispersions on many genes, and on many cells of a backed file.

    python benchmarks/large.py

Each case runs in a process of its own, `mean_disp` at the package's defaults: 100,000 genes of 50 cells, and 60,000
cells x 8,000 genes with 16 million non-zeros, read from a file, with `tl.gof` after the fit. A third case fits the
default model to that file and checks it, and says how far memory rises above what imports and a small fit take. Counts
are drawn from the model. CPU seconds are those of all threads and include compilation; memory is the largest resident
set, in total and above what the imports take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from anndata import AnnData, read_h5ad
from scipy import sparse

CASES = {"many genes": (50, 100_000, 30_000.0), "many cells": (60_000, 8_000, 360.0)}
"""Cells, genes, and mean molecules per cell."""


def simulate(n_cells: int, n_genes: int, total: float) -> sparse.csr_matrix:
    """Negative binomial counts, with expression over four decades, dispersions of genes and captures of cells."""
    rng = np.random.default_rng(0)
    mean = np.exp(rng.normal(0.0, 1.8, n_genes))
    mean *= total / mean.sum()
    size, capture = np.exp(rng.normal(0.0, 1.0, n_genes)), np.exp(rng.normal(0.0, 0.4, n_cells))
    blocks = []
    for part in np.array_split(capture, max(n_cells // 1000, 1)):
        rate = rng.standard_gamma(np.broadcast_to(size, (len(part), n_genes))) * (mean / size)
        blocks.append(sparse.csr_matrix(rng.poisson(rate * part[:, None]).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def peak() -> float:
    """Largest resident set so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: str, *, backed: bool) -> dict[str, float | str]:
    """Fit the counts of a file; with ``backed`` on disk, and goodness of fit after it."""
    import scribe

    imported = peak()
    adata = read_h5ad(path, backed="r" if backed else None)
    start, clock = time.process_time(), time.perf_counter()
    scribe.tl.fit(adata, parameterization="mean_disp")
    fitted = time.process_time() - start
    if backed:
        scribe.tl.gof(adata)
    verdict = scribe.get.results(adata).verdict
    return {
        "fit_cpu_s": fitted,
        "cpu_s": time.process_time() - start,
        "wall_s": time.perf_counter() - clock,
        "peak_mb": peak(),
        "above_imports_mb": peak() - imported,
        "verdict": str(verdict.reason),
        "converged": verdict.converged,
    }


def resident(field: str) -> float:
    """Resident set now (VmRSS) or its largest since the last reset (VmHWM), MB (Linux)."""
    return int(next(line for line in Path("/proc/self/status").open() if line.startswith(field)).split()[1]) / 1024


def by_block(path: str) -> dict[str, float | str]:
    """Memory of the default model and of verbs after it, on a file."""
    import scribe

    small = scribe.datasets.pbmc68k_counts()
    scribe.tl.fit(small, n_steps=200, early_stopping=False)
    adata, before, found = read_h5ad(path, backed="r"), resident("VmRSS"), {"before_mb": resident("VmRSS")}
    calls = {"fit": {}, "ppc": {"n_samples": 2}, "gof": {}}
    for verb, options in calls.items():
        Path("/proc/self/clear_refs").write_text("5")
        start = time.process_time()
        getattr(scribe.tl, verb)(adata, **options)
        found[f"{verb}_cpu_s"], found[f"{verb}_above_mb"] = time.process_time() - start, resident("VmHWM") - before
    return {**found, "verdict": str(scribe.get.results(adata).verdict.reason)}


def main() -> None:
    """Measure all cases, or one file as a child process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--backed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--default", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.file:
        path, backed = arguments.file, arguments.backed
        print(json.dumps(by_block(path) if arguments.default else measure(path, backed=backed)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in CASES.items():
            path, counts = Path(folder) / "counts.h5ad", simulate(*shape)
            AnnData(counts).write_h5ad(path)
            call = [sys.executable, __file__, "--file", str(path)]
            ways = (
                {"in memory": []} if name == "many genes" else {"backed": ["--backed"], "default model": ["--default"]}
            )
            for way, options in ways.items():
                done = subprocess.run([*call, *options], check=True, capture_output=True, text=True)
                print(f"{name}, {way}: {counts.shape[0]:,} cells x {counts.shape[1]:,} genes, {counts.nnz:,} non-zeros")
                for key, value in json.loads(done.stdout.splitlines()[-1]).items():
                    print(f"    {key:<18} {value if isinstance(value, (str, bool)) else format(value, ',.1f')}")


if __name__ == "__main__":
    main()
