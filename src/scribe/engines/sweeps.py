r"""Fits by steps on all genes at given captures, and on all captures at given genes, in turn.

Where genes have dispersions of their own a gradient costs a pass over all non-zeros, and Adam takes thousands. But
genes are independent given the cells, and cells given the genes. What ties them is proportional to the count,
:math:`\sum_{cg} u_{cg} h_g(x_c)` with a function of the cell's offset :math:`x_c` that its values at nodes
:math:`x_b` give, by the Lagrange polynomials :math:`L_b`:

.. math::

    \sum_c u_{cg} E[h_g(x_c)] = \sum_b h_g(x_b) \sum_c u_{cg} E[L_b(x_c)],\qquad
    \sum_g u_{cg} E[h_g(x_c)] = \sum_b L_b(x_c) \sum_g u_{cg} E[h_g(x_b)].

Two products with the sparse matrix serve all steps of a sweep. The fixed point of the sweeps is the optimum of the
mean-field guide. More expression and less capture leave the likelihood as it is: along that direction all move
together, for one after the other they would need hundreds of sweeps.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import Pairs, means_of, pairs_on_device
from scribe._counts.interpolation import Interval, clenshaw, nodes_needed, to_coefficients
from scribe._counts.likelihood import take_genes
from scribe._device import on_device
from scribe._model.initial import start as start_of
from scribe._model.sites import Site
from scribe._model.spec import ModelSpec
from scribe._progress import progress
from scribe._types import Array, FloatArray, Natural, Params
from scribe.engines.convergence import Remaining
from scribe.engines.normals import Blocks, Rule, ascend, bound, mean, quadrature
from scribe.guides import LOC, Guide, MeanField
from scribe.guides._base import LOG_SCALE
from scribe.priors import Base, Context, latent_name

__all__ = ["Swept", "suit", "sweep"]

_log = logging.getLogger("scribe")

_ORDER, _STEPS, _SHIFTS = 7, 3, 3
"""Nodes of the quadrature per element, and steps of every block and shifts of all per sweep."""
_ENOUGH, _ENOUGH_OF_LOSS = 1.0, 1e-7
"""Gain of a sweep, in nats and relative to the loss, below which it was the last; float32 tells no more."""
_START_SCALE = 0.2
_POLE, _ROOM, _NODES_STEP = np.pi, 0.5, 8
"""Distance of singularities of log-pmfs from the real axis, and what the range of offsets x."""
_SHIFT = 0.01
"""Shift of all offsets by which its curvature is found."""


class Swept(NamedTuple):
    """Arrays of a mean-field guide, the loss after every sweep, and what another one would gain."""

    params: Params
    losses: FloatArray
    remaining: Remaining


class _Data(NamedTuple):
    pairs: Pairs
    context: Context
    of_genes: Rule
    of_cells: Rule


class _Nodes(NamedTuple):
    """Nodes, and sums over cells there: of their polynomials, (nodes,), and of these times counts, (nodes, genes)."""

    nodes: Array
    cells: Array
    counts: Array


class _Likelihood(NamedTuple):
    """Coefficients (nodes, cells) of the log-likelihoods of cells as polynomials of the offset, and their interval."""

    coefficients: Array
    interval: Interval

    def at(self, offset: Array) -> Array:
        """Log-likelihood of every cell at its offset, (cells,)."""
        return clenshaw(self.coefficients, jnp.clip(self.interval.place(offset), -1.0, 1.0))


def suit(spec: ModelSpec, guide: Guide) -> bool:
    """Whether sweeps are made for a model: genes with one or two parameters of their own, cells with a capture."""
    n_genes, n_cells = (len(_sites(spec, axis)) for axis in ("gene", "cell"))
    return (
        spec.family.linear
        and not (spec.levels or spec.totals_suffice)
        and n_genes in (1, 2)
        and n_cells == 1
        and n_genes + n_cells == len(spec.sites)
        and all(isinstance(site.prior, Base) for site in spec.sites)
        and isinstance(guide, MeanField)
        and not guide.by_total
    )


def sweep(spec: ModelSpec, counts: Counts, *, most: int, level: int) -> Swept | None:
    """Sweep until another one would gain next to nothing, ``most`` times at most; None where that fails.

    Every sweep is logged at a ``level``.
    """
    genes, cells, direction = _start(spec, counts)
    rules = (quadrature(len(blocks.loc), _ORDER) for blocks in (genes, cells))
    data = _Data(pairs_on_device(counts), Context(on_device(counts.totals), *means_of(counts)), *rules)
    losses, left, n = [], np.inf, 0
    with progress(most, desc="fit", unit="sweep") as bar:
        for number in range(most):
            interval = _range_of(cells, data, spec=spec)
            if nodes_needed(float(interval.half), distance=_POLE) > n:
                # with room for the range to grow: every number is compiled for
                n = -(-nodes_needed(1.25 * float(interval.half), distance=_POLE) // _NODES_STEP) * _NODES_STEP
            nodes, to_nodes = interval.nodes(n), to_coefficients(n)
            basis = np.asarray(_basis(cells, interval, data, spec=spec, n=n))
            counts_there, cells_there = (
                (counts.sums(basis.T).T @ to_nodes).T,
                basis.sum(axis=1, dtype=np.float64) @ to_nodes,
            )
            tables = _Nodes(nodes, on_device(cells_there), on_device(counts_there))
            genes, value, of_genes = _fit_genes(genes, tables, data, spec=spec)
            losses.append(-_total(value) - _total(_alone(cells, data, spec=spec)))
            left, gain = left + _total(of_genes), losses[-2] - losses[-1] if number else np.inf
            enough = max(_ENOUGH, _ENOUGH_OF_LOSS * abs(losses[-1]))
            bar.update(1, elbo=f"{-losses[-1]:.7g}")
            _log.log(level, "sweep %d: ELBO %.9g, %.3g nats to gain", number + 1, -losses[-1], left)
            if not np.isfinite(losses[-1]):
                break
            if max(gain, left) < enough:
                params = _params(spec, genes, cells)
                return Swept(params, np.asarray(losses), Remaining(left, 0.0, "the decrement of Newton's steps"))
            zeros, ones = map(np.asarray, _at_nodes(genes, nodes, data, spec=spec))
            coefficients = on_device((counts.times((to_nodes @ ones).T.astype(ones.dtype)) + to_nodes @ zeros).T)
            likelihood, shifted = _Likelihood(coefficients, interval), 0.0
            for _ in range(_SHIFTS if number else 0):
                (genes, cells, likelihood), gained = _together(genes, cells, direction, likelihood, data, spec=spec)
                shifted = max(shifted, float(gained))
            cells, of_cells = _fit_cells(cells, likelihood, data, spec=spec)
            left = _total(of_cells) + shifted
    _log.info("sweeps of Newton steps did not settle: steps of the optimiser follow")
    return None


def _sites(spec: ModelSpec, axis: str) -> list[Site]:
    """Parameters that run over genes, or over cells."""
    return [site for site in spec.sites if site.axes == (axis,)]


def _start(spec: ModelSpec, counts: Counts) -> tuple[Blocks, Blocks, Array]:
    """Genes and cells where fits start, with narrow scales, and how genes change when expression rises."""
    values, ridges = start_of(spec, counts)
    latents = spec.start(values)

    def rows(axis: str, of: Callable[[str], Any]) -> Array:
        n = counts.n_genes if axis == "gene" else counts.n_cells
        return on_device(np.stack([np.broadcast_to(of(latent_name(s.name)), n) for s in _sites(spec, axis)]))

    locs = rows("gene", latents.__getitem__), rows("cell", latents.__getitem__)
    genes, cells = (Blocks(loc, jnp.full_like(loc, np.log(_START_SCALE))) for loc in locs)
    return genes, cells, rows("gene", lambda name: ridges.get(name, np.zeros(1))[..., -1])


def _params(spec: ModelSpec, genes: Blocks, cells: Blocks) -> Params:
    """Arrays of the guide."""
    params: Params = {}
    for axis, blocks in (("gene", genes), ("cell", cells)):
        for site, loc, log_scale in zip(_sites(spec, axis), *blocks, strict=True):
            params |= {latent_name(site.name) + LOC: loc, latent_name(site.name) + LOG_SCALE: log_scale}
    return params


def _total(values: Array) -> float:
    """Sum on the host, in float64."""
    return float(np.asarray(values).sum(dtype=np.float64))


def _prior(spec: ModelSpec, axis: str, data: _Data) -> Callable[[Array], Array]:
    """Log-density of the parameters of every gene or cell, (elements, blocks) -> (blocks,)."""
    laws = [site.prior.distribution(data.context) for site in _sites(spec, axis) if isinstance(site.prior, Base)]
    return lambda z: sum((law.log_prob(row) for law, row in zip(laws, z, strict=True)), jnp.zeros_like(z[0]))


def _with_slopes(function: Callable[[Any], Array], at: Any) -> tuple[Array, Any]:
    """Values of all blocks, and the derivatives of each by its own parameters."""
    value, pull_back = jax.vjp(function, at)
    return value, pull_back(jnp.ones_like(value))[0]


def _natural(spec: ModelSpec, z: Array) -> dict[str, Array]:
    """Natural parameters of genes."""
    return spec.natural(spec.working({site.name: row for site, row in zip(_sites(spec, "gene"), z, strict=True)}))


def _offset(spec: ModelSpec, z: Array) -> Array:
    """Offset of cells from the value of their capture on the real line."""
    return spec.offset({str(spec.capture_site): z}, z.shape[0])


_of_model = functools.partial(jax.jit, static_argnames="spec")


@_of_model
def _fit_genes(genes: Blocks, tables: _Nodes, data: _Data, *, spec: ModelSpec) -> tuple[Blocks, Array, Array]:
    """Steps of all genes: where they lead, the bounds there, and what the first step promised."""
    family, prior, pairs = spec.family, _prior(spec, "gene", data), data.pairs
    zero, one = jnp.zeros((), genes.loc.dtype), jnp.ones((), genes.loc.dtype)

    def of_pairs(natural: Natural) -> Array:
        terms = pairs.n * family.gene_term(pairs.value, take_genes(natural, pairs.gene))
        return jax.ops.segment_sum(terms, pairs.gene, genes.loc.shape[1], indices_are_sorted=True)

    def density(z: Array) -> tuple[Array, Array]:
        natural, pull_back = jax.vjp(functools.partial(_natural, spec), z)

        # value and slopes of one node after the other: short loops over genes, which vectorise
        def add(total: tuple[Array, Natural], node: _Nodes) -> tuple[tuple[Array, Natural], None]:
            def term(at: Natural) -> Array:
                zeros, ones = family.cell_term(zero, at, node.nodes), family.correction(one, at, node.nodes)
                return node.cells * zeros + node.counts * ones

            return jax.tree.map(jnp.add, total, _with_slopes(term, natural)), None

        (value, slopes), _ = jax.lax.scan(add, _with_slopes(of_pairs, natural), tables)
        of_prior, slope_of_prior = _with_slopes(prior, z)
        return value + of_prior, pull_back(slopes)[0] + slope_of_prior

    found = ascend(density, genes, data.of_genes, n_steps=_STEPS)
    return found.blocks, found.value, found.first


@_of_model
def _at_nodes(genes: Blocks, nodes: Array, data: _Data, *, spec: ModelSpec) -> tuple[Array, Array]:
    """Means over genes' normals at every node: zeros of all genes, (nodes,), and what a count adds, (nodes, genes)."""
    family, zero, one = spec.family, jnp.zeros((), genes.loc.dtype), jnp.ones((), genes.loc.dtype)

    def terms(xi: Array) -> tuple[Array, Array]:
        natural = _natural(spec, genes.at(xi))

        def of_node(x: Array) -> tuple[Array, Array]:
            return jnp.sum(family.cell_term(zero, natural, x)), family.correction(one, natural, x)

        found: tuple[Array, Array] = jax.lax.map(of_node, nodes)
        return found

    return mean(terms, data.of_genes)


