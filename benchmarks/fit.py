"""A default fit of a file, from the call to the written slots: seconds, peak memory, and the dense form beside it.

    python benchmarks/fit.py ../shared/data/pbmc_facs.h5ad

Ours runs first, so that its peak resident memory is not that of the dense form. The dense form is the same model with
the same guide and optimiser in plain numpyro over cells x genes; a few of its steps are timed and multiplied.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import optax
from elbo import dense_model
from numpyro.infer import SVI, TraceMeanField_ELBO
from numpyro.infer.autoguide import AutoNormal

import scribe
from scribe import demo


def peak_gb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def dense_step(u: jax.Array) -> float:
    """Median seconds of a step of the dense form, after compilation."""
    svi = SVI(dense_model, AutoNormal(dense_model), optax.adam(1e-3), TraceMeanField_ELBO())
    state = svi.init(jax.random.key(0), u)
    update = jax.jit(svi.update)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        state, loss = update(state, u)
        jax.block_until_ready((state, loss))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an .h5ad file with counts in X")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="keyword of tl.fit")
    parser.add_argument("--no-dense", action="store_true", help="leave out the dense form")
    arguments = parser.parse_args()
    adata = ad.read_h5ad(arguments.data)
    options: dict[str, Any] = dict(demo.option(item) for item in arguments.option)
    before = peak_gb()
    start = time.perf_counter()
    scribe.tl.fit(adata, **options)
    seconds, peak = time.perf_counter() - start, peak_gb()
    verdict = adata.uns["scribe"]["convergence"]
    print(f"{adata.n_obs:,} cells x {adata.n_vars:,} genes, {options or 'defaults'}: {verdict['reason']}")
    print("| fit | steps | s, call to slots | peak RSS GB | RSS before GB |")
    print("|---|---|---|---|---|")
    print(f"| scribe | {verdict['steps']:,} | {seconds:.1f} | {peak:.2f} | {before:.2f} |", flush=True)
    if not arguments.no_dense:
        step = dense_step(jnp.asarray(adata.X.toarray()))
        steps = verdict["steps"]
        print(f"| dense numpyro, {step:.2f} s per step | {steps:,} | {step * steps:,.0f} | {peak_gb():.2f} | |")
        print(f"\nratio of seconds at equal steps: {step * steps / seconds:,.0f}")


if __name__ == "__main__":
    main()
