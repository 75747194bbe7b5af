"""Log-likelihood of every cell or gene, draw by draw, at the cost of the non-zeros."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from scribe._counts.data import CountData
from scribe._posterior.parameters import Parameters, by_cell, by_gene
from scribe._types import FloatArray
from scribe.families import Family

__all__ = ["pointwise"]

By = Literal["cell", "gene"]


def pointwise(family: Family, data: CountData, draws: Iterable[Parameters], *, by: By, n_genes: int) -> FloatArray:
    """Log-likelihood in nats, (draws, cells) or (draws, genes); one draw at a time is on the device."""
    if by == "cell":
        return np.stack([np.asarray(by_cell(family, parameters, data)) for parameters in draws])
    return np.stack([np.asarray(by_gene(family, n_genes, parameters, data)) for parameters in draws])
