"""Is the optimum as good as that of a long run of the same model written densely in plain numpyro?

    python benchmarks/elbo.py --steps 50000

The dense run has everything in its favour but speed: 50,000 full-batch steps, Adam with a rate that decays from 0.01 to
0.0001. Both evidence lower bounds are averaged over the same number of fresh draws at the end; the dense one is also
what a user without this package would have.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, TraceMeanField_ELBO
from numpyro.infer.autoguide import AutoNormal

import scribe
from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI as Engine
from scribe.engines import Task
from scribe.engines.problem import make_problem
from scribe.guides import MeanField


def dense_model(u: jax.Array) -> None:
    """nbvcp in canonical coordinates with the package's default priors."""
    n_cells, n_genes = u.shape
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    with numpyro.plate("genes", n_genes, dim=-1):
        r = numpyro.sample("r", dist.LogNormal(0.0, 3.0))
    with numpyro.plate("cells", n_cells, dim=-1):
        capture = numpyro.sample("p_capture", dist.Beta(1.0, 1.0))
    logit = jnp.log(p) - jnp.log1p(-p) + jnp.log(capture)
    with numpyro.plate("cells_", n_cells, dim=-2), numpyro.plate("genes_", n_genes, dim=-1):
        numpyro.sample("u", dist.NegativeBinomialLogits(r[None, :], logit[:, None]), obs=u)


def dense_fit(u: jax.Array, *, steps: int, draws: int) -> tuple[np.ndarray, float]:
    """Losses at the end of the dense run and its seconds."""
    optimizer = optax.adam(optax.exponential_decay(1e-2, steps, 1e-2))
    svi = SVI(dense_model, AutoNormal(dense_model), optimizer, TraceMeanField_ELBO())
    start = time.perf_counter()
    result = svi.run(jax.random.key(0), steps, u, progress_bar=False)
    jax.block_until_ready(result.params)
    seconds = time.perf_counter() - start
    loss = jax.jit(lambda key: svi.loss.loss(key, result.params, dense_model, svi.guide, u))
    return np.asarray([loss(key) for key in jax.random.split(jax.random.key(1), draws)]), seconds


def our_fit(counts: Counts, *, draws: int) -> tuple[np.ndarray, float, int]:
    """Losses at the end of a default fit, its seconds and steps."""
    spec, engine = resolve_spec(), Engine()
    start = time.perf_counter()
    fitted = engine.fit(Task(spec, counts, MeanField()), seed=0)
    seconds = time.perf_counter() - start
    problem = make_problem(spec, counts, MeanField())
    params = problem.from_cells(fitted.params)
    keys = jax.random.split(jax.random.key(1), draws)
    losses = [problem.loss_and_gradient(params, key, problem.data)[0] for key in keys]
    return np.asarray(losses), seconds, fitted.verdict.steps


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--draws", type=int, default=500)
    arguments = parser.parse_args()
    adata = scribe.datasets.pbmc68k_counts()
    ours, our_seconds, our_steps = our_fit(Counts.from_matrix(adata.X), draws=arguments.draws)

    def row(name: str, steps: int, losses: np.ndarray, seconds: float) -> str:
        error = losses.std() / np.sqrt(len(losses))
        return f"| {name} | {steps:,} | {losses.mean():,.1f} +- {error:.1f} | {seconds:.1f} |"

    print("| fit of nbvcp to pbmc68k_counts | steps | negative ELBO (nats) | s with compilation |")
    print("|---|---|---|---|")
    print(row("scribe, defaults", our_steps, ours, our_seconds), flush=True)
    dense, dense_seconds = dense_fit(jnp.asarray(adata.X.toarray()), steps=arguments.steps, draws=arguments.draws)
    print(row("dense numpyro, AutoNormal", arguments.steps, dense, dense_seconds))


if __name__ == "__main__":
    main()