@_of_model
def _range_of(cells: Blocks, data: _Data, *, spec: ModelSpec) -> Interval:
    """Range of the offsets of all cells, with room for their next steps."""
    offsets = jax.vmap(lambda xi: _offset(spec, cells.at(xi)[0]))(data.of_cells.nodes)
    tight = Interval.around(offsets)
    return tight._replace(half=tight.half + _ROOM)


@functools.partial(jax.jit, static_argnames=("spec", "n"))
def _basis(cells: Blocks, interval: Interval, data: _Data, *, spec: ModelSpec, n: int) -> Array:
    """Means of the first ``n`` polynomials over the cells' normals, (nodes, cells)."""
    return mean(lambda xi: interval.polynomials(_offset(spec, cells.at(xi)[0]), n), data.of_cells)


@_of_model
def _alone(cells: Blocks, data: _Data, *, spec: ModelSpec) -> Array:
    """What captures add to the bound beside the likelihood, (cells,)."""
    return bound(_prior(spec, "cell", data), cells, data.of_cells)


def _of_cells(spec: ModelSpec, likelihood: _Likelihood, data: _Data) -> Callable[[Array], Array]:
    """Log-density of captures."""
    prior = _prior(spec, "cell", data)
    return lambda z: prior(z) + likelihood.at(_offset(spec, z[0]))


