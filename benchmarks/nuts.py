"""What does a draw by NUTS cost, and a gradient beside that of the same model written densely in plain numpyro?

    python benchmarks/nuts.py --chains 4 --samples 1000 --warmup 1000 [--facs shared/data/pbmc_facs.h5ad --draws 50]

All in float64. Gradients are timed alone, one after the other; a run includes warm-up and diagnostics, not compilation.
Milliseconds per step are those of the draws after the warm-up, of all chains together: the difference of two runs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import anndata
import jax
import jax.numpy as jnp
import numpy as np
from elbo import dense_model
from numpyro.infer.util import initialize_model, log_density

import scribe
from scribe._counts.container import Counts
from scribe._counts.design import NO_DESIGN
from scribe._model.build import build, data_for
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe.engines import NUTS, Task, diagnostics
from scribe.guides.draws import DRAWS


def seconds_per_call(function, *arguments, n: int) -> float:
    """Seconds of a compiled call, the best of three rounds."""
    jax.block_until_ready(function(*arguments))
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(n):
            jax.block_until_ready(function(*arguments))
        rounds.append((time.perf_counter() - start) / n)
    return min(rounds)


def our_gradient(counts: Counts) -> float:
    """Seconds of the gradient of the log-density."""
    spec = resolve_spec()
    model, data = (
        build(spec, n_genes=counts.n_genes),
        data_for(spec, counts, NO_DESIGN, totals_suffice=spec.totals_suffice),
    )
    gradient = jax.jit(jax.grad(lambda z, data: -log_density(model, (data,), {}, z)[0]))
    latents = {name: jnp.asarray(value, float) for name, value in spec.start(start_of(spec, counts).values).items()}
    return seconds_per_call(gradient, latents, data, n=200)


def dense_gradient(counts: np.ndarray) -> float:
    """Seconds of the gradient of the dense model's potential, on the same unconstrained space."""
    info = initialize_model(jax.random.key(0), dense_model, model_args=(jnp.asarray(counts, float),), dynamic_args=True)
    gradient = jax.jit(lambda z, u: jax.grad(info.potential_fn(u))(z))
    return seconds_per_call(gradient, info.param_info.z, jnp.asarray(counts, float), n=5)


def row(name: str, counts: Counts, engine: NUTS) -> str:
    """One run: all its steps, and effective draws of ``r`` per second of the whole run."""
    short = replace(engine, n_samples=10)
    short.fit(Task(resolve_spec(), counts), seed=1)  # compiles, and is not timed
    start = time.perf_counter()
    begun = short.fit(Task(resolve_spec(), counts), seed=0)
    warm_up = time.perf_counter() - start
    fitted = engine.fit(Task(resolve_spec(), counts), seed=0)
    seconds = time.perf_counter() - start - warm_up
    n_steps = fitted.history["mcmc"]["num_steps"].sum() - begun.history["mcmc"]["num_steps"].sum()
    kept = fitted.history["mcmc"]["num_steps"]
    draws = fitted.params["r_unconstrained" + DRAWS]
    ess = diagnostics(np.moveaxis(draws.reshape(len(draws), *kept.shape), 0, -1)).ess_bulk
    found = fitted.verdict
    cells = (
        name,
        f"{kept.shape[0]} x ({engine.n_warmup:,} + {engine.n_samples:,})",
        f"{seconds:.1f}",
        f"{kept.mean():.0f}",
        f"{1e3 * (seconds - warm_up) / n_steps:.2f}",
        f"{np.median(ess):,.0f} / {ess.min():,.0f}",
        f"{np.median(ess) / seconds:.1f} / {ess.min() / seconds:.1f}",
        f"{found.r_hat:.3f}",
        f"{found.divergences}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=1000)
    parser.add_argument("--facs", help="pbmc_facs.h5ad, for a row of its own")
    parser.add_argument("--draws", type=int, default=50, help="draws and warm-up of that row")
    arguments = parser.parse_args()
    adata = scribe.datasets.pbmc68k_counts()
    counts = Counts.from_matrix(adata.X)
    with jax.enable_x64():
        ours, dense = our_gradient(counts), dense_gradient(adata.X.toarray())
        print("| nbvcp, pbmc68k_counts, float64 | ms per gradient |")
        print("|---|---|")
        print(f"| scribe | {1e3 * ours:.2f} |")
        print(f"| dense numpyro | {1e3 * dense:.1f} ({dense / ours:.0f} times as long) |\n", flush=True)
        print("| data | iterations | s | steps per draw | ms per step |", end="")
        print(" ESS of r, median / least | ESS per s | R-hat | divergences |")
        print("|---|---|---|---|---|---|---|---|---|")
        engine = NUTS(arguments.samples, n_warmup=arguments.warmup, n_chains=arguments.chains)
        print(row("pbmc68k_counts", counts, engine), flush=True)
        if arguments.facs:
            large = Counts.from_matrix(anndata.read_h5ad(arguments.facs).X)
            print(row("pbmc_facs", large, NUTS(arguments.draws, n_warmup=arguments.draws, n_chains=2)), flush=True)


if __name__ == "__main__":
    main()
