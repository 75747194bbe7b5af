"""Denoised counts as arrays, and what is to be said of them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from scribe._counts.checks import outside_stacklevel
from scribe._posterior.denoise import Method, by_count
from scribe._posterior.results import Results
from scribe._progress import progress
from scribe._types import FloatArray

__all__ = ["FEWER", "computed", "record_of", "warn_of_identity"]

_UNITS = {
    "absolute": "molecules before capture",
    "relative": "molecules before capture, up to one unknown factor common to all cells and genes",
    "none": "counts without dropout",
}
"""Unit of a denoised count by what the fit knows of capture."""

_FORMULA = (
    "m = u + d; NB: d ~ NB(size r + u, mean (r + u) w) with w = (1 - nu)/(phi + nu), phi = r/mu; Poisson: d ~ "
    "Poisson(mu (1 - nu)); two-state: d ~ Poisson(r_hat (1 - nu) p), p with density proportional to "
    "p^(k_on + u - 1) (1 - p)^(k_off - 1) exp(-nu r_hat p); a zero made by "
    "the gate, with probability gate/(gate + (1 - gate) P(0)), has m as before capture"
)

FEWER = "Name the genes you need, genes=[...], raise the setting, or read scribe.get.results(adata).denoise_blocks()"
"""What to do where the result is too large."""


def warn_of_identity(results: Results) -> None:
    """Warn the caller's caller where the model says that every molecule was observed."""
    family = results.spec.family
    if not family.captured and not family.params:
        msg = (
            f"The model of this fit ({family.name}) has neither capture nor zero inflation: every molecule is "
            'observed and denoising returns the counts. Fit model="nbvcp" (the default) to model capture.'
        )
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())


def computed(results: Results, *, method: Method, n_samples: int, sd: bool, seed: int) -> tuple[FloatArray, ...]:
    """Values, and their standard deviations if asked for, (cells, genes) each."""
    out = tuple(np.empty((results.n_cells, results.n_genes), np.float32) for _ in range(1 + sd))
    with progress(results.n_cells, desc="denoise", unit="cell") as bar:
        for block in results.denoise_blocks(method=method, n_samples=n_samples, rng=seed, with_sd=sd):
            for array, values in zip(out, (block.value, block.sd), strict=False):
                array[block.cells] = values
            bar.update(block.cells.stop - block.cells.start)
    return out


def record_of(results: Results, *, method: Method, n_samples: int, seed: int) -> dict[str, Any]:
    """Quantity, unit and formula of denoised counts, and how they were made."""
    positive, zero = by_count(method)
    what = positive if positive == zero else f"{positive} for observed counts and {zero} for zeros"
    return {
        "quantity": f"{what} of the posterior of the count before capture, given the observed count",
        "unit": _UNITS[results.capture_identified],
        "formula": _FORMULA,
        "method": what,
        "n_samples": n_samples,
        "seed": seed,
        "model": json.dumps(list(results.spec.family.layers)),
    }
