"""Full-data log-likelihood, value and gradient: the sparse engine beside the dense form of the same model.

    python benchmarks/likelihood.py ../shared/data/pbmc_facs.h5ad

Both sides run in float32 in one process, alternating, each result blocked on before the clock is read. The dense form
is what one writes first: the elementwise log-pmf with ``gammaln`` over cells x genes, differentiated by JAX. Of
two-state models it is our own elementwise log-pmf, which is good to 1e-6, at all elements, block by block.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln

from scribe._counts.container import Counts
from scribe._counts.data import full_data
from scribe._counts.likelihood import expand, log_likelihood
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec

if TYPE_CHECKING:
    from collections.abc import Callable


_BLOCKS = 17
"""Blocks of cells in which two-state models are evaluated densely."""

_ROWS: list[tuple[str, dict[str, Any]]] = [
    ("nbvcp", {"parameterization": "canonical"}),
    ("nbvcp", {"parameterization": "mean_disp"}),
    ("nbvcp", {"parameterization": "canonical", "unconstrained": True, "prob_prior": "gaussian"}),
    ("zinbvcp", {"parameterization": "mean_disp"}),
    ("nbvcp", {"parameterization": "canonical", "unconstrained": True, "overdispersion": "bnb"}),
    ("twostatevcp", {"parameterization": "moment_delta"}),
]


def dense_nb(natural: dict[str, Any], offset: Any, u: Any) -> Any:
    """Elementwise log-pmf summed over the dense matrix; zero inflation where there is a gate."""
    size = jnp.exp(natural["log_mean"] + natural["log_odds"])[None, :]
    odds = natural["log_odds"]
    logit = offset[:, None] - (odds if odds.ndim == 0 else odds[None, :])
    pmf = (
        gammaln(u + size)
        - gammaln(size)
        - gammaln(u + 1.0)
        - u * jax.nn.softplus(-logit)
        - size * jax.nn.softplus(logit)
    )
    if "gate_logit" in natural:
        gate = natural["gate_logit"][None, :]
        opened = pmf - jax.nn.softplus(gate)
        pmf = jnp.where(u == 0, jnp.logaddexp(-jax.nn.softplus(-gate), opened), opened)
    return jnp.sum(pmf)


def dense_bnb(natural: dict[str, Any], offset: Any, u: Any) -> Any:
    """Elementwise beta-negative-binomial log-pmf, mixed where counts are observed, in its closed form."""
    size = jnp.exp(natural["log_mean"] + natural["log_odds"])[None, :]
    kappa = 2.0 + (size + 1.0) / jnp.exp(natural["log_omega"])[None, :]
    alpha = (kappa - 1.0) * jnp.exp(natural["log_mean"][None, :] + offset[:, None]) / size
    return jnp.sum(
        gammaln(u + size) - gammaln(size) - gammaln(u + 1.0) + betaln(alpha + u, kappa + size) - betaln(alpha, kappa)
    )


def elementwise(family: Any) -> Callable[..., Any]:
    """A family's own log-pmf at every element."""

    def total(natural: dict[str, Any], offset: Any, u: Any) -> Any:
        def block(some: tuple[Any, Any]) -> Any:
            return jnp.sum(family.log_pmf(some[1], expand(natural, 2), some[0][:, None]))

        cells = (offset.reshape(_BLOCKS, -1), u.reshape(_BLOCKS, -1, u.shape[1]))
        return jnp.sum(jax.lax.map(jax.checkpoint(block), cells))

    return total


def median_ms(function: Callable[..., Any], *arguments: Any, repeats: int) -> tuple[Any, float]:
    """Result and median wall time in milliseconds after one warm-up."""
    result = jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return result, 1e3 * float(np.median(times))


def compare(counts: Counts, model: str, *, dense: Any, **options: Any) -> dict[str, Any]:
    """One row of the table."""
    spec = resolve_spec(model, **options)
    data = full_data(counts, totals_suffice=spec.totals_suffice)
    start = start_of(spec, counts).values
    natural, offset = spec.natural(spec.working(start)), spec.offset(start, counts.n_cells)
    sparse = jax.jit(
        jax.value_and_grad(lambda n, x, d: log_likelihood(spec.family, Parameters(n, Scalar(x)), d), argnums=(0, 1))
    )
    slow = "two_state" in spec.family.layers
    form = elementwise(spec.family) if slow else dense_bnb if "beta_mixed" in spec.family.layers else dense_nb
    plain = jax.jit(jax.value_and_grad(form, argnums=(0, 1)))
    (value, grads), engine_ms = median_ms(sparse, natural, offset, data, repeats=15)
    (expected, expected_grads), dense_ms = median_ms(plain, natural, offset, dense, repeats=1 if slow else 3)
    _, again_ms = median_ms(sparse, natural, offset, data, repeats=15)

    def norm(tree: Any) -> float:
        return float(np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(tree))))

    engine_ms = min(engine_ms, again_ms)
    return {
        "model": f"{model} ({', '.join(map(str, options.values()))})",
        "dense_ms": dense_ms,
        "engine_ms": engine_ms,
        "ratio": dense_ms / engine_ms,
        "value_difference": abs(float(value) - float(expected)) / abs(float(expected)),
        "gradient_difference": abs(norm(grads) - norm(expected_grads)) / norm(expected_grads),
    }


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an .h5ad file with counts in X")
    adata = ad.read_h5ad(parser.parse_args().data)
    # as many cells as fill equal blocks
    counts = Counts.from_matrix(adata.X).subset(cells=slice(adata.n_obs - adata.n_obs % _BLOCKS))
    dense = jnp.asarray(counts.rows(slice(None)))
    size = f"{counts.n_cells:,} cells x {counts.n_genes:,} genes"
    print(f"{size}, {counts.nnz:,} non-zeros, {len(counts.pairs().n):,} pairs")
    print("| model | dense ms | engine ms | ratio | value rel. diff. | gradient norm rel. diff. |")
    print("|---|---|---|---|---|---|")
    for model, options in _ROWS:
        row = compare(counts, model, dense=dense, **options)
        print(
            f"| {row['model']} | {row['dense_ms']:,.0f} | {row['engine_ms']:.2f} | {row['ratio']:,.0f} | "
            f"{row['value_difference']:.1e} | {row['gradient_difference']:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