def _curvature(function: Callable[[Array], Array], at: Array) -> Array:
    """How much functions of one number each bend down, (blocks,)."""
    slope = jax.grad(lambda x: jnp.sum(function(x)))
    return jnp.maximum(-jax.jvp(slope, (at,), (jnp.ones_like(at),))[1], 0.0)


@_of_model
def _fit_cells(cells: Blocks, likelihood: _Likelihood, data: _Data, *, spec: ModelSpec) -> tuple[Blocks, Array]:
    """Steps of all captures."""
    density = functools.partial(_with_slopes, _of_cells(spec, likelihood, data))
    found = ascend(density, cells, data.of_cells, n_steps=_STEPS)
    return found.blocks, found.first


@_of_model
def _together(
    genes: Blocks, cells: Blocks, direction: Array, likelihood: _Likelihood, data: _Data, *, spec: ModelSpec
) -> tuple[tuple[Blocks, Blocks, _Likelihood], Array]:
    """Lower expression by what is best, and raise captures as follows; the last value is the gain, in nats."""
    z = cells.loc[0]
    offset, slope = jax.jvp(functools.partial(_offset, spec), (z,), (jnp.ones_like(z),))
    # a capture goes where its bound is highest: all the way, less what its prior holds it back
    follow = _curvature(likelihood.at, offset) * slope**2
    whole = _curvature(lambda z: _of_cells(spec, likelihood, data)(z[None]), z)
    follow = follow / jnp.maximum(whole, follow + 1e-6)

    def at(a: Array) -> tuple[Blocks, Blocks, _Likelihood]:
        # captures that are nearly complete could go far without changing
        loc = cells.loc + jnp.clip(a * follow / slope, -_ROOM, _ROOM)[None]
        moved = likelihood._replace(interval=likelihood.interval._replace(middle=likelihood.interval.middle + a))
        return Blocks(genes.loc - a * direction, genes.log_scale), cells._replace(loc=loc), moved

    def bounds(a: Array) -> tuple[Array, Array]:
        """Of the prior of genes and of the cells; the likelihood of genes is that of cells."""
        genes, cells, moved = at(a)
        of_cells = bound(_of_cells(spec, moved, data), cells, data.of_cells)
        return bound(_prior(spec, "gene", data), genes, data.of_genes), of_cells

    before = bounds(jnp.zeros((), direction.dtype))

    def gain(a: Array) -> Array:
        genes, cells = (jnp.sum(after - now) for after, now in zip(bounds(a), before, strict=True))
        return genes + cells

    # the top of a parabola through three points, or less of that
    low, high = (gain(jnp.asarray(a, direction.dtype)) for a in (-_SHIFT, _SHIFT))
    bend = jnp.maximum(-(low + high), 1e-6)
    best = jnp.clip(0.5 * _SHIFT * (high - low) / bend, -_ROOM, _ROOM)
    tried = best * jnp.asarray([0.0, 0.25, 0.5, 1.0], direction.dtype)
    gains = jnp.asarray([0.0, *(gain(a) for a in tried[1:])])
    return at(tried[jnp.argmax(gains)]), jnp.max(gains)
