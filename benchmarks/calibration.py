"""Are posteriors as wide, and where, as they say? Simulation-based calibration of models and guides.

    python benchmarks/calibration.py run nbdm nbdm-mean_field --n 200    # again for more data sets
    python benchmarks/calibration.py table
    python benchmarks/calibration.py plot

Every study is a small model with priors that generate sensible counts. NUTS runs in float64 as users run it; the guides
are those of `nbdm`, in float32. What was ranked is kept in one file per study, which a later run adds to.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from scribe import guides
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.completion import complete
from scribe._model.resolve import resolve_spec
from scribe._stats.calibration import JOINT, Study, band, calibrate, uniformity
from scribe.engines import NUTS, SVI, Task
from scribe.guides.draws import DRAWS

SEED = 7
MOST = 100
_MANY = 13
"""Elements of a quantity from which on they are cells."""


@dataclass(frozen=True)
class Case:
    """A study by the keywords of `scribe.fit`; ``labelled`` is the share of cells whose component is nearly known."""

    title: str
    model: str
    options: Mapping[str, Any]
    labelled: float = 0.0
    n_datasets: int = 1
    shape: tuple[int, int] = (40, 6)
    engine: NUTS = field(default_factory=lambda: NUTS(300, n_warmup=300))

    def study(self) -> Study:
        """The study."""
        rng = np.random.default_rng(0)
        n_cells, n_genes = self.shape
        # of the totals that a capture of exp(-2) leaves of 300 molecules
        reference = rng.poisson(rng.lognormal(math.log(300 / n_genes) - 2.0, 0.3, (n_cells, 1)), (n_cells, n_genes))
        logits = dataset = None
        components = ("one", "two") if self.labelled else ()
        if self.labelled:
            # log prior odds of 4: that components swap their names is out of the question
            logits = np.zeros((n_cells, 2))
            known = np.arange(int(self.labelled * n_cells))
            logits[known, known % 2] = 4.0
        datasets = tuple("abc"[: self.n_datasets]) if self.n_datasets > 1 else ()
        if datasets:
            dataset = (np.arange(n_cells) % self.n_datasets).astype(np.int32)
        spec = resolve_spec(self.model, components=components, datasets=datasets, **self.options)
        return Study(spec, Counts.from_matrix(reference.astype(np.float32)), Design(dataset, logits))


_NB = {"p": (6.0, 3.0), "r": (0.5, 0.7)}
"""Means of 1 to 10 counts, variances of three times the mean."""

_PATIENT = NUTS(400, n_warmup=300, target_accept=0.95)
"""For scales of populations: small ones leave their members little room, and long steps miss it."""

CASES = {
    "nbdm": Case("nbdm", "nbdm", {"priors": _NB}),
    "nbvcp": Case(
        "nbvcp, capture anchored",
        "nbvcp",
        {"priors": {"p": (6.0, 2.0), "r": (2.5, 0.7), "capture_efficiency": (math.log(300.0), 0.3)}},
    ),
    "zinbvcp": Case(
        "zinbvcp, dispersion per gene",
        "zinbvcp",
        {
            "parameterization": "mean_disp",
            "priors": {"mu": (2.5, 0.7), "r": (0.5, 0.7), "gate": (2.0, 5.0), "p_capture": (4.0, 8.0)},
        },
    ),
    "bnb": Case(
        "nbdm with overdispersion='bnb', a population of genes",
        "nbdm",
        {
            "overdispersion": "bnb",
            "overdispersion_prior": {"type": "gaussian", "loc": (-1.0, 0.7), "scale": (-0.5, 0.5)},
            "unconstrained": True,
            "positive_transform": "softplus",
            "priors": {"p": (0.7, 0.6), "r": (1.5, 0.8)},
        },
        engine=_PATIENT,
        shape=(30, 4),
    ),
    "two_state": Case(
        "twostate",
        "twostate",
        {"priors": {"mu": (2.0, 0.7), "excess_fano": (0.7, 0.7), "inv_concentration": (1.5, 5.0)}},
        shape=(20, 3),
        engine=NUTS(200, n_warmup=200),
    ),
    "mixture": Case(
        "nbdm, two components, half of the cells labelled",
        "nbdm",
        {"priors": {**_NB, "mixing": 4.0}},
        labelled=0.5,
    ),
    "datasets": Case(
        "nbdm, expression a population of two datasets",
        "nbdm",
        {
            "unconstrained": True,
            "positive_transform": "softplus",
            "expression_dataset_prior": "gaussian",
            "priors": {"p": (0.7, 0.6), "r": (1.5, 0.8)},
        },
        n_datasets=2,
        engine=_PATIENT,
        shape=(30, 4),
    ),
}

GUIDES = {
    "mean_field": {},
    "low_rank": {"guide_rank": 3},
    "joint": {"joint_params": "biological"},
    "joint_low_rank": {"joint_params": "biological", "guide_rank": 3},
    "affine_coupling": {"guide_flow": "affine_coupling"},
    "spline_coupling": {"guide_flow": "spline_coupling"},
    "maf": {"guide_flow": "maf"},
    "iaf": {"guide_flow": "iaf"},
    "joint_affine": {"joint_params": "biological", "guide_flow": "affine_coupling"},
    "amortised": {"joint_params": "biological", "amortize_capture": True},
}


def by_nuts(engine: NUTS, log: list[tuple[float, ...]]) -> Callable[..., Any]:
    """Draws of one chain, started as users start it."""

    def fitted(spec: Any, counts: Counts, design: Design, seed: int) -> dict[str, Any]:
        found = engine.fit(Task(spec, counts, design=design), seed=seed)
        log.append((found.verdict.divergences, found.verdict.ess_bulk, found.verdict.r_hat))
        return {name.removesuffix(DRAWS): np.moveaxis(x, -1, 0)[None] for name, x in found.params.items()}

    return fitted


def by_svi(options: Mapping[str, Any], log: list[tuple[float, ...]]) -> Callable[..., Any]:
    """Independent draws of a guide after a fit with defaults."""

    def fitted(spec: Any, counts: Counts, design: Design, seed: int) -> dict[str, Any]:
        guide = guides.choose(complete(options), spec)
        found = SVI().fit(Task(spec, counts, guide, design=design), seed=seed)
        log.append((float(found.verdict.converged), float(found.verdict.steps), 1.0))
        numbers = np.arange(MOST, dtype=np.uint32)
        drawn = guide.draw(jax.random.key(seed), found.params, latents=spec.latents, numbers=numbers, ids={})
        return {name: np.asarray(x)[None] for name, x in drawn.items()}

    return fitted


class Ranks(NamedTuple):
    """What was found of a study: `uniforms` of every quantity, and a row per data set of how its fit went."""

    uniforms: dict[str, np.ndarray]
    log: np.ndarray


def read(path: Path) -> Ranks:
    """What was found of a study."""
    found = dict(np.load(path))
    return Ranks({name: x.astype(float) for name, x in found.items() if not name.startswith("_")}, found["_log"])


def run(name: str, folder: Path, *, n: int) -> None:
    """Rank ``n`` more data sets of a study, ``<case>`` or ``<case>-<guide>``."""
    case_name, _, guide = name.partition("-")
    case, path = CASES[case_name], folder / f"{name}.npz"
    before = dict(np.load(path)) if path.exists() else {}
    first = len(next(iter(before.values()))) if before else 0
    log: list[tuple[float, ...]] = []
    fitted = by_svi(GUIDES[guide], log) if guide else by_nuts(case.engine, log)
    start, rows = time.perf_counter(), []
    with jax.enable_x64(not guide), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in itertools.islice(calibrate(case.study(), fitted, seed=SEED, first=first, most=MOST), n):
            rows.append(row)
            if len(rows) % 25 and len(rows) < n:
                continue
            done = {key: np.stack([one[key] for one in rows]).astype(np.float32) for key in row}
            done["_log"] = np.asarray(log, np.float32)
            np.savez_compressed(path, **{k: np.concatenate([before[k], v]) if before else v for k, v in done.items()})
            print(f"{name}: {first + len(rows)} data sets, {time.perf_counter() - start:.0f} s", flush=True)


def paths_of(folder: Path, *, with_guides: bool) -> list[Path]:
    """Files of the studies of models, or of those of guides, in the order of the tables above."""
    names = [f"{case}-{guide}" for case in CASES for guide in GUIDES] if with_guides else list(CASES)
    return [path for name in names if (path := folder / f"{name}.npz").exists()]


HEADER = """| quantity | elements | p-value | in the 99 % band | bias | spread | 90 % intervals hold |
|---|---|---|---|---|---|---|"""


def print_rows(found: Ranks, *first: str) -> None:
    """Print a row per quantity, with some cells before the others."""
    for name, value in found.uniforms.items():
        one = uniformity(value)
        cells = (
            *first,
            f"`{name}`",
            f"{one.elements}",
            f"{one.p_value:.2g}",
            "yes" if one.p_value > 0.01 else "**no**",
            f"{one.bias:+.2f}",
            f"{one.spread:.2f}",
            f"{one.coverage:.1%}",
        )
        print(f"| {' | '.join(cells)} |")


def table(folder: Path) -> None:
    """Print the tables as markdown: one per model, and one of all guides."""
    for path in paths_of(folder, with_guides=False):
        found = read(path)
        log = found.log
        print(
            f"\n**{CASES[path.stem].title}**: {len(log)} data sets, {log[:, 0].sum():.0f} divergences in "
            f"{np.sum(log[:, 0] > 0)} fits, median of the least ESS of a fit {np.median(log[:, 1]):.0f}.\n\n{HEADER}"
        )
        print_rows(found)
    print("\n" + HEADER.replace("| quantity", "| model | guide | data sets | quantity").replace("|---", "|---" * 4, 1))
    for path in paths_of(folder, with_guides=True):
        found, (case, _, guide) = read(path), path.stem.partition("-")
        print_rows(found, case, guide, str(len(found.log)))


def plot(folder: Path, target: Path, *, with_guides: bool) -> None:
    """Draw how the distribution of the ranks of every element differs from a uniform one, a panel per study."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    paths = paths_of(folder, with_guides=with_guides)
    n_columns = 4 if len(paths) < 9 else 5
    figure, axes = plt.subplots(
        -(-len(paths) // n_columns),
        n_columns,
        figsize=(2.6 * n_columns, 2.3 * -(-len(paths) // n_columns)),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for path, axis in itertools.zip_longest(paths, axes.ravel()):
        if path is None:
            axis.axis("off")
            continue
        found = read(path).uniforms
        n, n_curves = len(found[JOINT]), sum(value.shape[1] for value in found.values())
        for level, color in ((1 - 0.01 / n_curves, "0.93"), (0.99, "0.85")):
            at, low, high = band(n, level)
            axis.fill_between(at, low - at, high - at, color=color, lw=0)
        for name, value in found.items():
            curves = np.sort(value, axis=0)
            for curve in curves.T:
                share = np.searchsorted(curve, at) / n
                axis.plot(
                    at,
                    share - at,
                    lw=1.2 if name == JOINT else 0.4,
                    color="C3" if name == JOINT else "C0",
                    alpha=1.0 if value.shape[1] < _MANY else 0.4,
                )
        axis.set_title(path.stem.removeprefix("nbdm-"), fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("rank of the truth among posterior draws", fontsize=9)
    figure.supylabel("distribution less uniform", fontsize=9)
    figure.savefig(target, dpi=90)
    Image.open(target).convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(target, optimize=True)


def archive(folder: Path, target: Path) -> None:
    """Keep all `uniforms` but those of cells in one small file, as ``<study>/<quantity>``, to three digits."""
    paths = (*paths_of(folder, with_guides=False), *paths_of(folder, with_guides=True))
    found = {f"{path.stem}/{name}": value for path in paths for name, value in read(path).uniforms.items()}
    np.savez_compressed(target, **{n: x.astype(np.float16) for n, x in found.items() if x.shape[1] < _MANY})


def main() -> None:
    """Run, print or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "plot"))
    parser.add_argument("names", nargs="*", help="studies to run: <case> or <case>-<guide>; all cases unless given")
    parser.add_argument("--ranks", type=Path, default=Path("ranks"), help="folder of what was ranked")
    parser.add_argument("--n", type=int, default=200, help="data sets to add")
    parser.add_argument("--to", type=Path, default=Path("docs/_static"), help="folder of the plots")
    arguments = parser.parse_args()
    if arguments.what == "run":
        arguments.ranks.mkdir(exist_ok=True)
        for name in arguments.names or CASES:
            run(name, arguments.ranks, n=arguments.n)
    elif arguments.what == "table":
        table(arguments.ranks)
    else:
        plot(arguments.ranks, arguments.to / "calibration_nuts.png", with_guides=False)
        plot(arguments.ranks, arguments.to / "calibration_guides.png", with_guides=True)
        archive(arguments.ranks, arguments.to / "calibration.npz")


if __name__ == "__main__":
    main()
