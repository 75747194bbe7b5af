"""The computation behind `scribe.fit` and `scribe.tl.fit`: counts and keywords in, results out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import jax
import numpy as np

from scribe import engines, guides
from scribe._adata.read import as_counts
from scribe._counts.container import Counts
from scribe._model.names import nearest
from scribe._model.options import FitOptions, complete, options_table
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior
from scribe._posterior.results import ScribeSVIResults
from scribe._rng import as_seed
from scribe._settings import settings
from scribe._types import Rng
from scribe.engines import SVI, EarlyStopping, Fit, Optimizer
from scribe.families import Family
from scribe.guides import Guide

__all__ = ["ConvergenceWarning", "fit", "fit_counts", "seed_of"]

_log = logging.getLogger("scribe")

_MODEL_OPTIONS = (
    "variable_capture",
    "zero_inflation",
    "parameterization",
    "unconstrained",
    "positive_transform",
    "priors",
)


_NOT_OF_THE_ENGINE = ("inference_method", "enable_x64")


class ConvergenceWarning(UserWarning):
    """A fit used all its steps without converging."""


def seed_of(rng: Rng, options: Mapping[str, Any], *, earlier: ScribeSVIResults | None = None) -> int:
    """Seed from ``rng`` or its other name ``seed``; both is an error. A fit that is continued keeps its own."""
    if rng is not None and options["seed"] is not None:
        msg = f"rng={rng!r} and seed={options['seed']!r} are two names for one thing: keep one."
        raise ValueError(msg)
    if earlier is not None and rng is None and options["seed"] is None:
        return earlier.seed
    return as_seed(options["seed"] if rng is None else rng)


def _spec(model: str | Family | None, options: Mapping[str, Any]) -> ModelSpec:
    return resolve_spec(model, **{name: options[name] for name in _MODEL_OPTIONS})


def _guide(options: Mapping[str, Any], spec: ModelSpec, earlier: ScribeSVIResults | None) -> Guide:
    """Guide of the keywords; a fit that is continued keeps its own."""
    if earlier is None:
        return guides.choose(options, spec)
    if guides.given(options) and guides.choose(options, spec) != earlier.posterior.guide:
        asked = ", ".join(f"{name}={value!r}" for name, value in guides.given(options).items())
        msg = f"resume= continues a fit with {earlier.posterior.guide}, not {asked}. Leave that out, or fit anew."
        raise ValueError(msg)
    return earlier.posterior.guide


def _engine(options: Mapping[str, Any]) -> SVI:
    value = options["inference_method"]
    if isinstance(value, SVI):
        table = options_table()
        others = [n for n, o in table.items() if o.group == "inference" and n not in _NOT_OF_THE_ENGINE]
        given = [n for n in others if options[n] != table[n].default]
        if given:
            msg = f"{', '.join(given)} and an engine object were given: set them on the object, SVI(...)."
            raise ValueError(msg)
        return value
    if value not in engines.ALL:
        allowed = list(engines.ALL)
        hint = nearest(str(value), allowed)
        msg = f"Unknown inference_method {value!r}.{hint} Choose one of: {', '.join(map(repr, allowed))}."
        raise ValueError(msg)
    batch_size = options["batch_size"] if options["batch_size"] is not None else settings.batch_size
    return engines.ALL[value](
        n_steps=options["n_steps"],
        batch_size=batch_size,
        optimizer=Optimizer.from_config(options["optimizer_config"]),
        early_stopping=EarlyStopping.from_config(options["early_stopping"], restore_best=options["restore_best"]),
        stable_update=options["stable_update"],
        log_progress_lines=options["log_progress_lines"],
        checkpoint_dir=options["checkpoint_dir"],
    )


def _precision(*, enable_x64: bool | None) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if enable_x64 is None else jax.enable_x64(enable_x64)


def _check_size(counts: Counts) -> None:
    if counts.nnz == 0:
        msg = (
            f"All {counts.n_cells:,} x {counts.n_genes:,} counts in {counts.source} are zero: there is nothing to fit."
        )
        raise ValueError(msg)


def _same_spec(
    earlier: ScribeSVIResults, counts: Counts, model: str | Family | None, *, options: Mapping[str, Any]
) -> ModelSpec:
    """Specification of a fit to be continued, after checking that it is one of this model and these data."""
    if (earlier.n_cells, earlier.n_genes) != (counts.n_cells, counts.n_genes):
        msg = (
            f"resume= continues a fit of {earlier.n_cells:,} cells x {earlier.n_genes:,} genes, but the counts are "
            f"{counts.n_cells:,} x {counts.n_genes:,}. Subset one to match the other, or fit anew."
        )
        raise ValueError(msg)
    named = earlier.gene_names is not None and counts.gene_names is not None
    if named and not np.array_equal(np.asarray(earlier.gene_names, str), np.asarray(counts.gene_names, str)):
        msg = "resume= continues a fit of the same genes in the same order, but the names of genes differ."
        raise ValueError(msg)
    defaults = complete({})
    if model is None and all(options[name] == defaults[name] for name in _MODEL_OPTIONS):
        return earlier.spec
    if _spec(model, options).to_json() != earlier.spec.to_json():
        msg = "resume= continues a fit of the same model, but the model options differ. Leave them out, or fit anew."
        raise ValueError(msg)
    return earlier.spec


def fit_counts(
    counts: Counts,
    model: str | Family | None,
    options: Mapping[str, Any],
    *,
    seed: int,
    earlier: ScribeSVIResults | None = None,
    counts_source: Callable[[], Counts] | None = None,
) -> ScribeSVIResults:
    """Fit checked counts; ``options`` are complete, ``earlier`` is a fit to continue."""
    _check_size(counts)
    engine = _engine(options)
    spec = _spec(model, options) if earlier is None else _same_spec(earlier, counts, model, options=options)
    guide = _guide(options, spec, earlier)
    with _precision(enable_x64=options["enable_x64"]), jax.default_device(settings.jax_device()):
        start = None
        if earlier is not None:
            start = Fit(earlier.posterior.device_params(), earlier.loss_history, earlier.verdict, earlier.seed)
        fitted = engine.fit(spec, counts, guide, seed=seed, start=start)
        params = {name: np.asarray(value) for name, value in fitted.params.items()}
    posterior = Posterior(spec, guide, params, n_genes=counts.n_genes, n_cells=counts.n_cells)
    _report(spec, fitted)
    return ScribeSVIResults(
        posterior,
        fitted.losses,
        fitted.verdict,
        seed=seed,
        gene_names=counts.gene_names,
        cell_names=counts.cell_names,
        counts_source=(lambda: counts) if counts_source is None else counts_source,
    )


def _report(spec: ModelSpec, fitted: Fit) -> None:
    """Say how the fit ended."""
    _log.info("%s (%s): %s", spec.family.name, spec.coordinates.name, fitted.verdict)
    if not fitted.verdict.converged:
        warnings.warn(str(fitted.verdict), ConvergenceWarning, stacklevel=4)


def fit(
    counts: Any,
    model: str | Family | None = None,
    *,
    layer: str | None = None,
    rng: Rng = None,
    resume: ScribeSVIResults | None = None,
    **options: Unpack[FitOptions],
) -> ScribeSVIResults:
    """Fit a Bayesian model of counts and return the results, writing nothing.

    The same computation as `scribe.tl.fit`, for arrays as well as AnnData.

    Parameters
    ----------
    counts
        AnnData, or an array or sparse matrix of counts, cells x genes (see ``cells_axis``).
    model
        ``"nbvcp"`` unless given (negative binomial with variable capture probability), or ``"nbdm"``, ``"zinb"``,
        ``"zinbvcp"``, ``"poisson"``, ``"poissonvcp"``, ``"zip"``, ``"zipvcp"``, or a family object. With
        ``variable_capture`` or ``zero_inflation`` leave it out.
    layer
        Layer of an AnnData that holds the counts; None is ``.X``.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.
    resume
        Results of an earlier fit of the same model to the same data, to be continued.
    **options
        Every keyword of the options table: model, priors, guide and inference settings.

    Returns
    -------
    Results object with draws, predictive checks, likelihoods and denoising.

    Raises
    ------
    ValueError
        If the values are not counts, or options contradict each other; the message names the fix.
    """
    if resume is not None and not isinstance(resume, ScribeSVIResults):
        msg = (
            f"scribe.fit(counts, resume=results) takes the results of an earlier fit, got {resume!r}. "
            "To continue a fit stored in an AnnData use scribe.tl.fit(adata, resume=True)."
        )
        raise TypeError(msg)
    complete_options = complete(options)
    seed = seed_of(rng, complete_options, earlier=resume)
    read = as_counts(
        counts,
        layer=layer,
        cells_axis=complete_options["cells_axis"],
        non_integer=complete_options["non_integer"],
    )
    return fit_counts(read, model, complete_options, seed=seed, earlier=resume)
