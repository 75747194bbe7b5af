r"""The likelihood of a difference of log means, gene by gene, from the counts of levels.

The count of a gene in level :math:`\ell` is negative binomial with the mean
:math:`E_\ell\exp(\alpha_{b(\ell)} + x_\ell\delta)` (`scribe._posterior.level_counts`): :math:`x_\ell` is 1/2 in group A
and -1/2 in B, and levels of one block :math:`b`, all of them or a pair, share an intercept. Where levels are samples,
their means vary by a gamma variable of mean 1 and variance :math:`\varsigma`, which makes the size
:math:`1/(1/s_\ell + \varsigma)`. Intercepts are integrated out under a flat prior by Laplace's method, which is exact
for Poisson counts up to a factor that does not depend on :math:`\delta`. :math:`\varsigma` is drawn from a population
that is learned from all genes, and lends a gene with few samples what degrees of freedom it lacks (as limma does, Smyth
2004, doi:10.2202/1544-6115.1027).

What a gene that was not seen in A says of :math:`\delta` is one-sided. A normal law would put half of its evidence on
the wrong side, so the likelihood is kept on a grid, as a mixture of narrow normals.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, logsumexp, polygamma, xlogy

from scribe._device import on_device
from scribe._posterior.level_counts import LevelCounts
from scribe._stats.laws import Law, NormalMixture
from scribe._stats.population import population_weights
from scribe._types import AnyArray, Array, FloatArray

__all__ = ["NODES", "likelihood_of_difference", "of_moments"]

NODES = np.sinh(np.linspace(-3.5, 3.5, 41))
"""Grid of a difference, in standard errors: dense about the maximum and wide enough for tails of few samples."""

_BANDWIDTH = 0.6
"""Standard deviation of a normal on the grid, in distances to the next: their sum is flat to 0.2 %."""

_MOST_RAISED = 10.0

VARIANCES = np.append(0.0, np.geomspace(1e-3, 3.0, 20))
"""Variances of the mean between samples: the standard deviation of its logarithm is 0.03 to 3.

