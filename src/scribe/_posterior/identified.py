"""Which parameters of genes the counts determine, and which their prior."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Summary
from scribe._types import AnyArray
from scribe.priors import Base, Context

__all__ = ["identified"]

_MOST = 0.15
"""Standard deviation of the posterior over the prior's, of logarithms, of what counts determine: if the scale of the
prior doubles, such a value moves by less than half its standard deviation, others by up to three."""


def identified(spec: ModelSpec, summaries: Mapping[str, Summary]) -> dict[str, AnyArray]:
    """Whether counts determine the dispersion of a gene, by name of the parameter and at every level.

    It is said of all sampled positive parameters of genes but the mean, unless their prior is learned from all genes. A
    gene with few molecules, or a variance hardly above the mean, sets one limit to its dispersion; the prior the other.
    """
    found, nothing = {}, Context(jnp.ones(1), jnp.ones(1), jnp.ones(()))
    for site in spec.sites:
        prior = site.prior
        if site.name == "mu" or "gene" not in site.axes or site.param.support != "positive":
            continue
        if isinstance(prior, Base):
            mean, sd = summaries[site.name]
            # of the logarithm, as of a log-normal law
            spread = np.sqrt(np.log1p(np.square(sd / mean)))
            found[site.name] = spread < _MOST * np.sqrt(float(prior.distribution(nothing).variance))
    return found
