"""Does denoising predict molecules it has not seen, how sure is it of them, and does it make signal of its own?

    python benchmarks/denoising.py --data ../shared/data [--sets pbmc_facs --genes 1000 --cells 2000]

Molecular cross-validation: every count is split binomially, 90 % of the molecules are denoised, the others predicted.
``MSE`` is that of Open Problems: prediction and held-out counts normalised to 10,000 per cell, log1p. ``Poisson`` is
the mean of ``prediction - count log(prediction)``, in nats, on the scale of counts. Predictions of other methods, and
denoised counts of this one, are scaled to the cell's total for it; *predictive mean* is that of the model as it is.

The same losses are shown for counts simulated from a fit, where the rate that made them is known.

Coverage is the share of held-out counts in the central predictive intervals, ends split at random (randomised PIT).

Shuffle null: every gene is permuted over all cells, so that no two genes have anything in common and a method must not
correlate them; and over cells of like totals, which leaves what totals tell. ``median |r|`` is over pairs of the 200
most expressed genes.

Leakage: the mean of a lineage marker, at equal depth, in sorted cells that lack it over that in cells that have it; of
20 markers the median ratio, the largest, and how many exceed twice the ratio of the counts by 0.02.

MAGIC is left out where it is not installed (pip install magic-impute); ``--genes 0 --cells 0`` takes all of them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np
import scanpy as sc
from mixture import variable_genes

import scribe
from scribe._adata.read import read_counts
from scribe._counts.container import Counts
from scribe._posterior.held_out import held_out_blocks

SHARE = 0.1
LEVELS = (0.5, 0.8, 0.95)
COMPONENTS = 10
THIRDS = ("lowest", "middle", "highest")
SCRIBE = {
    "nbvcp": {},
    "nbvcp, mean_disp": {"parameterization": "mean_disp"},
    f"mixture of {COMPONENTS}": {"n_components": COMPONENTS},
}
LEAKAGE: dict[str, dict[str, Any]] = {
    **{f"{model}": {"model": model} for model in ("nbvcp", "zinbvcp")},
    "nbvcp, bnb": {"overdispersion": "bnb", "unconstrained": True},
    "nbvcp, mean_disp": {"parameterization": "mean_disp"},
    f"mixture of {COMPONENTS}": {"n_components": COMPONENTS},
    f"mixture of {COMPONENTS}, mean_disp": {
        "n_components": COMPONENTS,
        "parameterization": "mean_disp",
        "mixture_params": "mean",
    },
    "sorted types known, mean_disp": {
        "annotation_key": "celltype",
        "parameterization": "mean_disp",
        "mixture_params": "mean",
    },
    "twostatevcp": {"model": "twostatevcp"},
}
"""Models of the table of leakage."""
LINEAGES = {"B": "CD19", "monocyte": "CD14", "NK": "CD56", "T": "CD4+|CD8+", "progenitor": "CD34"}
"""What the names of the sorted types of a lineage begin with."""
MARKERS = {
    "B": (("CD79A", "CD79B", "MS4A1", "TCL1A"), ("monocyte", "NK", "T")),
    "monocyte": (("LYZ", "S100A8", "S100A9", "FCN1", "CD14"), ("B", "NK", "T")),
    "NK": (("GNLY", "GZMB", "FGFBP2", "KLRF1", "PRF1"), ("B", "monocyte")),
    "T": (("CD3D", "CD3E", "IL7R"), ("B", "monocyte")),
    "progenitor": (("SPINK2", "PRSS57", "EGFL7"), ("B", "monocyte", "NK", "T")),
}
"""Markers of every lineage and the lineages that lack them."""
Method = Callable[[Counts], np.ndarray]


def as_counted(counts: Counts) -> np.ndarray:
    """The counts themselves."""
    return counts.rows(slice(None))


def gene_means(counts: Counts) -> np.ndarray:
    """A Poisson null: the gene's share of all counts."""
    return np.broadcast_to(counts.gene_totals, counts.shape)


