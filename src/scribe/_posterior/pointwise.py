r"""How well a model predicts every single count, at the cost of the non-zeros.

For the count of gene g in cell c at draws s of the parameters, :math:`\ell_{s} = \log P(u_{cg} \mid \theta_{sg}, x_c)`,

.. math:: \mathrm{elpd}_{cg} = \log \frac1S \sum_s e^{\ell_s} - \mathrm{Var}_s\,\ell_s,

as in WAIC. Non-zeros are followed one by one over the draws. The zeros of a gene are a smooth function of the offset at
every draw, hence in mean and variance: they are followed at the nodes of `scribe._counts.interpolation` and made out
for a block of cells at a time. Capture is kept at its most probable value relative to other cells, and moves with the
draws for all cells together, as expression may be traded for it; cells are of their most probable component.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.interpolation import Interval, matmul, n_nodes, to_coefficients
from scribe._counts.parameters import Parameters
from scribe._counts.zeros import Zeros, zeros
from scribe._device import on_device
from scribe._model.likelihood import Likelihood
from scribe._posterior.assign import assign
from scribe._posterior.posterior import Posterior
from scribe._types import AnyArray, Array, FloatArray, IntArray
from scribe.families import Family

__all__ = ["Elements", "by_element"]

_PIECE = 2**17
"""Non-zeros worked on at a time."""

_BLOCK_ELEMENTS = 2_000_000


class _Running(NamedTuple):
    """What is kept of numbers that pass by one draw at a time: log of the sum of exponentials, mean and squares."""

    log_sum: Array
    mean: Array
    square: Array

    @classmethod
    def start(cls, like: jax.ShapeDtypeStruct) -> _Running:
        """Of no numbers."""
        return cls(*(jnp.full(like.shape, value, like.dtype) for value in (-jnp.inf, 0.0, 0.0)))

    def add(self, value: Array, number: Array) -> _Running:
        """Take in draw ``number``, counted from zero."""
        distance = value - self.mean
        mean = self.mean + distance / (number + 1).astype(value.dtype)
        return _Running(jnp.logaddexp(self.log_sum, value), mean, self.square + distance * (value - mean))

    def waic(self, n_draws: int) -> tuple[Array, Array]:
        """Elpd and its penalty, the variance over draws."""
        variance = self.square / n_draws
        return self.log_sum - np.log(n_draws).astype(variance.dtype) - variance, variance


class _Entries(NamedTuple):
    """Non-zeros in pieces of equal length, padded with zeros: (pieces, length) each."""

    value: Array
    gene: Array
    cell: Array


class ByElement(NamedTuple):
    """Elpd and penalty of every count, in nats: of non-zeros in the order of the matrix, and what gives that of zeros.

    ``levels`` are the offset, dataset and component of every cell.
    """

    non_zero: tuple[FloatArray, FloatArray]
    zero: tuple[Zeros, Zeros]
    levels: tuple[FloatArray, IntArray | None, IntArray]

    def blocks(self, counts: Counts) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Elpd and penalty, (cells, genes) each, of one block of cells after the other."""
        size, start = max(_BLOCK_ELEMENTS // max(counts.n_genes, 1), 1), 0
        for first in range(0, counts.n_cells, size):
            cells = slice(first, min(first + size, counts.n_cells))
            # blocks of one shape, the last one too
            index = np.minimum(np.arange(first, first + size), counts.n_cells - 1)
            offset, dataset, component = (None if x is None else jnp.asarray(x[index]) for x in self.levels)
            here = counts.entries(cells)
            stop = start + len(here.value)
            out = []
            for zero, non_zero in zip(self.zero, self.non_zero, strict=True):
                dense = np.array(_at(zero, offset, dataset, component), np.float64)
                dense = np.broadcast_to(dense, (size, counts.n_genes))[: cells.stop - first].copy()
                dense[here.cell - first, here.gene] = non_zero[start:stop]
                out.append(dense)
            start = stop
            yield cells, out[0], out[1]


@jax.jit
def _at(zero: Zeros, offset: Array, dataset: Array | None, component: Array) -> Array:
    out = zero.at(offset, dataset, 0)
    for k in range(1, zero.coefficients.shape[0]):
        out = jnp.where(component[:, None] == k, zero.at(offset, dataset, k), out)
    return out


class EveryElement(NamedTuple):
    """Elpd and penalty of every count where a cell adds to every gene a number of its own: nothing is interpolated."""

    family: Family
    draws: list[Parameters]

    def blocks(self, counts: Counts) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Elpd and penalty, (cells, genes) each, of one block of cells after the other."""
        size = max(_BLOCK_ELEMENTS // max(counts.n_genes, 1), 1)
        for first in range(0, counts.n_cells, size):
            cells = slice(first, min(first + size, counts.n_cells))
            u = on_device(counts.rows(cells))
            state = _Running.start(jax.ShapeDtypeStruct(u.shape, u.dtype))
            for number, drawn in enumerate(self.draws):
                state = _follow(self.family, state, u, drawn.map_cells(operator.itemgetter(cells)), number)
            elpd, penalty = (np.asarray(x, np.float64) for x in state.waic(len(self.draws)))
            yield cells, elpd, penalty


Elements = ByElement | EveryElement
"""Elpd and penalty of every count of a data set, by blocks of cells."""


@functools.partial(jax.jit, static_argnums=0)
def _follow(family: Family, state: _Running, u: Array, parameters: Parameters, number: Array) -> _Running:
    return state.add(Likelihood(family).log_pmf(u, parameters), jnp.asarray(number))


def by_element(posterior: Posterior, counts: Counts, draws: Iterable[Parameters]) -> Elements:
    """Follow all counts over draws from the posterior, those of `Posterior.parameter_draws`."""
    centre = posterior.parameters(posterior.centre())
    component = np.zeros(counts.n_cells, np.int32)
    if posterior.mixed:
        component = assign(posterior, counts).component.astype(np.int32)
    if not centre.predictor.separable:
        return EveryElement(
            posterior.spec.family, [drawn._replace(component=jnp.asarray(component)) for drawn in draws]
        )
    entries, family, n_draws = _entries(counts), posterior.spec.family, 0
    state: tuple[_Running, _Running] | None = None
    for drawn in draws:
        shift = jnp.mean(drawn.log_exposure - centre.log_exposure)
        here = drawn.at_exposure(centre.log_exposure + shift)._replace(component=jnp.asarray(component))
        if state is None:
            first, second = jax.eval_shape(functools.partial(_values, family), here, entries)
            state = _Running.start(first), _Running.start(second)
        state = _step(family, state, here, entries, jnp.asarray(n_draws))
        n_draws += 1
    if state is None:
        msg = "There are no draws to follow: n_samples must be at least 1."
        raise ValueError(msg)
    of_entries, of_nodes = (x.waic(n_draws) for x in state)
    to_coefs = jnp.asarray(to_coefficients(n_nodes(centre.log_exposure.dtype)), centre.log_exposure.dtype)[None, None]
    levels = np.asarray(centre.log_exposure), None if centre.dataset is None else np.asarray(centre.dataset), component
    elpd, penalty = (np.asarray(x).ravel()[: counts.nnz] for x in of_entries)
    interval = Interval.around(centre.log_exposure)
    zero_elpd, zero_penalty = (Zeros(matmul(to_coefs, x), interval) for x in of_nodes)
    return ByElement((elpd, penalty), (zero_elpd, zero_penalty), levels)


def _entries(counts: Counts) -> _Entries:
    length = min(_PIECE, max(counts.nnz, 1))
    cell, gene_of, value = counts.entries()

    def pieces(x: AnyArray) -> AnyArray:
        return np.pad(x, (0, -len(x) % length)).reshape(-1, length)

    gene, owner = (on_device(pieces(x), np.int32) for x in (gene_of, cell))
    return _Entries(on_device(pieces(value)), gene, owner)


def _values(family: Family, parameters: Parameters, entries: _Entries) -> tuple[Array, Array]:
    """Log-probability of every non-zero, and of zeros at the nodes, (components, datasets, nodes, genes)."""
    nothing = jnp.zeros_like(parameters.log_exposure, jnp.int32)
    component = nothing if parameters.component is None else parameters.component
    dataset = nothing if parameters.dataset is None else parameters.dataset

    def of_piece(piece: _Entries) -> Array:
        natural = {}
        for name, value in parameters.natural.items():
            if value.ndim == 3:
                codes = (component[piece.cell], dataset[piece.cell], piece.gene)
                # there is one level where nothing varies
                natural[name] = value[tuple(jnp.minimum(x, n - 1) for x, n in zip(codes, value.shape, strict=True))]
            else:
                natural[name] = value[piece.gene] if value.ndim else value
        return family.log_pmf(piece.value, natural, parameters.log_exposure[piece.cell])

    silent = zeros(family, parameters.natural, parameters.log_exposure)
    polynomials = silent.interval.polynomials(silent.interval.nodes())
    return jax.lax.map(of_piece, entries), matmul(polynomials.T[None, None], silent.coefficients)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(
    family: Family, state: tuple[_Running, _Running], parameters: Parameters, entries: _Entries, number: Array
) -> tuple[_Running, _Running]:
    of_entries, of_nodes = _values(family, parameters, entries)
    return state[0].add(of_entries, number), state[1].add(of_nodes, number)
