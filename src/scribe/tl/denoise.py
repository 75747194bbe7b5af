"""Denoise counts: what a cell held before capture."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import Slots, check_target, refuse_taken, write_derived
from scribe._posterior.denoise import Method
from scribe._posterior.indexing import check_dense
from scribe._posterior.results import Results
from scribe._progress import progress
from scribe._rng import as_seed
from scribe._types import FloatArray, Rng

__all__ = ["denoise"]

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

_FEWER = "Name the genes you need, genes=[...], raise the setting, or read scribe.get.results(adata).denoise_blocks()"


def denoise(
    adata: AnnData,
    *,
    key: str = "scribe",
    method: Literal["mean", "mode", "sample"] = "mean",
    n_samples: int = 100,
    genes: Sequence[str] | str | None = None,
    key_added: str | None = None,
    sd: bool = False,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Denoise counts: the posterior of the molecules each cell held before capture, given the observed count.

    The fitted model says how many molecules of a gene went unseen in a cell that showed :math:`u` of them. The answer
    keeps what was observed, adds what was missed, and shrinks the more towards the gene's mean the less was captured.
    With ``n_samples`` it is integrated over the posterior of the parameters. Values of different cells and genes share
    these parameters: they are estimates, smoother than data, and neither counts to fit nor independent observations to
    test; :func:`scribe.tl.fit` refuses them.

    Parameters
    ----------
    adata
        Annotated data with a fit and the counts it was made on.
    key
        Name of the fit.
    method
        ``"mean"`` of the posterior, its ``"mode"`` (a whole number, at the most probable parameters), or one
        ``"sample"`` (whole numbers with the spread of real molecules).
    n_samples
        Draws of the parameters to integrate over; 0 takes them at their most probable values.
    genes
        Genes to denoise; None takes all. The result for some genes goes to ``.obsm``.
    key_added
        Name of the slots; ``key + '_denoised'`` unless given.
    sd
        Write the posterior standard deviation as well.
    rng
        Seed, NumPy generator or JAX key; the seed of the fit unless given.
    copy
        Return a copy of ``adata`` with the results instead of writing into it.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.layers[key_added]`` : float32 (cells, genes)
        Denoised counts, dense. Unless ``genes`` is given.
    ``adata.layers[key_added + '_sd']`` : float32 (cells, genes)
        Posterior standard deviation, with ``sd=True``.
    ``adata.obsm[key_added]``, ``adata.obsm[key_added + '_sd']`` : :class:`pandas.DataFrame` (cells)
        The same with one column per gene, where ``genes`` is given.
    ``adata.uns[key_added]`` : dict
        ``quantity``, ``unit`` (absolute or relative molecules, as the fit knows capture) and ``formula``; ``method``,
        ``n_samples``, ``seed``; ``derived_from`` (the fit) and ``slots`` (what was written, JSON).

    Raises
    ------
    KeyError
        If there is no such fit or no such gene.
    ValueError
        If the counts are no longer in the layer the fit was made on, or the result is larger than
        ``settings.max_array_gb``.

    Notes
    -----
    For the negative binomial with size :math:`r`, odds :math:`\phi = r/\mu` and capture :math:`\nu`, the unseen
    molecules :math:`d = m - u` follow

    .. math:: d \mid u \sim \mathrm{NB}\{r + u,\ \text{mean } (r+u)\,w\}, \qquad w = \frac{1-\nu}{\phi+\nu}.

    A zero may also come from zero inflation, with probability :math:`\pi/\{\pi + (1-\pi)P(0)\}`; then it says nothing
    of the count, which follows the model before capture.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.denoise(adata, n_samples=10)
    >>> molecules = adata.layers["scribe_denoised"]
    """
    check_target(adata, copy=copy)
    place = Slots(key).denoised if key_added is None else key_added
    results = read_fit(adata, key=key)
    _warn_of_identity(results)
    attribute = "layers" if genes is None else "obsm"
    _check_place(adata, attribute, place, key=key, default=key_added is None, sd=sd)
    part = results if genes is None else results[[genes] if isinstance(genes, str) else list(genes)]
    check_dense((1 + sd, part.n_cells, part.n_genes), remedy=_FEWER)
    seed = results.seed if rng is None else as_seed(rng)
    values = _compute(part, method=method, n_samples=n_samples, sd=sd, seed=seed)
    named: dict[str, Any] = dict(zip((place, f"{place}_sd"), values, strict=False))
    if genes is not None:
        columns = pd.Index(np.asarray(part.gene_names, str))
        named = {name: pd.DataFrame(value, adata.obs_names, columns) for name, value in named.items()}
    target = adata.copy() if copy else adata
    record = _record(results, method=method, n_samples=n_samples, seed=seed)
    write_derived(target, {attribute: named}, key=key, name="denoised", place=place, record=record)
    return target if copy else None


def _check_place(adata: AnnData, attribute: str, place: str, *, key: str, default: bool, sd: bool) -> None:
    """Refuse to replace anything but an earlier result of this verb; only the default name is ours regardless."""
    if "/" in place or not place:
        msg = f"key_added={place!r} must be a name without '/'."
        raise ValueError(msg)
    refuse_taken(adata, "uns", place, key=key, place=place)
    if place in adata.uns and "formula" not in adata.uns[place]:
        msg = f"adata.uns[{place!r}] is taken by another result of the fit {key!r}: choose another key_added."
        raise ValueError(msg)
    if not default:
        for name in (place, f"{place}_sd") if sd else (place,):
            refuse_taken(adata, attribute, name, key=key, place=place)


def _warn_of_identity(results: Results) -> None:
    family = results.spec.family
    if not family.captured and not family.params:
        msg = (
            f"The model of this fit ({family.name}) has neither capture nor zero inflation: every molecule is "
            'observed and denoising returns the counts. Fit model="nbvcp" (the default) to model capture.'
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def _compute(results: Results, *, method: Method, n_samples: int, sd: bool, seed: int) -> tuple[FloatArray, ...]:
    """Values, and their standard deviations if asked for, (cells, genes) each."""
    out = tuple(np.empty((results.n_cells, results.n_genes), np.float32) for _ in range(1 + sd))
    with progress(results.n_cells, desc="denoise", unit="cell") as bar:
        for block in results.denoise_blocks(method=method, n_samples=n_samples, rng=seed, with_sd=sd):
            for array, values in zip(out, (block.value, block.sd), strict=False):
                array[block.cells] = values
            bar.update(block.cells.stop - block.cells.start)
    return out


def _record(results: Results, *, method: str, n_samples: int, seed: int) -> dict[str, Any]:
    return {
        "quantity": f"{method} of the posterior of the count before capture, given the observed count",
        "unit": _UNITS[results.capture_identified],
        "formula": _FORMULA,
        "method": method,
        "n_samples": n_samples,
        "seed": seed,
        "model": json.dumps(list(results.spec.family.layers)),
    }
