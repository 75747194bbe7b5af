"""Counts simulated from any model, with the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import jax
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scribe._counts.parameters import Parameters
from scribe._model.completion import complete
from scribe._model.keywords import verb
from scribe._model.names import site_of
from scribe._model.options import ModelOptions
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe._posterior.simulate import compressed_rows, simulate_blocks
from scribe._rng import as_seed
from scribe._types import Rng
from scribe.datasets._truth import true_parameters
from scribe.families import Family

__all__ = ["simulate"]


@verb
def simulate(
    n_cells: int = 500,
    n_genes: int = 200,
    model: str | Family | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    rng: Rng = None,
    **options: Unpack[ModelOptions],
) -> AnnData:
    r"""Simulate counts from a model, at the cost of the non-zeros.

    Every parameter comes from the first of these that has it: ``params``; its prior, where ``priors`` names it; values
    typical of UMI counts. Giving one parameter leaves the random draws of the others as they are. With a prior for
    every sampled parameter the data are a draw from the model's prior predictive, as simulation-based calibration
    needs; the exception is anchored capture, whose prior depends on the totals of the data it is fitted to.

    Parameters
    ----------
    n_cells, n_genes
        Size of the data.
    model
        ``"nbvcp"`` unless given, or ``"nbdm"``, ``"zinb"``, ``"zinbvcp"``, ``"poisson"``, ``"poissonvcp"``, ``"zip"``,
        ``"zipvcp"``, ``"twostate"``, ``"twostatevcp"``, or a family object.
    params
        True values under internal or descriptive names (``mu``, ``r``, ``p``, ``phi``, ``gate``; ``p_capture``,
        ``phi_capture`` or ``eta_capture``), one number or one per gene or cell.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.
    **options
        The keywords of :func:`scribe.tl.fit` that say which model it is: ``variable_capture``, ``zero_inflation``,
        ``parameterization``, ``unconstrained``, ``positive_transform``, ``priors``.

    Returns
    -------
    Counts in ``.X``, sparse float32. The truth is in

    ``adata.varm["truth"]`` : :class:`pandas.DataFrame` (genes)
        ``mu``, ``r`` and ``gate``, and ``p`` and ``phi`` where genes have their own.
    ``adata.obs["truth_capture"]`` : float (cells)
        Capture probability, in models with capture.
    ``adata.uns["truth"]`` : dict
        ``scalars`` (``p`` and ``phi`` where all genes share them), ``spec`` (the model, JSON), ``seed``.

    Raises
    ------
    ValueError
        If a parameter is not one of the model, has the wrong shape or lies outside its support.

    Notes
    -----
    Typical values are: :math:`\log\mu_g \sim N(\log 3, 1.6)` molecules before capture, three to four decades between
    genes; capture log-normal with median 0.1 and coefficient of variation 0.4; :math:`\phi = 0.25` shared by all
    genes, a variance 1.4 times the mean at median capture, or, with ``parameterization="mean_disp"``,
    :math:`\log r_g \sim N(0, 0.5)`; a two-state promoter has an excess variance as with these sizes, and switching
    rates that sum to 20; :math:`\text{gate} \sim \mathrm{Beta}(1, 9)`, and an overdispersion is the odds of such a
    variable. Without capture :math:`\mu` is ten times smaller and :math:`\phi` ten times larger, as if every cell had
    captured a tenth. With an anchor (``priors={"organism": ...}``) :math:`\mu` is scaled to the total mRNA it names.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.simulate(300, 100, "zinb", params={"gate": 0.2})
    >>> scribe.tl.fit(adata, "zinb", n_steps=200, early_stopping=False)
    """
    _check_shape(n_cells, n_genes)
    given = complete(options, kind=ModelOptions, verb="simulate")
    spec = resolve_spec(model, **given)
    seed = as_seed(rng)
    key_parameters, key_counts = jax.random.split(jax.random.key(seed))
    truth = true_parameters(
        spec,
        key_parameters,
        shape=(n_cells, n_genes),
        params=params or {},
        drawn={str(site_of(name)) for name in given["priors"] or {} if name != "organism"},
    )
    blocks = simulate_blocks(spec.family, truth, key_counts, n_genes=n_genes)
    indptr, genes, values = compressed_rows(blocks, n_cells)
    matrix = sparse.csr_matrix((values, genes, indptr), shape=(n_cells, n_genes))
    matrix.has_canonical_format = True
    adata = AnnData(
        matrix,
        obs=pd.DataFrame(index=[f"cell{number}" for number in range(n_cells)]),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(n_genes)]),
    )
    _write_truth(adata, spec, truth, seed=seed)
    return adata


def _check_shape(n_cells: int, n_genes: int) -> None:
    for name, value in (("n_cells", n_cells), ("n_genes", n_genes)):
        if value < 1:
            msg = f"{name} must be at least 1, got {value}."
            raise ValueError(msg)


def _write_truth(adata: AnnData, spec: ModelSpec, truth: Parameters, *, seed: int) -> None:
    readable = {name: np.asarray(value) for name, value in spec.family.named(truth.natural).items()}
    per_gene = {name: value for name, value in readable.items() if value.ndim}
    scalars = {name: float(value) for name, value in readable.items() if not value.ndim}
    adata.varm["truth"] = pd.DataFrame(per_gene, index=adata.var_names)
    if spec.family.captured:
        adata.obs["truth_capture"] = np.exp(np.asarray(truth.log_exposure))
    adata.uns["truth"] = {"scalars": scalars, "spec": spec.to_json(), "seed": seed}
