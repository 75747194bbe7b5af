r"""Whether the counts of a gene follow the distribution that was fitted to them: Neyman's smooth test.

The value V of a count, as in `scribe._posterior.residuals`, is uniform if the model holds, and so the polynomials of
Legendre :math:`\phi_1, \ldots, \phi_4`, orthonormal on [0, 1], have mean zero over the cells of a gene. Averages of
:math:`\phi_j(V)` over the randomisation take its noise out (Czado, Gneiting and Held 2009): with
:math:`F^- = F(u-1)` and the probability p of the count,

.. math:: t_j(u) = \int_0^1 \phi_j(F^- + w p)\,dw, \qquad T_j = \sum_c t_j(u_c).

The parameters of the gene come from the same counts, which brings :math:`T` closer to zero than that of known ones.
Neyman's C(α) statistic (1959) has the same law whatever the estimate: with the score s of the parameters of the gene,

.. math::

    \tilde T = T - A I^{-1} \sum_c s(u_c), \qquad A = E[t s^\top], \quad I = E[s s^\top], \qquad
    \mathrm{Cov}\,\tilde T = n\,(E[t t^\top] - A I^{-1} A^\top),

and :math:`Q = \tilde T^\top \mathrm{Cov}^{-1}\tilde T` follows the law of chi-squared. Expectations are those under the
fitted model, over the cells, by summation over small counts and integration over larger ones; genes with nearly the
same parameters share them. In mixtures a cell counts for its components by its responsibilities, and every component
and dataset has parameters of its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2, norm
from scipy.stats import t as student

from scribe._counts.container import Counts
from scribe._counts.likelihood import sum_of_offsets
from scribe._counts.predictors import Predictor, offsets, offsets_at
from scribe._posterior.posterior import Posterior
from scribe._posterior.residuals import by_size
from scribe._types import AnyArray, Array, FloatArray, IntArray, Natural
from scribe.families import Family

__all__ = ["ORDER", "SmoothTest", "averages"]

ORDER = 4
"""Number of polynomials. The first two see means and variances, which parameters can follow."""

_LEAST = 0.02
"""Directions in which :math:`\\tilde T` varies less than by this part of the largest variance tell nothing."""

_SMALL, _CELLS = 8, 8
"""Counts that are summed over one by one, and cells at quantiles of the offset."""

_GENES = 128
"""Genes whose offsets are sorted at a time, where each has its own."""

_NARROW, _WIDE = np.linspace(-4.5, 4.5, 31), 1.4 ** np.arange(34)
"""Ends of the panels of larger counts, in standard deviations from the mean and in multiples of the first."""

_ALIKE = 0.05
"""Differences of the natural parameters, logarithms and logits, of alike genes."""

_CLASSES = 8000
"""Most classes of alike genes: where there would be more, their differences are larger."""

_AT_ONCE = 64
_TINY = 1e-6


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
"""Three nodes on [-1, 1], exact for polynomials of degree five."""


def averages(low: Array, width: Array) -> Array:
    """Averages of the polynomials over intervals from ``low`` on, (`ORDER`, ...), exact by three nodes."""
    total: Array = jnp.zeros(())
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        x = 2.0 * low + (1.0 + node) * width - 1.0
        before, here, rows = jnp.ones_like(x), x, []
        for j in range(1, ORDER + 1):
            rows.append(math.sqrt(2 * j + 1) * here)
            before, here = here, ((2 * j + 1) * x * here - j * before) / (j + 1)
        total = total + 0.5 * weight * jnp.stack(rows)
    return total


class _Model(NamedTuple):
    """The most probable parameters.

    ``natural`` are (components, datasets, genes) each, ``own`` the names of those that genes have for themselves.
    ``predictor`` is what cells add to log rates, ``dataset`` (cells,) theirs, and ``share`` (components, datasets,
    cells) says for which components and datasets a cell counts.
    """

    family: Family
    natural: dict[str, AnyArray]
    own: tuple[str, ...]
    predictor: Predictor
    dataset: Array
    share: Array


def _model(posterior: Posterior, counts: Counts) -> _Model:
    parameters = posterior.parameters(posterior.centre())
    axes = posterior.spec.natural_axes
    arrays = {n: np.asarray(x).reshape((1,) * (3 - x.ndim) + x.shape) for n, x in parameters.natural.items()}
    shape = np.broadcast_shapes(*(x.shape for x in arrays.values()), (1, 1, counts.n_genes))
    natural = {name: np.broadcast_to(x, shape) for name, x in arrays.items()}
    gamma = np.ones((counts.n_cells, 1), np.float32)
    if parameters.log_weights is not None:
        gamma = np.asarray(posterior.responsibilities(parameters, posterior.data(counts)))
    dataset = np.zeros(counts.n_cells, np.int32) if parameters.dataset is None else np.asarray(parameters.dataset)
    mine = dataset == np.arange(shape[1])[:, None] if shape[1] > 1 else np.ones((1, counts.n_cells), bool)
    share = np.broadcast_to(gamma.T[:, None] * mine, (shape[0], shape[1], counts.n_cells))
    own = tuple(name for name in natural if "gene" in axes[name])
    dtype = parameters.log_exposure.dtype
    cells = parameters.predictor, jnp.asarray(dataset if shape[1] > 1 else dataset * 0), jnp.asarray(share, dtype)
    return _Model(posterior.spec.family, natural, own, *cells)


class _Expected(NamedTuple):
    r"""Expectations under the fitted model.

    ``number`` (components, datasets, genes) are the classes of alike genes. Of a class ``slope`` (classes, `ORDER`,
    parameters) is :math:`A I^{-1}`, ``covariance`` (classes, `ORDER`, `ORDER`) what a cell adds to that of
    :math:`\\tilde T`, and ``fourth`` are the moments of pairs of its elements.
    """

    number: IntArray
    slope: FloatArray
    covariance: FloatArray
    fourth: FloatArray


class SmoothTest:
    """The test of all genes of a fit; `p_values` is called for one block of genes after the other."""

    def __init__(self, posterior: Posterior, counts: Counts) -> None:
        self._model = _model(posterior, counts)
        self._n_cells = np.asarray(jnp.sum(self._model.share, axis=2), np.float64)
        self._expected = _expectations(self._model)

    def p_values(self, genes: slice, cell: IntArray, gene: IntArray, u: FloatArray, *, size: int) -> FloatArray:
        """p-value of every gene of a block: how often the counts of a right model are as far from uniform.

        ``cell``, ``gene`` (from the first of the block on) and ``u`` are the non-zeros; ``size`` is the number of genes
        of all blocks but the last, so that nothing is compiled anew.
        """
        model, width = self._model, genes.stop - genes.start
        index = np.minimum(np.arange(size) + genes.start, genes.stop - 1)
        natural = {name: jnp.asarray(x[..., index]) for name, x in model.natural.items()}
        cells = (model.predictor.take_genes(index), model.dataset, model.share)
        zeros = _of_zeros(model.family, model.own, natural, cells[0], model.share)
        score, slopes = (np.asarray(x, np.float64)[..., :width] for x in zeros)
        score = score.sum(axis=(0, 1))
        for piece, n in by_size(u):
            found = _of_non_zeros(model.family, model.own, natural, cells, cell[piece], gene[piece], u[piece])
            here, of_dataset = gene[piece[:n]], np.asarray(model.dataset)[cell[piece[:n]]]
            more, further = (np.asarray(x, np.float64)[..., :n] for x in found)
            for j, row in enumerate(more):
                score[j] += np.bincount(here, row, minlength=width)
            for k, p in np.ndindex(further.shape[:2]):
                table = np.bincount(of_dataset * width + here, further[k, p], minlength=slopes.shape[1] * width)
                slopes[k, :, p] += table.reshape(-1, width)
        return self._tested(genes, score, slopes)

    def _tested(self, genes: slice, score: FloatArray, slopes: FloatArray) -> FloatArray:
        """p-values from sums of polynomials (`ORDER`, genes) and scores (components, datasets, parameters, genes)."""
        number, expected = self._expected.number[..., genes], self._expected
        score = score.T - np.einsum("kdgjp,kdpg->gj", expected.slope[number], slopes)
        covariance = np.einsum("kd,kdgij->gij", self._n_cells, expected.covariance[number])
        variance, directions = np.linalg.eigh(covariance)
        told = variance > _LEAST * variance[:, -1:] + _TINY
        variance = np.where(told, variance, 1.0)
        pairs = np.einsum("gai,gbi->gabi", directions, directions).reshape(len(score), -1, ORDER)
        excess = np.zeros_like(variance)
        for place in np.ndindex(self._n_cells.shape):
            here = number[place]
            fourth = np.einsum("gxi,gxy,gyi->gi", pairs, expected.fourth[here], pairs, optimize=True)
            second = np.einsum("gxi,gx->gi", pairs, expected.covariance[here].reshape(len(score), -1))
            excess += self._n_cells[place] * (fourth - 3.0 * np.square(second))
        excess /= np.square(variance)
        # a law of Student with as much kurtosis, which few cells with many counts give to a sum
        freedom = 4.0 + 6.0 / np.maximum(excess, _TINY)
        z = np.abs(np.einsum("gj,gji->gi", score, directions)) / np.sqrt(variance)
        square = np.square(norm.isf(student.sf(z, freedom)))
        return chi2.sf(np.where(told, square, 0.0).sum(axis=1), np.maximum(told.sum(axis=1), 1))


def _scores(log_pmf: Callable[[Natural], Array], natural: Natural, own: tuple[str, ...]) -> Array:
    """Derivatives of log-probabilities, elementwise, by every parameter in ``own``, stacked along the first axis."""
    mine = {name: natural[name] for name in own}
    found = jax.grad(lambda some: jnp.sum(log_pmf({**natural, **some})))(mine)
    return jnp.stack([found[name] for name in own])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _of_zeros(
    family: Family, own: tuple[str, ...], natural: Natural, predictor: Predictor, share: Array
) -> tuple[Array, Array]:
    """Sums over cells, had all counts been zero, of polynomials and scores.

    They are (components, datasets, `ORDER`, genes) and (components, datasets, parameters, genes).
    """

    def one(here: tuple[Natural, Array]) -> tuple[Array, Array]:
        of_genes, weight = here

        def log_zero(parameters: Natural, x: Array) -> Array:
            u = jnp.zeros((1, 1), x.dtype)
            return family.cell_term(u, {name: v[None] for name, v in parameters.items()}, x)

        def polynomials(x: Array) -> Array:
            values = averages(jnp.zeros((1, 1), x.dtype), jnp.exp(log_zero(of_genes, x)))
            return jnp.swapaxes(values, 0, 1).reshape(x.shape[0], -1)

        score = sum_of_offsets(polynomials, predictor, weight).reshape(ORDER, -1)

        def total(some: Natural) -> Array:
            return sum_of_offsets(functools.partial(log_zero, some), predictor, weight)

        slopes = _scores(total, of_genes, own)
        return score, slopes

    flat = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (natural, share))
    return jax.tree.map(lambda x: x.reshape(*share.shape[:2], *x.shape[1:]), jax.lax.map(one, flat))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _of_non_zeros(
    family: Family, own: tuple[str, ...], natural: Natural, cells: tuple[Predictor, Array, Array], *element: Array
) -> tuple[Array, Array]:
    """What non-zeros add to `_of_zeros`, (`ORDER`, elements) and (components, parameters, elements)."""
    predictor, dataset, share = cells
    cell, gene, u = element
    x, of = offsets_at(predictor, cell, gene), dataset[cell]

    def one(here: tuple[Natural, Array]) -> tuple[Array, Array]:
        of_component, weight = here
        parameters = {name: value[of, gene] for name, value in of_component.items()}
        mine = weight[of, cell]
        zero = averages(jnp.zeros_like(x), jnp.exp(family.cell_term(jnp.zeros_like(u), parameters, x)))
        probability = jnp.exp(family.log_pmf(u, parameters, x))
        score = averages(family.cdf(u - 1.0, parameters, x), probability) - zero
        slopes = _scores(lambda some: family.gene_term(u, some) + family.correction(u, some, x), parameters, own)
        return mine[None] * score, mine[None] * slopes

    score, slopes = jax.lax.map(one, (natural, share))
    return jnp.sum(score, axis=0), slopes


def _expectations(model: _Model) -> _Expected:
    """Expectations for all classes of alike genes, each from one of them."""
    shape = model.natural[model.own[0]].shape
    at = np.broadcast_to(_quantiles(model), (*shape, _CELLS)).reshape(-1, _CELLS)
    flat = {name: value.reshape(-1) for name, value in model.natural.items()}
    first, number = _classes(np.stack([*flat.values(), at.mean(axis=1)], axis=1))
    parts = []
    for start in range(0, len(first), _AT_ONCE):
        index = first[np.minimum(np.arange(start, start + _AT_ONCE), len(first) - 1)]
        some = {name: jnp.asarray(value[index]) for name, value in flat.items()}
        here = _of_classes(model.family, model.own, some, jnp.asarray(at[index]))
        parts.append([np.asarray(x, np.float64)[: len(first) - start] for x in here])
    return _Expected(number.reshape(shape), *map(np.concatenate, zip(*parts, strict=True)))


def _classes(parameters: FloatArray) -> tuple[IntArray, IntArray]:
    """The first member of every class of genes (rows) with nearly equal parameters, and the class of every gene."""
    apart = _ALIKE
    while True:
        _, first, number = np.unique(np.round(parameters / apart), axis=0, return_index=True, return_inverse=True)
        if len(first) <= _CLASSES:
            return first, number
        apart *= 1.3


def _quantiles(model: _Model) -> FloatArray:
    """Offsets of equally many cells each, which count by their share: (components, datasets, genes or 1, `_CELLS`)."""
    n_genes, share = model.natural[model.own[0]].shape[-1], np.asarray(model.share)
    starts = [0] if model.predictor.separable else range(0, n_genes, _GENES)
    blocks = []
    for first in starts:
        some = np.arange(first, min(first + _GENES, n_genes))
        x = np.asarray(offsets(model.predictor.take_genes(some)))
        blocks.append([[_at_quantiles(x, weight) for weight in row] for row in share])
    return np.concatenate(blocks, axis=2)


def _at_quantiles(x: FloatArray, share: FloatArray) -> FloatArray:
    """Of one component and dataset, (genes, `_CELLS`) from offsets (cells, genes)."""
    order = np.argsort(x, axis=0)
    reached = np.cumsum(share[order], axis=0) / max(share.sum(), _TINY)
    places = np.stack([(reached < (i + 0.5) / _CELLS).sum(axis=0) for i in range(_CELLS)])
    places = np.minimum(places, len(x) - 1)
    return np.take_along_axis(np.take_along_axis(x, order, axis=0), places, axis=0).T


@functools.partial(jax.jit, static_argnums=(0, 1))
def _of_classes(family: Family, own: tuple[str, ...], natural: Natural, offset: Array) -> tuple[Array, ...]:
    """The expectations of `_Expected` for some classes from cells at offsets (classes, cells)."""
    moments = family.moments({name: value[:, None] for name, value in natural.items()}, offset)
    u, weight = _counts(moments.mean, moments.variance)
    x = jnp.broadcast_to(offset[..., None], u.shape)
    wide = {name: jnp.broadcast_to(value[:, None, None], u.shape) for name, value in natural.items()}
    pmf = jnp.exp(family.log_pmf(u, wide, x))
    weight = weight * pmf
    t, score = averages(_below(pmf, weight), pmf), _scores(lambda some: family.log_pmf(u, some, x), wide, own)
    weight = weight / jnp.sum(weight, axis=2, keepdims=True) / offset.shape[1]
    cross, information = (jnp.einsum("uce,auce,buce->uab", weight, left, score) for left in (t, score))
    scale = jnp.sqrt(jnp.diagonal(information, axis1=1, axis2=2)) + _TINY
    eye = jnp.eye(len(own), dtype=offset.dtype)
    relative = information / (scale[:, :, None] * scale[:, None]) + 1e-4 * eye[None]
    slope = jnp.linalg.solve(relative, jnp.swapaxes(cross / scale[:, None], 1, 2))
    slope = jnp.swapaxes(slope, 1, 2) / scale[:, None]
    rest = t - jnp.einsum("uap,puce->auce", slope, score)
    pairs = (rest[:, None] * rest[None]).reshape(-1, *u.shape)
    return slope, *(jnp.einsum("uce,auce,buce->uab", weight, x, x) for x in (rest, pairs))


def _counts(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Counts and weights with which a sum over all of them is taken, (..., counts) each: small ones, then nodes.

    The sum of a smooth function over the rest is its integral from half a count below on, by three nodes in a panel.
    """
    dtype, first = mean.dtype, _SMALL - 0.5
    sd = jnp.sqrt(jnp.clip(variance, mean, 1e4 * jnp.square(mean) + mean))
    narrow = jnp.maximum(mean[..., None] + sd[..., None] * jnp.asarray(_NARROW, dtype)[None, None], first)
    wide = jnp.broadcast_to(jnp.asarray(first * _WIDE, dtype), (*mean.shape, len(_WIDE)))
    ends = jnp.sort(jnp.concatenate([narrow, wide], axis=-1), axis=-1)
    half, middle = jnp.diff(ends, axis=-1)[..., None] / 2, (ends[..., 1:] + ends[..., :-1])[..., None] / 2
    nodes, weights = (jnp.asarray(x, dtype)[None, None, None] for x in (_NODES, _WEIGHTS))
    shape = (*mean.shape, -1)
    few = jnp.broadcast_to(jnp.arange(_SMALL, dtype=dtype), (*mean.shape, _SMALL))
    u = jnp.concatenate([few, (middle + half * nodes).reshape(shape)], axis=-1)
    return u, jnp.concatenate([jnp.ones_like(few), (half * weights).reshape(shape)], axis=-1)


