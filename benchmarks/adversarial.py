"""Comparisons whose usual assumptions fail: most changes have one sign, most genes respond, few samples.

    python benchmarks/adversarial.py reference    bias of genes without change, by reference of the fold changes
    python benchmarks/adversarial.py respond      calls where none to most genes respond, two to five samples per group

``reference``: two groups of 200 cells; a share of the genes goes up eightfold in one of them, the cells of which may be
four times as deep. Bias is the mean log2 fold change of the genes that do not change, whose truth is zero.

``respond``: `scribe.datasets.conditions`, 500 genes with 50 cells per sample. PyDESeq2 runs beside where it is there.
Seeds are fixed.
"""

from __future__ import annotations

import argparse
import itertools
import warnings

import anndata as ad
import numpy as np
import pandas as pd
from de import compared, dense, deseq, fitted, table

import scribe

SHARES, REFERENCES = (0.0, 0.15, 0.3, 0.4), ("unchanged", "expressed", "clr", "iqlr")
KNOWN = 30
"""Genes known not to respond, where most do."""

DESIGNS = {
    "2 and 2": (2, False),
    "3 and 3": (3, False),
    "5 and 5": (5, False),
    "6 and 6": (6, False),
    "2 pairs": (2, True),
    "3 pairs": (3, True),
}


def one_sided(n_genes: int, share: float, depth: float, seed: int) -> tuple[ad.AnnData, np.ndarray]:
    """Two groups of cells, and whether a gene is up eightfold in the second."""
    rng, n = np.random.default_rng(seed), 200
    changed = np.arange(n_genes) < round(share * n_genes)
    mean = np.exp(rng.normal(0.7, 1.2, n_genes)) * 8.0 ** (np.arange(2)[:, None] * changed)
    cells = np.exp(rng.normal(-0.7, 0.4, (2, n, 1))) * np.array([1.0, depth])[:, None, None]
    size = np.exp(rng.normal(0.3, 0.6, n_genes))
    counts = rng.poisson(rng.gamma(size, cells * mean[:, None] / size)).reshape(2 * n, n_genes)
    obs = pd.DataFrame({"group": np.repeat(["a", "b"], n)}, index=[f"c{i}" for i in range(2 * n)])
    seen = counts.sum(axis=0) > 0
    return ad.AnnData(counts[:, seen].astype(np.float32), obs), changed[seen]


def reference(repeats: int) -> None:
    """Bias of genes without change, coverage of their intervals, and how often the reference is said to be in doubt."""
    rows = []
    for n_genes, depth, share in itertools.product((100, 300), (1.0, 4.0), SHARES):
        found: dict[str, list[float]] = {name: [] for name in REFERENCES}
        inside, doubts, wrong = [], 0, []
        for seed in range(repeats):
            adata, changed = one_sided(n_genes, share, depth, seed)
            fitted(adata, "group")
            for name in REFERENCES:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    scribe.tl.de(adata, "group", group="b", reference="a", method="empirical", reference_genes=name)
                table_of = scribe.get.de(adata).set_index("names").loc[adata.var_names]
                null = table_of[~changed]
                found[name].append(float(null["lfc_mean"].mean()))
                if name == REFERENCES[0]:
                    inside.append(np.mean((null["lfc_q05"] <= 0) & (null["lfc_q95"] >= 0)))
                    doubts += any("reference" in str(warning.message) for warning in said)
            default = compared(adata, "group", "b", "a").set_index("names").loc[adata.var_names]
            wrong.append(f"{int(default['is_de'][~changed].sum())} of {int(default['is_de'].sum())}")
        row: dict[str, object] = {"genes": n_genes, "depth": f"{depth:g}x", "up eightfold": f"{share:.0%}"}
        row |= {name: f"{np.mean(bias):+.2f} ({np.max(np.abs(bias)):.2f})" for name, bias in found.items()}
        row |= {"90 % intervals hold": f"{np.mean(inside):.0%}", "said to be in doubt": f"{doubts} of {repeats}"}
        rows.append(row | {"called without change": ", ".join(wrong)})
        table([rows[-1]])
    table(rows)


