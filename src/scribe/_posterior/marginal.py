r"""Log-likelihood of cells with their own capture integrated out.

Nothing is known of the capture of a cell that is left out but that it is one of a population. So a criterion that
leaves cells out needs, at given other parameters :math:`\theta`,

.. math:: \log p(u_c \mid \theta, x_{-c}) =
    \log \sum_k w_{ck} \int p(x \mid x_{-c}) \prod_g P(u_{cg} \mid \theta_{kg}, x)\,dx

with the log capture :math:`x` of the cell and those of the others, :math:`x_{-c}`, at the same draw. The population is
normal, cut at full capture: :math:`x \sim N^-(m_{-c}, s_{-c}\sqrt{1 + 1/(n-1)})` with mean and standard deviation of
the others. The prior of capture would not do. With an anchor it is centred by the total of the very cell, so that the
probabilities of what the cell may contain would not sum to one; without one it says nothing of how deep cells are
sequenced, and models with different priors of capture would be told apart by this alone.

The integrals, one for every cell and component, are done at once over the latent :math:`z` of capture on the real line,
by nodes around the mode of each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CountData, NonZeros
from scribe._counts.design import Design
from scribe._counts.likelihood import by_cell
from scribe._counts.parameters import Parameters
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior
from scribe._types import Array, FloatArray, IntArray

__all__ = ["NewCells", "log_likelihood_of_cells"]

Result = TypeVar("Result")

_FEW = 5
"""Nodes of Gauss and Hermite: exact where the posterior of capture is normal times a polynomial of degree 9."""

_MANY, _STEP, _STRETCH = 21, 0.6, 0.5
"""Nodes of the trapezoidal rule in t, where z = mode + sd sinh(t/2) / (1/2), and their distance.

