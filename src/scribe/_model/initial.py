r"""Where a fit starts: moments of the data.

.. math::

    \nu_c = L_c / Q_{0.99}(L) \text{ or } L_c/M_0,\qquad
    \mu_g = \sum_c u_{cg} / \sum_c \nu_c,\qquad
    s_g = \frac{\sum_c (u_{cg}-\nu_c\mu_g)^2 - \nu_c\mu_g}{\sum_c (\nu_c\mu_g)^2},\quad r_g = 1/s_g.

With shared odds :math:`r_g = \phi\mu_g`, and :math:`\phi` maximises the negative binomial likelihood at these means and
captures: pooled moments are ruled by the few genes with the largest variance and miss it by a factor of up to ten.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from scribe._counts.container import Counts
from scribe._counts.design import NO_DESIGN, Design
from scribe._device import on_device
from scribe._model.axes import LEVELS_AND_GENES
from scribe._model.clusters import components_at_start
from scribe._model.sites import MIXING, SCALING
from scribe._model.spec import ModelSpec
from scribe._types import AnyArray, Array, FloatArray, IntArray
from scribe.priors import LATENT_SUFFIX, latent_name

__all__ = ["Start", "capture_start", "mean_over_others", "start"]

_ROUNDING = 1e-4
"""Moves below this are rounding errors of latents that stay where they are."""

_SIZE_RANGE = (1e-2, 1e2)
"""Sizes to start at: the likelihood of larger ones is nearly that of a Poisson, and softplus links leave slowly."""

_LOG_ODDS_RANGE = (-9.0, 9.0)


def _capture(spec: ModelSpec, counts: Counts) -> FloatArray:
    """Capture of every cell relative to a deep one, or to the organism's total mRNA."""
    if not spec.family.captured:
        return np.ones(counts.n_cells)
    totals = np.maximum(counts.totals, 0.5)
    full = np.quantile(totals, 0.99) if spec.anchor is None else np.exp(spec.anchor.log_m0)
    return np.clip(totals / full, 1e-8, 0.99)


class Start(NamedTuple):
    """Where a fit starts, and directions in which parameters move together, on the host.

    ``values`` holds the starting value of every site on the real line. ``ridges`` holds for latents, (..., ridges),
    how their elements change when the likelihood hardly does: when all odds change at fixed means and, with capture,
    when expression is traded for capture.
    """

    values: dict[str, AnyArray]
    ridges: dict[str, AnyArray]


def start(
    spec: ModelSpec, counts: Counts, design: Design = NO_DESIGN, *, seed: int = 0, restart: bool = False
) -> Start:
    """Start of a fit, from a few passes over the non-zeros.

    ``seed`` and ``restart`` say from which clusters the components of a mixture start.
    """
    capture = _capture(spec, counts)
    dataset = design.datasets(counts.n_cells)
    component = _components(spec, counts, design, seed=seed, restart=restart)
    natural = _natural(spec, counts, capture, component=component, dataset=dataset)
    natural["log_mixing"] = _log_mixing(spec, component, dataset)
    moments, fields = ({n: on_device(x) for n, x in of.items()} for of in (natural, _fields(spec, counts, seed=seed)))
    values, ridges = jax.device_get(_values_and_ridges(spec, moments, on_device(np.log(capture)), fields))
    values |= {name.removesuffix(LATENT_SUFFIX): known.loc for name, known in design.known.items()}
    return Start(values, {name: ridge for name, ridge in ridges.items() if np.any(np.abs(ridge) > _ROUNDING)})


def _fields(spec: ModelSpec, counts: Counts, *, seed: int) -> dict[str, FloatArray]:
    """Values on the real line of parameters that no moment says anything of."""
    rng, lengths = np.random.default_rng(seed), {**spec.lengths, "gene": counts.n_genes, "cell": counts.n_cells}
    shapes = {p: tuple(lengths[axis] for axis in spec.site(p.name).axes) for p in spec.family.field}
    return {p.name: p.start + p.spread * rng.standard_normal(shape) for p, shape in shapes.items()}


