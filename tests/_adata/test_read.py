"""Counts out of AnnData: the right matrix, said in the log, whatever holds it, and nothing written back."""

from __future__ import annotations

import logging
import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scribe._adata import as_counts, integer_calls, read_counts
from scribe._adata.read import counts_by_group
from scribe._counts import Counts, CountsWarning, build

N_CELLS, N_GENES = 40, 30


@pytest.fixture
def dense() -> np.ndarray:
    """Counts with no empty cell and no all-zero gene."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 4.0, (N_CELLS, N_GENES))).astype(np.float32)
    counts[:, 0] += 1
    counts[0] += 1
    return counts


@pytest.fixture
def adata(dense) -> ad.AnnData:
    """Log-normalised values in X, counts in a layer, and fractions in another."""
    logged = np.log1p(dense / dense.sum(1, keepdims=True) * 1e4)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    layers = {"counts": sp.csr_matrix(dense), "soupx": dense * 0.9 + 20 * (dense > 5)}
    return ad.AnnData(sp.csr_matrix(logged), obs=obs, var=var, layers=layers)


def assert_reads(counts: Counts, dense: np.ndarray) -> None:
    np.testing.assert_array_equal(counts.rows(slice(None)), dense)


@pytest.mark.parametrize("layout", [np.asarray, np.int64, sp.csr_matrix, sp.csr_array, sp.csc_matrix])
def test_x_and_layers_of_any_layout(adata, dense, layout, caplog):
    adata.X = layout(dense)
    adata.layers["counts"] = layout(dense)
    with caplog.at_level(logging.INFO, logger="scribe"):
        from_x, from_layer = read_counts(adata), read_counts(adata, layer="counts")
    assert_reads(from_x, dense)
    assert_reads(from_layer, dense)
    assert (from_x.source, from_layer.source) == ("X", "layers['counts']")
    assert from_x.gene_names.tolist() == adata.var_names.tolist()
    assert from_x.cell_names.tolist() == adata.obs_names.tolist()
    assert caplog.messages == ["fitting X, 40 x 30, integers", "fitting layers['counts'], 40 x 30, integers"]


def test_log_line_for_large_and_fractional_counts(caplog):
    adata = ad.AnnData(sp.csr_matrix(np.ones((1500, 2), dtype=np.float32)))
    adata.X.data[0] = 30.5
    with caplog.at_level(logging.INFO, logger="scribe"), pytest.warns(CountsWarning, match="^X holds values that are"):
        read_counts(adata)
    assert caplog.messages == ["fitting X, 1,500 x 2, not all integers"]


def test_views_are_read_as_they_look_and_stay_views(adata, dense):
    view = adata[[7, 3, 11], 5:20]
    counts = read_counts(view, layer="counts")
    assert_reads(counts, dense[[7, 3, 11], 5:20])
    assert counts.cell_names.tolist() == ["cell7", "cell3", "cell11"]
    assert view.is_view
    view = adata[::-2]
    assert_reads(read_counts(view, layer="counts"), dense[::-2])
    assert view.is_view


def test_nothing_in_the_object_changes(adata):
    before = adata.copy()
    read_counts(adata, layer="counts")
    with pytest.raises(ValueError, match="X does not hold raw counts"):
        read_counts(adata)
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())
    assert adata.layers.keys() == before.layers.keys()
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), before.layers["counts"].toarray())
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert dict(adata.uns) == {}


def test_wrong_matrix_names_the_layer_to_use(adata):
    expected = r'as after a log transform.*call scribe\.tl\.fit\(adata, layer="counts"\)\.$'
    with pytest.raises(ValueError, match=expected):
        read_counts(adata)


def test_fractional_layer_warns_and_names_the_integer_layer(adata):
    with pytest.warns(
        CountsWarning, match=r'^layers\[\'soupx\'\] holds.*call scribe\.tl\.fit\(adata, layer="counts"\)'
    ):
        counts = read_counts(adata, layer="soupx")
    assert not counts.integer
    assert read_counts(adata, layer="soupx", non_integer="round").integer


def test_unknown_layer_suggests_the_nearest(adata):
    with pytest.raises(
        ValueError, match=r"'count' is not in .* 'counts', 'soupx'\. Did you mean 'counts'\?.*call scribe"
    ):
        read_counts(adata, layer="count")
    with pytest.raises(ValueError, match=r"it is empty, leave out layer to use adata\.X"):
        read_counts(ad.AnnData(np.ones((2, 2), dtype=np.float32)), layer="counts")


def test_x_is_none(adata):
    adata.X = None
    with pytest.raises(ValueError, match=r'adata\.X is None: .*call scribe\.tl\.fit\(adata, layer="counts"\)'):
        read_counts(adata)


def test_raw_is_named_but_never_used(adata, dense):
    del adata.layers["counts"]
    adata.raw = ad.AnnData(sp.csr_matrix(dense), obs=adata.obs, var=adata.var)
    with pytest.raises(
        ValueError, match=r"X does not hold raw counts.*call scribe\.tl\.fit\(adata\.raw\.to_adata\(\)\)"
    ):
        read_counts(adata)
    assert_reads(read_counts(adata.raw.to_adata()), dense)


def test_integer_calls_are_the_places_that_hold_counts(adata, dense):
    assert integer_calls(adata, exclude=None) == ('scribe.tl.fit(adata, layer="counts")',)
    adata.X = dense
    adata.layers["dense too"] = dense
    calls = ("scribe.tl.fit(adata)", 'scribe.tl.fit(adata, layer="dense too")')
    assert integer_calls(adata, exclude="counts") == calls
    adata.X = None
    assert integer_calls(adata, exclude="counts") == calls[1:]


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_backed_files_and_their_views(adata, dense, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "DENSE_BLOCK", 4 * N_GENES)
    adata.X = layout(dense)
    adata.write_h5ad(tmp_path / "counts.h5ad")
    backed = ad.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    assert_reads(read_counts(backed), dense)
    assert_reads(read_counts(backed[[31, 2, 17, 8, 9, 1], ::3]), dense[[31, 2, 17, 8, 9, 1], ::3])
    backed.file.close()


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_backed_normalised_file_names_its_raw_counts(adata, dense, layout, tmp_path):
    del adata.layers["counts"]
    adata.raw = ad.AnnData(layout(dense), obs=adata.obs, var=adata.var)
    adata.write_h5ad(tmp_path / "logged.h5ad")
    backed = ad.read_h5ad(tmp_path / "logged.h5ad", backed="r")
    with pytest.raises(
        ValueError, match=r"X does not hold raw counts.*call scribe\.tl\.fit\(adata\.raw\.to_adata\(\)\)"
    ):
        read_counts(backed)
    backed.file.close()


@pytest.mark.parametrize("of_view", [False, True])
def test_backed_dense_file_is_never_whole_in_memory(of_view, tmp_path, monkeypatch):
    """4 million values, 16 MB, of which 1 % are not zero, are read in blocks of 1 MB."""
    monkeypatch.setattr(build, "DENSE_BLOCK", 2**18)
    values = (np.random.default_rng(0).random((2000, 2000)) < 0.01).astype(np.float32)
    ad.AnnData(values).write_h5ad(tmp_path / "dense.h5ad")
    backed = ad.read_h5ad(tmp_path / "dense.h5ad", backed="r")
    chosen = backed[np.arange(2000)[::-1]] if of_view else backed
    tracemalloc.start()
    counts = read_counts(chosen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    backed.file.close()
    assert counts.nnz == values.sum()
    assert peak < values.nbytes / 2


@pytest.mark.parametrize("block", [np.asarray, sp.csr_matrix])
def test_dask_arrays(adata, dense, block):
    dask = pytest.importorskip("dask.array")
    adata.X = dask.from_array(dense, chunks=(13, 30)).map_blocks(block)
    adata.layers["logged"] = dask.from_array(np.log1p(dense), chunks=(7, 11))
    assert_reads(read_counts(adata), dense)
    assert_reads(read_counts(adata[5:25, ::2]), dense[5:25, ::2])
    with pytest.raises(
        ValueError, match=r"^layers\['logged'\] does not hold raw counts.*call scribe\.tl\.fit\(adata\) or"
    ):
        read_counts(adata, layer="logged")


def test_as_counts_takes_everything(adata, dense):
    assert_reads(as_counts(adata, layer="counts"), dense)
    assert_reads(as_counts(dense), dense)
    assert_reads(as_counts(sp.csc_array(dense.T), cells_axis=1), dense)
    counts = as_counts(dense)
    assert as_counts(counts) is counts


def test_as_counts_reads_names_from_a_data_frame(dense, adata):
    frame = pd.DataFrame(dense, index=adata.obs_names, columns=adata.var_names)
    for counts in (as_counts(frame), as_counts(frame.T, cells_axis=1)):
        assert_reads(counts, dense)
        assert counts.gene_names.tolist() == adata.var_names.tolist()
        assert counts.cell_names.tolist() == adata.obs_names.tolist()


def test_options_that_do_not_apply_are_errors(adata, dense):
    with pytest.raises(ValueError, match="layer='counts' needs an AnnData, found a ndarray"):
        as_counts(dense, layer="counts")
    with pytest.raises(ValueError, match="cells_axis=1 is for arrays: found AnnData"):
        as_counts(adata, cells_axis=1)
    with pytest.raises(ValueError, match="cells_axis=1 is for arrays: found Counts"):
        as_counts(as_counts(dense), cells_axis=1)
    with pytest.raises(ValueError, match="found dtype object in a dict: pass an AnnData"):
        as_counts({"counts": dense})


FILES = ("pbmc_facs", "pbmc_ifnb", "kang_multisample", "RNAmix_celseq2", "sc_celseq2", "sc_dropseq")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::scribe._counts.CountsWarning")
def test_real_data(name, data_dir):
    """Real counts pass and their summaries agree with dense numpy; what scanpy makes of them is refused."""
    adata = ad.read_h5ad(data_dir / f"{name}.h5ad")
    counts = read_counts(adata)
    assert counts.integer
    columns, pairs = adata.X.tocsc(), counts.pairs()
    for gene in np.random.default_rng(0).integers(0, adata.n_vars, 20):
        value, n = np.unique(columns[:, [gene]].toarray(), return_counts=True)
        mine = pairs.gene == gene
        np.testing.assert_array_equal(pairs.count[mine], value[value > 0])
        np.testing.assert_array_equal(pairs.n[mine], n[value > 0])
    np.testing.assert_array_equal(counts.totals, np.asarray(adata.X.sum(1, dtype=np.float64)).ravel())
    scale = sp.diags_array((1e4 / np.maximum(counts.totals, 1)).astype(np.float32))
    scaled = sp.csr_matrix(scale @ adata.X)
    for matrix in (scaled, scaled[:, counts.gene_totals > 50], scaled.log1p()):
        with pytest.raises(ValueError, match="X does not hold raw counts"):
            read_counts(ad.AnnData(matrix))
    fractions = adata.X.copy()
    fractions.data *= np.random.default_rng(1).uniform(0.8, 1.0, fractions.nnz).astype(np.float32)
    assert not read_counts(ad.AnnData(fractions)).integer


@pytest.mark.parametrize("layout", ["csr", "backed"])
def test_totals_and_extreme_cells_of_groups(adata, dense, layout, tmp_path, monkeypatch):
    """Against sums and sorts of the dense matrix, also where blocks cut groups."""
    group = np.arange(N_CELLS) % 3 - 1
    if layout == "backed":
        monkeypatch.setattr("scribe._adata.read.rows_per_block", lambda *_: 7)
        adata.layers["counts"] = dense
        adata.write_h5ad(tmp_path / "counts.h5ad")
        adata = ad.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    found = counts_by_group(adata, group, 2, layer="counts")
    for number in (0, 1):
        mine = dense[group == number]
        np.testing.assert_allclose(found.total[number], mine.sum(axis=0))
        np.testing.assert_allclose(found.top[number], -np.sort(-mine, axis=0)[:3])
    assert list(found.n_cells) == [13, 13]
    both = found.merged([0, 1])
    np.testing.assert_allclose(both.top[0], -np.sort(-dense[group >= 0], axis=0)[:3])
    # 2 % of 26 cells is one
    largest = dense[group >= 0].max(axis=0) / dense[group >= 0].sum(axis=0)
    np.testing.assert_allclose(both.extreme_share[0], largest)
    many = both._replace(n_cells=np.array([400]))
    np.testing.assert_allclose(many.extreme_share[0], both.top[0].sum(axis=0) / both.total[0])
