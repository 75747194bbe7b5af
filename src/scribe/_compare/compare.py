"""Comparisons of expression between fits, components and datasets."""

from __future__ import annotations

import functools
from typing import Any, Unpack

import numpy as np

from scribe._compare.differential import DifferentialExpression
from scribe._compare.groups import (
    fingerprint,
    fitted_normal,
    given_group,
    is_array,
    keys_of,
    n_draws,
    refuse_idle_rank,
    refuse_same,
    warn_of_cells,
)
from scribe._compare.options import CompareOptions, ContrastOptions, completed
from scribe._compare.relative import Method, chosen_method
from scribe._model.keywords import verb
from scribe._posterior.expression import Estimand
from scribe._posterior.logistic_normal import LogisticNormal
from scribe._posterior.results import Results, require_results
from scribe._rng import as_key
from scribe._stats.contrasts import Given, Group, Mean, TwoGroups
from scribe._stats.laws import Drawn, LowRankNormal
from scribe._types import AnyArray

__all__ = ["compare", "compare_datasets"]


@verb
def compare(
    model_A: Any,
    model_B: Any,
    *,
    gene_names: Any = None,
    label_A: str = "A",
    label_B: str = "B",
    method: Method | None = None,
    **options: Unpack[CompareOptions],
) -> DifferentialExpression:
    r"""Compare expression in two groups of cells, as compositions.

    .. math:: \Delta_g = \{\log\rho^A_g - \log\rho^A_{ref}\} - \{\log\rho^B_g - \log\rho^B_{ref}\}

    A gene with a larger share in A is **positive**. Draws of two fits are independent; of one fit they are those of the
    same parameters, so that what both groups share cancels.

    Parameters
    ----------
    model_A, model_B
        Results of fits, of the same genes in any order; or draws of the size r, (draws, genes) or
        (draws, components, genes); or logistic-normal laws (`results.fit_logistic_normal`, a numpyro
        ``LowRankMultivariateNormal`` of log-ratios to the last gene, or a dict with ``loc``, ``cov_factor``,
        ``cov_diag``).
    gene_names
        Names of the genes, where the models have none.
    label_A, label_B
        What the groups are called.
    method
        ``"empirical"``: differences of draws; ``"shrinkage"``: towards a population of effects that is learned from all
        genes; ``"parametric"``: from logistic-normal laws, the default for these.
    **options
        What else to say, by name; see below.
    component_A, component_B, dataset_A, dataset_B
        Components and datasets to compare, by label or number, where the fits have them.
    mixture_weighted
        Average the compositions of all components instead, by the weights of the model or by ``mixture_weights_A``,
        ``mixture_weights_B``.
    estimand
        ``"mean"``, the default: the difference of the means over cells. ``"cell"``: that of one random cell of A and
        one of B, which varies as cells do, however many there are; ``n_samples_dirichlet`` cells are drawn per draw.
    reference
        ``"unchanged"``, ``"expressed"``, ``"clr"``, ``"iqlr"`` or genes: see
        `scribe.DifferentialExpression.set_reference`.
    gene_mask
        Genes to keep: names, numbers or a mask. The others are pooled.
    n_samples
        Draws, 1,000 unless given; at most those there are, of a fit by MCMC.
    rank
        Rank of the covariance with ``method="parametric"``; 50 unless given.
    p_samples_A, p_samples_B
        Draws of the probability that go with draws of r, (draws,) or of the shape of r; without them all genes share
        it, and means and variances are not known.
    paired
        Whether draws of A and B belong together; None: where both are of one fit.
    sigma_grid, shrinkage_max_iter, shrinkage_tol
        Standard deviations of the population of effects, from zero, and how long weights are sought.
    rng
        Seed, key or generator; the seed of the first fit unless given.

    Returns
    -------
    The comparison; nothing is computed before it is asked.

    Raises
    ------
    ValueError
        If the genes are not the same, or a component or dataset must be chosen.

    Warns
    -----
    UserWarning
        With two fits, or two datasets of one: intervals are those of these cells, not of other samples.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> results = scribe.fit(adata, n_components=2, n_steps=200, early_stopping=False)
    >>> de = scribe.compare(results, results, component_A=0, component_B=1)
    >>> table = de.to_dataframe(target_pefp=0.05)
    """
    said = completed(CompareOptions, options)
    said["estimand"] = _estimand_of(model_A, model_B, options.get("estimand"))
    found = _compared(model_A, model_B, said, gene_names=gene_names, labels=(label_A, label_B), method=method)
    if _differ_in_samples(model_A, model_B, said):
        warn_of_cells(f"{label_A!r} with {label_B!r}", _SAMPLES)
    return found


