"""How the time of a default fit grows with the number of cells, after the counting pass.

    python benchmarks/growth.py

The default model (nbvcp) needs of the data how many cells show gene g at count k and how many cells have total U. At
10^4 cells these are counted from a simulated matrix of 20,000 genes; at 10^5 and 10^6 cells the matrix need not exist:
the two histograms are simulated themselves, genes over a grid of capture values and totals cell by cell. Every fit
runs to convergence; the seconds exclude compilation, which the first chunk of steps pays.
"""

from __future__ import annotations

import argparse
import functools
import time
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from scribe._counts.container import Counts
from scribe._counts.summaries import CellGroups, GeneMoments, PairHistogram, cell_groups
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, Task
from scribe.engines.problem import make_problem
from scribe.guides import MeanField

GENES, ODDS, TOTAL, GRID = 20_000, 1.0, 20_000.0, 100


@dataclass
class Statistics:
    """The summaries of a count matrix that the default model reads, without the matrix."""

    totals: np.ndarray
    histogram: PairHistogram
    n_genes: int
    gene_names: None = None
    cell_names: None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.totals)

    def pairs(self) -> PairHistogram:
        """Pairs of gene and count."""
        return self.histogram

    def groups(self) -> CellGroups:
        """Cells of equal totals."""
        return self._groups

    @functools.cached_property
    def _groups(self) -> CellGroups:
        return cell_groups(self.totals)

    def moments(self, weights: np.ndarray) -> GeneMoments:
        """Sums of u and u^2 per gene; u times weight up to the independence of a gene and the total."""
        gene, count, n = self.histogram.gene, self.histogram.count, self.histogram.n
        total = np.bincount(gene, count * n, self.n_genes)
        square = np.bincount(gene, count**2 * n, self.n_genes)
        return GeneMoments(total, total * (weights**2).sum() / weights.sum(), square)


def expression(rng: np.random.Generator) -> np.ndarray:
    """Mean molecules per gene, over five decades."""
    mu = np.exp(rng.normal(0, 2.0, GENES))
    return mu * TOTAL / mu.sum()


def from_matrix(rng: np.random.Generator, mu: np.ndarray, capture: np.ndarray) -> Counts:
    """Counts of the model, block by block, held by their non-zeros."""
    blocks = []
    for part in np.array_split(capture, max(len(capture) // 500, 1)):
        rate = rng.standard_gamma(np.broadcast_to(mu * ODDS, (len(part), GENES))) / ODDS
        blocks.append(sparse.csr_matrix(rng.poisson(rate * part[:, None]).astype(np.float32)))
    return Counts.from_matrix(sparse.vstack(blocks, format="csr"))


def from_histograms(rng: np.random.Generator, mu: np.ndarray, capture: np.ndarray) -> Statistics:
    """The two histograms of the same model."""
    size = mu * ODDS
    share = capture / (ODDS + capture)
    totals = rng.poisson(rng.gamma(size.sum(), share / (1 - share)))
    edges = np.quantile(capture, (np.arange(GRID) + 0.5) / GRID)
    per_bin = np.full(GRID, len(capture) // GRID)
    genes, values, cells = [], [], []
    for block in np.array_split(np.arange(GENES), 200):
        top = int(stats.nbinom.isf(1e-9, size[block].max(), ODDS / (ODDS + edges.max()))) + 2
        table = np.zeros((len(block), top))
        for nu, n in zip(edges, per_bin, strict=True):
            pmf = stats.nbinom.pmf(np.arange(top)[None], size[block][:, None], ODDS / (ODDS + nu))
            table += rng.multinomial(n, pmf / pmf.sum(1, keepdims=True))
        gene, value = np.nonzero(table[:, 1:])
        genes.append(block[gene])
        values.append(value + 1)
        cells.append(table[gene, value + 1])
    histogram = PairHistogram(
        np.concatenate(genes).astype(np.int32), np.concatenate(values).astype(np.float32), np.concatenate(cells)
    )
    return Statistics(totals.astype(float), histogram, GENES)


def timed_fit(counts: Counts | Statistics) -> dict[str, float]:
    """Seconds and steps of a default fit to convergence, and of its compilation."""
    spec, engine = resolve_spec(), SVI()
    start = time.perf_counter()
    problem = make_problem(spec, counts, MeanField())
    import jax

    jax.block_until_ready(problem.steps(problem.initial_state(), jax.random.key(0), first=0, n=100, rate=1e-3))
    compilation = time.perf_counter() - start
    start = time.perf_counter()
    fitted = engine.fit(Task(spec, counts, MeanField()), seed=0)
    return {
        "pairs": len(counts.pairs().n),
        "groups": len(counts.groups().totals),
        "compile": compilation,
        "seconds": time.perf_counter() - start,
        "steps": fitted.verdict.steps,
        "converged": fitted.verdict.converged,
    }


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    sizes = parser.parse_args().sizes
    print("| cells | statistics from | pairs | distinct totals | s to converge | steps | ms per step | s compile |")
    print("|---|---|---|---|---|---|---|---|")
    for n_cells in sizes:
        rng = np.random.default_rng(n_cells)
        mu = expression(np.random.default_rng(0))
        capture = np.exp(rng.normal(np.log(0.15), 0.4, n_cells)).clip(0.01, 0.9)
        for name, make in (("matrix", from_matrix), ("histograms", from_histograms)):
            if name == "matrix" and n_cells > 10_000:
                continue
            row = timed_fit(make(rng, mu, capture))
            print(
                f"| {n_cells:,} | {name} | {row['pairs']:,} | {row['groups']:,} | {row['seconds']:.1f} | "
                f"{row['steps']:,} | {1e3 * row['seconds'] / row['steps']:.2f} | {row['compile']:.1f} |"
                + ("" if row["converged"] else " NOT converged"),
                flush=True,
            )


if __name__ == "__main__":
    main()
