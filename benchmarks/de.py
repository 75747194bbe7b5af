"""Differential expression against known truth, null splits, pseudoreplication and pseudobulk.

    python benchmarks/de.py mixture RNAmix_celseq2.h5ad      fold changes of mixed RNA against the mixing proportions
    python benchmarks/de.py interferon pbmc_ifnb.h5ad        known interferon-stimulated genes; null splits of controls
    python benchmarks/de.py replicates                       error of the first kind and power over donors x cells
    python benchmarks/de.py donors kang_multisample.h5ad     condition effects per cell type against pseudobulk
    python benchmarks/de.py memory                           100,000 cells x 20,000 genes x 1,000 draws

PyDESeq2 runs beside where it is installed (``pip install pydeseq2``). Seeds are fixed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import optimize, sparse, stats

import scribe

LINES = ("H2228", "H1975", "HCC827")
STIMULATED = [
    *("ISG15", "ISG20", "IFI6", "IFIT1", "IFIT2", "IFIT3", "MX1", "MX2", "LY6E", "IRF7", "IFI44L", "IFI35", "OAS1"),
    *("RSAD2", "CXCL10", "CXCL11", "IFITM3"),
]


def table(rows: list[dict[str, object]]) -> None:
    """Print rows as a Markdown table."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    print(flush=True)


def dense(adata: ad.AnnData) -> np.ndarray:
    return adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)


def fitted(adata: ad.AnnData, dataset_key: str | list[str]) -> float:
    """Fit means of groups with a dispersion per gene; seconds."""
    start = time.perf_counter()
    scribe.tl.fit(adata, dataset_key=dataset_key, dataset_params="mean", parameterization="mean_disp")
    return time.perf_counter() - start


def compared(adata: ad.AnnData, groupby: str, group: str, reference: str, **options: object) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Comparing the cells")
        scribe.tl.de(adata, groupby, group=group, reference=reference, **options)
    return scribe.get.de(adata)


