"""What every test runs under: strict array promotion, no display, and real data where there are any."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

os.environ["MPLBACKEND"] = "Agg"

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real count matrices, kept beside the repository and named by `SCRIBE_DATA` elsewhere."""
    folder = Path(os.environ.get("SCRIBE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SCRIBE_DATA to the folder that holds pbmc_facs.h5ad")
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
