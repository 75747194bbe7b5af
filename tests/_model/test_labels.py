"""Labels are text, whatever users write them as."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scribe._model.labels import as_labels, label_of


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.int64(1), "1"),
        (np.uint8(1), "1"),
        (np.float32(1.0), "1"),
        (2**62 + 1, str(2**62 + 1)),
        (0.5, "0.5"),
        (True, "True"),
        (np.bool_(False), "False"),
        ("1", "1"),
        ("1.0", "1.0"),
        (np.str_("T cell"), "T cell"),
        (pd.Timestamp("2026-11-01"), "2026-11-01 00:00:00"),
    ],
)
def test_the_text_of_a_label(written, text):
    assert label_of(written) == text
    assert as_labels(written) == [text]


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pd.Index, pd.Categorical, iter])
def test_several_labels_once_each_and_in_order(kind):
    assert as_labels(kind([2, 0, 2, 1])) == ["2", "0", "1"]
    assert as_labels(kind(["b", "a", "b"])) == ["b", "a"]
    assert as_labels(kind([True, False])) == ["True", "False"]
