"""Which of several models of the same counts predicts best."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np

from scribe._adata.read import as_counts
from scribe._compare.comparison import CRITERIA, FROM_DRAWS, Criterion, ModelComparison, ticking
from scribe._compare.validation import held_out_cells, held_out_molecules
from scribe._counts.container import Counts
from scribe._model.checks import require_known
from scribe._model.keywords import verb
from scribe._posterior.double_use import prior_shares
from scribe._posterior.marginal import log_likelihood_of_cells
from scribe._posterior.results import Results, require_results
from scribe._progress import progress
from scribe._rng import as_seed
from scribe._stats.information import Pointwise, in_blocks, psis_loo, waic
from scribe._types import FloatArray, IntArray, Rng
from scribe.engines import ChainDiagnostics, Engine

__all__ = ["compare_models", "default_criterion"]

_N_SAMPLES = {"psis_loo": 1000, "waic": 1000, "thinned": 200, "held_out": 200}
_FEWEST = 25
"""Draws of which the largest weights can be smoothed."""


def default_criterion(results: Sequence[Results]) -> str:
    """PSIS-LOO where all posteriors are samples or from one kind of guide, else molecules that are held out."""
    sampled = [one.posterior.n_draws is not None for one in results]
    guides = {str(one.posterior.guide.to_json()) for one in results}
    return "psis_loo" if all(sampled) or (not any(sampled) and len(guides) == 1) else "thinned"


@verb
def compare_models(
    results: Sequence[Results],
    counts: Any | None = None,
    *,
    model_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
    criterion: Criterion | None = None,
    observations: Literal["cell", "gene"] = "cell",
    n_samples: int | None = None,
    fraction: float | None = None,
    engine: Engine | None = None,
    rng: Rng = None,
) -> ModelComparison:
    r"""Compare models of the same counts by how well they predict.

    Models are ranked by their expected log predictive density (elpd): the log-probability they give to data they have
    not seen, summed over cells. The capture of a cell is integrated out wherever the cell itself is left out.

    Parameters
    ----------
    results
        Fits of two models or more to the same cells and genes.
    counts
        The counts, cells x genes: an array, a sparse matrix or an AnnData; None takes those of the first fit.
    model_names
        Names of the models; None numbers them.
    gene_names
        Names of the genes; None takes those of the first fit.
    criterion
        ``"psis_loo"`` or ``"waic"``, both from draws of the posterior, without fitting anything again; ``"thinned"``
        splits the molecules of every cell, fits the models to one part and predicts the other; ``"held_out"`` fits to
        some cells and predicts the others. None is ``"psis_loo"`` where all posteriors are samples or of one kind of
        guide, else ``"thinned"``: what draws say of an observation depends on the guide, predictions of unseen data do
        not.
    observations
        ``"cell"``, or with criteria from draws ``"gene"``: one gene left out of all cells, given their capture.
    n_samples
        Draws of the parameters; None takes 1,000 for criteria from draws and 200 for the others.
    fraction
        Share of the molecules or cells that are held out, 0.1 unless given.
    engine
        How models are fitted again; None repeats the engine of the fit with its number of steps or draws, and
        otherwise default settings.
    rng
        Seed, NumPy generator or JAX key of the draws and splits; 42 unless given.

    Returns
    -------
    The comparison: print it, or ask it for ``rank()``, ``differences()``, ``diagnostics()``, weights and
    ``gene_level_comparison(A, B)``.

    Raises
    ------
    ValueError
        If the fits are not of the same cells and genes, or a criterion does not go with the observations.

    Examples
    --------
    >>> import scribe
    >>> counts = scribe.datasets.simulate(100, 40)
    >>> fits = [scribe.fit(counts, model, n_steps=100, early_stopping=False) for model in ("nbvcp", "zinbvcp")]
    >>> comparison = scribe.compare_models(fits, model_names=["NB", "ZINB"], n_samples=100)
    >>> table = comparison.rank()
    """
    fits = _as_fits(results)
    names = _names(fits, model_names)
    chosen = default_criterion(fits) if criterion is None else criterion
    require_known("criterion", chosen, CRITERIA)
    require_known("observations", observations, ("cell", "gene"))
    if observations == "gene" and chosen not in FROM_DRAWS:
        msg = f'criterion={chosen!r} holds out parts of cells: with observations="gene" use "psis_loo" or "waic".'
        raise ValueError(msg)
    if observations == "gene":
        _check_genes_are_free(fits, names)
    if chosen in FROM_DRAWS and not (fraction is None and engine is None):
        msg = f"criterion={chosen!r} holds nothing out and fits nothing again: leave out fraction and engine."
        raise ValueError(msg)
    fraction = 0.1 if fraction is None else fraction
    if not 0 < fraction < 1:
        msg = f"fraction must be between 0 and 1, got {fraction!r}."
        raise ValueError(msg)
    few = [one.posterior.n_draws for one in fits if one.posterior.n_draws is not None and chosen in FROM_DRAWS]
    n_draws, seed = min([_N_SAMPLES[chosen] if n_samples is None else n_samples, *few]), as_seed(rng)
    least = _FEWEST if chosen in FROM_DRAWS else 1
    if n_draws < least:
        msg = f"n_samples must be at least {least}, got {n_draws}."
        raise ValueError(msg)
    found = fits[0].counts(None if counts is None else as_counts(counts))
    _check_alike(fits, names, found)
    # counts that were not given are those of the first fit
    for one, name in list(zip(fits, names, strict=True))[counts is None :]:
        if one.counts_source is not None:
            _check_same_counts(one.counts_source(), found, name)
    if chosen in FROM_DRAWS:
        pointwise = _from_draws(fits, found, observations=observations, n_samples=n_draws, seed=seed)
        cells: slice | IntArray = slice(None)
    else:
        options: dict[str, Any] = {"n_samples": n_draws, "seed": seed, "engine": engine}
        cells, held = _held_out(fits, found, chosen, fraction=fraction, **options)
        pointwise = {chosen: held}
    genes = next((x for x in (gene_names, fits[0].gene_names, found.gene_names) if x is not None), None)
    labels = np.asarray([f"gene{i}" for i in range(found.n_genes)] if genes is None else list(genes), object)
    return ModelComparison(
        names,
        criterion=chosen,
        observations=observations,
        pointwise=pointwise,
        results=fits,
        counts=found,
        gene_names=labels,
        n_samples=n_draws,
        seed=seed,
        cells=cells,
    )


def _as_fits(results: Sequence[Results]) -> tuple[Results, ...]:
    fits = (results,) if isinstance(results, Results) else tuple(results)
    for one in fits:
        require_results(one, verb="compare_models")
    return fits


def _names(fits: Sequence[Results], model_names: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(f"model {i}" for i in range(len(fits))) if model_names is None else tuple(map(str, model_names))
    if len(fits) < 2 or len(set(names)) < len(names) or len(names) != len(fits):
        msg = f"compare_models takes two fits or more and a name of its own for each; got {len(fits)} and {names}."
        raise ValueError(msg)
    return names


def _check_alike(fits: Sequence[Results], names: Sequence[str], counts: Counts) -> None:
    """Raise unless all fits are of the cells and genes of the counts."""
    for one, name in zip(fits, names, strict=True):
        if (one.n_cells, one.n_genes) != counts.shape:
            sizes = [f"{c:,} cells x {g:,} genes" for c, g in ((one.n_cells, one.n_genes), counts.shape)]
            msg = f"{name} is a fit of {sizes[0]}, but the counts are {sizes[1]}: fit all models to the same data."
            raise ValueError(msg)
        for what, mine, other in (
            ("genes", one.gene_names, fits[0].gene_names),
            ("cells", one.cell_names, fits[0].cell_names),
        ):
            if mine is not None and other is not None and list(map(str, mine)) != list(map(str, other)):
                msg = f"{name} and {names[0]} are fits of different {what}, or in another order: fit the same data."
                raise ValueError(msg)


def _check_genes_are_free(fits: Sequence[Results], names: Sequence[str]) -> None:
    """Raise where priors are centred by the genes themselves, so that none can be left out."""
    anchored = [name for one, name in zip(fits, names, strict=True) if one.spec.anchor or one.spec.centred_sites]
    if anchored:
        msg = (
            f"An anchor of capture or expression centres priors of {', '.join(anchored)} by the counts of the genes, "
            'also of one that is left out: use observations="cell".'
        )
        raise ValueError(msg)


def _check_same_counts(fitted: Counts, counts: Counts, name: str) -> None:
    """Raise where a model was fitted to something else: what is compared is how well all predict the same."""
    if fitted is counts:
        return
    others = np.flatnonzero(np.abs(fitted.totals - counts.totals) > 1e-4 * fitted.totals + 1e-6)
    if others.size or not np.allclose(fitted.gene_totals, counts.gene_totals, rtol=1e-4):
        msg = (
            f"{name} is a fit of other counts, {fitted.source}, than those it is compared on, {counts.source}: "
            f"{others.size:,} of {counts.n_cells:,} cells have other totals. Fit all models to the same counts."
        )
        raise ValueError(msg)


def _from_draws(
    fits: Sequence[Results], counts: Counts, *, observations: str, n_samples: int, seed: int
) -> dict[str, tuple[Pointwise, ...]]:
    loo, information = [], []
    with progress(len(fits) * n_samples, desc="compare models", unit="draw") as bar:
        for one in fits:
            draws = _log_likelihoods(one, counts, observations=observations, n_samples=n_samples, seed=seed)
            matrix = np.stack(list(ticking(draws, bar.update)))
            contribution = None
            if one.spec.centred_sites:
                shares = prior_shares(one.posterior, counts, jax.random.key(seed), n_samples)
                contribution = matrix + np.stack(list(shares))
            efficient = functools.partial(psis_loo, r_eff=_relative_efficiency(one))
            loo.append(in_blocks(efficient, matrix, contribution))
            information.append(in_blocks(waic, matrix, contribution))
    return {"psis_loo": tuple(loo), "waic": tuple(information)}


def _log_likelihoods(
    one: Results, counts: Counts, *, observations: str, n_samples: int, seed: int
) -> Iterator[FloatArray]:
    key = jax.random.key(seed)
    if observations == "cell":
        yield from log_likelihood_of_cells(one.posterior, counts, one.posterior.values(key, n_samples))
        return
    data = one.posterior.data(counts)
    for parameters in one.posterior.parameter_draws(key, n_samples):
        yield np.asarray(one.spec.likelihood.by_gene(parameters, data, n_genes=one.n_genes))


def _relative_efficiency(one: Results) -> float:
    """Effective number of draws as a share of their number."""
    if one.posterior.n_draws is None or not isinstance(one.verdict, ChainDiagnostics):
        return 1.0
    return float(np.clip(one.verdict.ess_bulk / one.posterior.n_draws, 0.01, 1.0))


def _held_out(
    fits: Sequence[Results], counts: Counts, criterion: str, *, fraction: float, **options: Any
) -> tuple[slice | IntArray, tuple[Pointwise, ...]]:
    """Cells of which something is held out, the same for all models, and how well it is predicted."""
    rng = np.random.default_rng(options["seed"])
    if criterion == "thinned":
        train, _ = counts.split(fraction, rng)
        scores = [held_out_molecules(one, train, counts, share=fraction, **options) for one in fits]
        return slice(None), tuple(map(Pointwise, scores))
    n = int(np.clip(round(fraction * counts.n_cells), 1, counts.n_cells - 1))
    cells = np.sort(rng.choice(counts.n_cells, n, replace=False))
    scores = [held_out_cells(one, cells, counts, **options) for one in fits]
    return cells, tuple(map(Pointwise, scores))
