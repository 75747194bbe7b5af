"""The computation behind `scribe.fit` and `scribe.tl.fit`: counts and keywords in, results out."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, Unpack

import jax
import numpy as np

from scribe import engines, guides
from scribe._adata.design import Covariates, read_covariates
from scribe._adata.read import as_counts
from scribe._counts.checks import outside_stacklevel, warn_of_absent_genes
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.checks import require_known
from scribe._model.completion import complete, refuse_idle
from scribe._model.config import configured
from scribe._model.keywords import verb
from scribe._model.options import FitOptions, ModelOptions, given_among, options_table
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe._model.transfer import transfer
from scribe._posterior.by_engine import results_class
from scribe._posterior.components import ComponentsWarning, Fewer, fewer_components, remarks
from scribe._posterior.inform import Informing, inform
from scribe._posterior.levels import with_level_cells
from scribe._posterior.posterior import Posterior
from scribe._posterior.results import Results
from scribe._rng import as_seed
from scribe._settings import settings
from scribe._types import AnyArray, Rng
from scribe.engines import SVI, Engine, Outcome, Task
from scribe.families import Family
from scribe.guides import Guide, MeanField

__all__ = ["ComponentsWarning", "ConvergenceWarning", "fit", "fit_counts", "known_covariates", "seed_of"]

_log = logging.getLogger("scribe")

_Ended = TypeVar("_Ended", bound=Outcome)

_MODEL_OPTIONS = tuple(options_table(ModelOptions))

_LEVEL_KEYS = ("n_components", "annotation_key", "dataset_key")

_INFORMING = tuple(f"informative_priors_{name}" for name in ("from", "tau", "n_samples", "freeze"))

_OF_SVI = {"guide": "svi"}
"""Groups of keywords that belong to an engine without being named after it."""

_START_DRAWS = 20
"""Draws of an earlier fit from which chains take where to start, and how far to go."""


class ConvergenceWarning(UserWarning):
    """A fit used all its steps without converging, or its chains do not agree."""


def seed_of(rng: Rng, options: Mapping[str, Any], *, earlier: Results | None = None) -> int:
    """Seed from ``rng`` or its other name ``seed``; both is an error. A fit that is continued keeps its own."""
    if rng is not None and options["seed"] is not None:
        msg = f"rng={rng!r} and seed={options['seed']!r} are two names for one thing: keep one."
        raise ValueError(msg)
    if earlier is not None and rng is None and options["seed"] is None:
        return earlier.seed
    return as_seed(options["seed"] if rng is None else rng)


def _spec(model: str | Family | None, options: Mapping[str, Any], covariates: Covariates) -> ModelSpec:
    ready = options["model_config"]
    if isinstance(ready, ModelSpec):
        levels = {axis: ready.levels[axis].labels for axis in ready.level_axes}
        wanted = {"component": covariates.components, "dataset": covariates.datasets}
        if levels != {axis: labels for axis, labels in wanted.items() if labels}:
            msg = (
                f"model_config has the levels {levels}, but n_components, annotation_key and dataset_key give {wanted}."
            )
            raise ValueError(msg)
        return ready
    chosen = {name: options[name] for name in _MODEL_OPTIONS}
    return resolve_spec(
        model, **chosen, components=covariates.components, datasets=covariates.datasets, factors=covariates.factors
    )


def _guide(options: Mapping[str, Any], spec: ModelSpec, earlier: Results | None) -> Guide:
    """Guide of the keywords; a fit that is continued keeps its own."""
    kept = None if earlier is None else earlier.posterior.guide
    if not isinstance(kept, Guide):
        return guides.choose(options, spec)
    if guides.given(options) and guides.choose(options, spec) != kept:
        asked = ", ".join(f"{name}={value!r}" for name, value in guides.given(options).items())
        msg = f"resume= continues a fit with {kept}, not {asked}. Leave that out, or fit anew."
        raise ValueError(msg)
    return kept


def _engine(options: Mapping[str, Any]) -> Engine:
    value = options["inference_method"]
    if not isinstance(value, Engine):
        require_known("inference_method", value, engines.ALL)
    kind = type(value) if isinstance(value, Engine) else engines.ALL[value]
    given = {n: options_table()[n].group for n in given_among(options)}
    foreign = {n: _OF_SVI.get(group, group) for n, group in given.items() if _OF_SVI.get(group, group) in engines.ALL}
    for keyword, other in foreign.items():
        if other != kind.name:
            msg = (
                f"{keyword} belongs to inference_method={other!r}, not {kind.name!r}: leave it out, or change the "
                "method."
            )
            raise ValueError(msg)
    if not isinstance(value, Engine):
        return kind.from_options(options)
    on_it = [n for n, group in given.items() if group == kind.name and n != "svi_init"]
    if on_it:
        msg = f"{', '.join(on_it)} and an engine object were given: set them on the object, {kind.__name__}(...)."
        raise ValueError(msg)
    return value


def _precision(engine: Engine, *, enable_x64: bool | None) -> contextlib.AbstractContextManager[Any]:
    wanted = True if enable_x64 is None and engine.double else enable_x64
    return contextlib.nullcontext() if wanted is None else jax.enable_x64(wanted)


def _check_size(counts: Counts) -> None:
    if counts.nnz == 0:
        msg = (
            f"All {counts.n_cells:,} x {counts.n_genes:,} counts in {counts.source} are zero: there is nothing to fit."
        )
        raise ValueError(msg)


def _same_data(earlier: Results, counts: Counts, *, verb: str) -> None:
    """Raise unless an earlier fit is one of the same cells and genes."""
    if (earlier.n_cells, earlier.n_genes) != (counts.n_cells, counts.n_genes):
        msg = (
            f"{verb} a fit of {earlier.n_cells:,} cells x {earlier.n_genes:,} genes, but the counts are "
            f"{counts.n_cells:,} x {counts.n_genes:,}. Subset one to match the other, or fit anew."
        )
        raise ValueError(msg)
    named = earlier.gene_names is not None and counts.gene_names is not None
    if named and not np.array_equal(np.asarray(earlier.gene_names, str), np.asarray(counts.gene_names, str)):
        msg = f"{verb} a fit of the same genes in the same order, but the names of genes differ."
        raise ValueError(msg)


def _near(earlier: Any, spec: ModelSpec, counts: Counts, *, seed: int) -> list[dict[str, AnyArray]] | None:
    """Draws of all parameters of a model from an earlier fit of it, in whatever coordinates that was."""
    if earlier is None:
        return None
    if not isinstance(earlier, Results):
        msg = f"svi_init= takes results of a fit by SVI, as scribe.fit and scribe.get.results give; got {earlier!r}."
        raise TypeError(msg)
    _same_data(earlier, counts, verb="svi_init= starts from")
    draws = earlier.posterior.draw_one_by_one(jax.random.fold_in(jax.random.key(seed), 1), _START_DRAWS)
    move = functools.partial(transfer, earlier.spec, spec, n_genes=counts.n_genes, n_cells=counts.n_cells)
    return [jax.device_get(move(values)) for values in draws]


def _informed(
    spec: ModelSpec, design: Design, counts: Counts, *, options: Mapping[str, Any], seed: int
) -> tuple[ModelSpec, Design]:
    """The model and what is known beside the counts, with priors from an earlier fit where one is given."""
    earlier = options["informative_priors_from"]
    if earlier is None:
        return spec, design
    if not isinstance(earlier, Results):
        msg = f"informative_priors_from= takes results, as scribe.fit and scribe.get.results give; got {earlier!r}."
        raise TypeError(msg)
    how = Informing(*(options[name] for name in _INFORMING[1:]))
    return inform(spec, design, counts, earlier=earlier.posterior, how=how, seed=seed)


def _same_spec(
    earlier: Results, counts: Counts, model: str | Family | None, *, options: Mapping[str, Any], covariates: Covariates
) -> ModelSpec:
    """Specification of a fit to be continued, after checking that it is one of this model and these data."""
    _same_data(earlier, counts, verb="resume= continues")
    if given_among(options, _INFORMING):
        msg = "resume= continues a fit with the priors that it has: leave informative_priors_from out, or fit anew."
        raise ValueError(msg)
    defaults = complete({})
    if model is None and all(options[name] == defaults[name] for name in (*_MODEL_OPTIONS, *_LEVEL_KEYS)):
        return earlier.spec
    if _spec(model, options, covariates).to_json() != earlier.spec.uninformed.to_json():
        msg = "resume= continues a fit of the same model, but the model options differ. Leave them out, or fit anew."
        raise ValueError(msg)
    return earlier.spec


def fit_counts(
    counts: Counts,
    model: str | Family | None,
    options: Mapping[str, Any],
    *,
    seed: int,
    earlier: Results | None = None,
    covariates: Covariates | None = None,
    before: Callable[[ModelSpec, Design], None] | None = None,
) -> Results:
    """Fit checked counts; ``options`` are complete, ``earlier`` is a fit to continue.

    ``before`` is called with the model and the covariates of its cells once they are known, and may raise.
    """
    _check_size(counts)
    refuse_idle(options, "model")
    covariates = Covariates() if covariates is None else covariates
    engine = _engine(options)
    if earlier is not None and not (engine.continues and earlier.engine == engine.name):
        msg = (
            "resume= continues a fit by SVI with SVI. To go on with MCMC from where a fit ended, pass its results as "
            'svi_init=results with inference_method="mcmc".'
        )
        raise ValueError(msg)
    if earlier is None:
        spec, design = _informed(
            _spec(model, options, covariates), covariates.design, counts, options=options, seed=seed
        )
    else:
        spec = _same_spec(earlier, counts, model, options=options, covariates=covariates)
        design = earlier.posterior.design
    if not options["check_components"] and not (isinstance(engine, SVI) and "component" in spec.levels):
        msg = "check_components=False has no effect without a mixture fitted by SVI: leave it out."
        raise ValueError(msg)
    if before is not None:
        before(spec, design)
    names = {"gene": counts.gene_names, "cell": counts.cell_names}
    labels = {axis: x for axis, x in names.items() if x is not None}
    guide = _guide(options, spec, earlier)
    with _precision(engine, enable_x64=options["enable_x64"]), jax.default_device(settings.jax_device()):
        task = Task(spec, counts, guide, design, _near(options["svi_init"], spec, counts, seed=seed))
        fitted = engine.fit(task, seed=seed, start=None if earlier is None else earlier.fitted())
        params = {name: np.asarray(value) for name, value in fitted.params.items()}
        about: dict[str, Any] = {"design": design, "labels": labels}
        found = Posterior(spec, fitted.approximation, params, counts.n_genes, counts.n_cells, **about)
        found = with_level_cells(found, counts)
        fewer = None
        if options["check_components"] and isinstance(engine, SVI):
            fewer = fewer_components(found, counts, engine, fitted)
        verdict = _reported(found, fitted.verdict, fewer)
    if engine.name == "svi":
        _advise(spec, guide)
    better = {"fewer_loss": fewer.loss} if fewer is not None and fewer.better else {}
    return results_class(engine.name)(
        found,
        verdict,
        {**fitted.history, **better},
        engine=engine.name,
        seed=seed,
        gene_names=counts.gene_names,
        cell_names=counts.cell_names,
        counts_source=functools.partial(_held, counts),
    )


def known_covariates(data: Any, options: Mapping[str, Any], counts: Counts) -> Covariates:
    """What is known of the cells of ``data``, with a warning of genes that some datasets lack."""
    covariates = read_covariates(data, options, n_cells=counts.n_cells)
    if covariates.design.dataset is not None:
        cells = counts.cells_with(covariates.design.dataset, len(covariates.datasets))
        warn_of_absent_genes(cells, covariates.datasets, source=counts.source)
    return covariates


def _held(counts: Counts) -> Counts:
    """The counts themselves; unlike a closure over them it can be pickled."""
    return counts


def _reported(posterior: Posterior, verdict: _Ended, fewer: Fewer | None = None) -> _Ended:
    """Say how the fit ended, and what is wrong with its components; return the verdict with that."""
    spec, wrong = posterior.spec, remarks(posterior, fewer)
    whole = replace(verdict, reason="; ".join([verdict.reason, *wrong]))
    _log.info("%s (%s): %s", spec.family.name, spec.coordinates.name, whole)
    if not verdict.converged:
        warnings.warn(str(verdict), ConvergenceWarning, stacklevel=outside_stacklevel())
    for remark, remedy in wrong.items():
        warnings.warn(f"{remark}. {remedy}", ComponentsWarning, stacklevel=outside_stacklevel())
    return whole


def _advise(spec: ModelSpec, guide: Guide) -> None:
    """Say which intervals independent normals make too narrow: of what genes share, and of dispersions tied to it."""
    shared = spec.coordinates.shared
    if shared and isinstance(guide, MeanField):
        _log.info(
            "Intervals of %s, and of r of frequent genes, are too narrow under independent normals (those of r hold "
            '76 %% where 90 %% is meant). If you need them: joint_params="biological", or inference_method="mcmc".',
            shared[0],
        )


@verb
def fit(
    counts: Any,
    model: str | Family | None = None,
    *,
    layer: str | None = None,
    rng: Rng = None,
    resume: Results | None = None,
    **options: Unpack[FitOptions],
) -> Results:
    """Fit a Bayesian model of counts and return the results, writing nothing.

    The same computation as `scribe.tl.fit`, for arrays as well as AnnData.

    Parameters
    ----------
    counts
        AnnData, or an array or sparse matrix of counts, cells x genes (see ``cells_axis``).
    model
        ``"nbvcp"`` unless given (negative binomial with variable capture probability), or ``"nbdm"``, ``"zinb"``,
        ``"zinbvcp"``, ``"poisson"``, ``"poissonvcp"``, ``"zip"``, ``"zipvcp"``, ``"twostate"``, ``"twostatevcp"``, or a
        family object. With ``variable_capture`` or ``zero_inflation`` leave it out, or name the family alone:
        ``"poisson"``, ``"twostate"``.
    layer
        Layer of an AnnData that holds the counts; None is ``.X``.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.
    resume
        Results of an earlier fit of the same model to the same data, to be continued.
    **options
        Every keyword of :doc:`the table </guide/options>`: model, priors, guide and inference settings.

    Returns
    -------
    Results object with draws, predictive checks, likelihoods and denoising.

    Raises
    ------
    ValueError
        If the values are not counts, or options contradict each other; the message names the fix.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> results = scribe.fit(adata, parameterization="mean_disp")
    >>> draws = results.get_posterior_samples(100)
    >>> draws["mu"].shape == (100, adata.n_vars)
    True
    """
    if resume is not None and not isinstance(resume, Results):
        msg = (
            f"scribe.fit(counts, resume=results) takes the results of an earlier fit, got {resume!r}. "
            "To continue a fit stored in an AnnData use scribe.tl.fit(adata, resume=True)."
        )
        raise TypeError(msg)
    model, complete_options = configured(model, options)
    seed = seed_of(rng, complete_options, earlier=resume)
    read = as_counts(
        counts, layer=layer, cells_axis=complete_options["cells_axis"], non_integer=complete_options["non_integer"]
    )
    covariates = known_covariates(counts, complete_options, read)
    return fit_counts(read, model, complete_options, seed=seed, earlier=resume, covariates=covariates)
