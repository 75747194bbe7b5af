"""Fit a Bayesian model of counts."""

from __future__ import annotations

import functools
from typing import Unpack

from anndata import AnnData

from scribe._adata.fits import check_slots, fit_record, read_fit, write_fit
from scribe._adata.read import as_counts
from scribe._adata.slots import check_key, check_target
from scribe._adata.source import counts_to_continue
from scribe._fit import fit_counts, known_covariates, seed_of
from scribe._model.config import configured
from scribe._model.keywords import verb
from scribe._model.options import FitOptions
from scribe._types import Rng
from scribe.families import Family

__all__ = ["fit"]


@verb
def fit(
    adata: AnnData,
    model: str | Family | None = None,
    *,
    layer: str | None = None,
    key_added: str = "scribe",
    rng: Rng = None,
    resume: bool = False,
    copy: bool = False,
    **options: Unpack[FitOptions],
) -> AnnData | None:
    r"""Fit a Bayesian model of counts by variational inference.

    The default model says that the molecules of a gene in a cell are negative binomial and that each is observed with
    a probability of the cell's own, so that library size is part of the model rather than divided out beforehand:

    .. math:: u_{cg} \sim \mathrm{NB}(r_g, \hat p_c),\qquad \hat p_c = \frac{p\,\nu_c}{1 - p(1-\nu_c)}.

    Without a capture anchor (``priors={"organism": "human"}`` or ``{"capture_efficiency": (log_M0, sigma_M)}``) only
    products :math:`\nu_c\mu_g` are identified: capture and expression are relative. ``uns[key]["data"]["capture"]``
    says which of the two a fit has.

    Parameters
    ----------
    adata
        Annotated data with raw counts.
    model
        ``"nbvcp"`` unless given, or ``"nbdm"``, ``"zinb"``, ``"zinbvcp"``, ``"poisson"``, ``"poissonvcp"``, ``"zip"``,
        ``"zipvcp"``, ``"twostate"``, ``"twostatevcp"``, or a family object. With ``variable_capture`` or
        ``zero_inflation`` leave it out, or name the family alone: ``"poisson"``, ``"twostate"``.
    layer
        Layer that holds the counts; None is ``.X``.
    key_added
        Name of the fit; all slots start with it.
    rng
        Seed, NumPy generator or JAX key; 42 unless given. The same seed on the same machine gives the same bits.
    resume
        Continue the fit that ``adata`` holds under ``key_added``, on the counts it was made on, which must still be
        where they were.
    **options
        Every keyword of :doc:`the table </guide/options>`: model, priors, guide and inference settings.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.varm[key_added + '_params']`` : :class:`pandas.DataFrame` (genes)
        Posterior mean and sd of every per-gene parameter, ``mu_mean, mu_sd, r_mean, r_sd, ...``, in molecules
        (``mu``); the gene's ``observed_mean`` count; ``status`` says where a gene has no counts. Where no cell is of a
        component in a dataset they are NaN, and ``status[component, dataset]`` says ``"no cells"``. ``r_identified``
        (and the like of other dispersions) is False where the prior decides: the counts of a rare or nearly Poisson
        gene fit every large ``r``, and the posterior has more than 15 % of the prior's sd (of the logarithm).
    ``adata.obs[key_added + '_total']`` : float (cells)
        Total count of the cell.
    ``adata.obs[key_added + '_capture']``, ``adata.obs[key_added + '_capture_sd']`` : float (cells)
        Posterior mean and sd of the capture probability, in models with capture.
    ``adata.varm[key_added + '_<site>']``, ``adata.obsm[key_added + '_<site>']`` : float (genes or cells, 2)
        Variational parameters, which subsetting subsets: they are the posterior.
    ``adata.varm[key_added + '_<site>_prior']``, ``adata.obsm[key_added + '_<site>_prior']`` : float (genes or cells, 2)
        With ``informative_priors_from``: mean and sd of the prior of the parameter, on the real line.
    ``adata.uns[key_added]`` : dict
        ``config`` (JSON), ``sites`` and ``scalars`` (parameters shared by all genes), ``loss`` (nats per step;
        ``restart_losses``: at the end of every run, with ``n_restarts``),
        ``convergence`` (the verdict), ``seed``, ``versions``, ``schema_version``, and ``data``: where the counts were
        read (``source``, ``n_cells``, ``n_genes``, ``var_names_sha256``, ``integer``), whether ``capture`` is
        ``"absolute"``, ``"relative"`` or ``"none"``, ``mean_capture``: that of all cells, by what the cells of
        every component and dataset add to it, and, of mixtures, ``level_cells``: expected numbers of cells of every
        component in every dataset.

    Raises
    ------
    ValueError
        If the values are not counts, options contradict each other, or a slot holds what is not of an earlier fit under
        this key; the message names the fix.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, n_steps=200, early_stopping=False)
    """
    model, complete_options = configured(model, options)
    check_target(adata, copy=copy)
    check_key(adata, key_added)
    earlier = read_fit(adata, key=key_added) if resume else None
    seed = seed_of(rng, complete_options, earlier=earlier)
    informing = complete_options["informative_priors_from"]
    if isinstance(informing, str):
        complete_options["informative_priors_from"] = read_fit(adata, key=informing)
    if earlier is None:
        non_integer, axis = complete_options["non_integer"], complete_options["cells_axis"]
        counts = as_counts(adata, layer=layer, cells_axis=axis, non_integer=non_integer)
    else:
        found = counts_to_continue(adata, key_added, earlier.counts, layer=layer)
        counts, layer, options["non_integer"] = found
    known = known_covariates(adata, complete_options, counts)
    before = functools.partial(check_slots, adata, key_added)
    results = fit_counts(counts, model, complete_options, seed=seed, earlier=earlier, covariates=known, before=before)
    record = fit_record(results, counts, key=key_added, genes=adata.var_names, layer=layer, options=options)
    target = adata.copy() if copy else adata
    write_fit(target, record)
    return target if copy else None
