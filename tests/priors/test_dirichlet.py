"""Dirichlet weights: exact in density and draws, against scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scribe._dist.links import LINKS
from scribe.priors import Context, Dirichlet, from_json

CONTEXT = Context(jnp.ones(2), jnp.ones(3), jnp.ones(()))
SHAPES = [(1.0, 1.0, 1.0), (0.3, 4.0, 1.5), (0.5, 0.5, 2.0)]


@pytest.mark.parametrize("shapes", SHAPES)
def test_weights_are_dirichlet(shapes) -> None:
    """Every weight has the beta distribution that is the Dirichlet's marginal; two of them its correlation."""
    prior = Dirichlet(shapes)
    z = prior.distribution(CONTEXT).expand((20_000, 3)).sample(jax.random.key(1))
    weights = np.asarray(LINKS[prior.link].value(z), float)
    law = stats.dirichlet(shapes)
    for k, shape in enumerate(shapes):
        assert stats.kstest(weights[:, k], stats.beta(shape, sum(shapes) - shape).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.cov(weights.T), law.cov(), atol=0.004)


@pytest.mark.parametrize("shape", [0.05, 1.0, 7.0])
def test_density_of_the_logarithm_of_a_gamma(shape) -> None:
    z = np.linspace(-8.0, 4.0, 31)
    with jax.enable_x64(True):
        found = Dirichlet(shape).distribution(CONTEXT).log_prob(jnp.asarray(z))
    np.testing.assert_allclose(found, stats.loggamma(shape).logpdf(z), rtol=1e-10, atol=1e-12)


def test_round_trip_and_refusal() -> None:
    for prior in (Dirichlet(2.0), Dirichlet((1.0, 2.0)), Dirichlet([1.0, 2.0])):
        assert from_json(prior.to_json()) == prior
        assert hash(prior) == hash(from_json(prior.to_json()))
    with pytest.raises(ValueError, match="above 0"):
        Dirichlet((1.0, 0.0))