def deseq(
    counts: np.ndarray, condition: np.ndarray, names: pd.Index, *, pairs: np.ndarray | None = None
) -> pd.DataFrame | None:
    """Log2 fold changes and p-values of PyDESeq2 by gene; None where it is not installed."""
    if importlib.util.find_spec("pydeseq2") is None:
        return None
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    index = [f"s{i}" for i in range(len(counts))]
    metadata = pd.DataFrame({"condition": condition}, index=index)
    if pairs is not None:
        metadata["pair"] = pairs
    frame = pd.DataFrame(np.rint(counts).astype(int), index=index, columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        design = "~condition" if pairs is None else "~pair + condition"
        data = DeseqDataSet(counts=frame, metadata=metadata, design=design, quiet=True)
        data.deseq2()
        result = DeseqStats(data, contrast=["condition", "A", "B"], quiet=True)
        result.summary()
    return result.results_df.reindex(names)


def ranked(adata: ad.AnnData, groupby: str, group: str, reference: str, method: str) -> pd.DataFrame:
    """Table of scanpy's test, by gene."""
    normal = adata.copy()
    sc.pp.normalize_total(normal, target_sum=1e4)
    sc.pp.log1p(normal)
    sc.tl.rank_genes_groups(normal, groupby, groups=[group], reference=reference, method=method)
    return sc.get.rank_genes_groups_df(normal, group=group).set_index("names").reindex(adata.var_names)


# mixtures of RNA


def mixture(path: Path) -> None:
    """Contrasts of wells with 68 % of one line each, against the composition of the pure lines."""
    adata = ad.read_h5ad(path)
    adata.obs_names_make_unique()
    proportions = adata.obs[[f"{line}_prop" for line in LINES]].to_numpy()
    label = ["/".join(f"{p:.2f}" for p in row) for row in proportions]
    adata.obs["wells"] = pd.Categorical(label)
    counts = dense(adata)
    # shares are those among the genes that are looked at
    top = counts.mean(axis=0) >= np.quantile(counts.mean(axis=0), 0.7)
    adata, counts = adata[:, top].copy(), counts[:, top]
    pure = np.stack([counts[proportions[:, k] == 1].sum(axis=0) for k in range(3)])
    pure = pure / pure.sum(axis=1, keepdims=True)
    seconds = fitted(adata, "wells")
    print(f"{adata.n_obs} wells x {adata.n_vars:,} genes, fit {seconds:.0f} s\n")
    rows, actual = [], []
    for first, second in itertools.combinations(range(3), 2):
        names, weights = [], []
        for line in (first, second):
            mixed = np.where(np.arange(3) == line, 0.68, 0.16)
            names.append("/".join(f"{p:.2f}" for p in mixed))
            weights.append(mixed)
        truth = log_ratio(weights, pure)
        wells = adata[adata.obs["wells"].isin(names)].copy()
        chosen = np.isfinite(truth) & (np.abs(truth) > 0.3 / np.log(2))
        found = [composition(counts[adata.obs["wells"] == name].sum(axis=0), pure) for name in names]
        slope, _ = np.polyfit(truth[chosen], log_ratio(found, pure)[chosen], 1)
        row: dict[str, object] = {"contrast": f"{LINES[first]} / {LINES[second]}"}
        row |= {f"{name} holds": "/".join(f"{p:.2f}" for p in w) for name, w in zip("AB", found, strict=True)}
        actual.append(row | {"slope against nominal": float(slope)})
        rows += contrasts(
            adata,
            wells,
            names,
            truth=truth,
            chosen=chosen,
            what=f"{LINES[first]} / {LINES[second]}",
            error=noise(adata, weights),
        )
    table(rows)
    print("What the wells hold by least squares, and the slope that these proportions alone give\n")
    table(actual)


def log_ratio(weights: list[np.ndarray], pure: np.ndarray) -> np.ndarray:
    """Log2 fold change between two mixtures of the pure lines."""
    with np.errstate(divide="ignore"):
        return np.log2(weights[0] @ pure) - np.log2(weights[1] @ pure)


def composition(total: np.ndarray, pure: np.ndarray) -> np.ndarray:
    """Proportions of the pure lines that are closest to what wells hold, with the errors of counts that are Poisson."""
    shares = total / total.sum()
    precision = 1.0 / np.sqrt(shares + 1e-7)
    weights, _ = optimize.nnls(pure.T * precision[:, None], shares * precision)
    return weights / weights.sum()


def noise(adata: ad.AnnData, weights: list[np.ndarray]) -> np.ndarray:
    """Posterior standard deviation of the truth itself, log2, from the same model of the pure wells."""
    results, key = scribe.get.results(adata), 0
    labels = list(results.spec.levels["dataset"].labels)
    numbers = [labels.index("/".join(f"{float(k == line):.2f}" for k in range(3))) for line in range(3)]
    draws = np.asarray(results.cells([0]).get_posterior_samples(400, rng=key, sites=["mu"])["mu"], np.float64)[
        :, numbers
    ]
    shares = draws / draws.sum(axis=2, keepdims=True)
    logs = [np.log2(np.einsum("k,skg->sg", w, shares)) for w in weights]
    return (logs[0] - logs[1]).std(axis=0)


def contrasts(
    adata: ad.AnnData,
    wells: ad.AnnData,
    names: list[str],
    *,
    truth: np.ndarray,
    chosen: np.ndarray,
    what: str,
    error: np.ndarray,
) -> list[dict[str, object]]:
    """Every method on one contrast: slope and correlation of estimates against truth, coverage of intervals."""
    estimates: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for method in ("empirical", "shrinkage"):
        found = compared(adata, "wells", names[0], names[1], method=method)
        estimates[f"scribe, {method}"] = found["lfc_mean"].to_numpy(), found["lfc_sd"].to_numpy()
    counts, is_A = dense(wells), (wells.obs["wells"] == names[0]).to_numpy()
    sums = [counts[mask].sum(axis=0) + 0.5 for mask in (is_A, ~is_A)]
    shares = [total / total.sum() for total in sums]
    estimates["pseudobulk log ratio"] = np.log2(shares[0] / shares[1]), None
    for method in ("wilcoxon", "t-test"):
        found = ranked(wells, "wells", names[0], names[1], method)
        estimates[f"scanpy {method}"] = found["logfoldchanges"].to_numpy(), None
    found = deseq(counts, np.where(is_A, "A", "B"), wells.var_names)
    if found is not None:
        estimates["PyDESeq2"] = found["log2FoldChange"].to_numpy(), found["lfcSE"].to_numpy()
    rows, same = [], np.isfinite(truth)
    for name, (estimate, sd) in estimates.items():
        known = chosen & np.isfinite(estimate)
        # methods normalise in ways of their own, which shifts all log-ratios: all are relative to the same genes here
        both = same & np.isfinite(estimate)
        x, y = truth[known] - truth[both].mean(), estimate[known] - estimate[both].mean()
        slope, _ = np.polyfit(x, y, 1)
        row: dict[str, object] = {"contrast": what, "method": name, "genes": int(known.sum()), "slope": float(slope)}
        row |= {"correlation": float(np.corrcoef(x, y)[0, 1]), "rmse (log2)": float(np.sqrt(np.mean((y - x) ** 2)))}
        for title, total in (("90 % covers", sd), ("with error of truth", None if sd is None else np.hypot(sd, error))):
            inside = "" if total is None else float(np.mean(np.abs(y - x) < 1.645 * total[known]))
            row[title] = inside
        rows.append(row)
    return rows


# interferon


def interferon(path: Path, *, splits: int) -> None:
    """Ranks of interferon-stimulated genes, and what is called between halves of the controls."""
    adata = ad.read_h5ad(path)
    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() >= 10].copy()
    fitted(adata, "condition")
    found = compared(adata, "condition", "stim", "ctrl").set_index("names")
    tests = {"scribe": (found["lfc_mean"] / found["lfc_sd"]).fillna(0)}
    for method in ("wilcoxon", "t-test"):
        tests[f"scanpy {method}"] = ranked(adata, "condition", "stim", "ctrl", method)["scores"]
    known = [gene for gene in STIMULATED if gene in adata.var_names]
    rows = []
    for name, score in tests.items():
        rank = score.rank(ascending=False).loc[known]
        rows.append(
            {"method": name, "genes": len(known), "median rank": float(rank.median()), "worst rank": int(rank.max())}
        )
        rows[-1]["among the first 50"] = int((rank <= 50).sum())
    print(f"Interferon-stimulated genes among {adata.n_vars:,}, ranked by score\n")
    table(rows)
    nulls(adata[adata.obs["condition"] == "ctrl"].copy(), splits)


