"""Comparison of two levels of a factor over paired datasets of one fit."""

from __future__ import annotations

import warnings
from typing import Literal, Unpack

from scribe._compare.differential import DifferentialExpression
from scribe._compare.groups import fitted_normal, keys_of, n_draws, refuse_idle_rank, refuse_same, warn_of_cells
from scribe._compare.options import Pairing, completed
from scribe._compare.pairs import Pairs, Weighting, effects_of, paired_levels
from scribe._compare.relative import Method, chosen_method
from scribe._counts.checks import outside_stacklevel
from scribe._model.checks import require_known
from scribe._model.keywords import verb
from scribe._model.labels import label_of
from scribe._posterior.expression import ESTIMANDS, Population
from scribe._posterior.results import Results, require_results
from scribe._rng import as_key
from scribe._stats.contrasts import Given, Group, Mean, TwoGroups
from scribe._stats.laws import Drawn
from scribe._types import Label

__all__ = ["compare_groups"]


@verb
def compare_groups(
    results: Results,
    factor: str,
    *,
    level_A: Label,
    level_B: Label,
    pairing_factor: str | None = None,
    pair_weighting: Weighting = "uniform",
    incomplete_pairs: Literal["drop", "error"] = "drop",
    method: Method = "empirical",
    component: str | int | None = None,
    **options: Unpack[Pairing],
) -> DifferentialExpression:
    r"""Compare two levels of a factor over all levels of another, such as two conditions over donors.

    .. math:: \Delta_g = \sum_d w_d\{\log\rho^{A,d}_g - \log\rho^{B,d}_g\} - \Delta_{ref}

    for the donors :math:`d` that have both. What is special to a donor cancels. The differences are those of *these*
    donors: that others may respond differently is not in their error. :func:`scribe.tl.de` with ``sample_key`` is for
    what holds beyond them.

    Parameters
    ----------
    results
        A fit with datasets that are combinations of the two factors, ``dataset_key=["donor", "condition"]``.
    factor
        Column of ``dataset_key`` whose levels to compare.
    level_A, level_B
        The levels. A gene with a larger share in A is positive.
    pairing_factor
        Column whose levels pair datasets; None: the other one, where there are two.
    pair_weighting
        Weights of the pairs: ``"uniform"``, or by their numbers of cells, those of all components: the smaller of the
        two (``"min_cells"``), the ``"harmonic"`` mean, or ``"total_cells"``.
    incomplete_pairs
        ``"drop"`` those that have one of the levels alone, or raise an ``"error"``.
    method
        As in `compare`.
    component
        Component of a mixture in which to compare, by label or number.
    **options
        ``min_complete_pairs`` (2 unless given); ``estimand``: ``"mean"`` (also ``"paired_main_effect"``) or ``"cell"``
        as in `compare`, or ``"effect"``, the effect of the factor that the fit has as a parameter; ``reference``,
        ``gene_mask``, ``n_samples``, ``n_samples_dirichlet``, ``rank`` and ``rng`` of `compare`.

    Returns
    -------
    The comparison.

    Raises
    ------
    ValueError
        If there are no such factors or levels, or too few pairs.

    Warns
    -----
    UserWarning
        Intervals are those of these pairs, not of others.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.conditions(n_donors=3, paired=True)
    >>> results = scribe.fit(adata, dataset_key=["donor", "condition"], dataset_params="mean")
    >>> de = scribe.compare_groups(results, "condition", level_A="treated", level_B="control", pairing_factor="donor")
    """
    said = completed(Pairing, options, estimands=(*ESTIMANDS, *_PAIRED_ESTIMANDS))
    require_results(results, verb="compare_groups")
    level_A, level_B = label_of(level_A), label_of(level_B)
    method = chosen_method(method, said["estimand"])
    require_known("incomplete_pairs", incomplete_pairs, ("drop", "error"))
    refuse_idle_rank(said["rank"], method=method)
    refuse_same(results, "dataset", 'dataset_params="mean" or an expression_dataset_prior')
    known = results if component is None else results.get_component(component)
    key = as_key(results.seed if said["rng"] is None else said["rng"])
    n = n_draws(said, results)
    groups: list[Group] = []
    if said["estimand"] == "effect":
        about_pairs = (pairing_factor, pair_weighting, incomplete_pairs, options.get("min_complete_pairs"))
        if about_pairs != (None, "uniform", "drop", None):
            msg = (
                "estimand='effect' is a parameter of the fit and no average of pairs: leave out what is said of pairs."
            )
            raise ValueError(msg)
        groups += [Given(Drawn(draws)) for draws in effects_of(known, factor, (level_A, level_B), n_draws=n, key=key)]
    else:
        said["estimand"] = "cell" if said["estimand"] == "cell" else "mean"
        pairs = paired_levels(known, factor, (level_A, level_B), pairing_factor)
        _check_pairs(pairs, (level_A, level_B), incomplete_pairs, least=said["min_complete_pairs"])
        weights = pairs.weights(results, pair_weighting)
        keys = keys_of(key, (level_A.encode(), level_B.encode()), paired=True)
        for levels, (own, cells) in zip((pairs.of_A, pairs.of_B), keys, strict=True):
            populations = tuple(Population(results.posterior, (level,)) for level in levels)
            groups.append(Mean(populations, own, n, said["estimand"], cells, weights))
    about = {name: said[name] for name in ("estimand", "reference", "gene_mask")}
    evidence = TwoGroups(groups[0], groups[1], fitted_normal(said["rank"]) if method == "parametric" else None)
    found = DifferentialExpression(
        evidence, gene_names=results.gene_names, label_A=level_A, label_B=level_B, method=method, **about
    )
    warn_of_cells(
        f"{level_A!r} with {level_B!r} in the samples at hand", "beyond them use scribe.tl.de(..., sample_key=)"
    )
    return found


_PAIRED_ESTIMANDS = ("paired_main_effect", "effect")


def _check_pairs(pairs: Pairs, levels: tuple[str, str], incomplete_pairs: str, *, least: int) -> None:
    """Raise where there are too few pairs, and say which are left out."""
    if pairs.incomplete:
        found = f"{len(pairs.incomplete)} of {pairs.name!r} have one of {levels[0]!r} and {levels[1]!r} only"
        if incomplete_pairs == "error":
            msg = f'{found}: {", ".join(pairs.incomplete)}. Leave them out, or pass incomplete_pairs="drop".'
            raise ValueError(msg)
        warnings.warn(
            f"{found} and are left out: {', '.join(pairs.incomplete)}.", UserWarning, stacklevel=outside_stacklevel()
        )
    if len(pairs.labels) < least:
        msg = (
            f"{len(pairs.labels)} of {pairs.name!r} have both {levels[0]!r} and {levels[1]!r}, and "
            f"min_complete_pairs={least} are needed."
        )
        raise ValueError(msg)
