"""Is this matrix raw counts? Three outcomes: yes, nearly (one warning), no (an error with the call that fixes it).

Fitting normalised, log-transformed or scaled values with a count model is the commonest mistake of all, and no result
shows it afterwards. Corrected counts (SoupX, CellBender, expected counts of an aligner) are legitimately not whole
numbers and only warned about. Every stored value is looked at: one pass costs about a nanosecond per value.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from scribe._counts.summaries import blocks, row_sums

__all__ = [
    "Alternatives",
    "CountsWarning",
    "NonInteger",
    "check_stored",
    "check_structure",
    "check_values",
    "looks_like_counts",
    "other_calls",
    "outside_stacklevel",
    "sample_values",
    "warn_of_absent_genes",
]

NonInteger = Literal["warn", "round", "raise"]
"""What to do about count-like values that are not whole numbers."""

Alternatives = Callable[[], Sequence[str]]
"""Finds the calls that would use whole counts instead; only called when a message needs them."""

SAMPLE_SIZE = 1_000_000
LOG_CEILING = 20.0
MOSTLY = 0.5
UNIT_TOLERANCE = 1e-3
TOTALS_SPREAD = 1e-3
SHOWN = 5

# Rounded values miss the target sum by little, by 2 % where it is seven times the depth; totals of counts vary by half.
ROUND_TIMES = (1.0, 5.0, 10.0)
TARGET_TOLERANCE = 0.03
NEARLY_ALL = 0.9
LEAST_TARGET = 990.0

# A gene expected in so many cells is absent from a dataset that has it in none; a share of them up to this is not told.
EXPECTED = 10
FEW = 0.02

# A cell shows its size factor when it has enough values, most of them small multiples of the smallest.
MIN_CELLS = 3
MIN_STORED = 20
CELLS_SAMPLED = 200
LARGEST_RATIO = 1000.0
RATIO_TOLERANCE = 0.01

logger = logging.getLogger("scribe")


class CountsWarning(UserWarning):
    """Something about the counts deserves a look; the fit goes on with the data as they are."""


def check_stored(data: NDArray[np.float32], *, source: str, alternatives: Alternatives = tuple) -> None:
    """Raise when any stored value of a matrix, or of one block of it, is negative, NaN or infinite.

    ``source`` says in the message where the matrix is from; ``alternatives`` is called for the message alone.
    """
    if not data.size:
        return
    low, high = float(data.min()), float(data.max())
    if 0 <= low <= high < np.inf:
        return
    if low < 0:
        n = np.count_nonzero(data < 0)
        found = f"{n:,} stored values are negative (smallest {low:.4g}), as after scaling to z-scores"
    else:
        bad = data[~np.isfinite(data)]
        found = f"{bad.size:,} stored values are not finite (first {bad[0]})"
        if np.isnan(bad[0]):
            found += (
                ', as where anndata.concat(..., join="outer") meets genes that some of the data lack: '
                'join="inner" keeps the shared ones'
            )
    _raise_not_counts(found, source=source, alternatives=alternatives)


def check_values(
    indptr: NDArray[np.int64],
    indices: NDArray[np.integer],
    data: NDArray[np.float32],
    *,
    source: str,
    alternatives: Alternatives = tuple,
    non_integer: NonInteger = "warn",
) -> bool:
    """Tell whether all stored values are whole numbers; warn about or refuse those that are not.

    The values, of compressed sparse rows (cells), are finite and positive. Of count-like values that are not whole,
    ``non_integer="warn"`` uses them as they are, ``"round"`` lets the caller round them and ``"raise"`` refuses them.
    For ``source`` and ``alternatives`` see `check_stored`.
    """
    check_non_integer(non_integer)
    n_fractional, example = _fractional(data)
    if not n_fractional:
        warn_of_one_depth(row_sums(indptr, data), source=source, alternatives=alternatives)
        return True
    fraction = n_fractional / data.size
    facts = f"{fraction:.2%} of the stored values are not whole numbers, e.g. {example:.4g}, largest {data.max():.4g}"
    normalised = _sign_of_scaling(indptr, indices, data, fraction=fraction)
    if normalised is not None:
        _raise_not_counts(f"{normalised} ({facts})", source=source, alternatives=alternatives)
    if non_integer == "raise":
        _raise_not_counts(f"{facts}, and non_integer='raise'", source=source, alternatives=alternatives)
    if non_integer == "round":
        logger.info("rounding %s to integers: %s", source, facts)
        return False
    msg = (
        f"{source} holds values that are not whole numbers: {facts}. They are used as they are, which suits corrected "
        "counts (SoupX, CellBender, expected counts). To round them pass non_integer='round'."
        f"{other_calls(alternatives)}"
    )
    warnings.warn(msg, CountsWarning, stacklevel=outside_stacklevel())
    return False


def check_non_integer(value: str) -> None:
    """Raise at what is no way to treat values that are not whole."""
    if value not in get_args(NonInteger):
        msg = f"non_integer={value!r} is unknown: expected one of {', '.join(map(repr, get_args(NonInteger)))}."
        raise ValueError(msg)


def warn_of_one_depth(totals: NDArray[np.float64], *, source: str, alternatives: Alternatives = tuple) -> None:
    """Warn of whole numbers whose totals (cells,) are all about a round one."""
    target = _target_sum(totals)
    if target is not None:
        msg = (
            f"The totals of nearly all cells in {source} are within 3 % of {target:,.0f}, as of values that were "
            "normalised to a target sum and rounded, which are not counts. Counts that were brought to one depth "
            f"(downsampled) can be fitted as they are.{other_calls(alternatives)}"
        )
        warnings.warn(msg, CountsWarning, stacklevel=outside_stacklevel())


def check_structure(
    source: str,
    shape: tuple[int, int],
    *,
    empty_cells: NDArray[np.int64],
    zero_genes: NDArray[np.int64],
    gene_names: NDArray[np.object_] | None,
    cell_names: NDArray[np.object_] | None,
) -> None:
    """Warn of empty cells, all-zero genes and a lone cell at once, and of repeated names; nothing is dropped."""
    notes, (n_cells, n_genes) = [], shape
    if empty_cells.size:
        notes.append(f"{empty_cells.size:,} of {n_cells:,} cells have no counts ({_first(empty_cells, cell_names)})")
    if zero_genes.size:
        shown = _first(zero_genes, gene_names)
        notes.append(f"{zero_genes.size:,} of {n_genes:,} genes are zero in every cell ({shown})")
    if notes:
        notes[-1] += "; they are kept"
    if n_cells == 1:
        notes.append("there is only one cell, from which variation between cells cannot be learned")
    if notes:
        warnings.warn(f"{source}: {'; '.join(notes)}.", CountsWarning, stacklevel=outside_stacklevel())
    named = (("gene", gene_names), ("cell", cell_names))
    repeats = [text for kind, names in named if (text := _repeats(kind, names))]
    if repeats:
        msg = (
            f"{source}: {' and '.join(repeats)} occur more than once, so results cannot be looked up by name. "
            "Call adata.var_names_make_unique() and adata.obs_names_make_unique() first."
        )
        warnings.warn(msg, CountsWarning, stacklevel=outside_stacklevel())


def warn_of_absent_genes(cells: NDArray[np.floating], labels: Sequence[str], *, source: str) -> None:
    """Warn of genes without any count in a dataset that has the cells to show them, as an outer join leaves them.

    ``cells`` (datasets, genes) are the numbers of cells of every dataset that show a gene. A few such genes, as those
    of a sex chromosome, are not told.
    """
    others = cells.sum(axis=0) - cells
    # sizes and depths are judged by the genes that a dataset shows
    size = cells.sum(axis=1) / np.maximum(np.sum(others * (cells > 0), axis=1), 1)
    expected = size[:, None] * others
    frequent = expected >= EXPECTED
    n_absent, n = (np.sum(mask, axis=1) for mask in (frequent & (cells == 0), frequent))
    told = zip(n_absent, labels, n_absent > FEW * n, strict=True)
    found = [f"{number:,} in {label!r}" for number, label, many in told if many]
    if found:
        msg = (
            f"{source}: genes that should be in {EXPECTED} cells or more, judged by the other datasets, are in "
            f"none: {_listed(found[:SHOWN], n=len(found))}. Were they measured there? An outer join, as of "
            'anndata.concat(..., join="outer"), fills with zeros what some of the data lack, and zeros are taken for '
            'observed: join="inner" keeps the genes that all share.'
        )
        warnings.warn(msg, CountsWarning, stacklevel=outside_stacklevel())


def looks_like_counts(values: NDArray[np.generic]) -> bool:
    """Tell whether a sample of at most a million of the values is finite, non-negative, whole and not all zero."""
    data = sample_values(values).astype(np.float64)
    return bool(data.size and np.isfinite(data).all() and data.min() >= 0 and not _fractional(data)[0] and data.any())


def sample_values(values: NDArray[np.generic], *, size: int = SAMPLE_SIZE) -> NDArray[np.generic]:
    """Draw `size` values with replacement from a fixed seed, or return all when there are no more than that."""
    flat = values.reshape(-1)
    if flat.size <= size:
        return flat
    return flat[np.random.default_rng(0).integers(0, flat.size, size=size, dtype=np.int64)]


def other_calls(alternatives: Alternatives) -> str:
    """Phrase the calls that would use whole counts as a sentence to append to a message, empty when there are none."""
    calls = alternatives()
    return f" Whole counts were found elsewhere: call {' or '.join(calls)}." if calls else ""


def outside_stacklevel() -> int:
    """Stack level, for a `warnings.warn` in the caller, of the code that called into this package."""
    frame, level, outermost = inspect.currentframe(), 0, 0
    while frame is not None:
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] == "scribe":
            outermost = level
        frame = frame.f_back
    return outermost


def _fractional(data: NDArray[np.floating]) -> tuple[int, float]:
    """Count the values that are not whole numbers, and give the first of them (0 when there is none)."""
    n, example = 0, 0.0
    for part in blocks(data.size):
        values = data[part]
        fractional = values[values != np.rint(values)]
        if fractional.size and not n:
            example = float(fractional[0])
        n += fractional.size
    return n, example


def _sign_of_scaling(
    indptr: NDArray[np.int64], indices: NDArray[np.integer], data: NDArray[np.float32], *, fraction: float
) -> str | None:
    """Say what shows that the values are normalised, or return None when nothing does."""
    totals = row_sums(indptr, data)
    totals = totals[totals > 0]
    if totals.size >= MIN_CELLS and np.ptp(totals) < TOTALS_SPREAD * totals.mean():
        return f"every cell sums to {totals.mean():.6g}, as after normalising to a target sum"
    if _per_cell_factor(indptr, data):
        return "the values of each cell are whole multiples of a number that varies from cell to cell, as after scaling"
    if _unit_variance(indices, data, n_cells=indptr.size - 1):
        return "most genes have a variance of one, as after scaling"
    if data.max() < LOG_CEILING and fraction > MOSTLY:
        return f"values are small (below {LOG_CEILING:.0f}) and mostly not whole, as after a log transform"
    return None


def _target_sum(totals: NDArray[np.floating]) -> float | None:
    """Find the round number that nearly all totals are close to, if there is one."""
    totals = totals[totals > 0]
    middle = float(np.median(totals)) if totals.size >= MIN_CELLS else 0.0
    if middle < LEAST_TARGET:
        return None
    power = 10.0 ** np.floor(np.log10(middle))
    target = min((times * power for times in ROUND_TIMES), key=lambda number: abs(number - middle))
    return target if np.mean(np.abs(totals / target - 1) < TARGET_TOLERANCE) > NEARLY_ALL else None


def _unit_variance(indices: NDArray[np.integer], data: NDArray[np.float32], *, n_cells: int) -> bool:
    """Tell whether most genes that show any counts vary with a standard deviation of one over the cells."""
    n, values = np.bincount(indices), data.astype(np.float64)
    total, square = np.bincount(indices, values)[n > 0], np.bincount(indices, values**2)[n > 0]
    if n_cells < MIN_CELLS:
        return False
    variance = (square - total**2 / n_cells) / (n_cells - 1)
    return float(np.mean(np.abs(variance - 1) < UNIT_TOLERANCE)) > MOSTLY


def _per_cell_factor(indptr: NDArray[np.int64], data: NDArray[np.float32]) -> bool:
    """Tell whether counts times a per-cell factor explain most cells: values are whole multiples of the smallest.

    Factors that are whole or one over a whole number do not count, since reads split evenly over genes give them too.
    """
    cells = np.flatnonzero(np.diff(indptr) >= MIN_STORED)
    if cells.size < MIN_CELLS:
        return False
    cells = np.random.default_rng(0).permutation(cells)[:CELLS_SAMPLED]
    scaled = [_is_scaled(data[indptr[cell] : indptr[cell + 1]]) for cell in cells]
    return float(np.mean(scaled)) > 1 - MOSTLY / 2


def _is_scaled(stored: NDArray[np.float32]) -> bool:
    values = stored.astype(np.float64)
    unit = float(values.min())
    ratios = values[values < LARGEST_RATIO * unit] / unit
    whole = np.abs(ratios - np.rint(ratios)) < RATIO_TOLERANCE
    simple = min(abs(unit - round(unit)), abs(1 / unit - round(1 / unit))) < RATIO_TOLERANCE * min(unit, 1 / unit)
    return not simple and bool(whole.all()) and bool(ratios.max() > 2 - RATIO_TOLERANCE)


def _raise_not_counts(found: str, *, source: str, alternatives: Alternatives) -> NoReturn:
    remedy = other_calls(alternatives) or (
        " Keep the raw counts before normalising, adata.layers['counts'] = adata.X.copy(), and then call "
        'scribe.tl.fit(adata, layer="counts").'
    )
    expected = "Expected UMI or read counts: whole numbers, none negative."
    msg = f"{source} does not hold raw counts: {found}. {expected}{remedy}"
    raise ValueError(msg)


def _first(index: NDArray[np.int64], names: NDArray[np.object_] | None) -> str:
    return _listed((index[:SHOWN] if names is None else names[index[:SHOWN]]).tolist(), n=index.size)


def _listed(shown: Iterable[object], *, n: int) -> str:
    return ", ".join(map(str, shown)) + (", ..." if n > SHOWN else "")


def _repeats(kind: str, names: NDArray[np.object_] | None) -> str:
    repeated = [] if names is None else [name for name, n in Counter(names.tolist()).items() if n > 1]
    return f"{len(repeated):,} {kind} names ({_listed(repeated[:SHOWN], n=len(repeated))})" if repeated else ""
