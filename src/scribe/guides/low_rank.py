"""Low-rank guide: normals whose covariance is a diagonal plus few shared directions."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from scribe._model.checks import require_whole
from scribe._types import AnyArray, Array, Params
from scribe.guides._base import Latents
from scribe.guides._block import Block
from scribe.guides._blocks import Blocks
from scribe.guides._core import Core, CoreArrays, Density

__all__ = ["LowRank"]

_FACTOR_START = 0.1
"""Size of the rows that the factor starts with: enough to have a gradient, too little to matter."""


@dataclass(frozen=True)
class LowRankNormal(Core):
    r""":math:`e = s (V u + \epsilon) \sim N(0, S(VV^\top + I)S)` with standard normal :math:`u, \epsilon` and S of s.

    The factor is in units of the scales, so that the steps of an optimiser as Adam, which are of one size, suit all
    elements; in units of the latents it starts as noise far above what it is to find. The density takes the inverse and
    the determinant from the small matrix :math:`I + V^\top V`. The quadratic form is written as a sum of squares at the
    most probable :math:`u`, without the cancellation of its expansion.
    """

    rank: int
    suffix: ClassVar[str] = "_factor"
    trains_rows: ClassVar[bool] = True
    by_element: ClassVar[int] = 1

    def init_rows(self, shape: tuple[int, ...], rng: np.random.Generator) -> AnyArray:
        """Small random columns: equal ones would stay equal but for the noise of the draws."""
        return rng.normal(0, _FACTOR_START / math.sqrt(self.rank), (*shape, self.rank))

    def init_weights(self, sizes: tuple[int, ...], *, batch: int) -> Params:
        """None."""
        return {}

    def weights(self, n_latents: int, *, batched: bool) -> tuple[str, ...]:
        """None."""
        return ()

    def settled_rows(self, sizes: tuple[int, ...], *, batch: int) -> None:
        """None: rows of some elements are their marginal distribution."""

    def noise(self, arrays: CoreArrays) -> list[tuple[int, ...]]:
        """Shared normals and those of the elements."""
        batch, n = arrays.log_scale.shape
        return [(batch, self.rank), (batch, n)]

    def draw(self, arrays: CoreArrays, noise: list[Array]) -> tuple[Array, Density]:
        """One draw and its density, of which the parameters are held constant."""
        factor, log_scale = arrays.rows, arrays.log_scale
        shared, own = noise
        value = jnp.exp(log_scale) * (jnp.einsum("bnr,br->bn", factor, shared, precision="highest") + own)
        fixed = jax.lax.stop_gradient((factor, log_scale))
        return value, lambda at: _log_density(at, *fixed)

    def loadings(self, rows: Array) -> Array:
        """The factor itself."""
        return rows


def _log_density(value: Array, factor: Array, log_scale: Array) -> Array:
    """Logarithm of the density, summed over the batch."""
    standard = value * jnp.exp(-log_scale)
    small = jnp.einsum("bnr,bns->brs", factor, factor, precision="highest")
    small += jnp.eye(factor.shape[-1], dtype=small.dtype)[None]
    root = jnp.linalg.cholesky(small)
    projected = jnp.einsum("bnr,bn->br", factor, standard, precision="highest")
    likely = jax.scipy.linalg.cho_solve((root, True), projected[..., None])[..., 0]
    rest = standard - jnp.einsum("bnr,br->bn", factor, likely, precision="highest")
    log_det = jnp.sum(log_scale) + jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)))
    squares = jnp.sum(jnp.square(rest)) + jnp.sum(jnp.square(likely))
    return -0.5 * squares - log_det - 0.5 * math.log(2 * math.pi) * value.size


@dataclass(frozen=True)
class LowRank(Blocks):
    r"""For every per-gene latent a normal :math:`N(\text{loc}, WW^\top + \operatorname{diag}(s^2))` over the genes.

    Genes whose parameters are uncertain together share columns of :math:`W = sV`, (genes, rank). Components and data
    sets have matrices of their own. Genes are uncertain together where cells are assigned to components, or where they
    share a parameter: the latter shows only where that parameter is coupled to them as well, by `Joint`. With shared
    parameters that are independent of them the best normal over genes is a product.

    Parameters
    ----------
    rank
        Columns of W.
    init_scale
        The value at which every s starts.
    """

    name: ClassVar[str] = "low_rank"

    rank: int = 8
    _: KW_ONLY
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        require_whole("The rank of a low-rank guide", self.rank, 1)

    def core(self, *, chain: bool) -> LowRankNormal:
        """The law of a vector, the same in one piece as latent by latent."""
        return LowRankNormal(self.rank)

    def blocks(self, latents: Latents) -> tuple[Block, ...]:
        """Every per-gene latent by itself."""
        genes = [latent for latent in latents if "gene" in latent.axes]
        return tuple(Block(self.core(chain=False), (latent,), init_scale=self.init_scale) for latent in genes)
