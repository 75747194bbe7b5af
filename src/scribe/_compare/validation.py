r"""How well models predict molecules and cells that they were not fitted to.

A posterior by variational inference is as wide as its guide lets it be, and so are criteria that are computed from it.
What a model predicts of data it has not seen is judged by these data alone, whatever the guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from scribe._adata.design import Covariates
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._fit import fit_counts
from scribe._model.completion import complete
from scribe._model.likelihood import Likelihood
from scribe._posterior.marginal import NewCells, log_likelihood_of_cells
from scribe._posterior.posterior import Posterior
from scribe._posterior.results import Results
from scribe._stats.information import log_mean_exp
from scribe._types import FloatArray, IntArray
from scribe.engines import NUTS, Engine
from scribe.families import deeper

__all__ = ["held_out_cells", "held_out_molecules", "predict_molecules"]


def held_out_molecules(
    results: Results, train: Counts, counts: Counts, *, share: float, n_samples: int, seed: int, engine: Engine | None
) -> FloatArray:
    """Log predictive density of the molecules of every cell that are not in ``train``, by a fit to those, (cells,)."""
    posterior = refit(results, train, results.posterior.design, seed=seed, engine=engine).posterior
    return predict_molecules(posterior, train, counts, share=share, n_samples=n_samples, seed=seed)


def predict_molecules(
    posterior: Posterior, train: Counts, counts: Counts, *, share: float, n_samples: int, seed: int
) -> FloatArray:
    r"""Log predictive density of the other molecules of every cell, given those in ``train``, (cells,).

    Every molecule was held out with probability :math:`\epsilon`, the ``share``. With the log capture :math:`x` of a
    fit to the others, all are counts at the log capture :math:`x' = x - \log(1-\epsilon)`, and by Bayes' rule

    .. math:: p(u^{test} \mid u^{train}, \theta, x) = \frac{p(u \mid \theta, x')}{p(u^{train} \mid \theta, x)}
        \prod_g \mathrm{Binom}(u^{train}_g; u_g, 1-\epsilon),

    averaged over draws of :math:`\theta` and :math:`x`; 0 draws take their most probable values.
    """
    gain, likelihood = float(-np.log1p(-share)), posterior.spec.likelihood
    of_train, of_all, deep = posterior.data(train), posterior.data(counts), Likelihood(deeper(likelihood.family, gain))
    scores = []
    for parameters in posterior.parameter_draws(jax.random.key(seed), n_samples):
        beyond = parameters.at_exposure(parameters.log_exposure + gain)
        every, some = deep.by_cell(beyond, of_all), likelihood.by_cell(parameters, of_train)
        scores.append(np.asarray(every, np.float64) - np.asarray(some, np.float64))
    return log_mean_exp(np.stack(scores)) + _log_thinning(train, counts, share=share)


def _log_thinning(train: Counts, counts: Counts, *, share: float) -> FloatArray:
    """Log-probability of every cell's counts to be split as they were, (cells,)."""
    held_out = counts.less(train)
    n_ways = _log_factorials(counts) - _log_factorials(train) - _log_factorials(held_out)
    return np.asarray(n_ways + xlog1py(train.totals, -share) + xlogy(held_out.totals, share))


def _log_factorials(counts: Counts) -> FloatArray:
    """Sums over the genes of every cell, (cells,)."""
    cell, _, value = counts.entries()
    terms = gammaln(value.astype(np.float64) + 1.0)
    return np.asarray(np.bincount(cell, terms, minlength=counts.n_cells), np.float64)


def held_out_cells(
    results: Results, cells: IntArray, counts: Counts, *, n_samples: int, seed: int, engine: Engine | None
) -> FloatArray:
    """Log predictive density of some ``cells``, by a fit to all others, without their capture, (cells,)."""
    design, rest = results.posterior.design, np.setdiff1d(np.arange(counts.n_cells), cells)
    train, test = counts.subset(cells=rest), counts.subset(cells=cells)
    fitted = refit(results, train, design.subset(rest), seed=seed, engine=engine).posterior
    # nothing is known of the capture of new cells: its mode is sought from that of a cell with about their total
    order = np.argsort(train.totals)
    nearest = order[np.minimum(np.searchsorted(train.totals[order], test.totals), len(order) - 1)]
    new = NewCells(nearest, design.subset(cells))
    draws = fitted.values(jax.random.key(seed), n_samples)
    return log_mean_exp(np.stack(list(log_likelihood_of_cells(fitted, test, draws, new=new))))


def refit(results: Results, counts: Counts, design: Design, *, seed: int, engine: Engine | None) -> Results:
    """Fit the same model by the same guide or sampler to other counts of the same genes."""
    levels = {axis: x.labels for axis, x in results.spec.levels.items()}
    known = Covariates(design, levels.get("component", ()), levels.get("dataset", ()))
    chosen: Mapping[str, Any] = {"model_config": results.spec, "inference_method": engine or results.same_engine()}
    if not isinstance(chosen["inference_method"], NUTS):
        chosen = {**chosen, "guide": results.posterior.guide}
        # how many components the counts want is said of the fit that is repeated
        chosen |= {"check_components": False} if "component" in levels else {}
    return fit_counts(counts, None, complete(chosen), seed=seed, covariates=known)
