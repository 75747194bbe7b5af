"""Whole counts pass, count-like values warn once, everything else is an error that names the call that fixes it."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from scribe._counts import Counts, CountsWarning
from scribe._counts.checks import looks_like_counts, sample_values, warn_of_absent_genes


@pytest.fixture
def dense() -> np.ndarray:
    """Counts with no empty cell and no all-zero gene, of depths that differ between cells."""
    rng = np.random.default_rng(0)
    depth = rng.gamma(4.0, size=(60, 1))
    counts = rng.poisson(depth * rng.gamma(0.5, 3.0, 150)).astype(np.float64)
    counts[:, 0] += 1
    counts[0] += 1
    counts[5, 7] = 301
    return counts


def corrected(counts: np.ndarray) -> np.ndarray:
    """What ambient correction leaves: a different fraction of every count."""
    return counts * np.random.default_rng(1).uniform(0.7, 1.0, counts.shape)


def offered() -> tuple[str, ...]:
    return ('scribe.tl.fit(adata, layer="counts")', "scribe.tl.fit(adata)")


def test_whole_counts_pass_in_silence(dense):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Counts.from_matrix(dense, non_integer="raise").integer


def test_corrected_counts_warn_once_and_are_used_as_they_are(dense):
    values = corrected(dense)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counts = Counts.from_matrix(values, source="layers['soupx']", alternatives=offered)
    (warning,) = caught
    assert issubclass(warning.category, CountsWarning)
    assert warning.filename == __file__
    text = str(warning.message)
    assert "layers['soupx'] holds values that are not whole numbers" in text
    assert 'call scribe.tl.fit(adata, layer="counts") or scribe.tl.fit(adata)' in text
    assert not counts.integer
    np.testing.assert_array_equal(counts.rows(slice(None)), values.astype(np.float32))


def test_a_single_fraction_among_many_whole_counts_is_found(dense):
    dense[17, 40] = 2.5
    with pytest.warns(CountsWarning, match=r"0\.0\d% of the stored values are not whole numbers, e\.g\. 2\.5,"):
        assert not Counts.from_matrix(dense).integer


def test_small_counts_with_few_fractions_are_no_logarithms(dense):
    values = np.minimum(dense, 9.0)
    values[::6] *= 0.9
    with pytest.warns(CountsWarning, match="not whole numbers"):
        Counts.from_matrix(values)


def test_round(dense, caplog):
    dense[3, 3] = 0.2
    values = np.where(dense == 0.2, 0.2, corrected(dense))
    with caplog.at_level(logging.INFO, logger="scribe"):
        counts = Counts.from_matrix(values, source="X", non_integer="round")
    assert counts.integer
    np.testing.assert_array_equal(counts.rows(slice(None)), np.rint(values.astype(np.float32)))
    assert counts.nnz == np.count_nonzero(np.rint(values))
    assert "rounding X to integers" in caplog.text


def test_raise(dense):
    with pytest.raises(ValueError, match=r"not whole numbers.* and non_integer='raise'.*layer=\"counts\""):
        Counts.from_matrix(corrected(dense), non_integer="raise", alternatives=offered)


def test_unknown_option(dense):
    with pytest.raises(ValueError, match="non_integer='ignore' is unknown: expected one of 'warn', 'round', 'raise'"):
        Counts.from_matrix(dense, non_integer="ignore")


def test_reads_split_evenly_are_counts_not_scaling(dense):
    """Every cell holds multiples of 1/2: a fraction shared by all cells is no size factor."""
    with pytest.warns(CountsWarning, match="not whole numbers"):
        Counts.from_matrix(dense / 2)


PER_CELL = "whole multiples of a number that varies from cell to cell"
TRANSFORMS = {
    "to a target sum": (lambda u: u / u.sum(1, keepdims=True) * 1e4, "every cell sums to 10000"),
    "to counts per million": (lambda u: u / u.sum(1, keepdims=True) * 1e6, r"every cell sums to 1e\+06"),
    "to a target sum, but for an empty cell": (
        lambda u: u / u.sum(1, keepdims=True) * np.where(np.arange(len(u)) == 4, 0.0, 1e4)[:, None],
        "every cell sums to 10000",
    ),
    "to fractions": (lambda u: u / u.sum(1, keepdims=True), "every cell sums to 1,"),
    "to a target sum, then some genes": (lambda u: (u / u.sum(1, keepdims=True) * 1e4)[:, :80], PER_CELL),
    "to the median, then some genes": (lambda u: (u / u.sum(1, keepdims=True) * 523.7)[:, 20:], PER_CELL),
    "log of a target sum": (
        lambda u: np.log1p(u / u.sum(1, keepdims=True) * 1e4),
        "below 20.*as after a log transform",
    ),
    "log of counts": (np.log1p, "as after a log transform"),
    "square root": (np.sqrt, "below 20.*mostly not whole"),
    "z-scores": (lambda u: (u - u.mean(0)) / u.std(0), "stored values are negative"),
    "unit variance": (lambda u: u / u.std(0, ddof=1), "most genes have a variance of one, as after scaling"),
    "log, then unit variance": (
        lambda u: np.log1p(u) / np.log1p(u).std(0, ddof=1),
        "most genes have a variance of one, as after scaling",
    ),
    "one negative": (lambda u: np.where(u == 301, -1, u), r"1 stored values are negative \(smallest -1\)"),
    "one NaN": (lambda u: np.where(u == 301, np.nan, u), r"1 stored values are not finite \(first nan\)"),
    "one infinite": (lambda u: np.where(u == 301, np.inf, u), r"1 stored values are not finite \(first inf\)"),
    "beyond float32": (lambda u: np.where(u == 301, 1e300, u), "stored values are not finite"),
}


@pytest.mark.parametrize("non_integer", ["warn", "round"])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_is_not_counts_is_refused_with_the_call_to_use(dense, transform, layout, non_integer):
    change, message = TRANSFORMS[transform]
    matrix = layout(change(dense))
    with pytest.raises(ValueError, match=rf"^X does not hold raw counts: .*{message}.*adata, layer=\"counts\"\) or "):
        Counts.from_matrix(matrix, source="X", alternatives=offered, non_integer=non_integer)


def test_advice_when_no_layer_holds_counts(dense):
    with pytest.raises(
        ValueError, match=r"adata\.layers\['counts'\] = adata\.X\.copy\(\).*scribe\.tl\.fit\(adata, layer="
    ):
        Counts.from_matrix(np.log1p(dense))


def test_alternatives_are_not_looked_for_when_all_is_well(dense):
    def never() -> tuple[str, ...]:
        raise AssertionError

    assert Counts.from_matrix(dense, alternatives=never).integer


def test_bad_values_stop_the_stream_at_their_block():
    def chunks():
        yield np.array([[1.0, -2.0]])
        raise AssertionError

    with pytest.raises(ValueError, match="smallest -2"):
        Counts.from_chunks(chunks())


def test_empty_cells_and_zero_genes_are_kept_and_named_in_one_warning():
    matrix = np.zeros((9, 8))
    matrix[1:3, 0] = 4
    genes = [f"g{i}" for i in range(8)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counts = Counts.from_matrix(matrix, source="X", gene_names=genes)
    (warning,) = caught
    assert str(warning.message) == (
        "X: 7 of 9 cells have no counts (0, 3, 4, 5, 6, ...); "
        "7 of 8 genes are zero in every cell (g1, g2, g3, g4, g5, ...); they are kept."
    )
    assert counts.shape == (9, 8)


def test_one_cell():
    with pytest.warns(CountsWarning, match="there is only one cell"):
        Counts.from_matrix(np.ones((1, 3)))


def test_repeated_names_are_reported():
    genes = ["a", "b", "a", "c", "b", "a"]
    with pytest.warns(CountsWarning, match=r"2 gene names \(a, b\) and 1 cell names \(x\) occur more than once"):
        Counts.from_matrix(np.ones((3, 6)), gene_names=genes, cell_names=["x", "y", "x"])
    many = [str(i // 2) for i in range(20)]
    with pytest.warns(CountsWarning, match=r"10 gene names \(0, 1, 2, 3, 4, \.\.\.\)"):
        Counts.from_matrix(np.ones((2, 20)), gene_names=many)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 1, 2], True), ([0.5, 1], False), ([0, 0], False), ([1, -1], False), ([1, np.nan], False), ([], False)],
)
def test_looks_like_counts(values, expected):
    assert looks_like_counts(np.array(values, dtype=np.float64)) is expected


def test_sampling_more_values_than_32_bits_can_index():
    """An array of 2**31 + 10 entries that takes no memory: drawing positions must not overflow."""
    huge = np.broadcast_to(np.float32(3), (2**31 + 10,))
    sample = sample_values(huge, size=1000)
    np.testing.assert_array_equal(sample, np.full(1000, 3))
    small = np.arange(50)
    np.testing.assert_array_equal(sample_values(small, size=50), small)
    np.testing.assert_array_equal(sample_values(small, size=20), sample_values(small, size=20))


def normalised(depth: float, target: float, *, seed: int = 0, n_cells: int = 50) -> np.ndarray:
    """Counts of an expected depth normalised to a target sum and rounded."""
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.4, size=300) * np.ones((n_cells, 1))
    counts = rng.poisson(mean / mean.sum(1, keepdims=True) * depth * rng.gamma(4.0, 0.25, (n_cells, 1))) + (mean > 2)
    values = np.rint(counts / counts.sum(axis=1, keepdims=True) * target)
    return values[:, values.any(axis=0)]


@pytest.mark.parametrize(("target", "said"), [(1e6, "1,000,000"), (1e5, "100,000"), (1e4, "10,000"), (5e4, "50,000")])
@pytest.mark.parametrize("layout", [np.asarray, sp.csc_matrix])
def test_rounded_target_sums_warn(target, said, layout):
    values = normalised(1500, target)
    assert np.ptp(values.sum(axis=1)) > 0, "rounding moves totals"
    with pytest.warns(CountsWarning, match=rf"within 3 % of {said}, .* call scribe.tl.fit\(adata, layer=\"counts\"\)"):
        assert Counts.from_matrix(layout(values), alternatives=offered).integer


def test_totals_that_are_no_target_pass_in_silence():
    rng = np.random.default_rng(1)
    multinomial = rng.multinomial(600, np.full(200, 1 / 200), size=40)
    some = rng.multinomial(10_000, np.full(200, 1 / 200), size=40)
    some[:8] += 3
    for values in (multinomial, rng.poisson(40, (60, 200)), rng.poisson(20, (1, 500)), some):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "array: there is only one cell")
            Counts.from_matrix(values)


def absent(counts, dataset, labels):
    warn_of_absent_genes(counts.cells_with(dataset, len(labels)), labels, source=counts.source)


@pytest.mark.parametrize("n_lacking", [1, 12])
def test_genes_that_a_dataset_lacks_are_told(n_lacking):
    """After an outer join of 40 genes; rare genes that one of them does not show by chance are no sign."""
    rng = np.random.default_rng(0)
    values = rng.poisson(np.geomspace(0.01, 5, 40), (90, 40))
    dataset = np.arange(90) % 3
    values[np.ix_(dataset == 2, np.arange(40 - n_lacking, 40))] = 0
    values[:, 20] += 1
    counts = Counts.from_matrix(values[:, values.any(axis=0)])
    with pytest.warns(
        CountsWarning, match=rf"10 cells or more, .* are in none: {n_lacking} in 'b3'\. .*join=\"inner\""
    ):
        absent(counts, dataset, ("b1", "b2", "b3"))


def test_few_genes_that_a_dataset_lacks_are_not_told():
    rng = np.random.default_rng(0)
    values = rng.poisson(3.0, (60, 300))
    dataset = np.arange(60) % 2
    values[dataset == 1, :4] = 0
    for depth in (1, 40):
        values[dataset == 0] *= depth  # of datasets of unequal depth
        counts = Counts.from_matrix(values)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            absent(counts, dataset, ("male", "female"))


def test_a_gene_of_many_molecules_in_few_cells_may_be_missed():
    values = np.random.default_rng(0).poisson(3.0, (40, 30))
    values[:, 0] = 0
    values[:5, 0] = 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        absent(Counts.from_matrix(values), np.arange(40) // 20, ("first", "second"))