def _components(spec: ModelSpec, counts: Counts, design: Design, *, seed: int, restart: bool) -> IntArray:
    """Component from which every cell starts."""
    if "component" not in spec.levels:
        return np.zeros(counts.n_cells, np.int32)
    return components_at_start(counts, spec.lengths["component"], design.logits, seed=seed, restart=restart)


def _log_mixing(spec: ModelSpec, component: IntArray, dataset: IntArray) -> FloatArray:
    """Log share of every component among the cells, (datasets, components), with one cell added to each."""
    n_components, n_datasets = spec.lengths.get("component", 1), spec.lengths.get("dataset", 1)
    cells = np.bincount(dataset * n_components + component, minlength=n_datasets * n_components) + 1.0
    table = cells.reshape(n_datasets, n_components)
    return np.asarray(np.log(table / table.sum(axis=1, keepdims=True)))


@functools.partial(jax.jit, static_argnums=0)
def _values_and_ridges(
    spec: ModelSpec, natural: dict[str, Array], log_capture: Array, fields: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    def at(shift: Array) -> dict[str, Array]:
        odds, scale = shift if spec.family.captured else (shift[0], 0.0)
        moved = {"log_mean": natural["log_mean"] + scale, "log_odds": natural["log_odds"] - scale + odds}
        working = spec.coordinates.from_natural(spec.family.from_moments(moved["log_mean"], moved["log_odds"]))
        working.update({p.name: jnp.full_like(moved["log_mean"], p.start) for p in spec.family.params})
        values = {
            site.name: site.link.from_working(mean_over_others(working[site.name], site.axes))
            for site in spec.sites
            if site.name in working
        } | fields
        if SCALING.name in spec.priors:
            shape = tuple(spec.lengths[axis] for axis in spec.site(SCALING.name).axes)
            log_m0 = 0.0 if spec.anchor is None else spec.anchor.log_m0
            values[SCALING.name] = jnp.full(shape, log_m0, log_capture.dtype) + scale
        if MIXING.name in spec.priors:
            per_dataset = natural["log_mixing"]
            own = "dataset" in spec.site(MIXING.name).axes
            values[MIXING.name] = per_dataset if own else jnp.mean(per_dataset, axis=0)
        if spec.capture_site is not None:
            values[spec.capture_site] = capture_start(spec, log_capture - scale)
        return values

    none = jnp.zeros(2 if spec.family.captured else 1)
    ridges = jax.jacfwd(lambda shift: spec.start(at(shift)))(none)
    name = latent_name(str(spec.capture_site))
    if name in ridges:
        # hardly bounded where capture is nearly complete and cannot be traded
        ridges[name] = jnp.clip(ridges[name], -2.0, 2.0)
    return at(none), ridges


def mean_over_others(value: Array, axes: tuple[str, ...], *, keepdims: bool = False) -> Array:
    """Mean of a natural parameter over the axes of levels and genes that are not among ``axes``."""
    full = LEVELS_AND_GENES[len(LEVELS_AND_GENES) - value.ndim :]
    others = tuple(i for i, axis in enumerate(full) if axis not in axes)
    return jnp.mean(value, axis=others, keepdims=keepdims)


def _natural(
    spec: ModelSpec, counts: Counts, capture: FloatArray, *, component: IntArray, dataset: IntArray
) -> dict[str, FloatArray]:
    """Log mean and log odds by moments: (genes,) and scalars, or (components, datasets, genes or 1) with levels."""
    if not spec.level_axes:
        return _moments(spec, counts, capture, prior_mean=1.0, prior_exposure=0.5)
    exposure = float(capture.mean())
    overall = (counts.gene_totals + 0.5) / (capture.sum() + 0.5)
    shape = spec.lengths.get("component", 1), spec.lengths.get("dataset", 1)
    leaves = []
    for k, d in np.ndindex(*shape):
        mine = (component == k) & (dataset == d)
        # levels without cells start where all cells do
        cells = np.flatnonzero(mine if mine.any() else np.ones_like(mine))
        # as if one more cell had been seen, of the mean of all
        here = counts.subset(cells=cells)
        leaves.append(_moments(spec, here, capture[cells], prior_mean=overall, prior_exposure=exposure))
    stacked = {name: np.stack([np.atleast_1d(leaf[name]) for leaf in leaves]) for name in leaves[0]}
    return {name: value.reshape(*shape, -1) for name, value in stacked.items()}


def _moments(
    spec: ModelSpec, counts: Counts, capture: FloatArray, *, prior_mean: FloatArray | float, prior_exposure: float
) -> dict[str, FloatArray]:
    """Log mean and log odds of some cells, as if ``prior_exposure`` more of capture had shown ``prior_mean``."""
    moments = counts.moments(capture)
    exposure, exposure2 = capture.sum(), np.square(capture).sum()
    mean = (moments.total + prior_exposure * prior_mean) / (exposure + prior_exposure)
    population = any("gene" in spec.priors[param.name].adds for param in spec.coordinates.sampled)
    own = "gene" in spec.natural_axes.get("log_odds", ("gene",))
    shared = counts.nnz > 0 and (population or not own)
    log_odds = _shared_log_odds(counts, mean, capture) if shared else np.zeros(())
    if own:
        total, square = mean * exposure, np.maximum(mean**2 * exposure2, 1e-12)
        excess = moments.square - 2 * mean * moments.weighted + mean**2 * exposure2 - total
        ratio = np.maximum(excess, 0) / square
        log_size = np.log(np.clip(1 / np.maximum(ratio, 1 / _SIZE_RANGE[1]), *_SIZE_RANGE))
        # members of a population start apart from it as far as the data tell them apart
        noise = (2 / square + total / square**2) * np.square(1 + ratio * square / total)
        weight = ratio**2 / (ratio**2 + noise) if population else 1.0
        log_odds = log_odds + weight * (log_size - np.log(mean) - log_odds)
    return {"log_mean": np.log(mean), "log_odds": log_odds}


def _shared_log_odds(counts: Counts, mean: FloatArray, capture: FloatArray) -> FloatArray:
    """Log odds that maximise the likelihood at given means and captures: a function of pairs and totals."""
    pairs, groups = counts.pairs(), counts.groups()
    # cells of one total have one capture
    totals, n = groups.totals, groups.n
    log_capture = np.bincount(groups.index, np.log(capture)) / n

    def loss(log_odds: float) -> float:
        size = np.exp(log_odds) * mean
        of_pair = size[pairs.gene]
        gene_terms = np.sum(pairs.n * (gammaln(pairs.count + of_pair) - gammaln(of_pair)))
        x = log_odds - log_capture
        cell_terms = np.sum(n * totals * np.logaddexp(0, x)) + size.sum() * np.sum(n * np.logaddexp(0, -x))
        return float(cell_terms - gene_terms)

    low, high = _LOG_ODDS_RANGE
    most = max(min(high, math.log(_SIZE_RANGE[1]) - float(np.median(np.log(mean)))), low + 1)
    found = minimize_scalar(loss, bounds=(low, most), method="bounded", options={"xatol": 0.01})
    return np.asarray(found.x)


def capture_start(spec: ModelSpec, log_capture: Array) -> Array:
    """Value of the capture site on the real line at which every cell has the given log capture."""
    site = spec.site(str(spec.capture_site))
    if site.name == "eta_capture":
        return site.link.inverse(-log_capture)
    logit = log_capture - jnp.log(-jnp.expm1(log_capture))
    return site.link.from_working(logit if site.name == "p_capture" else -logit)
