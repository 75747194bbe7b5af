"""Residuals of counts simulated from fits of every family, of misfits, and what they cost on all of a data set.

The power of the test of a gene is compared with that of the most powerful test of the two laws, which knows both: the
law of the counts, and the negative binomial nearest to it.

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
from scipy.optimize import minimize
from scipy.stats import nbinom, norm

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


def rejected(found: GoodnessOfFit, rate: float = 0.05) -> float:
    """Share of the detected genes that the test rejects at a rate."""
    return float(np.mean(found.gene["p_value"][found.group >= 0] < rate))


def distance(found: GoodnessOfFit) -> float:
    """Kolmogorov-Smirnov distance of all residuals of detected genes."""
    pooled = found.pooled.sum(axis=0)
    return float(np.abs(np.cumsum(pooled) / pooled.sum() - np.arange(1, len(pooled) + 1) / len(pooled)).max())


def under_the_model(adata: ad.AnnData) -> Iterator[str]:
    """One row per model: fitted, counts simulated from the fit, and their residuals under it."""
    columns = "model | distance of all residuals | genes rejected at 1 % | at 5 %"
    yield f"| {columns} | variance, 5 to 95 % of genes above 0.1 | s |"
    yield "|---|---|---|---|---|---|"
    for name, options in FITS.items():
        results = fitted(adata, **options)
        matrix = results.get_map_ppc_samples(1, rng=1)[0]
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = goodness_of_fit(results, matrix, n_samples=0)
        took = time.perf_counter() - start
        low, high = np.quantile(found.gene["variance"][found.group > 0], (0.05, 0.95))
        shares = " | ".join(f"{rejected(found, rate):.1%}" for rate in (0.01, 0.05))
        yield f"| {name} | {distance(found):.4f} | {shares} | {low:.2f} to {high:.2f} | {took:.1f} |"


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
            yield f"| {data} | {name} | {rejected(found):.0%} | {middle:.2f} | {fails:.0%} |"


Mixture = list[tuple[float, float]]
KINDS: dict[str, tuple[float, Mixture]] = {
    "negative binomial": (4.0, [(1.0, 1.0)]),
    "30 % silent": (4.0, [(0.3, 0.0), (0.7, 1.0)]),
    "bimodal": (10.0, [(0.5, 0.2), (0.5, 1.8)]),
    "heavy-tailed": (4.0, [(0.97, 1.0), (0.03, 10.0)]),
}
"""Size of the negative binomials, and shares and factors of the mean of the kinds of cells."""


def power(replicates: int) -> Iterator[str]:
    """One row per kind of gene and mean: share of genes rejected at 1 and 5 %, and by the best test at 5 %."""
    means, cells = (0.3, 1.0, 3.0, 10.0, 20.0), (200, 500, 1000, 5000)
    yield "| counts | mean | " + " | ".join(f"{n:,} cells: 1 % | 5 % | best" for n in cells) + " |"
    yield "|---" * (2 + 3 * len(cells)) + "|"
    for kind, (size, parts) in KINDS.items():
        shares = [powers(size, parts, np.repeat(means, replicates), n) for n in cells]
        for k, mean in enumerate(means):
            mine = slice(k * replicates, (k + 1) * replicates)
            entries = []
            for n, p_value in zip(cells, shares, strict=True):
                best = "" if len(parts) == 1 else f"{most_powerful(size, parts, mean, n):.0%}"
                found = [float(np.mean(p_value[mine] < rate)) for rate in (0.01, 0.05)]
                entries += [*(f"{x:.1%}" if len(parts) == 1 else f"{x:.0%}" for x in found), best]
            yield f"| {kind} | {mean:g} | {' | '.join(entries)} |"


def powers(size: float, parts: Mixture, mean: Any, n_cells: int) -> Any:
    """p-values of genes of a kind under a negative binomial with mean and dispersion of every gene fitted."""
    rng, (weights, factors) = np.random.default_rng(n_cells), zip(*parts, strict=True)
    factor = rng.choice(factors, (n_cells, len(mean)), p=weights)
    counts = rng.poisson(mean * factor * rng.gamma(size, 1 / size, factor.shape)).astype(np.float32)
    return goodness_of_fit(fitted(ad.AnnData(counts), n_steps=1500, model="nbdm", **OWN_ODDS)).gene["p_value"]


def most_powerful(size: float, parts: Mixture, mean: float, n_cells: int, rate: float = 0.05) -> float:
    """Power of the test by the likelihood ratio of the law of a gene and the nearest negative binomial.

    That is the lemma of Neyman and Pearson, with the sum over cells taken for normal.
    """
    u = np.arange(int(400 + 30 * mean))
    law = np.sum([w * nbinom.pmf(u, size, size / (size + mean * f)) for w, f in parts], axis=0)
    law /= law.sum()

    def nearest(x: Any) -> Any:
        m, r = np.exp(x)
        return nbinom.logpmf(u, r, r / (r + m))

    start = np.log([law @ u, 1.0])
    other = nearest(minimize(lambda x: -law @ nearest(x), start, method="Nelder-Mead").x)
    ratio = np.log(np.maximum(law, 1e-300)) - other
    away = [(p @ ratio, np.sqrt(p @ np.square(ratio) - (p @ ratio) ** 2)) for p in (np.exp(other), law)]
    limit = n_cells * away[0][0] + norm.isf(rate) * np.sqrt(n_cells) * away[0][1]
    return float(norm.sf((limit - n_cells * away[1][0]) / (np.sqrt(n_cells) * away[1][1])))


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
    parser.add_argument("--genes", type=int, default=60, help="genes of a kind and mean, for the table of power")
    given = parser.parse_args()
    data = given.data
    small = scribe.datasets.pbmc68k_counts()
    order = np.argsort(-np.asarray(small.X.sum(axis=0)).ravel())
    small = small[:, order[:120]].copy()
    small.obs["half"] = np.where(np.arange(small.n_obs) % 2, "a", "b")
    for table in (under_the_model(small), misfits(np.random.default_rng(0)), power(given.genes)):
        for row in table:
            print(row, flush=True)
        print()
    for row in on_all(ad.read_h5ad(data)) if data else ():
        print(row, flush=True)


if __name__ == "__main__":
    main()