def respond(repeats: int, designs: list[str]) -> None:
    """Share of wrong calls, power, and errors of null genes."""
    rows = []
    for design, share, up in itertools.product(designs, (0.0, 0.1, 0.5, 0.8), (0.5, 1.0)):
        if share == 0.0 and up == 1.0:
            continue
        n_donors, paired = DESIGNS[design]
        found = [responses(n_donors, paired=paired, share=share, up=up, seed=seed) for seed in range(repeats)]
        for name in found[0]:
            tallies, p_values = zip(*(one[name] for one in found), strict=True)
            called, wrong, responding = np.sum(tallies, axis=0)
            row: dict[str, object] = {"samples": design, "respond": f"{share:.0%}", "up": f"{up:.0%}" if share else ""}
            row |= {"method": name, "calls": int(called), "wrong": f"{wrong / called:.1%}" if called else "none"}
            row["power"] = f"{(called - wrong) / responding:.0%}" if responding else ""
            rows.append(row | {"null genes with p < 0.05": f"{np.mean(np.concatenate(p_values) < 0.05):.1%}"})
            table(rows[-1:])
    table(rows)


def responses(n_donors: int, *, paired: bool, **about: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Calls and p-values of null genes by every method; where most genes go up, also relative to known genes."""
    seed, columns = int(about.pop("seed")), ("condition", "treated", "control")
    adata = scribe.datasets.conditions(n_donors, 50, 500, paired=paired, rng=seed, **about)
    effect = adata.var["effect"].to_numpy()
    fitted(adata, ["donor", "condition"])
    references = {"scribe": {}}
    if about["share"] > 0.5 and about["up"] == 1.0:
        references["scribe, reference_genes"] = {"reference_genes": list(adata.var_names[effect == 0][:KNOWN])}
    out = {}
    for name, options in references.items():
        of_samples = {"sample_key": "donor", **options}
        found = compared(adata, *columns, **of_samples).set_index("names").loc[adata.var_names]
        plain = compared(adata, *columns, method="empirical", **of_samples).set_index("names").loc[adata.var_names]
        p_values = 2 * np.minimum(plain["prob_up"], plain["prob_down"]).to_numpy()
        calls = tally(found["is_de"].to_numpy(), found["lfc_mean"].to_numpy(), effect)
        out[name] = (calls, p_values[effect == 0])
    bulk = by_samples(adata, paired=paired)
    if bulk is not None:
        calls = tally((bulk["padj"] < 0.05).to_numpy(), bulk["log2FoldChange"].to_numpy(), effect)
        out["PyDESeq2"] = (calls, bulk["pvalue"].fillna(1.0).to_numpy()[effect == 0])
    return out


def tally(called: np.ndarray, fold: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Calls, those without effect or of the other sign, and genes that respond."""
    wrong = called & ((effect == 0) | (np.sign(fold) != np.sign(effect)))
    return np.array([called.sum(), wrong.sum(), (effect != 0).sum()])


def by_samples(adata: ad.AnnData, *, paired: bool) -> pd.DataFrame | None:
    """PyDESeq2 on the sums of samples."""
    leaf = adata.obs["donor"].astype(str) + "|" + adata.obs["condition"].astype(str)
    sums = pd.DataFrame(dense(adata)).groupby(leaf.to_numpy()).sum()
    donor, condition = zip(*(name.split("|") for name in sums.index), strict=True)
    sides = np.where(np.array(condition) == "treated", "A", "B")
    return deseq(sums.to_numpy(), sides, adata.var_names, pairs=np.array(donor) if paired else None)


def main() -> None:
    """Read the command line and run one task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["reference", "respond"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    scribe.settings.verbosity = "error"
    if arguments.task == "reference":
        reference(arguments.repeats)
    else:
        respond(arguments.repeats, arguments.designs)


if __name__ == "__main__":
    main()
