"""What do richer guides earn? Evidence lower bound and width of the posterior, beside NUTS on the same data.

    python benchmarks/guides.py --data ../shared/data [--cells 2000 --genes 200]

The most variable genes of some cells of pbmc_facs, model nbvcp. ``inside`` is the share of the draws by NUTS that lie
in the guide's central 90 % interval, averaged over the elements of a parameter: 90 % where the marginal is right, less
where it is too narrow or elsewhere. ``sd`` is the median ratio of standard deviations. All in float64.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import jax
import numpy as np
from mixture import variable_genes

import scribe
from scribe.engines.problem import make_problem

GUIDES = {
    "mean-field": {},
    "joint linear": {"joint_params": "all", "dense_params": []},
    "low rank 10": {"guide_rank": 10},
    "joint low rank 10": {"guide_rank": 10, "joint_params": "all"},
    "flow, affine coupling": {"guide_flow": "affine_coupling"},
    "joint flow, affine coupling": {"guide_flow": "affine_coupling", "joint_params": "all"},
}
N_DRAWS = 2000


def compare(draws: dict[str, np.ndarray], reference: dict[str, np.ndarray], names: list[str]) -> list[str]:
    """Of every parameter, the share inside and the ratio of standard deviations."""
    cells = []
    for name in names:
        low, high = np.quantile(draws[name], (0.05, 0.95), axis=0)
        inside = np.mean((reference[name] >= low) & (reference[name] <= high))
        ratio = np.median(draws[name].std(axis=0) / reference[name].std(axis=0))
        cells.append(f"{inside:.1%} / {ratio:.2f}")
    return cells


def lower_bound(results: scribe.ScribeSVIResults) -> float:
    """Evidence lower bound over many draws: the standard error of that in the verdict is some nats."""
    posterior = results.posterior
    problem = make_problem(posterior.spec, results.counts(), posterior.guide)
    params = problem.from_cells(posterior.device_params())
    keys = jax.random.split(jax.random.key(0), N_DRAWS)
    return -float(np.mean([problem.loss_and_gradient(params, key, problem.data)[0] for key in keys]))


def main() -> None:
    """Print a table as markdown for every parameterization."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--draws", type=int, default=1000, help="draws and warm-up of each of four chains")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    scribe.settings.verbosity = "error"
    adata = variable_genes(arguments.data / "pbmc_facs.h5ad", arguments.genes)
    rng = np.random.default_rng(0)
    adata = adata[np.sort(rng.choice(adata.n_obs, arguments.cells, replace=False))].copy()
    for coordinates in ("canonical", "mean_odds", "mean_disp"):
        options = {"parameterization": coordinates, "enable_x64": True}
        start = scribe.fit(adata, **options)
        names = ["mu", "r", "p", "p_capture"] if coordinates != "mean_disp" else ["mu", "r", "p_capture"]
        begin = time.perf_counter()
        chains = scribe.fit(
            adata,
            inference_method="mcmc",
            n_samples=arguments.draws,
            n_warmup=arguments.draws,
            n_chains=4,
            svi_init=start,
            **options,
        )
        seconds = time.perf_counter() - begin
        reference = chains.get_samples()
        print(f"\n{coordinates}: NUTS {seconds:.0f} s, {chains.verdict}\n")
        print(f"| guide | ELBO above mean-field | steps | s | {' | '.join(f'{n}: inside / sd' for n in names)} |")
        print("|---|---|---|---|" + "---|" * len(names))
        base = None
        for label, guide in GUIDES.items():
            begin = time.perf_counter()
            results = scribe.fit(adata, **options, **guide)
            seconds = time.perf_counter() - begin
            with jax.enable_x64():
                elbo = lower_bound(results)
            base = elbo if base is None else base
            draws = results.get_posterior_samples(N_DRAWS, rng=1)
            cells = [
                label,
                f"{elbo - base:+,.1f}",
                f"{results.verdict.steps:,}" + ("" if results.converged else " (not converged)"),
                f"{seconds:.0f}",
                *compare(draws, reference, names),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