def nulls(controls: ad.AnnData, splits: int) -> None:
    """Random halves of the controls: nothing differs."""
    controls = controls[:, np.asarray((controls.X > 0).sum(axis=0)).ravel() >= 10].copy()
    means = np.asarray(controls.X.mean(axis=0)).ravel()
    tercile = np.digitize(means, np.quantile(means, [1 / 3, 2 / 3]))
    uniform: list[list[np.ndarray]] = [[], [], []]
    called = {method: np.zeros(3, int) for method in ("empirical", "shrinkage")}
    rows = []
    for split in range(splits):
        halves = np.random.default_rng(split).permutation(controls.n_obs) % 2
        controls.obs["half"] = pd.Categorical(np.where(halves == 0, "a", "b"))
        fitted(controls, "half")
        by_method = {m: compared(controls, "half", "a", "b", method=m, n_samples=2000) for m in called}
        row: dict[str, object] = {"split": split}
        for method, found in by_method.items():
            row[f"called at PEFP 5 %, {method}"] = int(found["is_de"].sum())
            called[method] += np.bincount(tercile[found["is_de"].to_numpy()], minlength=3)
        for method in ("wilcoxon", "t-test"):
            adjusted = ranked(controls, "half", "a", "b", method)["pvals_adj"]
            row[f"scanpy {method}, FDR 5 %"] = int((adjusted < 0.05).sum())
        rows.append(row)
        for k in range(3):
            uniform[k].append(by_method["empirical"]["prob_up"].to_numpy()[tercile == k])
    print(f"Random halves of {controls.n_obs:,} controls x {controls.n_vars:,} genes\n")
    table(rows)
    rows = []
    for k, name in enumerate(("low", "middle", "high")):
        values = np.concatenate(uniform[k])
        two_sided = 2 * np.minimum(values, 1 - values)
        row = {
            "expression": name,
            "P(up) below 5 %": float(np.mean(values < 0.05)),
            "above 95 %": float(np.mean(values > 0.95)),
        }
        row |= {"two-sided 5 %": float(np.mean(two_sided < 0.05)), "two-sided 1 %": float(np.mean(two_sided < 0.01))}
        row["KS distance to uniform"] = float(stats.kstest(values, "uniform").statistic)
        row |= {f"called, {method}": f"{counts[k] / len(values):.2%}" for method, counts in called.items()}
        rows.append(row)
    table(rows)


