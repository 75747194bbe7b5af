"""What every test runs under: strict array promotion, no display, real data where there are any."""

from __future__ import annotations

import gc
import os
import random
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from anndata import AnnData

os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # threads of two workers that share their cores are in each other's way
    number, count = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[number::count] or os.sched_getaffinity(0))
# what is bit-identical on a CPU is so on a GPU under this flag alone
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_gpu_deterministic_ops=true",
        # compile in half the time; an unknown flag ends the process
        "--xla_cpu_parallel_codegen_split_count=1",
        # of optimised code, too, which is no slower for it
        "--xla_backend_optimization_level=1",
        *(["--xla_cpu_use_fusion_emitters=false"] if jax.__version_info__ < (0, 11) else []),
        # what is not optimised compiles in two thirds of the time, and what is takes a little longer
        *(["--xla_cpu_opt_preset=FAST_COMPILE"] if jax.__version_info__ >= (0, 10) else []),
    ]
)

# tracing makes millions of objects, among which cycles are sought again and again; nobody reads where each came from
gc.set_threshold(100_000, 20, 50)
jax.config.update("jax_traceback_in_locations_limit", 0)

ROOT = Path(__file__).resolve().parents[1]
MEMORY_MAPS = Path("/proc/self/maps")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the order of files, on which no test may depend, and for a share of the slow tests."""
    parser.addoption("--file-order", default="usual", metavar="usual|reversed|SEED", help="order of the test files")
    parser.addoption("--slow-share", metavar="NUMBER/SHARES", help="run this share of the slow tests, too")


def pytest_configure(config: pytest.Config) -> None:
    """Let a share of the slow tests pass the usual selection of marks."""
    if config.option.slow_share:
        config.option.markexpr = ""


def pytest_report_header(config: pytest.Config) -> str:
    """Say what else than usual runs."""
    return f"file order: {config.option.file_order}; share of the slow tests: {config.option.slow_share or 'none'}"


def outside(share: str, items: list[pytest.Item]) -> list[pytest.Item]:
    """Slow tests that are not in a share like "3/40"; what one file does with one parameter stays together.

    Tests that say of themselves how many minutes they take are in none.
    """
    number, shares = map(int, share.split("/"))
    slow = {item: mark for item in items if (mark := item.get_closest_marker("slow"))}
    group = {item: (item.path, item.name.partition("[")[2] or item.name) for item in slow}
    place = {one: n for n, one in enumerate(dict.fromkeys(group.values()))}
    return [item for item in slow if "minutes" in slow[item].kwargs or (place[group[item]] - number) % shares]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the longest file, so that no worker has to wait for it in the end, unless another order is wanted."""
    if config.option.slow_share:
        left = set(outside(config.option.slow_share, items))
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    order = config.option.file_order
    files = list(dict.fromkeys(item.path for item in items))
    if order == "usual":
        files.sort(key=lambda path: path.name != "test_tutorials.py")
    elif order == "reversed":
        files.reverse()
    else:
        random.Random(int(order)).shuffle(files)
    items.sort(key=lambda item: files.index(item.path))


def compile_for(node: pytest.Item | pytest.Collector) -> None:
    """Compile with few optimisations, which halves the time of the tests.

    What tests accuracy to the last digits, or spends its time in long fits, is marked `optimized`. JAX does not count
    the setting among what a compiled function depends on, so that all are compiled anew where it changes.
    """
    optimized = node.get_closest_marker("optimized") is not None
    if jax.config.read("jax_disable_most_optimizations") == optimized:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", not optimized)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile as the test asks, its fixtures included."""
    compile_for(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None]:
    """Make what tests share in one way, whichever of them asks first: results are compared to the last bit."""
    if fixturedef.scope == "function":
        return (yield)
    compile_for(request.node)
    try:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return (yield)
    finally:
        compile_for(request._pyfuncitem)


