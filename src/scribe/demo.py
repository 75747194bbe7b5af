"""The main job on one data set: fit, check, denoise, plot and save.

    python -m scribe.demo --out DIR [--data FILE.h5ad] [--layer NAME] [--option NAME=VALUE ...]

Without ``--data`` it runs on 700 peripheral blood cells that come with scanpy.
"""

from __future__ import annotations

import argparse
import ast
import logging
import time
from pathlib import Path
from typing import Any

import anndata

from scribe.datasets import pbmc68k_counts
from scribe.get import params, results
from scribe.pl import capture, loss, mean_calibration
from scribe.pl import ppc as plot_ppc
from scribe.tl import denoise, fit, ppc

__all__ = ["main", "run"]

_log = logging.getLogger("scribe.demo")

_CELL_TYPES = {"n_components": 5, "mixture_params": "mean", "parameterization": "mean_disp"}
_PLOTS = {"loss": loss, "ppc": plot_ppc, "capture": capture, "mean_calibration": mean_calibration}


def run(
    out: Path, *, data: Path | None = None, layer: str | None = None, options: dict[str, Any] | None = None
) -> list[str]:
    """Run the job and return the lines of its summary.

    Plots and the .h5ad file go to the folder ``out``, made if it does not exist. ``data`` is a file with raw counts,
    None the embedded data; ``layer`` the one that holds them, None ``.X``. ``options`` are keywords of `scribe.tl.fit`;
    by default five kinds of cells differ in expression, and every gene has its own dispersion.
    """
    out.mkdir(parents=True, exist_ok=True)
    adata = pbmc68k_counts() if data is None else anndata.read_h5ad(data)
    seconds: dict[str, float] = {}
    chosen = _CELL_TYPES if options is None else options
    _timed(seconds, "fit", lambda: fit(adata, layer=layer, **chosen))
    _timed(seconds, "check", lambda: ppc(adata))
    _timed(seconds, "denoise", lambda: denoise(adata))
    for name, draw in _PLOTS.items():
        _timed(seconds, "plots", lambda draw=draw, name=name: draw(adata, show=False, save=out / f"{name}.png"))
    _timed(seconds, "write", lambda: adata.write_h5ad(out / "scribe.h5ad"))
    return _summary(adata, out, seconds)


def _timed(seconds: dict[str, float], what: str, job: Any) -> None:
    start = time.perf_counter()
    job()
    seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - start


def _summary(adata: anndata.AnnData, out: Path, seconds: dict[str, float]) -> list[str]:
    record = adata.uns["scribe"]
    verdict, fitted = record["convergence"], results(adata)
    checks = adata.uns["scribe_ppc"]["table"]
    denoised = adata.layers["scribe_denoised"]
    counts = fitted.counts().totals.mean() / adata.n_vars
    table = params(adata).sort_values("observed_mean", ascending=False)
    lines = [
        f"data          {adata.n_obs:,} cells x {adata.n_vars:,} genes",
        f"model         {fitted.spec.family.name}, coordinates {fitted.spec.coordinates.name}",
        f"convergence   {'yes' if verdict['converged'] else 'NO'}, {verdict['reason']}",
        f"capture       {record['data']['capture']}: "
        + ("molecules per cell" if record["data"]["capture"] == "absolute" else "levels are relative to the prior"),
        f"denoised      {denoised.mean():.3g} molecules per cell and gene, {counts:.3g} observed",
        "seconds       " + ", ".join(f"{what} {value:.1f}" for what, value in seconds.items()),
        "",
        "posterior predictive checks of the whole data set",
        checks.round(4).to_string(),
        "",
        "highest expression, posterior mean of molecules per cell",
        table.filter(regex="^mu_mean|^observed_mean").head(5).round(3).to_string(),
        "",
        "written",
        *(f"  {path}" for path in sorted(out.iterdir())),
    ]
    return lines


def option(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``; a value that is no Python literal is text."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main() -> None:
    """Read the command line, run the job and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for plots and the .h5ad file")
    parser.add_argument("--data", type=Path, help="an .h5ad file with raw counts; default: embedded data")
    parser.add_argument("--layer", help="layer with the counts; default: X")
    parser.add_argument("--option", action="append", metavar="NAME=VALUE", help="keyword of tl.fit, instead of ours")
    arguments = parser.parse_args()
    options = None if arguments.option is None else dict(option(item) for item in arguments.option)
    lines = run(arguments.out, data=arguments.data, layer=arguments.layer, options=options)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