def normalised(counts: np.ndarray, target: float) -> np.ndarray:
    """Counts per ``target`` of every cell."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12) * target


def principal_axes(counts: Counts, n: int = 50) -> np.ndarray:
    """Log-normalised counts rebuilt from their first principal axes."""
    adata = anndata.AnnData(np.log1p(normalised(counts.rows(slice(None)), 1e4)))
    mean = adata.X.mean(axis=0)
    sc.pp.pca(adata, n_comps=min(n, min(counts.shape) - 1))
    return np.maximum(np.expm1(adata.obsm["X_pca"] @ adata.varm["PCs"].T + mean), 0.0)


def magic(counts: Counts) -> np.ndarray:
    """MAGIC of square roots of normalised counts, squared."""
    from magic import MAGIC

    roots = np.sqrt(normalised(counts.rows(slice(None)), np.median(counts.totals)))
    return np.square(np.maximum(MAGIC(verbose=0, random_state=0).fit_transform(roots), 0.0))


def others() -> dict[str, Method]:
    """Methods to stand beside."""
    found: dict[str, Method] = {
        "no denoising": as_counted,
        "gene mean x cell size": gene_means,
        "PCA of log-normalised": principal_axes,
    }
    try:
        import magic as _  # noqa: F401
    except ImportError:
        print("MAGIC is not installed and left out: pip install magic-impute", file=sys.stderr)
    else:
        found["MAGIC, square roots"] = magic
    return found


def losses(prediction: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """Mean squared error of normalised logarithms and Poisson loss."""
    logs = [np.log1p(normalised(x, 1e4)) for x in (prediction, held_out)]
    poisson = np.mean(prediction - held_out * np.log(prediction + 1e-6), dtype=np.float64)
    return float(np.mean(np.square(logs[0] - logs[1]), dtype=np.float64)), float(poisson)


def coverage(value: np.ndarray, groups: dict[str, np.ndarray]) -> list[str]:
    """Share of the values of a randomised PIT within every central interval, by group of elements."""
    return [
        " / ".join(f"{np.mean(np.abs(value[where] - 0.5) < level / 2):.1%}" for level in LEVELS)
        for where in groups.values()
    ]


def table(name: str, header: list[str], rows: Iterator[list[str]]) -> None:
    """Print a table as markdown, row by row as it is made."""
    print(f"\n{name}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def cross_validated(counts: Counts, n_draws: int, intervals: list[list[str]]) -> Iterator[list[str]]:
    """Rows of losses; those of coverage go to ``intervals``."""
    seen, held_out = counts.split(SHARE, np.random.default_rng(0))
    y = held_out.rows(slice(None))
    size = seen.totals[:, None] * SHARE / (1 - SHARE)

    def row(name: str, prediction: np.ndarray, seconds: float) -> list[str]:
        mse, poisson = losses(prediction, y)
        return [name, f"{mse:.4f}", f"{poisson:.4f}", f"{seconds:.0f}"]

    for name, method in others().items():
        begin = time.perf_counter()
        made = normalised(method(seen), 1.0) * size
        yield row(name, made, time.perf_counter() - begin)
    third = np.argsort(np.argsort(seen.gene_totals)) * 3 // seen.n_genes
    for name, options in SCRIBE.items():
        begin = time.perf_counter()
        results = scribe.fit(seen, **options)
        fitted = time.perf_counter() - begin
        made = normalised(results.denoise_counts(n_samples=n_draws), 1.0) * size
        yield row(f"scribe {name}: denoised", made, time.perf_counter() - begin)
        begin = time.perf_counter()
        blocks = list(
            held_out_blocks(results.posterior, seen, held_out, jax.random.key(0), share=SHARE, n_samples=n_draws)
        )
        mean, below, at = (np.concatenate([getattr(b, field) for b in blocks]) for field in ("mean", "below", "at"))
        yield row(f"scribe {name}: predictive mean", mean, fitted + time.perf_counter() - begin)
        value = below + np.random.default_rng(1).uniform(size=at.shape) * at
        wide = {f"genes, {word} third": np.broadcast_to(third == i, y.shape) for i, word in enumerate(THIRDS)}
        groups = {"all": np.ones(y.shape, bool), **wide, "mean >= 0.5": mean >= 0.5}
        intervals.append([f"scribe {name}", *coverage(value, groups), "" if results.converged else "not converged"])


def known(counts: Counts) -> Iterator[list[str]]:
    """Rows of losses of the truth, on counts drawn at the parameters of a fit: does a score prefer the right answer?"""
    posterior = scribe.fit(counts, parameterization="mean_disp").posterior
    parameters, rng = posterior.parameters(posterior.centre()), np.random.default_rng(0)
    log_mean, log_odds = (np.asarray(parameters.wide()[name], float) for name in ("log_mean", "log_odds"))
    size, capture = np.exp(log_mean + log_odds), np.exp(np.asarray(parameters.offset, float))[:, None]
    rate = rng.gamma(np.broadcast_to(size, counts.shape)) * np.exp(-log_odds) * capture
    seen, y = (rng.poisson(rate * share).astype(np.float32) for share in (1 - SHARE, SHARE))
    drawn = Counts.from_matrix(seen)
    total = drawn.totals[:, None] * SHARE / (1 - SHARE)
    made = {
        "the true rate": rate * SHARE,
        "its mean given the counts": (size + seen) * capture * SHARE / (np.exp(log_odds) + capture * (1 - SHARE)),
        "no denoising": normalised(seen, 1.0) * total,
        "PCA of log-normalised": normalised(principal_axes(drawn), 1.0) * total,
    }
    for name, prediction in made.items():
        yield [name, *(f"{loss:.4f}" for loss in losses(prediction, y))]


def permuted(counts: Counts, n_bins: int = 1) -> Counts:
    """Every gene permuted over all cells, or over those of a bin of like totals."""
    dense, rng = counts.rows(slice(None)), np.random.default_rng(2)
    for cells in np.array_split(np.argsort(counts.totals), n_bins) if n_bins > 1 else [slice(None)]:
        dense[cells] = rng.permuted(dense[cells], axis=0)
    return Counts.from_matrix(dense)


def median_correlation(values: np.ndarray) -> float:
    """Median absolute correlation of genes, over their pairs."""
    varying = values[:, values.std(axis=0) > 0]
    matrix = np.corrcoef(varying, rowvar=False)
    return float(np.median(np.abs(matrix[np.triu_indices(len(matrix), 1)])))


def null(counts: Counts, n_draws: int) -> Iterator[list[str]]:
    """Rows of median correlations, of the data and of the same permuted."""
    every = (counts, permuted(counts, max(counts.n_cells // 100, 2)), permuted(counts))
    top = np.argsort(-counts.gene_totals)[:200]

    def row(name: str, *made: np.ndarray) -> list[str]:
        return [name, *(f"{median_correlation(values[:, top]):.3f}" for values in made)]

    yield row("counts", *(x.rows(slice(None)) for x in every))
    yield row("log-normalised counts", *(np.log1p(normalised(x.rows(slice(None)), 1e4)) for x in every))
    for name, method in others().items():
        if method in (as_counted, gene_means):
            continue
        yield row(name, *(np.log1p(normalised(method(x), 1e4)) for x in every))
    fitted = {name: [scribe.fit(x, **options) for x in every] for name, options in SCRIBE.items()}
    for name, fits in fitted.items():
        for method in ("mean", "sample"):
            made = (fit.denoise_counts(method=method, n_samples=n_draws) for fit in fits)
            yield row(f"scribe {name}: {method}", *made)
    one, many = "nbvcp", f"mixture of {COMPONENTS}"
    gains = [
        scribe.compare_models([a, b], x, criterion="thinned", n_samples=n_draws).differences().iloc[0]
        for a, b, x in zip(fitted[one], fitted[many], every, strict=True)
    ]
    behind = (f"{-gain['elpd_diff']:+,.0f} ± {gain['dse']:,.0f} nats" for gain in gains)
    yield [f"held-out molecules, {many} less one component", *behind]


def leakage(adata: Any, n_draws: int) -> Iterator[list[str]]:
    """Rows of ratios of markers between sorted cells that lack them and those that have them."""
    counts, types = read_counts(adata), adata.obs["celltype"].astype(str)
    lineage = np.full(adata.n_obs, "none", object)
    for name, start in LINEAGES.items():
        lineage[types.str.match(start.replace("+", r"\+")).to_numpy()] = name

    def ratios(values: np.ndarray) -> np.ndarray:
        shares = normalised(values, 1e4)
        return np.array(
            [
                shares[np.isin(lineage, off), gene].mean() / shares[lineage == name, gene].mean()
                for name, (markers, off) in MARKERS.items()
                for gene in adata.var_names.get_indexer(markers)
            ]
        )

    observed = ratios(as_counted(counts))

    def row(name: str, values: np.ndarray, seconds: float) -> list[str]:
        found = ratios(values)
        many = np.sum(found > 2 * observed + 0.02)
        return [name, f"{np.median(found):.3f}", f"{found.max():.3f}", f"{many} of {found.size}", f"{seconds:.0f}"]

    for name, method in others().items():
        begin = time.perf_counter()
        made = method(counts)
        yield row(name, made, time.perf_counter() - begin)
    for name, options in LEAKAGE.items():
        begin = time.perf_counter()
        results = scribe.fit(adata, **options)
        made = results.denoise_counts(n_samples=n_draws)
        yield row(f"scribe {name}", made, time.perf_counter() - begin)


def run(path: Path, *, genes: int, cells: int, draws: int, parts: list[str]) -> None:
    """All tables of one data set."""
    also = [gene for markers, _ in MARKERS.values() for gene in markers] if "leakage" in parts else []
    adata: Any = variable_genes(path, genes, also=also) if genes else anndata.read_h5ad(path)
    if cells and adata.n_obs > cells:
        adata = adata[np.sort(np.random.default_rng(0).choice(adata.n_obs, cells, replace=False))].copy()
    counts = read_counts(adata)
    what = f"{path.stem}, {counts.n_cells:,} cells x {counts.n_genes:,} genes"
    if "prediction" in parts:
        intervals: list[list[str]] = []
        table(what, ["method", "MSE", "Poisson", "s"], cross_validated(counts, draws, intervals))
        named = ["model", "all", *(f"genes, {word} third" for word in THIRDS), "mean of 0.5 and more", ""]
        table(f"{what}: coverage of 50 / 80 / 95 % intervals", named, iter(intervals))
    if "truth" in parts:
        table(f"{what}: simulated at the parameters of a fit", ["prediction", "MSE", "Poisson"], known(counts))
    if "leakage" in parts:
        if "celltype" not in adata.obs:
            print(f"{what}: no sorted types, no table of leakage", file=sys.stderr)
        else:
            table(f"{what}: leakage", ["values", "median", "largest", "too many", "s"], leakage(adata, draws))
    if "null" in parts:
        table(
            f"{what}: median |r| of genes",
            ["values", "data", "permuted among like totals", "permuted"],
            null(counts, draws),
        )


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["pbmc_facs", "pbmc_ifnb", "RNAmix_celseq2"])
    parser.add_argument("--genes", type=int, default=1000, help="the most variable ones; 0: all")
    parser.add_argument("--cells", type=int, default=2000, help="taken at random; 0: all")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--parts", nargs="+", default=["prediction", "truth", "null"], help="or leakage, of pbmc_facs")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    scribe.settings.verbosity = "error"
    for name in arguments.sets:
        options = {"genes": arguments.genes, "cells": arguments.cells, "draws": arguments.draws}
        run(arguments.data / f"{name}.h5ad", **options, parts=arguments.parts)


if __name__ == "__main__":
    main()
