"""What a dispersion per gene and wide priors are worth: evidence lower bounds, and predicted means of rare genes.

python benchmarks/dispersion.py ../shared/data/pbmc_facs.h5ad
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import anndata as ad
import numpy as np

import scribe
from scribe._counts.checks import CountsWarning

FITS: dict[str, dict[str, Any]] = {
    "defaults: one Fano factor, LogNormal(0, 3)": {},
    "LogNormal(0, 1) on r": {"priors": {"r": (0.0, 1.0)}},
    'parameterization="mean_disp", LogNormal(0, 3)': {"parameterization": "mean_disp"},
    'parameterization="mean_disp", LogNormal(0, 1)': {
        "parameterization": "mean_disp",
        "priors": {"mu": (0.0, 1.0), "r": (0.0, 1.0)},
    },
}
RARE = 2
"""Largest total count of a rare gene."""


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an .h5ad file with counts in X")
    adata = ad.read_h5ad(parser.parse_args().data)
    total = np.asarray(adata.X.sum(axis=0), float).ravel()
    rare = (total > 0) & (total <= RARE)
    print("| fit | negative ELBO (nats) | predicted over observed mean, genes with 1 or 2 counts | converged |")
    print("|---|---|---|---|")
    for name, options in FITS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CountsWarning)
            results = scribe.fit(adata, **options)
        means = results.get_map(use_mean=True)
        predicted = np.asarray(means["mu"], float) * float(np.sum(means["p_capture"]))
        ratio = predicted[rare].sum() / total[rare].sum()
        print(f"| {name} | {results.verdict.loss:,.0f} | {ratio:.2f} | {results.converged} |", flush=True)


if __name__ == "__main__":
    main()
