"""Residuals of counts simulated from fits of every family, of misfits, and what they cost on all of a data set.

python benchmarks/gof.py ../shared/data/pbmc_facs.h5ad
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
from scipy.stats import kstwo

import scribe
from scribe._model.names import MODELS
from scribe._stats.residuals import GoodnessOfFit, goodness_of_fit

BNB = {"overdispersion": "bnb", "unconstrained": True}
MIXED = scribe.families.with_capture(scribe.families.beta_mixed(scribe.families.nb))
FITS: dict[str, dict[str, Any]] = {
    **{name: {"model": name} for name in MODELS},
    "nbvcp, bnb": {"model": "nbvcp", **BNB},
    "zinbvcp, bnb": {"model": "zinbvcp", **BNB},
    "nbvcp, bnb of molecules": {"model": MIXED, "unconstrained": True},
    **{f"{name}, 3 components": {"model": name, "n_components": 3} for name in ("nbvcp", "zinbvcp", "twostatevcp")},
    **{
        f"{name}, 2 datasets": {"model": name, "dataset_key": "half", "dataset_params": "all"}
        for name in ("nbvcp", "zipvcp")
    },
    "nbvcp, 3 components, 2 datasets": {
        "model": "nbvcp",
        "n_components": 3,
        "dataset_key": "half",
        "dataset_params": "mean",
    },
}
OWN_ODDS = {"parameterization": "mean_disp"}


def fitted(adata: ad.AnnData, **options: Any) -> Any:
    """Results of a short fit without warnings: what is tested is the residuals of whatever it found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scribe.fit(adata, **{"n_steps": 200, "early_stopping": False, **options})


def rejected(found: GoodnessOfFit, n_cells: int) -> float:
    """Share of the detected genes whose residuals are not normal at 5 %, by the Kolmogorov-Smirnov test."""
    return float(np.mean(kstwo.sf(found.gene["ks"][found.group >= 0], n_cells) < 0.05))


def distance(found: GoodnessOfFit) -> float:
    """Kolmogorov-Smirnov distance of all residuals of detected genes."""
    pooled = found.pooled.sum(axis=0)
    return float(np.abs(np.cumsum(pooled) / pooled.sum() - np.arange(1, len(pooled) + 1) / len(pooled)).max())


def under_the_model(adata: ad.AnnData) -> Iterator[str]:
    """One row per model: fitted, counts simulated from the fit, and their residuals under it."""
    yield "| model | distance of all residuals | genes rejected at 5 % | variance, 5 to 95 % of genes above 0.1 | s |"
    yield "|---|---|---|---|---|"
    for name, options in FITS.items():
        results = fitted(adata, **options)
        matrix = results.get_map_ppc_samples(1, rng=1)[0]
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = goodness_of_fit(results, matrix, n_samples=0)
        took = time.perf_counter() - start
        low, high = np.quantile(found.gene["variance"][found.group > 0], (0.05, 0.95))
        share = rejected(found, adata.n_obs)
        yield f"| {name} | {distance(found):.4f} | {share:.1%} | {low:.2f} to {high:.2f} | {took:.1f} |"


def misfits(rng: np.random.Generator) -> Iterator[str]:
    """One row per misfit, beside the model that is right."""
    n_cells, n_genes = 1000, 100
    mean = np.geomspace(0.3, 30.0, n_genes)
    depth = rng.lognormal(0.0, 0.6, (n_cells, 1))
    upper = (rng.random((n_cells, 1)) < 0.5) == (np.arange(n_genes) % 2 == 0)

    def drawn(mean: Any, size: float) -> ad.AnnData:
        return ad.AnnData(rng.poisson(mean * rng.gamma(size, 1 / size, (n_cells, n_genes))).astype(np.float32))

    cases = {
        "negative binomial of size 3": (drawn(mean, 3.0), {"poisson": {"model": "poisson"}, "nbdm": {"model": "nbdm"}}),
        "unequal capture": (
            drawn(mean * depth, 20.0),
            {"nbdm": {"model": "nbdm"}, "poissonvcp": {"model": "poissonvcp"}, "nbvcp": {"model": "nbvcp"}},
        ),
        "two populations": (
            drawn(mean * np.where(upper, 3.0, 0.2), 10.0),
            {"nbdm": {"model": "nbdm"}, "nbdm, 2 components": {"model": "nbdm", "n_components": 2}},
        ),
        "a third silent": (
            drawn(mean, 10.0),
            {"nbdm": {"model": "nbdm"}, "zinb": {"model": "zinb"}},
        ),
    }
    silent = cases["a third silent"][0]
    silent.X *= rng.random(silent.shape) > 1 / 3
    yield "| counts | model | genes rejected at 5 % | median variance | genes that fail the default mask |"
    yield "|---|---|---|---|---|"
    for data, (adata, models) in cases.items():
        for name, options in models.items():
            own = {} if name.startswith("poisson") else OWN_ODDS
            found = goodness_of_fit(fitted(adata, n_steps=1000, **options, **own))
            middle, fails = np.median(found.gene["variance"]), 1 - found.mask().mean()
            yield f"| {data} | {name} | {rejected(found, n_cells):.0%} | {middle:.2f} | {fails:.0%} |"


def on_all(adata: ad.AnnData) -> Iterator[str]:
    """Seconds and flagged genes on a whole data set, the second call of each."""
    above = np.asarray(adata.X.mean(axis=0)).ravel() >= 1
    size = f"{adata.n_obs:,} cells x {adata.n_vars:,} genes"
    yield f"| model | s, {size}, 10 draws | genes that fail | of {above.sum()} with a mean above 1 |"
    yield "|---|---|---|---|"
    models = {
        "nbvcp": {},
        "nbvcp, mean_disp": OWN_ODDS,
        "zinbvcp, mean_disp": {"model": "zinbvcp", **OWN_ODDS},
        "nbvcp, mean_disp, 5 components": {"n_components": 5, **OWN_ODDS},
        "nbvcp, bnb": BNB,
    }
    for name, options in models.items():
        results = fitted(adata, n_steps=1000, **options)
        goodness_of_fit(results[:50], n_samples=10)
        start = time.perf_counter()
        found = goodness_of_fit(results, n_samples=10)
        took, fails = time.perf_counter() - start, ~found.mask()
        yield f"| {name} | {took:.0f} | {fails.sum():,} | {fails[above].sum()} |"


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="an .h5ad file with counts in X, for the last table")
    data = parser.parse_args().data
    small = scribe.datasets.pbmc68k_counts()
    order = np.argsort(-np.asarray(small.X.sum(axis=0)).ravel())
    small = small[:, order[:120]].copy()
    small.obs["half"] = np.where(np.arange(small.n_obs) % 2, "a", "b")
    for table in (under_the_model(small), misfits(np.random.default_rng(0))):
        for row in table:
            print(row, flush=True)
        print()
    for row in on_all(ad.read_h5ad(data)) if data else ():
        print(row, flush=True)


if __name__ == "__main__":
    main()
