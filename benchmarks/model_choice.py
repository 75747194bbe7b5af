"""Does the true model win? Counts simulated from each of four models, and all four fitted to them.

    python benchmarks/model_choice.py --runs 100 --output model_choice.csv
    python benchmarks/model_choice.py --summarise model_choice.csv
    python benchmarks/model_choice.py --real ../shared/data/*.h5ad
    python benchmarks/model_choice.py --cost ../shared/data/pbmc_facs.h5ad

Every run draws new sizes, captures and counts; means are the same in all, so that most runs share what was compiled.
Rows are appended run by run, and runs that a file has are not repeated, so that a long series may be stopped and
continued (``--first`` starts it at another run). With ``--real`` models are compared on the 200 most expressed genes of
500 random cells of data sets instead, with ``--cost`` two of them on a whole data set, for time and memory (Linux).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import anndata
import numpy as np

import scribe
from scribe._stats.information import told_apart

MODELS: dict[str, dict[str, Any]] = {
    "NB": {"model": "nbvcp", "parameterization": "mean_disp"},
    "ZINB": {"model": "zinbvcp", "parameterization": "mean_disp"},
    "BNB": {
        "model": "nbvcp",
        "parameterization": "mean_disp",
        "overdispersion": "bnb",
        "overdispersion_prior": "none",
        # the default expects next to none, against which the few cells here have nothing to say
        "priors": {"omega": (0.0, 2.0)},
    },
    "two-state": {"model": "twostatevcp"},
}
TRUTHS: dict[str, dict[str, Any]] = {
    "NB": {},
    "ZINB": {"gate": 0.3},
    "BNB": {"omega": 5.0},
    "two-state": {"mu": 30.0, "burst_size": 60.0, "k_off": 0.8},
}
"""Parameters that make a model differ from the others."""

COLUMNS = ("truth", "run", "model", "criterion", "elpd", "elpd_diff", "dse", "bad", "seconds")


def compare(adata: anndata.AnnData, *, seed: int, criterion: str, n_samples: int) -> list[dict[str, Any]]:
    """Fit all models and compare them."""
    fits, seconds = [], {}
    for name, options in MODELS.items():
        start = time.perf_counter()
        fits.append(scribe.fit(adata, rng=seed, **options))
        seconds[name] = time.perf_counter() - start
    found = scribe.compare_models(fits, model_names=list(MODELS), criterion=criterion, n_samples=n_samples, rng=seed)
    bad = found.diagnostics()[["bad", "very bad"]].sum(axis=1) if criterion == "psis_loo" else defaultdict(int)
    return [
        {"model": name, **row[["elpd", "elpd_diff", "dse"]], "bad": bad[name], "seconds": round(seconds[name], 1)}
        for name, row in found.rank().iterrows()
    ]


def simulated(truth: str, run: int, *, n_cells: int, n_genes: int) -> anndata.AnnData:
    rng = np.random.default_rng((11, run))
    params: dict[str, Any] = {"p_capture": rng.uniform(0.3, 0.7, n_cells), "mu": np.geomspace(1.0, 60.0, n_genes)}
    if truth != "two-state":
        params["r"] = rng.uniform(1.0, 10.0, n_genes)
    params |= TRUTHS[truth]
    return scribe.datasets.simulate(n_cells, n_genes, params=params, rng=run, **MODELS[truth])


def expressed(path: Path, n_cells: int, n_genes: int) -> anndata.AnnData:
    """The most expressed genes of random cells."""
    adata = anndata.read_h5ad(path)
    cells = np.random.default_rng(0).choice(adata.n_obs, min(n_cells, adata.n_obs), replace=False)
    adata = adata[np.sort(cells)]
    totals = np.asarray(adata.X.sum(axis=0)).ravel()
    adata = adata[:, np.sort(np.argsort(-totals)[:n_genes])]
    return adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()


def real(paths: list[Path], n_cells: int, n_genes: int, **how: Any) -> None:
    """Print a row per data set and model."""
    print("| data | cells x genes | model | behind the best, nats | standard error | unreliable k | s per fit |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for path in paths:
        adata = expressed(path, n_cells, n_genes)
        for row in compare(adata, seed=0, **how):
            shape = f"{adata.n_obs:,} x {adata.n_vars:,}"
            behind = f"{row['elpd_diff']:,.0f} | {row['dse']:,.0f} | {row['bad']} | {row['seconds']:.0f}"
            print(f"| {path.stem} | {shape} | {row['model']} | {behind} |", flush=True)


def cost(path: Path, n_samples: int) -> None:
    """Seconds and peak memory of comparisons of all cells and genes, each in a process of its own."""
    adata = anndata.read_h5ad(path)
    for name in ("NB", "ZINB"):
        scribe.tl.fit(adata, key_added=name, **MODELS[name])
    fitted = Path(tempfile.mkdtemp()) / "fitted.h5ad"
    adata.write_h5ad(fitted)
    every = 4e-9 * n_samples * adata.n_obs * adata.n_vars
    print(
        f"{adata.n_obs:,} cells x {adata.n_vars:,} genes, {n_samples:,} draws; draws x cells x genes: {every:,.0f} GB"
    )
    print("\n| comparison of two models | GB before | peak GB of the process | s |\n|---|---|---|---|", flush=True)
    script = (
        "import json, sys, time, warnings, anndata, scribe; warnings.simplefilter('ignore')\n"
        "gb = lambda name: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(name)) / 1e6\n"
        "adata = anndata.read_h5ad(sys.argv[1]); before, start = gb('VmRSS'), time.perf_counter()\n"
        "options = dict(json.loads(sys.argv[3]), n_samples=int(sys.argv[2]))\n"
        "scribe.tl.compare_models(adata, ['NB', 'ZINB'], **options)\n"
        "shown = ', '.join(f'{name}={value!r}' for name, value in options.items())\n"
        "print(f'| {shown} | {before:.2f} | {gb(\"VmHWM\"):.2f} | {time.perf_counter() - start:.0f} |')"
    )
    for options in ({"genes": False}, {"genes": True}, {"observations": "gene", "genes": False}):
        subprocess.run([sys.executable, "-c", script, str(fitted), str(n_samples), json.dumps(options)], check=True)


def append(path: Path, rows: list[dict[str, Any]]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def done(path: Path) -> set[tuple[str, int]]:
    if not path.exists():
        return set()
    with path.open() as file:
        return {(row["truth"], int(row["run"])) for row in csv.DictReader(file)}


def summarise(path: Path) -> None:
    """Print the table as markdown."""
    runs: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with path.open() as file:
        for row in csv.DictReader(file):
            runs[row["truth"]][row["run"]].append(row)
    print("| truth | runs | true model first | or not told from it | usual second | median lead, nats |")
    print("|---|---|---|---|---|---|")
    for truth, by_run in runs.items():
        ranked = [sorted(rows, key=lambda row: -float(row["elpd"])) for rows in by_run.values()]
        won = [rows for rows in ranked if rows[0]["model"] == truth]
        mine = [row for rows in ranked for row in rows if row["model"] == truth]
        near = [row for row in mine if not told_apart(float(row["elpd_diff"]), float(row["dse"]))]
        runners_up = [next(row["model"] for row in rows if row["model"] != truth) for rows in ranked]
        second = max(set(runners_up), key=runners_up.count)
        lead = np.median([float(rows[1]["elpd_diff"]) for rows in won]) if won else np.nan
        n = len(ranked)
        print(f"| {truth} | {n} | {len(won) / n:.0%} | {len(near) / n:.0%} | {second} | {lead:,.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--truth", choices=TRUTHS, action="append")
    parser.add_argument("--cells", type=int, help="100 of simulations, 500 of data sets")
    parser.add_argument("--genes", type=int, help="15 of simulations, 200 of data sets")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--criterion", default="psis_loo")
    parser.add_argument("--output", type=Path, default=Path("model_choice.csv"))
    parser.add_argument("--summarise", type=Path)
    parser.add_argument("--real", type=Path, nargs="+")
    parser.add_argument("--cost", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.summarise:
        summarise(options.summarise)
        return
    if options.cost:
        cost(options.cost, options.samples)
        return
    how = {"criterion": options.criterion, "n_samples": options.samples}
    if options.real:
        real(options.real, options.cells or 500, options.genes or 200, **how)
        return
    known = done(options.output)
    for run in range(options.first, options.first + options.runs):
        for truth in options.truth or TRUTHS:
            if (truth, run) in known:
                continue
            adata = simulated(truth, run, n_cells=options.cells or 100, n_genes=options.genes or 15)
            rows = compare(adata, seed=run, **how)
            append(
                options.output, [{"truth": truth, "run": run, "criterion": options.criterion, **row} for row in rows]
            )
            print(
                truth,
                run,
                [(row["model"], round(row["elpd_diff"], 1), round(row["dse"], 1)) for row in rows],
                flush=True,
            )


if __name__ == "__main__":
    main()