@pytest.fixture(autouse=True)
def strict_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make implicit dtype and rank promotion errors, which turns silent broadcasting bugs into loud ones.

    Parts of numpyro and optax rely on promotion (Beta, multivariate normals, Adam's bias correction, NUTS);
    tests that run those are marked `loose_promotion`.
    """
    if request.node.get_closest_marker("loose_promotion"):
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True)
def no_open_figures() -> Iterator[None]:
    """Close what a test has drawn: others count the figures that are open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """Forget compiled functions in time: they hold maps of memory, of which a process has a limited number."""
    yield
    if not MEMORY_MAPS.exists() or MEMORY_MAPS.read_text().count("\n") > 40_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real count matrices, kept beside the repository and named by `SCRIBE_DATA` elsewhere."""
    folder = Path(os.environ.get("SCRIBE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        lacking = pytest.fail if os.environ.get("SCRIBE_REQUIRE_DATA") == "1" else pytest.skip
        lacking(f"no real data at {folder}; set SCRIBE_DATA to the folder that holds pbmc_facs.h5ad")
    return folder


@pytest.fixture(scope="session")
def small_counts() -> AnnData:
    """Real counts of 150 cells and 51 genes from common to rare; copy before writing to it."""
    import scribe

    adata = scribe.datasets.pbmc68k_counts()
    return adata[:150, adata.X.sum(0).A1.argsort()[::-15]].copy()


@pytest.fixture(scope="session")
def small_fit(small_counts: AnnData) -> AnnData:
    """A short fit of the default model to `small_counts`, under the key "scribe"; copy before writing to it."""
    import scribe

    adata = small_counts.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, n_steps=300, early_stopping=False)
    return adata


@pytest.fixture(scope="session")
def small_check(small_fit: AnnData) -> AnnData:
    """`small_fit` with a posterior predictive check; copy before writing to it."""
    import scribe

    return scribe.tl.ppc(small_fit, n_samples=12, n_genes=6, copy=True)


@pytest.fixture(scope="session")
def small_residuals(small_fit: AnnData) -> AnnData:
    """`small_fit` with the residuals of every gene and cell; copy before writing to it."""
    import scribe

    return scribe.tl.gof(small_fit, n_samples=3, copy=True)


@pytest.fixture(scope="session")
def small_map(small_fit: AnnData) -> AnnData:
    """`small_fit` with simulated cells mapped by two principal axes, as UMAP compiles for long; copy before writing."""
    import importlib

    import scribe

    adata = small_fit.copy()
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module("scribe.tl.ppc_umap")
        patch.setattr(module, "_map", lambda observed, simulated, **_: (observed[:, :2], simulated[:, :2]))
        scribe.tl.ppc_umap(adata, n_cells=100)
    return adata


@pytest.fixture(scope="session")
def small_mixture(small_counts: AnnData) -> AnnData:
    """A short fit of a mixture of two components to `small_counts` with a check of each; copy before writing to it."""
    import scribe

    adata = small_counts.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, n_components=2, n_steps=100, early_stopping=False)
    scribe.tl.ppc(adata, n_samples=8, n_genes=3, groupby="scribe_component")
    return adata


@pytest.fixture(scope="session")
def small_comparison(small_counts: AnnData) -> AnnData:
    """Two cell types of `small_counts` that a short fit tells apart, compared; copy before writing to it."""
    import scribe

    types = small_counts.obs["bulk_labels"].value_counts().index[:2]
    adata = small_counts[small_counts.obs["bulk_labels"].isin(types)].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scribe.tl.fit(adata, dataset_key="bulk_labels", dataset_params="mean", n_steps=100, early_stopping=False)
        scribe.tl.de(adata, "bulk_labels", group=types[0], n_samples=100)
    return adata


@pytest.fixture(scope="session")
def compared() -> AnnData:
    """Simulated counts with fits under the keys "poisson" and "nb" and their comparison; copy before writing to it."""
    import scribe

    adata = scribe.datasets.simulate(50, 20, "nbdm", params={"mu": 4.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        for key, model in {"poisson": "poisson", "nb": "nbdm"}.items():
            scribe.tl.fit(adata, model, key_added=key, n_steps=300, early_stopping=False)
    scribe.tl.compare_models(adata, ["poisson", "nb"], n_samples=40)
    return adata


@pytest.fixture
def no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits by SVI that end where they start: nothing is optimised, all else is done."""
    import numpy as np

    from scribe.engines import Fitted, Verdict, loop

    def run(self: loop.Loop, earlier: Fitted | None) -> loop.Ended:
        verdict = Verdict(converged=False, reason="no steps were made", steps=1, loss=1.0, slope=0.0)
        return loop.Ended(self.objective.finish(self.objective.begin().params), np.ones(1), verdict)

    monkeypatch.setattr(loop.Loop, "run", run)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of four draws."""
    import dataclasses

    from scribe.engines import NUTS

    sample, few = NUTS.fit, {"n_samples": 4, "n_warmup": 2, "max_tree_depth": 2}
    monkeypatch.setattr(NUTS, "fit", lambda self, *a, **k: sample(dataclasses.replace(self, **few), *a, **k))


@pytest.fixture(params=["h5ad", "zarr"])
def through_file(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[AnnData], AnnData]:
    """Write an AnnData to a file, of either format in turn, and read it back."""
    import anndata

    def make(adata: AnnData) -> AnnData:
        path = tmp_path / f"a.{request.param}"
        getattr(adata, f"write_{request.param}")(path)
        return getattr(anndata, f"read_{request.param}")(path)

    return make


@pytest.fixture(scope="session")
def made_fit() -> Callable[..., AnnData]:
    """Simulated counts with a posterior written beside them, of any model and at once: nothing is optimised."""
    import numpy as np

    import scribe
    from scribe._adata.fits import fit_record, write_fit
    from scribe._adata.read import read_counts
    from scribe._counts.checks import CountsWarning
    from scribe._model.initial import start as start_of
    from scribe._model.resolve import resolve_spec
    from scribe._posterior.posterior import Posterior
    from scribe.engines import Verdict
    from scribe.guides import MeanField

    def make(model: str | None = None, *, shape=(30, 12), key="scribe", params=None, **options) -> AnnData:
        adata = scribe.datasets.simulate(*shape, model, params=params, **options)
        spec, rng = resolve_spec(model, **options), np.random.default_rng(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CountsWarning)
            counts = read_counts(adata)
        arrays = {}
        for latent, start in spec.start(start_of(spec, counts).values).items():
            arrays[latent + "_loc"] = np.asarray(start)
            arrays[latent + "_log_scale"] = rng.uniform(-3, -1.5, start.shape).astype(np.float32)
        results = scribe.ScribeSVIResults(
            Posterior(spec, MeanField(), arrays, n_genes=shape[1], n_cells=shape[0]),
            Verdict(converged=True, reason="made up", steps=20, loss=90.0, slope=0.0),
            {"loss": np.linspace(100.0, 90.0, 20)},
            engine="svi",
            seed=7,
        )
        write_fit(adata, fit_record(results, counts, key=key, genes=adata.var_names, layer=None, options=options))
        return adata

    return make


@pytest.fixture(scope="session")
def anchored(made_fit: Callable[..., AnnData]) -> AnnData:
    """A posterior of `made_fit` whose capture is anchored at 50,000 molecules a cell; copy before writing to it."""
    import math

    return made_fit("nbvcp", priors={"capture_efficiency": (math.log(5e4), 0.2)})


@pytest.fixture(scope="session")
def made_chains(made_fit: Callable[..., AnnData]) -> AnnData:
    """A posterior of `made_fit` as two chains of 50 independent draws; copy before writing to it."""
    import jax
    import numpy as np

    import scribe
    from scribe._adata.fits import fit_record, write_fit
    from scribe._posterior.posterior import Posterior
    from scribe.engines.chains import ChainDiagnostics
    from scribe.guides.draws import DRAWS, Draws

    adata = made_fit("nbvcp", shape=(12, 6))
    made = scribe.get.results(adata)
    posterior, n_chains, n_draws = made.posterior, 2, 50
    numbers = np.arange(n_chains * n_draws, dtype=np.uint32)
    drawn = posterior.guide.draw(
        jax.random.key(0), posterior.device_params(), latents=made.spec.latents, numbers=numbers, ids={}
    )
    arrays = {name + DRAWS: np.moveaxis(np.asarray(value), 0, -1) for name, value in drawn.items()}
    nothing = np.zeros((n_chains, n_draws))
    names = ("num_steps", "accept_prob", "energy", "potential_energy")
    results = scribe.ScribeMCMCResults(
        Posterior(made.spec, Draws(n_chains), arrays, n_genes=made.n_genes, n_cells=made.n_cells),
        ChainDiagnostics(True, "made up", 1.0, 100.0, 100.0, 0, 0.1, 3.0, 0.8),
        {"mcmc": {**dict.fromkeys(names, nothing), "diverging": nothing.astype(bool)}},
        engine="mcmc",
        seed=7,
    )
    write_fit(adata, fit_record(results, made.counts(), key="scribe", genes=adata.var_names, layer=None, options={}))
    return adata
