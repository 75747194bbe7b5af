"""Log-likelihood of every cell or gene, draw by draw, at the cost of the non-zeros."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Literal

import jax
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.data import CountData, full_data
from scribe._counts.likelihood import log_likelihood_by_cell, log_likelihood_by_gene
from scribe._posterior.posterior import Parameters
from scribe._types import Array, FloatArray
from scribe.families import Family

__all__ = ["pointwise"]

By = Literal["cell", "gene"]


def pointwise(family: Family, counts: Counts, draws: Iterable[Parameters], *, by: By) -> FloatArray:
    """Log-likelihood in nats, (draws, cells) or (draws, genes); one draw at a time is on the device."""
    data = full_data(counts, totals_suffice=False)
    rows = [np.asarray(_one(family, by, counts.n_genes, parameters, data)) for parameters in draws]
    return np.stack(rows)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _one(family: Family, by: By, n_genes: int, parameters: Parameters, data: CountData) -> Array:
    if by == "cell":
        return log_likelihood_by_cell(family, parameters.natural, parameters.offset, data)
    return log_likelihood_by_gene(family, parameters.natural, parameters.offset, data, n_genes=n_genes)
