"""Real counts that need no file of ours."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import scribe


@pytest.fixture(scope="module")
def pbmc():
    return scribe.datasets.pbmc68k_counts()


def test_pbmc68k_is_exact(pbmc):
    """scanpy's values are rounded to three decimals, which tells neighbouring counts apart up to a thousand."""
    reduced = sc.datasets.pbmc68k_reduced()
    values = np.asarray(reduced.raw.X.todense(), np.float64)
    totals = reduced.obs["n_counts"].to_numpy(np.float64)[:, None]
    counts = pbmc.X.toarray().astype(np.float64)
    raw = np.expm1(values) * totals / 1e4
    assert (np.abs(raw - counts) / np.maximum(counts, 1)).max() < 1e-3
    assert np.abs(raw - counts)[counts < 20].max() < 0.01
    np.testing.assert_allclose(np.log1p(counts / totals * 1e4), values, atol=1.01e-3)
    neighbours = [np.log1p(np.maximum(counts + step, 0) / totals * 1e4) for step in (-1, 1)]
    assert min(np.abs(other - values)[counts > 0].min() for other in neighbours) > 1e-3
    assert ((counts > 0) == (values > 0)).all()
    assert (counts.sum(1) <= totals[:, 0]).all()


def test_pbmc68k_structure(pbmc):
    assert pbmc.shape == (700, 765)
    assert sparse.isspmatrix_csr(pbmc.X)
    assert pbmc.X.dtype == np.float32
    np.testing.assert_array_equal(pbmc.X.data, np.rint(pbmc.X.data))
    assert (pbmc.X.data > 0).all()
    assert pbmc.var_names.is_unique
    assert pbmc.obs_names.is_unique
    assert pbmc.obs["bulk_labels"].nunique() == 10
    assert {"CD3D", "NKG7", "MS4A1"} <= set(pbmc.var_names)
    assert scribe._adata.read_counts(pbmc).integer


def test_every_call_gives_its_own(pbmc):
    again = scribe.datasets.pbmc68k_counts()
    assert (again.X != pbmc.X).nnz == 0
    again.X.data[:] = 0
    assert pbmc.X.sum() > 0


def test_pbmc3k_comes_through_scanpy(monkeypatch):
    calls = []

    def download() -> ad.AnnData:
        calls.append(1)
        return ad.AnnData(sparse.csr_matrix(np.ones((3, 2), np.float32)))

    monkeypatch.setattr(sc.datasets, "pbmc3k", download)
    assert scribe.datasets.pbmc3k().shape == (3, 2)
    assert calls == [1]


def test_pbmc3k_without_network_says_so(monkeypatch):
    def download() -> ad.AnnData:
        raise OSError("no route to host")

    monkeypatch.setattr(sc.datasets, "pbmc3k", download)
    with pytest.raises(OSError, match="no route to host"):
        scribe.datasets.pbmc3k()
