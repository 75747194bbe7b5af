"""Compare several fits of the same counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe._adata.slots import check_target, refuse_taken, write_derived
from scribe._compare.comparison import Criterion, ModelComparison
from scribe._compare.models import compare_models as compared
from scribe._model.keywords import verb
from scribe._types import Rng
from scribe.engines import Engine

__all__ = ["compare_models"]


class Observed(TypedDict, total=False):
    """What is left out, and how models are fitted to the rest."""

    observations: Literal["cell", "gene"]
    fraction: float | None
    engine: Engine | None


@verb
def compare_models(
    adata: AnnData,
    keys: Sequence[str],
    *,
    criterion: Criterion | None = None,
    n_samples: int | None = None,
    genes: bool = True,
    rng: Rng = None,
    key_added: str = "scribe_compare",
    copy: bool = False,
    **options: Unpack[Observed],
) -> AnnData | None:
    r"""Compare models of the same counts by how well they predict what they have not seen.

    Fits are ranked by their expected log predictive density (elpd): the log-probability, in nats, that a model gives to
    cells or molecules that it was not fitted to [Vehtari17]_. A better elpd by 10 nats says that the data are
    :math:`e^{10}` times as probable. The evidence lower bounds of fits with different guides must not be compared.

    Parameters
    ----------
    adata
        Annotated data with the fits and the counts they were made on.
    keys
        Names of two fits or more.
    criterion
        ``"psis_loo"``: leave-one-cell-out, from draws of the posterior, with the cell's capture integrated out;
        ``"waic"``: nearly the same without its diagnostics; ``"thinned"``: split the molecules of every cell, fit to
        one part and predict the other; ``"held_out"``: fit to some cells and predict the others. The last two fit every
        model once more. None is ``"psis_loo"`` where all posteriors are samples or of one kind of guide, else
        ``"thinned"``.
    n_samples
        Draws of the parameters; None takes 1,000 for criteria from draws and 200 for the others.
    genes
        Whether to say of every gene which model predicts it better, too.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.
    key_added
        Name of the comparison.
    **options
        What else to say, by name; see below.
    observations
        ``"cell"``, or with criteria from draws ``"gene"``: leave out one gene of all cells, given their capture.
    fraction
        Share of the molecules or cells that are held out, 0.1 unless given.
    engine
        How models are fitted again where they are; None repeats that of the fit with its number of steps or draws, and
        the batch size of ``scribe.settings``.

    Returns
    -------
    None, or the copy if ``copy=True``. Sets the following fields:

    ``adata.uns[key_added]`` : dict
        ``table``, from best to worst: ``model``, ``elpd`` in nats, larger is better; ``p``, the effective number of
        parameters (criteria from draws); ``elpd_diff``, by how much the best model is better, and ``dse``, the standard
        error of that: below two of them or 4 nats models are not told apart; ``weight`` in the stacked prediction of
        all; ``pseudo_bma``, the other kind of weights; ``se`` of ``elpd``; ``warning``, whether some k are above 0.7.
        ``differences``: all pairs. ``diagnostics`` (PSIS-LOO): cells by the Pareto shape k, ``good`` below 0.5, ``ok``
        below 0.7, ``bad`` below 1, ``very bad``, and the ``largest``. ``criterion``, ``observations``, ``n_samples``,
        ``seed``, ``summary`` (text), ``derived_from``, ``slots``.
    ``adata.obsm[key_added + '_elpd']`` : :class:`pandas.DataFrame` (cells, models)
        Elpd of every cell; NaN for cells that were not held out. Of genes, with ``observations="gene"``, in ``.varm``.
    ``adata.obsm[key_added + '_k_hat']`` : :class:`pandas.DataFrame` (cells, models)
        With PSIS-LOO, the Pareto shape k of every cell, or in ``.varm`` of every gene.
    ``adata.varm[key_added + '_genes']`` : :class:`pandas.DataFrame` (genes)
        For every model ``elpd_<model>``, the sum over cells in nats, by WAIC of single counts; for all but the best
        model ``elpd_diff_<model>``, by how much the best model predicts the gene better, and ``elpd_diff_se_<model>``,
        its standard error over cells; ``mean``, the mean count.
    ``adata.var[key_added + '_favors']`` : categorical (genes)
        The model with the largest elpd, where it differs from that of the best one, or the best one from all others,
        by more than two standard errors; empty otherwise.

    Raises
    ------
    KeyError
        If there is no such fit.
    ValueError
        If the counts are no longer where they were.

    References
    ----------
    .. [Vehtari17] Vehtari, Gelman & Gabry, Practical Bayesian model evaluation using leave-one-out cross-validation and
       WAIC, Statistics and Computing 27, 2017.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.simulate(100, 40)
    >>> for model in ("nbvcp", "poissonvcp"):
    ...     scribe.tl.fit(adata, model, key_added=model, n_steps=200, early_stopping=False)
    >>> scribe.tl.compare_models(adata, ["nbvcp", "poissonvcp"], n_samples=100)
    >>> table = scribe.get.model_comparison(adata)
    """
    keys = [keys] if isinstance(keys, str) else list(keys)
    check_target(adata, copy=copy)
    mine: dict[str, Any] = {"key": keys, "name": "model_comparison", "place": key_added}
    refuse_taken(adata, **mine)
    fits = [read_fit(adata, key=key) for key in keys]
    about: dict[str, Any] = {"criterion": criterion, "n_samples": n_samples, "rng": rng, **options}
    comparison = compared(fits, fits[0].counts(), model_names=keys, **about)
    slots = _by_observation(adata, comparison, key_added)
    if genes:
        for place, columns in _by_gene(adata, comparison, key_added).items():
            slots[place] = slots.get(place, {}) | columns
    target = adata.copy() if copy else adata
    write_derived(target, slots, **mine, record=_record(comparison))
    return target if copy else None


def _record(comparison: ModelComparison) -> Mapping[str, Any]:
    table = comparison.rank().join(comparison.pseudo_bma_weights())
    record = {
        "table": _flat(table if table["p"].notna().any() else table.drop(columns="p")),
        "differences": comparison.differences(),
        "criterion": comparison.criterion,
        "observations": comparison.observations,
        "n_samples": comparison.n_samples,
        "seed": comparison.seed,
        "summary": comparison.summary(),
    }
    return record | ({"diagnostics": _flat(comparison.diagnostics())} if comparison.criterion == "psis_loo" else {})


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """With the names of the models as a column, and rows by number."""
    rows = table.reset_index()
    return rows.set_axis(rows.index.astype(str), axis=0)


def _by_observation(adata: AnnData, comparison: ModelComparison, key: str) -> dict[str, dict[str, Any]]:
    of_cells = comparison.observations == "cell"
    names = adata.obs_names if of_cells else adata.var_names
    values = {"elpd": comparison.elpd()}
    if comparison.criterion == "psis_loo":
        values["k_hat"] = np.stack([np.asarray(comparison.psis_loo(model).k_hat) for model in comparison.names], axis=1)
    columns = {}
    for name, known in values.items():
        wide = np.full((len(names), len(comparison.names)), np.nan)
        wide[comparison.cells if of_cells else slice(None)] = known
        columns[f"{key}_{name}"] = pd.DataFrame(wide, index=names, columns=list(comparison.names))
    return {"obsm" if of_cells else "varm": columns}


def _by_gene(adata: AnnData, comparison: ModelComparison, key: str) -> dict[str, dict[str, Any]]:
    best = str(comparison.rank().index[0])
    tables = comparison.gene_level_comparisons(best)
    columns = {f"elpd_{best}": next(iter(tables.values()))["elpd_A"]}
    columns |= {f"elpd_{name}": table["elpd_B"] for name, table in tables.items()}
    for name, table in tables.items():
        columns |= {f"elpd_diff_{name}": table["elpd_diff"], f"elpd_diff_se_{name}": table["elpd_diff_se"]}
    columns["mean"] = comparison.counts.gene_totals / comparison.counts.n_cells
    index = {name: np.asarray(column) for name, column in columns.items()}
    favors = pd.Categorical(_favors(best, tables), categories=[*comparison.names])
    return {"varm": {f"{key}_genes": pd.DataFrame(index, index=adata.var_names)}, "var": {f"{key}_favors": favors}}


def _favors(best: str, tables: Mapping[str, pd.DataFrame]) -> list[str | None]:
    """Model that predicts every gene best beyond doubt, against the one that is best of all."""
    names, scores = list(tables), np.stack([table["z_score"] for table in tables.values()])
    elpd = np.stack([table["elpd_B"] for table in tables.values()])
    other = np.argmax(elpd, axis=0)
    wins = np.take_along_axis(scores, other[None], axis=0)[0] < -2
    holds = np.all(scores > 2, axis=0)
    return [names[i] if wins[g] else best if holds[g] else None for g, i in enumerate(other)]
