"""From a specification to a numpyro model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from scribe._counts.container import Counts
from scribe._counts.data import CountData, Known, full_data, means_of
from scribe._counts.design import Design
from scribe._counts.parameters import Parameters
from scribe._model.likelihood import Likelihood
from scribe._model.spec import ModelSpec
from scribe._types import Array, Key
from scribe.priors import Context, Draw, Latent, PriorFunction, latent_name

__all__ = ["CountMatrix", "Model", "build", "columns_for", "data_for", "known_here", "plates"]

Model = Callable[[CountData], None]
"""A numpyro model of a data set."""


class CountMatrix(dist.Distribution):
    """All counts of a data set as one random variable, (cells, genes).

    ``log_prob`` of the totals (cells, 1) of the data it was built with calls the sparse engine on those data: they
    stand in for the matrix, which is never formed. ``log_prob`` of a dense matrix is the sum of its elements' log-pmf.
    ``sample`` simulates a dense matrix: for a block of cells, not for an atlas.
    """

    support = dist.constraints.independent(dist.constraints.nonnegative, 2)

    def __init__(self, likelihood: Likelihood, parameters: Parameters, data: CountData) -> None:
        self.likelihood, self.parameters, self.data = likelihood, parameters, data
        n_genes = max((v.shape[-1] for v in parameters.natural.values() if v.ndim), default=1)
        super().__init__((), (parameters.n_cells, n_genes), validate_args=False)

    def log_prob(self, value: Array) -> Array:
        """Log-likelihood, a scalar."""
        if value.shape[-1] == 1:
            return self.likelihood.log_prob(self.parameters, self.data)
        weights, n_cells = self.parameters.log_weights, value.shape[0]
        if weights is None:
            return jnp.sum(self.likelihood.log_pmf(value, self.parameters))

        def of_component(k: Array) -> Array:
            here = self.parameters._replace(component=jnp.full(n_cells, k))
            return jnp.sum(self.likelihood.log_pmf(value, here), axis=1)

        joint = jax.vmap(of_component)(jnp.arange(weights.shape[1]))
        return jnp.sum(jax.nn.logsumexp(joint.T + weights, axis=1))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Simulate the matrix; leading axes of ``sample_shape`` are independent repetitions."""
        if not sample_shape:
            return self.likelihood.sample(key, self.parameters)
        keys = jax.random.split(key, sample_shape[0])
        return jax.vmap(lambda k: self.sample(k, sample_shape[1:]))(keys)


def data_for(
    spec: ModelSpec, counts: Counts, design: Design, *, totals_suffice: bool, group: bool = False
) -> CountData:
    """Data on the device, in the form in which the likelihood of a model reads them."""
    return full_data(
        columns_for(spec, counts, design),
        totals_suffice=totals_suffice,
        group=group,
        by_cell="component" in spec.levels,
        design=design,
        means=means_of(counts),
    )


def columns_for(spec: ModelSpec, counts: Counts, design: Design) -> Counts:
    """Counts with a column per gene, or per gene and dataset where genes have parameters of their own in each."""
    if spec.n_datasets == 1 or design.dataset is None:
        return counts
    return counts.spread(design.dataset, spec.n_datasets)


@contextlib.contextmanager
def plates(axes: tuple[str, ...], shape: tuple[int, ...], data: CountData) -> Iterator[None]:
    """Plates of the axes of a latent; cells that stand for several are scaled by their number."""
    with contextlib.ExitStack() as stack:
        for dim, (axis, length) in enumerate(zip(axes, shape, strict=True), -len(axes)):
            stack.enter_context(numpyro.plate(f"{axis}s", length, dim=dim))
            if axis == "cell":
                weight = data.cells.weight.reshape(-1, *(1,) * (-1 - dim))
                stack.enter_context(handlers.scale(scale=data.scale * weight))
        yield


def known_here(spec: ModelSpec, data: CountData) -> dict[str, Known]:
    """What an earlier fit says of latents, those of cells for the cells at hand."""
    axes = {latent_name(site.name): site.axes for site in spec.sites}

    def here(name: str, value: Array) -> Array:
        return jnp.take(value, data.cells.rows, axes[name].index("cell")) if "cell" in axes[name] else value

    return {name: Known(*(here(name, value) for value in known)) for name, known in data.known.items()}


def _sampler(spec: ModelSpec, data: CountData, n_genes: int, values: Mapping[str, Array]) -> Draw:
    """Make every latent a numpyro site; ``values`` are those of the parameters so far."""
    lengths = {**spec.lengths, "gene": n_genes, "cell": data.cells.totals.shape[0]}
    known = known_here(spec, data)

    def draw(latent: Latent, law: PriorFunction) -> Array:
        if latent.frozen:
            return known[latent.name].loc
        shape = tuple(lengths[axis] for axis in latent.axes)
        context = Context(data.cells.totals, *data.means, spec.log_total(values, data.cells.dataset), known)
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
        values: dict[str, Array] = {}
        draw = _sampler(spec, data, n_genes, values)
        for site in spec.sites:
            values[site.name] = site.prior(site.name, site.axes, draw)
            numpyro.deterministic(site.name, site.link.value(values[site.name]))
        cells = data.cells
        parameters = spec.parameters(values, n_cells=cells.totals.shape[0], dataset=cells.dataset, logits=cells.logits)
        matrix = CountMatrix(spec.likelihood, parameters, data)
        numpyro.sample("counts", matrix, obs=data.cells.totals[:, None])

    return model
