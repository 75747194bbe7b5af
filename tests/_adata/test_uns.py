"""What passes the gate to `uns` comes back from h5ad and zarr as it was; what would not is refused."""

from __future__ import annotations

import datetime
from typing import Any

import anndata as ad
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from scribe._adata.uns import clean_uns


def random_value(rng: np.random.Generator, depth: int) -> Any:
    makers = [
        lambda: int(rng.integers(-(2**63), 2**63 - 1)),
        lambda: float(rng.choice([0.0, -1.5, 1e-300, 1e300, np.inf, -np.inf, np.nan])),
        lambda: bool(rng.integers(2)),
        lambda: str(rng.choice(["", "text", "µ → σ", "a/b.c", "line\nbreak", "None", "[1, 2]"])),
        lambda: rng.normal(size=rng.integers(0, 4, rng.integers(1, 4))).astype(rng.choice(["f4", "f8"])),
        lambda: rng.integers(0, 100, 5).astype(rng.choice(["i4", "i8", "u1", "u8"])),
        lambda: rng.integers(0, 2, 4).astype(bool),
        lambda: np.array(["a", "bé", ""][: rng.integers(1, 4)]),
        lambda: jnp.arange(3.0),
        lambda: jnp.float32(2.5),
        lambda: np.float32(0.1),
        lambda: np.int64(3),
        lambda: np.bool_(True),
        lambda: table(rng),
    ]
    if depth:
        makers += [lambda: random_tree(rng, depth - 1)] * 4
    return makers[rng.integers(len(makers))]()


def table(rng: np.random.Generator) -> pd.DataFrame:
    n = int(rng.integers(1, 4))
    columns = {
        "number": rng.normal(size=n),
        "whole": rng.integers(0, 9, n),
        "flag": rng.integers(0, 2, n).astype(bool),
        "text": rng.choice(["a", "b/c"], n).astype(object),
        "kind": pd.Categorical(rng.choice(["x", "y"], n), categories=["x", "y"]),
    }
    chosen = list(rng.permutation(list(columns))[: rng.integers(1, 6)])
    return pd.DataFrame({name: columns[name] for name in chosen}, index=[f"row{i}" for i in range(n)])


def random_tree(rng: np.random.Generator, depth: int) -> dict[str, Any]:
    names = ["a", "b.c", "with space", "µ", "UPPER", "1"]
    return {name: random_value(rng, depth) for name in rng.permutation(names)[: rng.integers(0, 5)]}


def same(found: Any, wrote: Any) -> bool:
    if isinstance(wrote, dict):
        return isinstance(found, dict) and set(found) == set(wrote) and all(same(found[k], wrote[k]) for k in wrote)
    if isinstance(wrote, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wrote, check_column_type=False, check_index_type=False)
        return True
    if isinstance(wrote, np.ndarray):
        found = np.asarray(found)
        equal_kind = found.dtype == wrote.dtype or wrote.dtype.kind == "U"
        return (
            equal_kind
            and found.shape == wrote.shape
            and bool(np.array_equal(found, wrote, equal_nan=wrote.dtype.kind == "f"))
        )
    return type(wrote)(found) == wrote or (isinstance(wrote, float) and np.isnan(wrote) and np.isnan(found))


def test_random_records_come_back(through_file):
    rng = np.random.default_rng(0)
    records = {f"record{i}": clean_uns(random_tree(rng, 3)) for i in range(25)}
    back = through_file(ad.AnnData(np.zeros((1, 1), np.float32), uns=records))
    assert set(back.uns) == set(records)
    for name, record in records.items():
        assert same(back.uns[name], record), (name, record, back.uns[name])


def test_cleaning_twice_changes_nothing():
    rng = np.random.default_rng(1)
    for _ in range(30):
        once = clean_uns(random_tree(rng, 3))
        assert same(clean_uns(once), once)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "of type NoneType"),
        ([1, 2], "of type list"),
        ((1.0,), "of type tuple"),
        ({1}, "of type set"),
        (2**70, "of type int"),
        ("nul\0", "text with a NUL"),
        (b"bytes", "of type .* dtype"),
        (1j, "of type .* dtype complex"),
        (datetime.datetime(2026, 1, 1), "of type .* dtype object"),
        (np.array(["2026-01-01"], "datetime64[D]"), "of type .* dtype datetime64"),
        (np.array([1, "a", None], object), "of type .* dtype object"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "of type MaskedArray"),
        (pd.Series([1.0]), "of type Series"),
        (pd.Index(["a"]), "of type Index"),
        (np.random.default_rng(0), "of type .* dtype object"),
        (pd.DataFrame({"a": [1, "x"]}), "a column of dtype object that is not all text"),
        (pd.DataFrame({"a": ["x", None]}, dtype=object), "a column of dtype object that is not all text"),
    ],
)
def test_what_files_cannot_hold_is_refused_with_its_place(value, message):
    with pytest.raises(TypeError, match=rf"uns\['fit'\]\['deep'\].* is {message}.*, which cannot be stored"):
        clean_uns({"fit": {"deep": value}})


@pytest.mark.parametrize("key", ["CD4/CD8", 1, None, ("a",), ""])
def test_keys_are_text_without_slashes(key):
    with pytest.raises(TypeError, match=r"uns\['a'\] has the key .*; keys must be strings without '/'"):
        clean_uns({"a": {key: 1}})


def test_columns_have_text_names():
    with pytest.raises(TypeError, match=r"uns\['a'\] is a table whose column names are not all strings"):
        clean_uns({"a": pd.DataFrame({0: [1]})})
