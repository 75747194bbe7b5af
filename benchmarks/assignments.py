"""Are assignments to the components of a mixture as often right as they say, where types overlap?

    python benchmarks/assignments.py --replicates 6

Counts of types that differ in all genes by little, or in a tenth of them by more; negative binomial, with captures that
vary twofold. Without labels, and with those of 10 % of the cells (the others are judged). Components are matched to
types as suits them best. Fits whose components are nearly empty are counted and left out of the calibration.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from dataclasses import dataclass, field

import anndata as ad
import numpy as np
from scipy.special import softmax
from scipy.stats import nbinom

import scribe

PRIORS = {"default": {}, "gaussian": {"expression_prior": "gaussian", "unconstrained": True}}


@dataclass(frozen=True)
class Setting:
    """Types, cells and genes, sd of the log means of types about their mean, and the share of genes that differ."""

    n_types: int
    n_cells: int
    n_genes: int
    scale: float
    share: float = 1.0


SETTINGS = [
    Setting(2, 300, 40, 0.17),
    Setting(2, 300, 40, 0.12),
    Setting(2, 300, 100, 0.1),
    Setting(3, 400, 100, 0.17),
    Setting(4, 600, 100, 0.2),
    Setting(2, 400, 500, 0.22, share=0.1),
    Setting(2, 1500, 40, 0.17),
]


def simulated(one: Setting, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, types, and probabilities of types (cells, types) by Bayes' rule with everything known."""
    rng = np.random.default_rng(seed)
    share = np.exp(rng.normal(0, 1, one.n_genes))
    mean, size = share / share.sum() * one.n_genes * 10, np.exp(rng.normal(0.7, 0.5, one.n_genes))
    apart = one.scale * rng.normal(0, 1, (one.n_types, one.n_genes)) * (rng.random(one.n_genes) < one.share)
    if one.n_types == 2:
        apart[1] = -apart[0]
    weight = np.linspace(1.5, 1, one.n_types)
    weight /= weight.sum()
    kind, depth = rng.choice(one.n_types, one.n_cells, p=weight), np.exp(rng.normal(0, 0.35, (one.n_cells, 1)))
    means = mean * np.exp(apart)
    counts = rng.poisson(rng.gamma(size, depth * means[kind] / size)).astype(np.float32)
    pmf = [nbinom.logpmf(counts, size, size / (size + depth * of)).sum(axis=1) for of in means]
    return counts, kind, softmax(np.stack(pmf, axis=1) + np.log(weight), axis=1)


@dataclass
class Tally:
    """What assignments said and whether they were right, cell by cell, and what was said of fits."""

    sure: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    n_fits: int = 0
    n_empty: int = 0
    n_fewer: int = 0

    def add(self, probabilities: np.ndarray, kind: np.ndarray, judged: np.ndarray) -> None:
        """Take in the assignments of one fit."""
        found, n = probabilities.argmax(axis=1), probabilities.shape[1]
        best = max(itertools.permutations(range(n)), key=lambda order: np.mean(np.array(order)[found] == kind))
        self.sure.append(probabilities.max(axis=1)[judged])
        self.right.append((np.array(best)[found] == kind)[judged])

    def between(self, low: float, high: float) -> str:
        """How often assignments that are as certain are right, and the share of cells that they are."""
        if not self.sure:
            return " | "
        sure, right = np.concatenate(self.sure), np.concatenate(self.right)
        mine = (sure >= low) & (sure <= high)
        return f"{sure[mine].mean():.1%} | {right[mine].mean():.1%}" if mine.any() else " | "


def tallies(one: Setting, seeds: range, labelled: float) -> dict[str, Tally]:
    """Fits of replicates under both priors, assigned with and without tempering, beside Bayes' rule."""
    found: dict[str, Tally] = {"all known": Tally()}
    for seed in seeds:
        counts, kind, oracle = simulated(one, seed)
        known = np.random.default_rng(seed + 1000).random(len(kind)) < labelled
        adata = ad.AnnData(counts)
        adata.obs["type"] = np.where(known, np.array([f"type {k}" for k in kind]), None)
        of = {"annotation_key": "type", "annotation_confidence": 6.0} if labelled else {"n_components": one.n_types}
        found["all known"].add(oracle, kind, ~known)
        for prior, options in PRIORS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = scribe.fit(adata, parameterization="mean_disp", mixture_params="mean", rng=seed, **of, **options)
                assigned = {temper: fit.cell_type_assignments(temper=temper) for temper in (True, False)}
            for temper, assignment in assigned.items():
                tally = found.setdefault(f"{prior}{'' if temper else ', not tempered'}", Tally())
                tally.n_fits += 1
                tally.n_empty += "nearly empty" in fit.verdict.reason
                tally.n_fewer += fit.fewer_loss is not None
                if "nearly empty" not in fit.verdict.reason:
                    tally.add(assignment.probabilities, kind, ~known)
    return found


def main() -> None:
    """Print the table as markdown, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=6)
    parser.add_argument("--first", type=int, default=100, help="first seed")
    parser.add_argument("--settings", type=int, nargs="*", default=range(len(SETTINGS)))
    given = parser.parse_args()
    scribe.settings.verbosity = "error"
    print(
        "| types, genes, cells | labels | prior of means | all: said | right | said 85 to 95 %: said | right | ", end=""
    )
    print("above 99 %: said | right | fits | nearly empty | one less has the better ELBO |")
    print("|---" * 12 + "|")
    for one in (SETTINGS[k] for k in given.settings):
        for labelled in (0.0, 0.1):
            rows = tallies(one, range(given.first, given.first + given.replicates), labelled)
            for name, tally in rows.items():
                what = f"{one.n_types}, {one.n_genes:,}, {one.n_cells:,} | {labelled:.0%} | {name}"
                parts = " | ".join(tally.between(*limits) for limits in ((0, 1), (0.85, 0.95), (0.99, 1)))
                ends = f"{tally.n_fits or ''} | {tally.n_empty if tally.n_fits else ''} | "
                print(f"| {what} | {parts} | {ends}{tally.n_fewer if tally.n_fits else ''} |", flush=True)


if __name__ == "__main__":
    main()
