"""Normalise: expression as shares of the molecules of a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.denoised import FEWER
from scribe._adata.fits import labels_of, read_fit
from scribe._adata.slots import Slots, check_free, check_target, refuse_taken, write_derived
from scribe._model.axes import LEVEL_AXES
from scribe._model.keywords import verb
from scribe._posterior.indexing import check_dense, check_draws
from scribe._posterior.results import Results
from scribe._progress import progress
from scribe._rng import as_seed
from scribe._types import FloatArray, Rng

__all__ = ["normalize"]

_FORMULA = "target_sum E[m_cg] / sum_h E[m_ch], with m the molecules before capture given the observed counts"


@verb
def normalize(
    adata: AnnData,
    *,
    key: str = "scribe",
    target_sum: float = 1e4,
    n_samples: int = 100,
    layer: bool = True,
    key_added: str | None = None,
    rng: Rng = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Normalise by the model: what share of the molecules of a cell are those of a gene.

    Cells are comparable by the shares of their molecules. Dividing counts by their total estimates these shares with
    the noise of every single count; the posterior of the molecules takes that noise out, gene by gene as much as the
    gene's counts warrant. Values of different cells and genes share the parameters of the model: use them to look and
    to embed, not as data to fit or test; :func:`scribe.tl.fit` refuses them.

    Parameters
    ----------
    target_sum
        What the values of a cell sum to.
    n_samples
        Draws of the parameters to integrate over; 0 takes them at their most probable values for cells, and 1,000
        draws for genes.
    layer
        Write the layer of cells; False writes the table of genes alone, at no cost in cells.
    key_added
        Name of the layer, ``key + '_normalized'`` unless given, and what the name of the table begins with.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.layers[key_added]`` : float32 (cells, genes)
        Expected molecules of a gene among ``target_sum`` molecules of the cell, dense. Unless ``layer=False``.
    ``adata.varm[key + '_composition']``, or ``[key_added + '_composition']`` : :class:`pandas.DataFrame` (genes)
        ``share_mean`` and ``share_sd``: posterior of the molecules among ``target_sum`` in the mean over cells;
        ``clr_mean`` and ``clr_sd``: of its centred log-ratio, in natural logarithms. A column for every component and
        dataset in which expression differs, ``share_mean[B cell]``.
    ``adata.uns[key_added]`` : dict
        ``quantity``, ``formula``, ``target_sum``, ``n_samples``, ``seed``, ``derived_from``, ``slots``.

    Raises
    ------
    KeyError
        If there is no such fit.
    ValueError
        If the counts are no longer in the layer the fit was made on, or the result is larger than
        ``settings.max_array_gb``.

    Notes
    -----
    .. math:: x_{cg} = S\,\frac{E[m_{cg} \mid u_c]}{\sum_h E[m_{ch} \mid u_c]},\qquad
        \mathrm{clr}(\rho)_g = \log\rho_g - \frac1G\sum_h\log\rho_h

    with the target sum S and the molecules :math:`m` of :func:`scribe.tl.denoise`. Capture cancels in both. For
    whole laws of compositions ask ``scribe.get.results(adata)``: ``get_compositional_samples`` (draws),
    ``normalize_counts`` (with the Dirichlet law closest to them) and ``fit_logistic_normal``.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    >>> scribe.tl.normalize(adata, n_samples=10)
    >>> shares = adata.varm["scribe_composition"]["share_mean"]
    """
    if not target_sum > 0:
        msg = f"target_sum must be positive, got {target_sum!r}; 1e4 is what scanpy users know."
        raise ValueError(msg)
    check_draws(n_samples)
    check_target(adata, copy=copy)
    results, slots = read_fit(adata, key=key), Slots(key if key_added is None else key_added)
    place = slots.of("normalized") if key_added is None else key_added
    mine: dict[str, Any] = {"key": key, "name": "normalized", "place": place}
    refuse_taken(adata, **mine)
    check_free(adata, {"layers": [place] if layer else [], "varm": [slots.of("composition")]}, key=key)
    seed = results.seed if rng is None else as_seed(rng)
    table = _table(results, n_samples=n_samples or 1000, seed=seed, target_sum=target_sum, index=adata.var_names)
    written: dict[str, dict[str, Any]] = {"varm": {slots.of("composition"): table}}
    if layer:
        check_dense((1, results.n_cells, results.n_genes), remedy=FEWER)
        written["layers"] = {place: _cells(results, n_samples=n_samples, seed=seed, target_sum=target_sum)}
    record = {
        "quantity": f"expected molecules among {target_sum:g} molecules of a cell",
        "formula": _FORMULA,
        "target_sum": float(target_sum),
        "n_samples": n_samples,
        "seed": seed,
    }
    target = adata.copy() if copy else adata
    write_derived(target, written, **mine, record=record)
    return target if copy else None


def _cells(results: Results, *, n_samples: int, seed: int, target_sum: float) -> FloatArray:
    """Shares of every cell, (cells, genes)."""
    out = np.empty((results.n_cells, results.n_genes), np.float32)
    with progress(results.n_cells, desc="normalize", unit="cell") as bar:
        for block in results.denoise_blocks(n_samples=n_samples, rng=seed, with_sd=False):
            total = np.sum(block.value, axis=1, keepdims=True, dtype=np.float64)
            out[block.cells] = target_sum * block.value / np.maximum(total, 1e-30)
            bar.update(block.cells.stop - block.cells.start)
    return out


def _table(results: Results, *, n_samples: int, seed: int, target_sum: float, index: pd.Index[str]) -> pd.DataFrame:
    """Shares and centred log-ratios of genes at every level in which expression differs."""
    axes = results.posterior.named_axes["mu"]
    columns: dict[str, FloatArray] = {}
    for level, label in labels_of(results.spec, axes):
        own = dict(zip((axis for axis in axes if axis in LEVEL_AXES), level, strict=True))
        # of an axis along which expression is the same any level will do
        where: dict[str, Any] = {axis: own.get(axis, 0) for axis in LEVEL_AXES if axis in results.spec.levels}
        if not results.has_cells((own.get("component", 0), own.get("dataset", 0))):
            unknown = np.full(results.n_genes, np.nan)
            columns |= {f"{name}{label}": unknown for name in ("share_mean", "share_sd", "clr_mean", "clr_sd")}
            continue
        shares = results.get_compositional_samples(n_samples, estimand="mean", rng=seed, **where)
        logs = np.log(np.maximum(shares, 1e-30))
        clr = logs - logs.mean(axis=1, keepdims=True)
        for name, draws in (("share", target_sum * shares), ("clr", clr)):
            columns[f"{name}_mean{label}"] = draws.mean(axis=0, dtype=np.float64)
            columns[f"{name}_sd{label}"] = draws.std(axis=0, ddof=1, dtype=np.float64)
    return pd.DataFrame(columns, index=index)
