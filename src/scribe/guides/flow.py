"""Normalising flows: guides that need not be normal."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe._device import on_device
from scribe._model.checks import require_known, require_whole
from scribe._nn import MLP
from scribe._types import AnyArray, Array, Params
from scribe.guides import _bijections as bijections
from scribe.guides._base import Latents
from scribe.guides._block import Block
from scribe.guides._blocks import Blocks
from scribe.guides._core import Core, CoreArrays, Density

__all__ = ["Flow"]


def _rotated(x: Array, times: int) -> Array:
    return jnp.roll(x, times, axis=1)


def _reversed(x: Array, times: int) -> Array:
    return x[:, ::-1] if times % 2 else x


class _Kind(NamedTuple):
    """How a layer conditions elements on others, the map of each, and how elements (batch, n) are moved in between."""

    layer: Callable[..., tuple[Array, Array]]
    spline: bool
    turned: Callable[[Array, int], Array]


_KINDS = {
    "affine_coupling": _Kind(bijections.coupling, spline=False, turned=_rotated),
    "spline_coupling": _Kind(bijections.coupling, spline=True, turned=_rotated),
    "maf": _Kind(bijections.autoregressive, spline=False, turned=_reversed),
    "iaf": _Kind(bijections.inverse_autoregressive, spline=False, turned=_reversed),
}


@dataclass(frozen=True)
class Flow(Blocks):
    r"""For every per-gene latent :math:`z = \text{loc} + s\,f(x)` with standard normal x over the genes.

    :math:`f` is a chain of invertible layers with networks in them (see Papamakarios et al. 2021,
    doi:10.48550/arXiv.1912.02762) and starts as the identity, so that the guide starts as a mean-field one. With
    thousands of genes take ``"affine_coupling"``. To couple different parameters of a gene, see `Joint`.

    Parameters
    ----------
    kind
        ``"affine_coupling"``, ``"spline_coupling"``, ``"maf"`` (one element after the other, hence slow to draw from)
        or ``"iaf"``.
    n_layers
        Number of layers, between which elements take turns.
    network
        The network of every layer.
    n_bins
        Pieces of a spline.
    mixture_strategy
        ``"independent"`` for a flow of its own for every component and data set, ``"shared"`` for one flow that is told
        which of them it is.
    soft_clamp
        Whether scales are bounded smoothly, to 10 % of growth per layer, and not by a cut.
    loft
        Whether values beyond 100 are compressed to their logarithm.
    log_det_f64
        Whether the log-determinant is summed in 64-bit floats.
    init_scale
        The value at which every s starts.
    """

    name: ClassVar[str] = "flow"

    kind: str = "affine_coupling"
    _: KW_ONLY
    n_layers: int = 4
    network: MLP = field(default_factory=MLP)
    n_bins: int = 8
    mixture_strategy: str = "independent"
    soft_clamp: bool = True
    loft: bool = True
    log_det_f64: bool = False
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        require_known("kind of flow", self.kind, _KINDS)
        require_known("mixture_strategy", self.mixture_strategy, ("independent", "shared"))
        require_whole("n_layers", self.n_layers, 1)
        require_whole("n_bins", self.n_bins, 2)

    @property
    def has_splines(self) -> bool:
        """Whether elements are mapped by splines, and not by shifts and scales."""
        return _KINDS[self.kind].spline

    def core(self, *, chain: bool) -> FlowLaw:
        """The law of a vector: one flow, or a chain of flows of latents given those before them."""
        return FlowLaw(self, chain)

    def blocks(self, latents: Latents) -> tuple[Block, ...]:
        """Every per-gene latent by itself."""
        genes = [latent for latent in latents if "gene" in latent.axes]
        return tuple(Block(self.core(chain=False), (latent,), init_scale=self.init_scale) for latent in genes)


@dataclass(frozen=True)
class FlowLaw(Core):
    """Scaled images of standard normals under a flow.

    Draws of some elements need the whole flow: their places in it are the rows that are added after a fit.
    """

    flow: Flow
    chain: bool
    suffix: ClassVar[str] = "_place"
    trains_rows: ClassVar[bool] = False
    by_element: ClassVar[None] = None

    def init_rows(self, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        """None."""

    def settled_rows(self, sizes: tuple[int, ...], *, batch: int) -> Array:
        """Every element at its own place."""
        n = sum(sizes)
        return jnp.broadcast_to(jnp.arange(n, dtype=jnp.zeros(()).dtype)[None], (batch, n))

    def weights(self, n_latents: int, *, batched: bool) -> tuple[str, ...]:
        """Arrays of the networks of every flow of a chain."""
        return tuple(
            f"{i}_{name}"
            for i in range(n_latents if self.chain else 1)
            for name in self.flow.network.names(context=i > 0 or (self._shared and batched))
        )

    def init_weights(self, sizes: tuple[int, ...], *, batch: int) -> Params:
        """Networks at the start: arrays are (layers, independent flows, ...)."""
        links = sizes if self.chain else (sum(sizes),)
        if min(links) < 2:
            msg = "A flow needs two elements or more: give guide_flow a model of more genes, or use guide_rank."
            raise ValueError(msg)
        rng = np.random.default_rng(zlib.crc32(repr((self.flow.kind, links)).encode()))
        arrays: Params = {}
        for i, n in enumerate(links):
            context = sum(links[:i]) + (batch if self._shared and batch > 1 else 0)
            copies = 1 if self._shared else batch
            made = [[self._network(rng, n, context) for _ in range(copies)] for _ in range(self.flow.n_layers)]
            for name in made[0][0]:
                stacked = np.stack([np.stack([one[name] for one in layer]) for layer in made])
                arrays[f"{i}_{name}"] = on_device(stacked)
        return arrays

    def _network(self, rng: np.random.Generator, n: int, n_context: int) -> dict[str, AnyArray]:
        """Arrays of one network for n elements, of which a coupling takes and gives half."""
        channels = 3 * self.flow.n_bins - 1 if self._kind.spline else 2
        n_in, n_out = (n // 2, n - n // 2) if self._couples else (n, n)
        return self.flow.network.init(rng, n_in=n_in, n_out=(n_out, channels), n_context=n_context)

    @property
    def _shared(self) -> bool:
        return self.flow.mixture_strategy == "shared"

    @property
    def _kind(self) -> _Kind:
        return _KINDS[self.flow.kind]

    @property
    def _couples(self) -> bool:
        return self._kind.layer is bijections.coupling

    def _links(self, weights: Mapping[str, Array]) -> list[int]:
        """Number of elements in every flow of the chain, those that were left out included."""
        links: list[int] = []
        while f"{len(links)}_bias_out" in weights:
            n_in, n_out = (weights[f"{len(links)}_{name}"].shape[2] for name in ("kernel_0", "bias_out"))
            links.append(n_in + n_out if self._couples else n_out)
        return links

    def noise(self, arrays: CoreArrays) -> list[tuple[int, ...]]:
        """One for every element of the flow."""
        return [(arrays.log_scale.shape[0], sum(self._links(arrays.weights)))]

    def draw(self, arrays: CoreArrays, noise: list[Array]) -> tuple[Array, Density]:
        """One draw and its density, differentiated in everything: a flow is followed in one direction only."""
        (x,) = noise
        image, log_det = self._push(arrays.weights, x)
        if arrays.rows.shape[1]:
            image = jnp.take_along_axis(image, arrays.rows.astype(jnp.int32), axis=1)
        log_normal = -0.5 * (jnp.sum(jnp.square(x)) + math.log(2 * math.pi) * x.size)
        density = log_normal - log_det - jnp.sum(arrays.log_scale)
        return jnp.exp(arrays.log_scale) * image, lambda _: density

    def _push(self, weights: Params, x: Array) -> tuple[Array, Array]:
        """Images of vectors (batch, elements), and the sum of all log-derivatives."""
        batch = x.shape[0]
        told = [jnp.eye(batch, dtype=x.dtype)] if self._shared and batch > 1 else []
        images: list[Array] = []
        log_slopes: list[Array] = []
        for i, part in enumerate(jnp.split(x, np.cumsum(self._links(weights))[:-1], axis=1)):
            known = [*told, *images]
            context = jnp.concatenate(known, axis=1) if known else None
            own = {k.removeprefix(f"{i}_"): v for k, v in weights.items() if k.startswith(f"{i}_")}
            image, slopes = jax.lax.scan(functools.partial(self._layer, context), part, own)
            image = self._kind.turned(image, -self.flow.n_layers)
            log_slopes.append(slopes)
            if self.flow.loft:
                image, slopes = bijections.loft(image)
                log_slopes.append(slopes)
            images.append(image)
        return jnp.concatenate(images, axis=1), self._sum(log_slopes)

    def _layer(self, context: Array | None, x: Array, arrays: Params) -> tuple[Array, Array]:
        """Images (batch, elements) under one layer, moved for the next, and log-derivatives."""
        bijection = (
            bijections.rational_quadratic
            if self._kind.spline
            else functools.partial(bijections.affine, soft_clamp=self.flow.soft_clamp)
        )

        def one(arrays: Params, x: Array, context: Array | None) -> tuple[Array, Array]:
            return self._kind.layer(self.flow.network, arrays, bijection, x=x, context=context)

        if self._shared:
            arrays = {name: value[0] for name, value in arrays.items()}
        image, slopes = jax.vmap(one, in_axes=(None if self._shared else 0, 0, 0))(arrays, x, context)
        return self._kind.turned(image, 1), slopes

    def _sum(self, log_slopes: list[Array]) -> Array:
        """Sum of all, in the working precision or in 64 bits."""
        dtype = log_slopes[0].dtype
        if not self.flow.log_det_f64:
            return jnp.sum(jnp.stack([jnp.sum(x) for x in log_slopes]))
        with jax.enable_x64(True):  # noqa: FBT003  # jax takes it by position alone
            total = sum(jnp.sum(x.astype(jnp.float64)) for x in log_slopes)
            return jnp.asarray(total).astype(dtype)

    def loadings(self, rows: Array) -> None:
        """None: a flow is not linear."""