def _below(pmf: Array, mass: Array) -> Array:
    """Probability of less than the counts of `_counts`, whose weights and probabilities make ``mass``."""
    few, shape = pmf[..., :_SMALL], (*pmf.shape[:-1], -1, len(_NODES))
    up_to = jnp.cumsum(few, axis=-1)
    panels = jnp.sum(mass[..., _SMALL:].reshape(shape), axis=-1)
    before = up_to[..., -1:] + jnp.cumsum(panels, axis=-1) - panels
    # up to a node: the integral of the parabola through the three of its panel
    inside = jnp.einsum("...j,ij->...i", mass[..., _SMALL:].reshape(shape), jnp.asarray(_partial(), pmf.dtype))
    middle = (before[..., None] + inside).reshape(*pmf.shape[:-1], -1)
    rest = middle - pmf[..., _SMALL:] / 2
    return jnp.clip(jnp.concatenate([up_to - few, rest], axis=-1), 0.0, 1.0)


def _partial() -> FloatArray:
    """Integrals up to every node (rows) of the parabolas that are one at a node (columns), over their weights."""
    powers = np.vander(_NODES, 3, increasing=True)
    integrals = np.stack([(_NODES ** (k + 1) - (-1.0) ** (k + 1)) / (k + 1) for k in range(3)], axis=1)
    return np.linalg.solve(powers.T, integrals.T).T / _WEIGHTS
