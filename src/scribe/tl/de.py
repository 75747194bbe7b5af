"""Compare expression between groups of cells or conditions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.design import groups_of
from scribe._adata.fits import read_fit
from scribe._adata.read import counts_by_group
from scribe._adata.records import read_config
from scribe._adata.slots import check_target, refuse_taken, require, write_derived
from scribe._compare.by_obs import Leaves, leaves_by_obs
from scribe._compare.contrasts import REST, between_cells, between_samples, check_samples, pairs_of_groups
from scribe._compare.differential import DifferentialExpression
from scribe._compare.gene_sets import read_gmt
from scribe._compare.groups import n_draws, refuse_idle_rank, warn_of_cells, warn_of_reference
from scribe._compare.options import DrawOptions, completed
from scribe._compare.relative import Method, check_genes, chosen_method
from scribe._compare.tables import Calls, as_ranked, gene_table
from scribe._counts.checks import outside_stacklevel
from scribe._model.keywords import verb
from scribe._model.labels import label_of
from scribe._posterior.indexing import Selector
from scribe._progress import progress
from scribe._rng import as_key, as_seed
from scribe._stats.effects import check_max_lfsr, check_target_pefp, check_tau
from scribe._types import Label, Labels

__all__ = ["de"]


class DEOptions(DrawOptions, total=False):
    """What a comparison of groups takes beside."""

    component: str | int | None
    reference_genes: Selector
    min_lfc: float
    target_pefp: float
    max_lfsr: float
    call_extremes: bool
    gene_sets: Mapping[str, Selector] | Path | str | None


@verb
def de(
    adata: AnnData,
    groupby: str,
    *,
    group: Labels | None = None,
    reference: Label = REST,
    sample_key: str | None = None,
    method: Method | None = None,
    key: str = "scribe",
    key_added: str | None = None,
    copy: bool = False,
    **options: Unpack[DEOptions],
) -> AnnData | None:
    r"""Differential expression between groups of cells or conditions, from the posterior of a fit.

    The share of a gene among the molecules of a group is compared with its share in another, relative to genes that
    serve as reference. Library size and capture cancel; nothing is normalised beforehand.

    The groups may be datasets or components of the fit, which then tells their means apart already. Other columns of
    ``adata.obs`` make a fit of their own by variational inference, of the same family with a mean for every gene and
    group and the same dispersion in all. It knows nothing of other datasets of the fit, such as batches, and is not
    kept: to compare often, fit with ``dataset_key=groupby, dataset_params="mean",
    parameterization="mean_disp"``.

    **Replicates.** Cells of one donor share what is special to the donor, so that a difference between two conditions
    may be one between the donors that happened to be in them. With ``sample_key`` samples are the unit: every gene
    varies between samples by an amount that is estimated from all genes, and that is part of the error
    (``level="sample"``). Samples with the same label in several groups are pairs. Without it the table says
    ``level="cell"``: right for markers of cell types, far too sure for conditions.

    Parameters
    ----------
    adata
        Annotated data with a fit, and, unless that fit tells the groups apart, the counts it was made on.
    groupby
        Column of ``adata.obs`` with the groups.
    group
        Group or groups to compare; None takes all in turn.
    reference
        Group they are compared with, or ``"rest"``: all others together, by their numbers of cells (with
        ``sample_key`` each group alike).
    sample_key
        Column of ``adata.obs`` with the samples: donors, animals, batches.
    method
        ``"shrinkage"``: towards a population of effects that is learned from all genes, so that where nothing differs
        next to nothing is called; ``"empirical"``: draws as they are, each gene by itself: of a thousand genes without
        any difference a tenth have an ``lfsr`` below 5 %; ``"parametric"``: normal log-ratios. With ``sample_key`` one
        of the first two. None is ``"shrinkage"``, with ``estimand="cell"`` ``"empirical"``: what varies between cells
        is no error that could be shrunk.
    key_added
        Name of the result; ``key + '_de'`` unless given.
    **options
        What else to say, by name; see below.
    component
        Component of a mixture with datasets in which to compare these, by label or number: a condition within a cell
        type.
    estimand
        ``"mean"``: do the means differ? ``"cell"``: does a random cell of one group exceed one of the other?
    min_lfc
        Log2 fold changes up to this one count as none, in ``prob_up``, ``prob_down``, ``lfsr`` and all that follows.
    target_pefp
        Share of wrong signs that is expected among the genes in ``is_de``; 0.05 unless given.
    max_lfsr
        Largest local false sign rate of a gene in ``is_de``; 0.2 unless given. The sure genes of a long list would else
        carry unsure ones.
    call_extremes
        Whether genes may be in ``is_de`` that rest on few cells or one sample, see ``status``; False unless given.
    gene_mask
        Genes to keep: names, numbers or a mask, such as that of :func:`scribe.tl.gof`. The others are pooled.
    gene_sets
        Sets of genes by name, or a .gmt file, whose shift against all other genes is tested.
    n_samples, n_samples_dirichlet, rank
        As in :func:`scribe.compare`, whose ``reference`` is ``reference_genes`` here.
    reference_genes
        What differences are relative to: genes that are ``"unchanged"`` (unless given), well ``"expressed"``,
        ``"clr"``, ``"iqlr"``, or genes: see :meth:`scribe.DifferentialExpression.set_reference`.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.uns[key_added]['table']`` : :class:`pandas.DataFrame`
        One row per group and gene, genes in the order of ``adata.var_names``; read it with :func:`scribe.get.de`.
        ``group``, ``reference``, ``names``; ``lfc_mean``, ``lfc_sd``, ``lfc_q05``, ``lfc_q95``: log2 fold change,
        **positive where the share is larger in the group**, with its standard deviation and 90 % interval; ``prob_up``,
        ``prob_down``: probability that it lies above ``min_lfc`` or below its negative, ``prob_de`` the larger of the
        two; ``lfsr``: local false sign rate, ``1 - prob_de``; ``pefp``: expected share of wrong signs among all genes
        with an lfsr up to this one; ``is_de``: whether that is at most ``target_pefp``, ``lfsr`` at most ``max_lfsr``
        and ``status`` ``"ok"``; ``mean_group``, ``mean_reference``: expected molecules among 10,000;
        ``top_cells_group``, ``top_cells_reference``: share of the gene's counts that the cells with the largest counts
        hold, 2 % of the cells, at least one and at most three; ``top_sample_group``, ``top_sample_reference``: share of
        its expression, summed over samples, that the largest sample holds (NaN without ``sample_key``); ``status``:
        ``"ok"``; ``"no counts"`` in both groups or ``"pooled"`` by ``gene_mask``, both with NaN; ``"few cells"``: these
        cells hold more than half of the counts in the group that has more; ``"one sample"``: without its largest
        sample, or the pair that differs most, of three or more, less than a third of the change is left; ``level``:
        ``"cell"`` or ``"sample"``; ``replicates``: numbers of samples, ``"4 vs 4"`` or ``"4 pairs"``; ``relative_to``:
        what differences are relative to.
    ``adata.uns[key_added]['gene_sets']`` : :class:`pandas.DataFrame`
        With ``gene_sets``: ``group``, ``reference`` and the columns of
        :meth:`scribe.DifferentialExpression.test_multiple_gene_sets`.
    ``adata.uns[key_added]['names']``, ``['scores']``, ``['logfoldchanges']``, ``['pvals']``, ``['pvals_adj']``
        The same in scanpy's form, a field per group: genes by falling ``lfc_mean / lfc_sd`` (the scores), with
        ``lfsr`` in place of p-values and ``pefp`` in that of adjusted ones. They are what
        ``sc.pl.rank_genes_groups(adata, key=key_added)`` and
        ``sc.get.rank_genes_groups_df(adata, group, key=key_added)`` read.
    ``adata.uns[key_added]['params']``, ``['derived_from']``, ``['slots']``
        What was asked for, and the fit it was computed from.

    Raises
    ------
    KeyError
        If there is no such fit or column.
    ValueError
        If there is no such group, or a group has fewer than two samples.

    Warns
    -----
    UserWarning
        Without ``sample_key``: intervals are those of these cells, not of other samples. Where more than half of the
        genes change, or a second group of genes agrees on a change of its own: fold changes depend on the reference.

    Notes
    -----
    .. math::
        \Delta_g = \log_2\frac{\rho^A_g}{\rho^B_g} - \frac1{|R|}\sum_{h\in R}\log_2\frac{\rho^A_h}{\rho^B_h}

    with the share :math:`\rho_g` of gene g and the genes R of the reference. ``"shrinkage"``, and all comparisons of
    samples, take what the counts say of it, free of the prior of the fit: those of gene g in level :math:`\ell` as one
    negative binomial count with the mean :math:`E_{g\ell}\exp(\alpha_g + x_\ell\Delta_g)` and, of samples, the variance
    :math:`\varsigma_g` between them, from a population over genes. Effects are drawn from a population with a share of
    exact zeros and any number of humps on both sides.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> means = {"dataset_key": "bulk_labels", "dataset_params": "mean", "parameterization": "mean_disp"}
    >>> scribe.tl.fit(adata, **means, n_steps=200, early_stopping=False)
    >>> scribe.tl.de(adata, "bulk_labels", group="CD19+ B", reference="Dendritic")
    >>> table = scribe.get.de(adata)
    """
    said = _said(options, method=method, sample_key=sample_key)
    check_target(adata, copy=copy)
    place = f"{key}_de" if key_added is None else key_added
    mine: dict[str, Any] = {"key": key, "name": "de", "place": place}
    refuse_taken(adata, **mine)
    results = read_fit(adata, key=key)
    check_genes(said["gene_mask"], said["reference_genes"], results.n_genes, results.gene_names)
    sets = read_gmt(said["gene_sets"]) if isinstance(said["gene_sets"], (str, Path)) else said["gene_sets"]
    seed = results.seed if said["rng"] is None else as_seed(said["rng"])
    groups = groups_of(adata, groupby)
    labels = list(map(str, groups.categories))
    pairs = pairs_of_groups(labels, group, reference, groupby=groupby)
    samples = None if sample_key is None else groups_of(adata, sample_key, keyword="sample_key")
    if samples is not None:
        check_samples(groups, samples, pairs)
    leaves = leaves_by_obs(
        adata, results, groups, samples, key=key, names=(groupby, sample_key), component=said["component"], seed=seed
    )
    layer = read_config(require(adata, key), key).layer
    counts = counts_by_group(adata, np.asarray(groups.codes), len(labels), layer=layer)
    calls = Calls(*(said[name] for name in Calls._fields))
    tables, set_tables, doubtful = [], [], []
    with progress(len(pairs), desc="de", unit="group") as bar:
        for number, others in pairs:
            names = (labels[number], labels[others[0]] if reference != REST else REST)
            found = _compare(leaves, number, others, labels=labels, names=names, said=said, seed=seed)
            first, second = (counts.merged(one) for one in ((number,), others))
            held = first.extreme_share[0], second.extreme_share[0]
            tables.append(gene_table(found, calls, seen=first.total[0] + second.total[0] > 0, held=held))
            doubtful += [f"{names[0]} vs {names[1]}"] if found.centre.doubtful else []
            if sets is not None:
                table = found.test_multiple_gene_sets(sets, target_pefp=said["target_pefp"])
                set_tables.append(table.assign(group=names[0], reference=names[1]))
            bar.update()
    said |= {"groupby": groupby, "reference": label_of(reference), "n_samples": n_draws(said, leaves.results)}
    record = _record(tables, set_tables, said)
    columns = {groupby: groups} | ({} if samples is None else {sample_key: samples})
    for name, column in columns.items():
        if np.any(column.codes < 0):
            n = f"{np.sum(column.codes < 0):,} of {len(column):,} cells"
            warnings.warn(
                f"{n} have no value in adata.obs[{name!r}] and are left out.",
                UserWarning,
                stacklevel=outside_stacklevel(),
            )
    if sample_key is None:
        remedy = "pass sample_key=, the column of adata.obs with donors or samples"
        warn_of_cells(f"the cells of {groupby!r} without sample_key", remedy)
    if doubtful:
        warn_of_reference(doubtful, len(pairs))
    target = adata.copy() if copy else adata
    write_derived(target, {}, **mine, record={**record, "seed": seed})
    return target if copy else None


def _said(options: Mapping[str, Any], *, method: Method | None, sample_key: str | None) -> dict[str, Any]:
    """Complete options, after checking that they belong together."""
    said = completed(DEOptions, dict(options))
    method = chosen_method(method, said["estimand"])
    refuse_idle_rank(said["rank"], method=method)
    check_target_pefp(said["target_pefp"])
    check_max_lfsr(said["max_lfsr"])
    check_tau(said["min_lfc"], name="min_lfc")
    if sample_key is not None and (method == "parametric" or said["estimand"] != "mean" or said["gene_sets"]):
        msg = (
            "sample_key compares the means of samples gene by gene: method='empirical' or 'shrinkage', "
            "estimand='mean' and no gene_sets; got "
            f"method={method!r}, estimand={said['estimand']!r}, gene_sets={said['gene_sets'] is not None}."
        )
        raise ValueError(msg)
    if sample_key is not None and "n_samples" in options:
        msg = (
            f"n_samples={options['n_samples']!r} draws from the posterior, which sample_key does without: leave it out."
        )
        raise ValueError(msg)
    return said | {"method": method, "sample_key": sample_key}


def _compare(
    leaves: Leaves,
    number: int,
    others: tuple[int, ...],
    *,
    labels: list[str],
    names: tuple[str, str],
    said: Mapping[str, Any],
    seed: int,
) -> DifferentialExpression:
    if leaves.sample is None:
        how = {"estimand": said["estimand"], "method": said["method"], "rank": said["rank"]}
        draws: dict[str, Any] = {"key": as_key(seed), "n_draws": n_draws(said, leaves.results)}
        evidence = between_cells(leaves, number, others, labels=labels, **draws, **how)
    else:
        evidence = between_samples(leaves, number, others, labels=labels)
    return DifferentialExpression(
        evidence,
        gene_names=leaves.results.gene_names,
        label_A=names[0],
        label_B=names[1],
        method=said["method"],
        estimand=said["estimand"],
        level="cell" if leaves.sample is None else "sample",
        reference=said["reference_genes"],
        gene_mask=said["gene_mask"],
    )


_SHOWN = (
    "groupby",
    "reference",
    "method",
    "estimand",
    "min_lfc",
    "target_pefp",
    "max_lfsr",
    "call_extremes",
    "n_samples",
    "sample_key",
    "component",
)
"""What the record says was asked for, as far as it was."""


def _record(tables: list[pd.DataFrame], set_tables: list[pd.DataFrame], said: Mapping[str, Any]) -> dict[str, Any]:
    table = pd.concat(tables, ignore_index=True)
    params = {name: said[name] for name in _SHOWN if said[name] is not None}
    params |= {"use_raw": False, "reference_genes": str(said["reference_genes"])}
    params |= {"n_genes_pooled": int(np.sum(tables[0]["status"] == "pooled"))}
    record = {"table": table, "params": params, **as_ranked(table)}
    return record | ({"gene_sets": pd.concat(set_tables, ignore_index=True)} if set_tables else {})