# replicates


def replicates(*, repeats: int, n_genes: int, individuals: list[int], cells: list[int]) -> None:
    """Type-1 error at 5 % and power over the grid of individuals and cells."""
    rows = []
    for n_individuals, n_cells in itertools.product(individuals, cells):
        p_values: dict[str, list[np.ndarray]] = {}
        effects, seconds = [], 0.0
        calls: dict[str, list[np.ndarray]] = {}
        for repeat in range(repeats):
            about = {"share": 0.1, "log_fold": (0.4, 1.0), "rng": 1000 * n_individuals + 10 * n_cells + repeat}
            adata = scribe.datasets.conditions(n_individuals, n_cells, n_genes, **about)
            adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() >= 10].copy()
            effects.append(adata.var["effect"].to_numpy())
            seconds += fitted(adata, ["donor", "condition"])
            for name, options in (("scribe", {"sample_key": "donor"}), ("scribe, cells", {})):
                found = compared(adata, "condition", "treated", "control", method="empirical", **options)
                p_values.setdefault(name, []).append(2 * np.minimum(found["prob_up"], found["prob_down"]).to_numpy())
            default = compared(adata, "condition", "treated", "control", sample_key="donor")
            calls.setdefault("scribe", []).append(default["is_de"].to_numpy())
            p_values.setdefault("Wilcoxon, cells", []).append(
                ranked(adata, "condition", "treated", "control", "wilcoxon")["pvals"].to_numpy()
            )
            sums = pd.DataFrame.sparse.from_spmatrix(adata.X).groupby(adata.obs["donor"].to_numpy(), sort=False).sum()
            condition = adata.obs.drop_duplicates("donor")["condition"].map({"treated": "A", "control": "B"}).to_numpy()
            found = deseq(sums.to_numpy(), condition, adata.var_names)
            if found is not None:
                p_values.setdefault("pseudobulk PyDESeq2", []).append(found["pvalue"].fillna(1.0).to_numpy())
                calls.setdefault("PyDESeq2", []).append((found["padj"] < 0.05).to_numpy())
        effect = np.concatenate(effects)
        row: dict[str, object] = {
            "individuals": n_individuals,
            "cells": n_cells,
            "null genes": int(np.sum(effect == 0)),
        }
        for name, values in p_values.items():
            p = np.concatenate(values)
            row[f"error, {name}"] = float(np.mean(p[effect == 0] < 0.05))
        for name in ("scribe", "pseudobulk PyDESeq2"):
            if name in p_values:
                row[f"power, {name}"] = float(np.mean(np.concatenate(p_values[name])[effect != 0] < 0.05))
        for name, by_repeat in calls.items():
            called = np.concatenate(by_repeat)
            false = f", {np.mean(effect[called] == 0):.1%}" if called.any() else ""
            row[f"called by {name}, without effect"] = f"{called.sum()}{false}"
        row["s per fit"] = round(seconds / repeats)
        rows.append(row)
        table([row])
    table(rows)


# donors


