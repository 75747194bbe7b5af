"""The zeros of a matrix, at the cost of a matrix product per block of cells.

Of every gene, component and dataset the logarithm of the probability of a zero is one smooth function of the cell's
offset: it is evaluated at the nodes of `scribe._counts.interpolation` alone.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from scribe._counts.interpolation import Interval, matmul, n_nodes, to_coefficients
from scribe._counts.levels import n_levels
from scribe._counts.likelihood import ElementwisePmf, expand
from scribe._types import Array, Natural

__all__ = ["Zeros", "log_zeros", "zeros"]


class Zeros(NamedTuple):
    """What a zero count adds to the log-likelihood, as polynomials of the offset: made by `zeros`, read by `at`.

    ``coefficients`` are (components, datasets, nodes, genes), ``interval`` is the range of offsets they hold for. Both
    are arrays, so that it passes through `jit` and stacks over draws by `vmap`.
    """

    coefficients: Array
    interval: Interval

    def at(self, offset: Array, dataset: Array | None = None, component: Array | int = 0) -> Array:
        """Natural logarithm of the probability of a zero in a block of cells, (cells, genes).

        ``offset`` (cells,) lies in the range that `zeros` was given; ``dataset`` (cells,) is the dataset of every cell
        where the model tells them apart, and all cells are taken to be of one ``component``, a number. The genes are
        one where no parameter differs between them.
        """
        here = self.coefficients[component if self.coefficients.shape[0] > 1 else 0]
        n_datasets, n_nodes, n_genes = here.shape
        polynomials = self.interval.polynomials(offset)
        if dataset is not None and n_datasets > 1:
            # each dataset has rows of its own, all but those of the cell's at zero
            mine = dataset[None] == jnp.arange(n_datasets)[:, None]
            polynomials = jnp.where(mine[:, None], polynomials[None], 0.0).reshape(n_datasets * n_nodes, -1)
            return matmul(polynomials.T, here.reshape(n_datasets * n_nodes, n_genes))
        return matmul(polynomials.T, here[0])


def zeros(family: ElementwisePmf, natural: Natural, offset: Array) -> Zeros:
    """Evaluate ``cell_term`` of a zero, which is its log-probability, at the nodes of the range of all offsets.

    ``natural`` holds (genes,) arrays and scalars, or the (components, datasets, genes) arrays of
    `scribe._counts.levels`; ``offset`` (cells,) is that of all cells that will be asked for. Nothing of the size of
    cells x genes is made: for one draw it holds components x datasets x nodes x genes numbers, with 48 nodes in
    float32. Accuracy is that of the likelihood, see `scribe._counts.interpolation.n_nodes`.
    """
    interval = Interval.around(offset)
    to_coefs = jnp.asarray(to_coefficients(n_nodes(offset.dtype)), offset.dtype)
    return Zeros(matmul(to_coefs[None, None], log_zeros(family, natural, interval.nodes())), interval)


def log_zeros(family: ElementwisePmf, natural: Natural, nodes: Array) -> Array:
    """Logarithm of the probability of a zero at some offsets, (components, datasets, nodes, genes).

    ``natural`` is as in `zeros`; the genes are one where no parameter differs between them.
    """
    leveled = {name: value[:, :, None] if value.ndim == 3 else value for name, value in natural.items()}
    values = family.cell_term(jnp.zeros((1,) * 4, nodes.dtype), expand(leveled, 4), nodes[None, None, :, None])
    return jnp.broadcast_to(values, (n_levels(natural, 0), n_levels(natural, 1), *values.shape[2:]))
