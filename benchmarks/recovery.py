"""Do 90 % intervals of log mu cover the truth in 90 % of cases? Simulated data, anchored capture.

    python benchmarks/recovery.py --replicates 200

Each replicate draws expression, overdispersion and capture anew, simulates counts from the negative binomial with
binomial capture, and fits it with capture anchored at the true total. Coordinates that share their odds among genes
are tested on data that do; mean_disp on data where every gene has its own dispersion.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np

import scribe

COORDINATES = ("canonical", "mean_prob", "mean_odds", "mean_disp")
SIGMA_M = 0.3
TOTAL_PER_GENE = 6.0


@dataclass(frozen=True)
class Truth:
    """One simulated data set with its expression and total."""

    counts: np.ndarray
    mu: np.ndarray


def simulate(rng: np.random.Generator, *, n_cells: int, n_genes: int, shared_odds: bool) -> Truth:
    """Counts from the model, independent of the package's own sampler."""
    mu = np.exp(rng.normal(0.0, 1.0, n_genes))
    mu *= TOTAL_PER_GENE * n_genes / mu.sum()
    odds = np.exp(rng.normal(-0.5, 0.5, 1 if shared_odds else n_genes))
    capture = np.exp(rng.normal(np.log(0.15), 0.35, n_cells)).clip(0.01, 0.9)
    molecules = rng.poisson(rng.gamma(mu * odds, 1 / odds, (n_cells, n_genes)))
    return Truth(rng.binomial(molecules, capture[:, None]).astype(np.float32), mu)


def one(parameterization: str, truth: Truth, *, seed: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Standardised error of log mu, whether the 90 % interval covers, and whether the fit converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = scribe.fit(
            truth.counts,
            parameterization=parameterization,
            priors={"capture_efficiency": (float(np.log(truth.mu.sum())), SIGMA_M)},
            rng=seed,
        )
    draws = np.log(np.asarray(results.get_posterior_samples(1000, sites=["mu"])["mu"]))
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    target = np.log(truth.mu)
    return (draws.mean(0) - target) / draws.std(0), (low <= target) & (target <= high), results.converged


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--genes", type=int, default=60)
    arguments = parser.parse_args()
    print(f"{arguments.replicates} replicates, {arguments.cells} cells x {arguments.genes} genes, sigma_M = {SIGMA_M}")
    print("| coordinates | coverage of 90 % intervals | sd of z | mean z | converged | s per fit |")
    print("|---|---|---|---|---|---|")
    for parameterization in COORDINATES:
        rows, start = [], time.perf_counter()
        for number in range(arguments.replicates):
            rng = np.random.default_rng((7, number))
            shared = parameterization != "mean_disp"
            truth = simulate(rng, n_cells=arguments.cells, n_genes=arguments.genes, shared_odds=shared)
            rows.append(one(parameterization, truth, seed=number))
        z = np.concatenate([row[0] for row in rows])
        covered = np.concatenate([row[1] for row in rows])
        converged = np.mean([row[2] for row in rows])
        seconds = (time.perf_counter() - start) / arguments.replicates
        print(
            f"| {parameterization} | {covered.mean():.3f} | {z.std():.2f} | {z.mean():+.2f} | {converged:.2f} | "
            f"{seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
