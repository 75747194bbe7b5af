"""Checks of what users set."""

from __future__ import annotations

import numpy as np
import pytest

from scribe._model.checks import require_known, require_whole
from scribe.engines import NUTS, SVI
from scribe.guides import Flow, LowRank


@pytest.mark.parametrize("make", [SVI, NUTS, LowRank, lambda n: Flow(n_layers=n)])
def test_a_count_may_be_of_any_integer_type_but_no_truth_value(make):
    make(np.int64(3))
    with pytest.raises(ValueError, match="must be a whole number of at least 1, got True"):
        make(True)


def test_a_misspelt_name_is_answered_with_the_nearest():
    require_known("colour", "red", ("red", "blue"))
    with pytest.raises(ValueError, match=r"Unknown colour 'rad'\. Did you mean 'red'\? Choose one of: 'red', 'blue'"):
        require_known("colour", "rad", ("red", "blue"))
    with pytest.raises(ValueError, match=r"Unknown colour 3\. Choose one of"):
        require_known("colour", 3, ("red", "blue"))
    with pytest.raises(ValueError, match="at least 2, got 1"):
        require_whole("n", 1, 2)