_SAMPLES = 'fit all samples with dataset_key=["donor", "condition"] and use scribe.tl.de(..., sample_key="donor")'


def _differ_in_samples(model_A: Any, model_B: Any, said: dict[str, Any]) -> bool:
    """Whether there are two fits, or two datasets of one: what components differ in holds in all samples of a fit."""
    if not (isinstance(model_A, Results) and isinstance(model_B, Results)):
        return False
    chosen = [model.posterior.chosen.get("dataset") for model in (model_A, model_B)]
    return not _of_one_fit(model_A, model_B) or chosen[0] != chosen[1] or said["dataset_A"] != said["dataset_B"]


def _of_one_fit(model_A: Results, model_B: Results) -> bool:
    return model_A.params is model_B.params


def _compared(
    model_A: Any,
    model_B: Any,
    said: dict[str, Any],
    *,
    gene_names: Any = None,
    labels: tuple[str, str],
    method: Method | None,
) -> DifferentialExpression:
    if method is not None:
        chosen_method(method, said["estimand"])
    fits = isinstance(model_A, Results), isinstance(model_B, Results)
    if all(fits):
        model_B, names = _same_genes(model_A, model_B, gene_names)
    else:
        names = None if gene_names is None else np.asarray(gene_names, object)
    groups = _groups(model_A, model_B, said)
    laws = any(isinstance(group, Given) and isinstance(group.law, LowRankNormal) for group in groups)
    method = ("parametric" if laws else "empirical") if method is None else method
    refuse_idle_rank(said["rank"], method="parametric" if laws else method)
    if laws and method == "empirical":
        msg = "method='empirical' compares draws, and a logistic-normal law has none: 'parametric' or 'shrinkage'."
        raise ValueError(msg)
    if groups[0].n_genes != groups[1].n_genes:
        msg = f"A has {groups[0].n_genes:,} genes and B {groups[1].n_genes:,}: compare models of the same genes."
        raise ValueError(msg)
    grid = {"sds": said["sigma_grid"], "max_iterations": said["shrinkage_max_iter"], "tolerance": said["shrinkage_tol"]}
    return DifferentialExpression(
        TwoGroups(groups[0], groups[1], fitted_normal(said["rank"]) if laws or method == "parametric" else None),
        gene_names=names,
        label_A=labels[0],
        label_B=labels[1],
        method=method,
        estimand=said["estimand"],
        reference=said["reference"],
        gene_mask=said["gene_mask"],
        shrinkage_options=grid,
    )


def _estimand_of(model_A: Any, model_B: Any, said: Estimand | None) -> Estimand:
    """The estimand: that of the laws that are compared, which know theirs, unless nothing says any."""
    known = {model.estimand for model in (model_A, model_B) if isinstance(model, LogisticNormal)}
    asked = known | ({said} if said else set())
    if len(asked) > 1:
        msg = (
            f"Logistic-normal laws are of estimand={', '.join(map(repr, sorted(known)))}"
            + (f", and estimand={said!r} is asked for" if said else "")
            + ": make them with results.fit_logistic_normal(estimand=...) of one kind."
        )
        raise ValueError(msg)
    return asked.pop() if asked else "mean"


def _groups(model_A: Any, model_B: Any, said: dict[str, Any]) -> list[Group]:
    models = {"A": model_A, "B": model_B}
    fits = [model for model in models.values() if isinstance(model, Results)]
    same = len(fits) == 2 and _of_one_fit(*fits)
    seed = min(fit.seed for fit in fits) if said["rng"] is None and fits else said["rng"]
    names = [f"{said[f'component_{side}']} {said[f'dataset_{side}']} ".encode() for side in models]
    first, second = (name + fingerprint(model) for name, model in zip(names, models.values(), strict=True))
    paired = same if said["paired"] is None else bool(said["paired"])
    keys = keys_of(as_key(seed), (first, second), paired=paired)
    made: dict[str, Group] = {}
    for (side, model), key in zip(models.items(), keys, strict=True):
        if not is_array(model) and said[f"p_samples_{side}"] is not None:
            msg = f"p_samples_{side} go with draws of r, but model_{side} is a {type(model).__name__}: leave them out."
            raise ValueError(msg)
        if not isinstance(model, Results):
            about = {name: said[f"{name}_{side}"] for name in ("component", "p_samples")}
            made[side] = given_group(model, **about, estimand=said["estimand"], key=key[1])
    n = _n_draws_of(made, said, fits)
    for (side, model), key in zip(models.items(), keys, strict=True):
        if not isinstance(model, Results):
            continue
        mixed = said["mixture_weighted"]
        where = [said[f"{name}_{side}"] for name in ("component", "dataset")]
        weights = said[f"mixture_weights_{side}"] if mixed else None
        population = model.population(*where, mixed=mixed, weights=weights, side=f"_{side}")
        levels = None
        if model.counts_source is not None:
            levels = functools.partial(model.count_levels, population.levels)
        made[side] = Mean((population,), key[0], n, said["estimand"], key[1], levels=levels)
    return [made[side] for side in models]