def donors(path: Path) -> None:
    """Condition effects per cell type with donors, against pseudobulk."""
    adata = ad.read_h5ad(path)
    rows = []
    for cluster in adata.obs["cluster_id"].unique():
        cells = adata[adata.obs["cluster_id"] == cluster].copy()
        cells = cells[:, np.asarray(cells.X.sum(axis=0)).ravel() >= 10].copy()
        cells.obs["donor"] = cells.obs["sample_id"].astype(str).str[-3:]
        cells.obs["condition"] = cells.obs["group_id"].astype(str).map({"stim": "A", "ctrl": "B"})
        fitted(cells, ["donor", "condition"])
        found = compared(cells, "condition", "A", "B", sample_key="donor").set_index("names")
        plain = compared(cells, "condition", "A", "B", sample_key="donor", method="empirical").set_index("names")
        leaf = (cells.obs["donor"].astype(str) + cells.obs["condition"].astype(str)).to_numpy()
        sums = pd.DataFrame(dense(cells)).groupby(leaf, sort=True).sum()
        bulk = deseq(
            sums.to_numpy(),
            np.array([x[-1] for x in sums.index]),
            cells.var_names,
            pairs=np.array([x[:-1] for x in sums.index]),
        )
        row: dict[str, object] = {"cell type": cluster, "cells": cells.n_obs, "genes": cells.n_vars}
        row["called, scribe"] = int(found["is_de"].sum())
        if bulk is not None:
            row["called, PyDESeq2"] = int((bulk["padj"] < 0.05).sum())
            row["both"] = int((found["is_de"].to_numpy() & (bulk["padj"] < 0.05).to_numpy()).sum())
            seen = bulk["baseMean"].to_numpy() > 5
            row["correlation of fold changes"] = float(
                np.corrcoef(plain["lfc_mean"][seen], bulk["log2FoldChange"][seen])[0, 1]
            )
        known = [gene for gene in STIMULATED if gene in cells.var_names]
        row["stimulated genes called"] = f"{int(found.loc[known, 'is_de'].sum())} of {len(known)}"
        rows.append(row)
    table(rows)


# memory


def memory(*, n_cells: int = 100_000, n_genes: int = 20_000, per_cell: int = 1000) -> None:
    """Peak memory of a comparison with 1,000 draws, counts left on disk (Linux); the fit is of a few steps."""
    rng = np.random.default_rng(0)
    genes = np.sort(rng.integers(0, n_genes, (n_cells, per_cell), dtype=np.int32), axis=1)
    starts = np.arange(0, n_cells * per_cell + 1, per_cell, dtype=np.int64)
    counts = sparse.csr_matrix((np.ones(genes.size, np.float32), genes.ravel(), starts), (n_cells, n_genes))
    counts.sum_duplicates()
    obs = pd.DataFrame({"group": pd.Categorical(np.where(np.arange(n_cells) % 2, "a", "b"))})
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(counts, obs=obs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"dataset_key": "group", "dataset_params": "mean", "n_steps": 3, "early_stopping": False}
        scribe.tl.fit(adata, parameterization="mean_disp", batch_size=1000, **options)
    path = Path(tempfile.mkdtemp()) / "fitted.h5ad"
    adata.write_h5ad(path)
    # a process of its own: what the fit took is gone
    script = (
        "import sys, time, warnings, anndata, scribe; warnings.simplefilter('ignore')\n"
        "kb = lambda name: next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(name))\n"
        "adata = anndata.read_h5ad(sys.argv[1], backed='r'); start = time.perf_counter()\n"
        "before = kb('VmRSS') / 1e6; peak = lambda: kb('VmHWM') / 1e6\n"
        "scribe.tl.de(adata, 'group', group='a', reference='b', method=sys.argv[2], n_samples=1000)\n"
        "print(f'| {sys.argv[2]} | {before:.2f} | {peak():.2f} | {time.perf_counter() - start:.0f} |')"
    )
    print(f"{n_cells:,} cells x {n_genes:,} genes, {counts.nnz:,} non-zeros, 1,000 draws\n")
    print("| method | GB before | peak GB of the process | s |\n|---|---|---|---|", flush=True)
    for method in ("empirical", "shrinkage", "parametric"):
        subprocess.run([sys.executable, "-c", script, str(path), method], check=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["mixture", "interferon", "replicates", "donors", "memory"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--individuals", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--cells", type=int, nargs="+", default=[50, 100, 500])
    options = parser.parse_args()
    if options.task == "replicates":
        grid = {"individuals": options.individuals, "cells": options.cells}
        replicates(repeats=options.repeats, n_genes=options.genes, **grid)
    elif options.task == "memory":
        memory()
    elif options.task == "interferon":
        interferon(options.path, splits=options.splits)
    else:
        {"mixture": mixture, "donors": donors}[options.task](options.path)


if __name__ == "__main__":
    main()
