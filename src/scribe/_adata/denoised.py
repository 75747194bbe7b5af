"""Denoised counts as arrays, and what is to be said of them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from scribe._counts.checks import outside_stacklevel
from scribe._posterior.denoise import Method, by_count
from scribe._posterior.misfit import WIDE, misfit
from scribe._posterior.results import Results
from scribe._progress import progress
from scribe._types import AnyArray, FloatArray

__all__ = ["FEWER", "computed", "record_of", "warn_of_fit"]

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


def warn_of_fit(results: Results, genes: AnyArray | None) -> None:
    """Warn where denoising has nothing to do, or a fit takes cells for more alike than they are."""
    family = results.spec.family
    if family.captured or family.params:
        msg = _misfit(results, np.asarray(genes, str))
    else:
        msg = (
            f"The model of this fit ({family.name}) has neither capture nor zero inflation: every molecule is "
            'observed and denoising returns the counts. Fit model="nbvcp" (the default) to model capture.'
        )
    if msg is not None:
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())


_MOST_COMMON, _SHARE_WIDE, _SHOWN = 5.0, 0.01, 5
"""Variation that genes have in common (sorted types of blood cells have 2 to 7, ten together 10 to 12), share of wide
genes, and how many of these are named."""


def _misfit(results: Results, genes: AnyArray) -> str | None:
    """What is to be said of a fit that would draw cells of different types towards each other, and the remedy."""
    found, names = misfit(results.posterior, results.counts()), np.asarray(results.gene_names, str)
    asked = np.flatnonzero(np.isin(names, genes))
    wide = asked[found.wide[asked]]
    types = "more components" if results.posterior.mixed else "n_components=... or annotation_key=..."
    said, remedies = [], []
    if len(wide) > _SHARE_WIDE * len(asked):
        worst = wide[np.argsort(-found.dispersion[wide])][:_SHOWN]
        named = ", ".join(f"{names[gene]} {found.dispersion[gene]:.1f} times" for gene in worst)
        said.append(f"{len(wide):,} of {len(asked):,} genes vary more than {WIDE:g} times as predicted ({named})")
        remedies.append(
            'parameterization="mean_disp" (a dispersion for every gene)' if results.spec.coordinates.shared else types
        )
    if found.common > _MOST_COMMON:
        said.append(f"counts of different genes go together, {found.common:.0f} times as much as the fit allows")
        remedies.append(types)
    if not said:
        return None
    return (
        f"The fit takes cells for more alike than they are: {' and '.join(said)}. Denoised counts are drawn towards "
        "the mean of all cells that are taken for one population, so that markers of one cell type appear in others. "
        f"Fit with {' and '.join(dict.fromkeys(remedies))} and denoise that fit."
    )


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
