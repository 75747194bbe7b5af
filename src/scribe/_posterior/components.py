r"""Whether the counts want all components of a mixture: how many cells each holds, and the bound with one less.

Every component has parameters of its own, which cost in the evidence lower bound whether or not they are needed. Where
two types overlap, or the prior lets components differ in all genes, a mixture of one component less may have the better
bound: then the counts do not tell the components apart, and assignments to them are too certain. That bound is measured
by a fit with the same guide, engine and constants. It ends early where the better bound is out of reach: after some
steps a fit lies above its end by about as much as the larger one did after as many.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import logsumexp

from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.sites import MIXING
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior
from scribe._types import FloatArray
from scribe.engines import SVI, Fitted, NonFiniteError, Task, Verdict
from scribe.guides import Guide
from scribe.priors import Dirichlet, Hierarchical, Prior

__all__ = ["ComponentsWarning", "Fewer", "fewer_components", "nearly_empty", "remarks"]

_log = logging.getLogger("scribe")

_FEWEST, _SHARE, _SHARE_OF_FEW = 5.0, 0.01, 0.1
"""A component is nearly empty with fewer cells than five, or than a hundredth of an equal share.

Of few cells five are many: there it is a tenth of an equal share.
"""

_FIRST = 300
"""Steps after which a fit of less components may be given up."""

_WINDOW = 100
"""Steps that losses are averaged over."""

_PATIENCE = 3.0
"""It is given up where it lies farther above the other than so many times what that one lay above its own end."""

_NOISE = 2.0
"""Standard errors by which one bound must be ahead of another."""

_NOISE_OF_BATCHES = 1e-5
"""Part of a bound by which it must be ahead where minibatches do not tell its error."""


class ComponentsWarning(UserWarning):
    """The counts do not support all components of a mixture."""


class Fewer(NamedTuple):
    """A fit of a mixture with two components as one.

    ``merged`` are the numbers of the two, ``loss`` is its negative evidence lower bound in nats, as far as it came
    down, ``gain`` by how much that is below the loss of the mixture, and ``error`` what of it may be noise.
    """

    merged: tuple[int, int]
    loss: float
    gain: float
    error: float

    @property
    def better(self) -> bool:
        """Whether its bound is better, beyond noise."""
        return self.gain > self.error


def remarks(posterior: Posterior, fewer: Fewer | None) -> dict[str, str]:
    """What is wrong with the components of a mixture, and what to do about each fault; empty where nothing is."""
    if not posterior.mixed:
        return {}
    labels, empty = posterior.spec.levels["component"].labels, nearly_empty(posterior)
    n, found = len(labels), {}
    if empty:
        sizes = ", ".join(f"{label!r} holds {size:.1f} of {posterior.n_cells:,} cells" for label, size in empty.items())
        found[f"{len(empty)} of {n} components nearly empty: {sizes}"] = (
            "Their parameters are those of the prior. Use fewer components, or n_restarts=5 for other starts."
        )
    if fewer is not None and fewer.better:
        what = f"a mixture of {n - 1} components" if n > 2 else "one component"
        if posterior.design.logits is not None:
            what += f" ({' and '.join(repr(labels[k]) for k in sorted(fewer.merged))} as one)"
        found[f"{what} has the better ELBO, by {fewer.gain:.3g} nats"] = (
            f"The counts do not support {n}, and assignments to them are too certain. {_remedy(posterior.spec)}"
        )
    return found


def _remedy(spec: ModelSpec) -> str:
    """What to do where components are too many."""
    apart = [name for name in spec.levels["component"].params if name in ("mu", "r")]
    if not apart or isinstance(spec.priors[apart[0]], Hierarchical):
        return "Use fewer of them."
    return "Use fewer of them, or let them share what does not differ: expression_prior='gaussian', unconstrained=True."


def nearly_empty(posterior: Posterior) -> dict[str, float]:
    """Labels of the components that hold next to no cells, with the expected number of cells."""
    labels, cells = posterior.spec.levels["component"].labels, posterior.design.level_cells
    if cells is None:
        return {}
    share = posterior.n_cells / len(labels)
    fewest = max(min(_FEWEST, _SHARE_OF_FEW * share), _SHARE * share)
    return {label: float(n) for label, n in zip(labels, cells.sum(axis=1), strict=True) if n < fewest}


def fewer_components(posterior: Posterior, counts: Counts, engine: SVI, fit: Fitted) -> Fewer | None:
    """Fit the mixture of a posterior with the two components as one that differ least; ``fit`` is its record.

    None where there is nothing to compare: no mixture, components that an earlier fit knows, a fit that was not
    to converge, or a smaller one that failed.
    """
    rule, guide, (steps, ended) = engine.early_stopping, posterior.guide, _end(fit)
    if not (posterior.mixed and isinstance(guide, Guide) and rule.enabled and steps >= max(rule.warmup, _FIRST)):
        return None
    if any("component" in known.axes for known in posterior.design.known.values()):
        return None
    pair = _least_missed(_log_probabilities(posterior, counts))
    spec, design = _as_one(posterior.spec, posterior.design, pair)
    first = replace(engine, n_steps=_FIRST, n_restarts=1, checkpoint_dir=None, log_progress_lines=False)
    above = float(np.nanmean(fit.losses[_FIRST - _WINDOW : _FIRST])) - ended
    _log.info("a mixture of one component less, for comparison")
    try:
        task = Task(spec, counts, guide, design)
        smaller = first.fit(task, seed=fit.seed)
        if steps > _FIRST and _end(smaller)[1] - _PATIENCE * above < ended:
            rest = replace(first, n_steps=steps - _FIRST)
            smaller = rest.fit(task, seed=fit.seed, start=smaller)
    except NonFiniteError:
        return None
    batched = engine.batch_size is not None and engine.batch_size < counts.n_cells
    errors = [_NOISE_OF_BATCHES * ended] if batched else [_NOISE * _error(one.losses) for one in (fit, smaller)]
    loss = _end(smaller)[1]
    return Fewer(pair, loss, ended - loss, math.hypot(*errors))


def _end(fit: Fitted) -> tuple[int, float]:
    """Steps of a fit, and the loss where it ended."""
    return (fit.verdict.steps, fit.verdict.loss) if isinstance(fit.verdict, Verdict) else (0, np.inf)


def _error(losses: FloatArray) -> float:
    """Standard error of the average of the last losses."""
    return float(np.nanstd(losses[-_WINDOW:]) / np.sqrt(_WINDOW))


def _log_probabilities(posterior: Posterior, counts: Counts) -> FloatArray:
    """Log posterior probability of components at the most probable parameters, (cells, components)."""
    parameters = posterior.parameters(posterior.centre())
    found = jax.nn.log_softmax(posterior.spec.likelihood.joint(parameters, posterior.data(counts)), axis=1)
    return np.asarray(found, np.float64)


def _least_missed(log_probabilities: FloatArray) -> tuple[int, int]:
    """The component whose loss costs the likelihood least, and the one that its cells would go to."""
    lost = []
    for k in range(log_probabilities.shape[1]):
        lost.append(-logsumexp(np.delete(log_probabilities, k, axis=1), axis=1).sum())
    gone = int(np.argmin(lost))
    others = np.delete(log_probabilities, gone, axis=1)
    moved = np.exp(log_probabilities[:, [gone]] + others - logsumexp(others, axis=1, keepdims=True)).sum(axis=0)
    heir = int(np.argmax(moved))
    return gone, heir + (heir >= gone)


def _as_one(spec: ModelSpec, design: Design, pair: tuple[int, int]) -> tuple[ModelSpec, Design]:
    """The model and the covariates with two components as one, a cell's prior odds for it the larger of the two."""
    gone, heir = pair
    levels, logits = spec.levels["component"], design.logits
    labels = [f"{label} + {levels.labels[gone]}" if k == heir else label for k, label in enumerate(levels.labels)]
    del labels[gone]
    if len(labels) == 1:
        rest = {
            axis: replace(of, params=tuple(name for name in of.params if name != MIXING.name))
            for axis, of in spec.levels.items()
            if axis != "component"
        }
        priors = {name: _of_one(prior) for name, prior in spec.priors.items() if name != MIXING.name}
        return replace(spec, levels=rest, priors=priors), replace(design, logits=None, level_cells=None)
    mixing, priors = spec.priors[MIXING.name], dict(spec.priors)
    if isinstance(mixing, Dirichlet) and isinstance(mixing.concentration, tuple):
        priors[MIXING.name] = Dirichlet(tuple(np.delete(mixing.concentration, gone).tolist()))
    if logits is not None:
        logits = logits.copy()
        logits[:, heir] = np.maximum(logits[:, heir], logits[:, gone])
        logits = np.delete(logits, gone, axis=1)
    smaller = replace(spec, levels={**spec.levels, "component": replace(levels, labels=tuple(labels))}, priors=priors)
    return smaller, replace(design, logits=logits, level_cells=None)


def _of_one(prior: Prior) -> Prior:
    """Prior of a parameter where there are no components for it to be a population of."""
    return prior.base if isinstance(prior, Hierarchical) and prior.axis == "component" else prior