def _n_draws_of(given: dict[str, Group], said: dict[str, Any], fits: list[Results]) -> int:
    """Draws of the groups that are of fits: as many as those that are given have, of which there is one number."""
    laws = {side: group.law for side, group in given.items() if isinstance(group, Given)}
    lengths = {side: len(law.draws) for side, law in laws.items() if isinstance(law, Drawn)}
    if not lengths:
        return n_draws(said, *fits)
    n = min(lengths.values())
    few = [fit.posterior.n_draws for fit in fits if fit.posterior.n_draws is not None]
    if len(set(lengths.values())) > 1 or min([n, *few]) < n:
        found = ", ".join([*(f"{side} has {n:,} draws" for side, n in lengths.items()), *(f"a fit {n:,}" for n in few)])
        msg = f"Draws are compared one by one, but {found}: pass as many of both."
        raise ValueError(msg)
    return n


def _same_genes(first: Results, second: Results, gene_names: Any) -> tuple[Results, AnyArray | None]:
    """The second results with the genes of the first, in their order, and the names."""
    names = first.gene_names if gene_names is None else np.asarray(gene_names, object)
    if first.gene_names is None or second.gene_names is None:
        return second, names
    mine, others = set(map(str, first.gene_names)), set(map(str, second.gene_names))
    if mine != others:
        only = [sorted(mine - others)[:3], sorted(others - mine)[:3]]
        msg = (
            f"The models are of different genes: {len(mine - others):,} are in A alone ({only[0]}), "
            f"{len(others - mine):,} in B alone ({only[1]}). Fit the genes that both have, or compare "
            "results_A[common] with results_B[common]."
        )
        raise ValueError(msg)
    same = np.array_equal(np.asarray(first.gene_names, str), np.asarray(second.gene_names, str))
    return second if same else second[[str(name) for name in first.gene_names]], names


@verb
def compare_datasets(
    results: Results,
    dataset_A: str | int,
    dataset_B: str | int,
    *,
    component: str | int | None = None,
    method: Method | None = None,
    **options: Unpack[ContrastOptions],
) -> DifferentialExpression:
    """Compare expression in two datasets of one fit, draw by draw.

    Parameters
    ----------
    results
        A fit with datasets.
    dataset_A, dataset_B
        The datasets, by label or number. A gene with a larger share in A is positive.
    component
        Component of a mixture in which to compare them, by label or number.
    method
        As in `compare`; ``"shrinkage"`` unless given, ``"empirical"`` with ``estimand="cell"``.
    **options
        ``estimand``, ``reference``, ``gene_mask``, ``n_samples``, ``n_samples_dirichlet``, ``rank`` and ``rng`` of
        `compare`.

    Returns
    -------
    The comparison.

    Raises
    ------
    ValueError
        If expression does not differ between datasets in this model, or a component must be chosen.

    Warns
    -----
    UserWarning
        Intervals are those of these cells, not of other samples.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> results = scribe.fit(adata, dataset_key="bulk_labels", dataset_params="mean", parameterization="mean_disp")
    >>> de = scribe.compare_datasets(results, "CD19+ B", "Dendritic")
    >>> table = de.to_dataframe()
    """
    require_results(results, verb="compare_datasets")
    first, second = (results._at_level("dataset", dataset) for dataset in (dataset_A, dataset_B))
    refuse_same(results, "dataset", 'expression_dataset_prior="gaussian" or dataset_params="mean"')
    known = results.spec.levels["dataset"].labels
    labels = known[first.posterior.chosen["dataset"]], known[second.posterior.chosen["dataset"]]
    about = {"component_A": component, "component_B": component, **options}
    said = completed(CompareOptions, about)
    found = _compared(first, second, said, labels=labels, method=chosen_method(method, said["estimand"]))
    warn_of_cells(f"{labels[0]!r} with {labels[1]!r}", _SAMPLES)
    return found