Larger ones would be those of samples that have either nothing or everything, of which a likelihood says nothing.
"""

_SPEAKS = 0.5
"""Genes that speak for every spread alike, so that few genes do not make it certain."""

_LEAST_SIZE = 0.05
"""Counts of a smaller size say next to nothing of their mean, and grids of their differences would be too wide."""

_TYPICAL_SPREAD = 0.1
_PSEUDOCOUNT = 1e-3
"""Molecules beside those of a block, so that its intercept is finite where there are none."""

_NEWTON_STEPS, _LONGEST_STEP, _LEAST_CURVATURE = 8, 2.0, 1e-10
_GENES = 512
"""Genes of one call of the compiled function."""


def likelihood_of_difference(counts: LevelCounts, of_A: AnyArray, block: AnyArray, *, samples: bool) -> NormalMixture:
    """Law of the difference A - B of every gene under a flat prior; ``of_A`` and ``block`` (levels,) as above.

    ``samples`` says whether levels vary as samples do.
    """
    counts = counts._replace(size=np.maximum(counts.size, _LEAST_SIZE))
    centre, error = _start(counts, of_A, spread=_TYPICAL_SPREAD if samples else 0.0)
    grid = centre + error * NODES[:, None]
    joint = _log_likelihoods(counts, of_A, block, grid, VARIANCES if samples else VARIANCES[:1])
    if not samples:
        return on_grid(grid.T, joint[0].T)
    step = np.log(np.gradient(grid, axis=0))
    weights = population_weights(logsumexp(joint + step, axis=1).T, np.full(len(VARIANCES), _SPEAKS))
    return on_grid(grid.T, logsumexp(joint + np.log(weights)[:, None, None], axis=0).T)


def on_grid(grid: FloatArray, log_density: FloatArray) -> NormalMixture:
    """Narrow normals at the points of a grid that add up to a density, known up to a factor; (genes, points) each."""
    step = np.gradient(grid, axis=1)

    def derivative(x: FloatArray) -> FloatArray:
        return np.gradient(x, axis=1) / step

    sds = _BANDWIDTH * step
    variance, slope = np.square(sds), derivative(log_density)
    # normals of variance v turn a density f into f + (v f)''/2 to first order, which is taken back
    raised = 0.5 * (variance * (np.square(slope) + derivative(slope)) + 2.0 * derivative(variance) * slope)
    raised += 0.5 * derivative(derivative(variance))
    log_weights = log_density - np.clip(raised, -_MOST_RAISED, _MOST_RAISED)
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True)) * step
    return NormalMixture(weights / weights.sum(axis=1, keepdims=True), grid, sds)


def of_moments(law: Law) -> NormalMixture:
    r"""Law on a grid with the first three moments of another one, where these are all that is known.

    It is that of :math:`m + c\log\Gamma_a`, the logarithm of a gamma variable, whose skewness is about
    :math:`-1/\sqrt a`: log means of few molecules are of this form, and many make it normal.
    """
    shape = 1.0 / np.clip(np.square(law.skewness), 1e-4, 4.0)
    sign = np.where(law.skewness > 0, -1.0, 1.0)
    scale = np.maximum(law.sd, 1e-12) / np.sqrt(polygamma(1, shape))
    standard = NODES * np.sqrt(polygamma(1, shape))[:, None]
    # the density of log gamma about its mode, log a
    log_density = shape[:, None] * (standard - np.expm1(standard))
    grid = (sign * scale)[:, None] * standard
    order = np.argsort(grid, axis=1)
    grid, log_density = (np.take_along_axis(x, order, axis=1) for x in (grid, log_density))
    found = on_grid(grid, log_density)
    return NormalMixture(found.weights, found.locs + (law.mean - found.mean)[:, None], found.sds)


def _start(counts: LevelCounts, of_A: AnyArray, *, spread: float) -> tuple[FloatArray, FloatArray]:
    """Difference of pooled log means, half a molecule added to each, and about its standard error."""
    log_means, variances = [], []
    for mine in (of_A, ~of_A):
        some = counts.take(mine)
        log_means.append(np.log((some.molecules.sum(axis=0) + 0.5) / some.exposure.sum(axis=0)))
        of_levels = 1.0 / (some.molecules + 0.5) + 1.0 / some.size + spread**2
        variances.append(1.0 / np.sum(1.0 / of_levels, axis=0))
    return log_means[0] - log_means[1], np.sqrt(sum(variances))


def _log_likelihoods(
    counts: LevelCounts, of_A: AnyArray, block: AnyArray, grid: FloatArray, variances: FloatArray
) -> FloatArray:
    """Log-likelihoods, (variances, points, genes), of the variance between samples and of the difference."""
    number = np.unique(block, return_inverse=True)[1]
    members = on_device((number == np.arange(number.max() + 1)[:, None]).astype(np.float32))
    moved = on_device(np.where(of_A, 0.5, -0.5))
    sizes = 1.0 / (1.0 / counts.size + variances[:, None, None])
    heights = np.sum(_highest(counts.molecules, sizes), axis=1)
    log_mean = np.where(counts.molecules > 0, counts.log_mean, -np.log(counts.exposure))
    out = np.empty((len(variances), *grid.shape))
    for first in range(0, grid.shape[1], _GENES):
        here = slice(first, first + _GENES)
        pad = ((0, 0), (0, max(first + _GENES - grid.shape[1], 0)))
        arrays = (on_device(np.pad(x[:, here], pad, mode="edge")) for x in (counts.molecules, log_mean, grid))
        found = _shapes(
            *arrays, on_device(np.pad(sizes[..., here], ((0, 0), *pad), mode="edge")), members=members, moved=moved
        )
        out[..., here] = np.asarray(found)[..., : grid.shape[1] - first]
    return out + heights[:, None]


def _highest(count: FloatArray, size: FloatArray) -> FloatArray:
    """Log-probability of a negative binomial count at the mean that suits it best, up to -log(count!)."""
    total = count + size
    return gammaln(total) - gammaln(size) + xlogy(count, count / total) - size * np.log1p(count / size)


@jax.jit
def _shapes(count: Array, log_mean: Array, grid: Array, sizes: Array, *, members: Array, moved: Array) -> Array:
    r"""Log-likelihoods less the highest of every count, (variances, points, genes).

    Large counts do not cancel in them as functions of the distance d from the log mean that suits a count best,
    :math:`n d - (n + s)\log\{1 + (e^d - 1)\,n/(n + s)\}`. No mean suits a count of zero best: there d is the distance
    from the log mean at which one molecule is expected, :math:`-s\log(1 + e^d/s)`.
    """
    seen = count > 0
    unit, total_of_block = jnp.where(seen, count, 1.0), members @ count + _PSEUDOCOUNT

    def of_point(size: Array, difference: Array) -> Array:
        shift, total = moved[:, None] * difference[None] - log_mean, count + size

        def distance(intercept: Array) -> Array:
            return members.T @ intercept + shift

        def slope_and_curvature(intercept: Array) -> tuple[Array, Array]:
            weight = jax.nn.sigmoid(jnp.log(unit / size) + distance(intercept))
            curvature = members @ (total * weight * (1.0 - weight))
            return total_of_block - members @ (total * weight), jnp.maximum(curvature, _LEAST_CURVATURE)

        def newton(_: Array, intercept: Array) -> Array:
            slope, curvature = slope_and_curvature(intercept)
            return intercept + jnp.clip(slope / curvature, -_LONGEST_STEP, _LONGEST_STEP)

        start = jnp.log(total_of_block) - jnp.log(members @ (unit * jnp.exp(shift)))
        intercept = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, start)
        d = distance(intercept)
        growth = jnp.where(seen, jnp.expm1(d) * count / total, jnp.exp(d) / size)
        of_levels = count * d - total * jnp.log1p(growth)
        of_blocks = _PSEUDOCOUNT * intercept - 0.5 * jnp.log(slope_and_curvature(intercept)[1])
        return jnp.sum(of_levels, axis=0) + jnp.sum(of_blocks, axis=0)

    return jax.lax.map(lambda size: jax.lax.map(functools.partial(of_point, size), grid), sizes)
