"""From a specification to a numpyro model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from scribe._counts.data import CountData
from scribe._counts.likelihood import expand, log_likelihood
from scribe._model.spec import ModelSpec
from scribe._types import Array, Key, Natural
from scribe.families import Family
from scribe.priors import Context, Draw, Latent, Law

__all__ = ["CountMatrix", "Model", "build", "plates"]

Model = Callable[[CountData], None]
"""A numpyro model of a data set."""


class CountMatrix(dist.Distribution):
    """All counts of a data set as one random variable, (cells, genes).

    ``log_prob`` of the totals (cells, 1) of the data it was built with calls the sparse engine on those data: they
    stand in for the matrix, which is never formed. ``log_prob`` of a dense matrix is the sum of its elements' log-pmf.
    ``sample`` simulates a dense matrix: for a block of cells, not for an atlas.
    """

    support = dist.constraints.independent(dist.constraints.nonnegative, 2)

    def __init__(self, family: Family, natural: Natural, offset: Array, *, data: CountData) -> None:
        self.family, self.natural, self.offset, self.data = family, natural, offset, data
        n_genes = max((v.shape[-1] for v in natural.values() if v.ndim), default=1)
        super().__init__((), (offset.shape[0], n_genes), validate_args=False)

    def log_prob(self, value: Array) -> Array:
        """Log-likelihood, a scalar."""
        if value.shape[-1] == 1:
            return log_likelihood(self.family, self.natural, self.offset, self.data)
        return jnp.sum(self.family.log_pmf(value, expand(self.natural, 2), self.offset[:, None]))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Simulate the matrix; leading axes of ``sample_shape`` are independent repetitions."""
        if not sample_shape:
            return self.family.sample(key, expand(self.natural, 2), self.offset[:, None])
        keys = jax.random.split(key, sample_shape[0])
        return jax.vmap(lambda k: self.sample(k, sample_shape[1:]))(keys)


@contextlib.contextmanager
def plates(axes: tuple[str, ...], shape: tuple[int, ...], data: CountData) -> Iterator[None]:
    """Plates of the axes of a latent; cells that stand for several are scaled by their number."""
    with contextlib.ExitStack() as stack:
        for dim, (axis, length) in enumerate(zip(axes, shape, strict=True), -len(axes)):
            stack.enter_context(numpyro.plate(f"{axis}s", length, dim=dim))
            if axis == "cell":
                stack.enter_context(handlers.scale(scale=data.scale * data.cells.weight))
        yield


def _sampler(data: CountData, n_genes: int, levels: Mapping[str, int]) -> Draw:
    """Make every latent a numpyro site."""
    context = Context(data.cells.totals, *data.means)
    lengths = {**levels, "gene": n_genes, "cell": data.cells.totals.shape[0]}

    def draw(latent: Latent, law: Law) -> Array:
        shape = tuple(lengths[axis] for axis in latent.axes)
        with plates(latent.axes, shape, data):
            value: Array = numpyro.sample(latent.name, law(context).expand(shape))
            return value

    return draw


def build(spec: ModelSpec, *, n_genes: int) -> Model:
    """Numpyro model of a specification.

    The latent sites are real numbers called ``<parameter>_unconstrained``; every parameter is recorded under its own
    name as a deterministic. The counts are one observed site, so that handlers, SVI and NUTS see one model.
    """

    def model(data: CountData) -> None:
        draw = _sampler(data, n_genes, spec.lengths)
        values = {site.name: site.prior(site.name, site.axes, draw) for site in spec.sites}
        for site in spec.sites:
            numpyro.deterministic(site.name, site.link.value(values[site.name]))
        natural = spec.natural(spec.working(values))
        offset = spec.offset(values, data.cells.totals.shape[0])
        matrix = CountMatrix(spec.family, natural, offset, data=data)
        numpyro.sample("counts", matrix, obs=data.cells.totals[:, None])

    return model