They reach 20 standard deviations, so that tails may be exponential, as those of few counts or full capture are. Over
totals from 0 to 30,000 and captures from 1e-5 to 1 the error is 1e-4 nats at most where mode and sd are right.
"""

_TOLERANCE = 1e-3
"""Largest error in a cell, in nats, up to which the few nodes do."""

_SEARCH = 16
"""Parabolas that find the modes from wherever the posterior has capture."""

_REACH, _GROWTH = 3.0, 3.0
"""Farthest that one parabola moves a mode, in standard deviations, and most that it changes these."""


_NARROWEST = 1e-3
"""Least standard deviation of a population of log captures."""

_FEWEST = 3
"""Cells whose captures make a population: two of them when one is left out."""

_DEPTH = 6.0
"""How far nodes may go below the lowest log capture of all: the sums over zeros are interpolated between the cells."""


class _Population(NamedTuple):
    """Mean and standard deviation of the log capture of cells, before it is cut at 0: (cells,) or (1,)."""

    mean: Array
    sd: Array

    @classmethod
    def of(cls, x: Array, *, others: bool) -> _Population:
        """Population that cells with the log captures ``x`` are from; with ``others`` as all other cells know it."""
        n = len(x) - others
        centre = jnp.mean(x)
        distance = x - centre if others else jnp.zeros((1,), x.dtype)
        # what is left when one cell is taken out of a mean and of a sum of squares
        mean = -distance / n
        squares = jnp.sum(jnp.square(x - centre)) - jnp.square(distance) * (n + 1) / n
        variance = jnp.maximum(squares, 0.0) / (n - 1) * (1 + 1 / n)
        return cls(centre + mean, jnp.maximum(jnp.sqrt(variance), _NARROWEST))

    def log_prob(self, x: Array) -> Array:
        """Log-density of log captures, (cells,)."""
        density = jax.scipy.stats.norm.logpdf(x, self.mean, self.sd)
        return density - jax.scipy.special.log_ndtr(-self.mean / self.sd)


class NewCells(NamedTuple):
    """Cells that were not fitted: what is known of them, and cells of the fit about whose captures theirs lie."""

    like: IntArray
    design: Design


class _Setting(NamedTuple):
    """Parameters at one draw, and the population of captures."""

    parameters: Parameters
    population: _Population


class _Rule(NamedTuple):
    """Nodes in standard deviations from the mode, and logarithms of their weights, of which the first ``n`` count.

    All rules are of one length, so that they share compiled code.
    """

    nodes: Array
    log_weights: Array
    n: Array

    @classmethod
    def of(cls, nodes: FloatArray, log_weights: FloatArray) -> _Rule:
        """Put a rule of at most `_MANY` nodes on the device."""
        dtype, rest = jnp.zeros(()).dtype, (0, _MANY - len(nodes))
        padded, padded_weights = (jnp.asarray(np.pad(x, rest), dtype) for x in (nodes, log_weights))
        return cls(padded, padded_weights, jnp.asarray(len(nodes)))


class _Peaks(NamedTuple):
    """Mode and standard deviation of the latent of capture, (components, cells) each."""

    mode: Array
    sd: Array


def log_likelihood_of_cells(
    posterior: Posterior,
    counts: Counts,
    draws: Iterable[Mapping[str, Array]],
    *,
    new: NewCells | None = None,
) -> Iterator[FloatArray]:
    """Log-likelihood of every cell without its capture, (cells,), at draws as `Posterior.values` gives them.

    The cells are those of the fit, each left out of the population of captures, or ``new`` ones.
    """
    part = posterior
    if new is not None:
        like = posterior.subset(cells=new.like)
        part = replace(like, design=replace(new.design, known=like.design.known))
    spec, data, site = posterior.spec, part.data(counts), posterior.spec.capture_site
    if spec.family.field:
        msg = (
            f"A cell of {spec.family.name} that is left out has latents of its own, which this criterion cannot "
            'integrate over: use criterion="thinned".'
        )
        raise ValueError(msg)
    if site is None:
        for values in draws:
            yield np.asarray(spec.likelihood.by_cell(part.parameters(values), data))
        return
    if posterior.n_cells < _FEWEST:
        msg = (
            f"The capture of a cell that is left out is one of a population, and {posterior.n_cells} cells make none: "
            f'use criterion="thinned", or {_FEWEST} cells or more.'
        )
        raise ValueError(msg)

    def at(values: Mapping[str, Array]) -> _Setting:
        here = values if new is None else {**values, site: values[site][new.like]}
        log_exposure = posterior.parameters(values).log_exposure
        return _Setting(part.parameters(here), _Population.of(log_exposure, others=new is None))

    centre = posterior.centre()
    setting = at(centre)
    peaks = _search(spec, setting, centre[site] if new is None else centre[site][new.like], data)
    few, many = _gauss_hermite(), _stretched()
    quick, exact = (_integrated(spec, setting, peaks, rule, data) for rule in (few, many))
    noise = 4 * jnp.finfo(exact.dtype).eps * jnp.max(jnp.abs(exact))
    rule = few if jnp.max(jnp.abs(quick - exact)) < _TOLERANCE + noise else many
    for values in draws:
        # expression may be traded for the capture of all cells, which then move together
        here = peaks._replace(mode=peaks.mode + jnp.mean(values[site] - centre[site]))
        yield np.asarray(_integrated(spec, at(values), here, rule, data))


def _gauss_hermite() -> _Rule:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_FEW)
    return _Rule.of(nodes, np.log(weights) + np.square(nodes) / 2)


def _stretched() -> _Rule:
    t = (np.arange(_MANY) - (_MANY - 1) / 2) * _STEP * _STRETCH
    return _Rule.of(np.sinh(t) / _STRETCH, np.log(np.cosh(t) * _STEP))


_Density = Callable[[Array], Array]
"""Log of the joint density of counts and capture, of the latent of every cell, (cells,) -> (cells,)."""


def _over_components(
    spec: ModelSpec,
    setting: _Setting,
    data: CountData,
    of_one: Callable[[_Density, Array], Result],
    lowest: Array | float = -jnp.inf,
) -> Result:
    """Stack what ``of_one`` makes of the density in every component and the component's number.

    Counts are as likely at log captures below the ``lowest`` as there.
    """
    family, parameters = spec.family, setting.parameters

    def one(number: Array) -> Result:
        here, rest, of_data = parameters.of_component(number), jnp.zeros(()), data
        if spec.totals_suffice:
            # all that depends on capture is a function of the totals
            of_data = data._replace(non_zeros=_no_rows(data))
            rest = by_cell(family, here, data) - by_cell(family, here, of_data)

        def density(z: Array) -> Array:
            x, slope = jax.jvp(functools.partial(_log_capture, spec), (z,), (jnp.ones_like(z),))
            law = setting.population.log_prob(x) + jnp.log(jnp.maximum(jnp.abs(slope), jnp.finfo(x.dtype).tiny))
            return by_cell(family, here.at_exposure(jnp.maximum(x, lowest)), of_data) + rest + law

        return of_one(density, number)

    result: Result = jax.lax.map(one, jnp.arange(parameters.n_components))
    return result


def _log_capture(spec: ModelSpec, z: Array) -> Array:
    return spec.offset({str(spec.capture_site): z}, z.shape[0])


def _no_rows(data: CountData) -> NonZeros:
    return jax.tree.map(lambda x: x[:0], data.non_zeros)


@functools.partial(jax.jit, static_argnums=0)
def _search(spec: ModelSpec, setting: _Setting, z: Array, data: CountData) -> _Peaks:
    """Modes of all cells in all components, from anywhere."""

    def of_one(density: _Density, _: Array) -> _Peaks:
        start = _Peaks(z, jnp.full_like(z, 0.3))
        return jax.lax.fori_loop(0, _SEARCH, lambda _, peaks: _parabola(density, peaks), start)

    return _over_components(spec, setting, data, of_one)


def _parabola(density: _Density, peaks: _Peaks) -> _Peaks:
    """Mode and curvature of the parabola through three points; uphill by leaps where it has no mode nearby."""
    z, sd = peaks
    below, here, above = jax.lax.map(lambda move: density(z + move * sd), jnp.asarray([-1.0, 0.0, 1.0], z.dtype))
    slope, curvature = (above - below) / 2, above - 2 * here + below
    peaked = (curvature < 0) & (jnp.abs(slope) < -_REACH * curvature)
    move = jnp.where(peaked, -slope / jnp.where(peaked, curvature, -1.0), _REACH * jnp.sign(slope))
    width = jax.lax.rsqrt(jnp.where(peaked, -curvature, 1.0))
    factor = jnp.where(peaked, jnp.clip(width, 1 / _GROWTH, _GROWTH), jnp.where(curvature < 0, 1.0, 2.0))
    return _Peaks(z + move * sd, sd * factor)


@functools.partial(jax.jit, static_argnums=0)
def _integrated(spec: ModelSpec, setting: _Setting, peaks: _Peaks, rule: _Rule, data: CountData) -> Array:
    """Log-likelihood of every cell; the modes, found at other parameters, are brought to these first."""

    def of_one(density: _Density, number: Array) -> Array:
        z, sd = _parabola(density, _Peaks(peaks.mode[number], peaks.sd[number]))

        def add(i: Array, total: Array) -> Array:
            return jnp.logaddexp(total, density(z + rule.nodes[i] * sd) + rule.log_weights[i])

        total: Array = jax.lax.fori_loop(0, rule.n, add, jnp.full_like(z, -jnp.inf))
        return total + jnp.log(sd)

    offsets = jax.vmap(functools.partial(_log_capture, spec))(peaks.mode)
    joint = _over_components(spec, setting, data, of_one, lowest=jnp.min(offsets) - _DEPTH)
    log_weights = setting.parameters.log_weights
    weights = jnp.zeros(()) if log_weights is None else log_weights.T
    return jax.nn.logsumexp(joint + weights, axis=0)
