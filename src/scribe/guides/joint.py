"""Joint guide: parameters of a gene that are uncertain together."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from scribe._model.checks import nearest
from scribe.guides._base import Latents
from scribe.guides._block import Block
from scribe.guides._blocks import Blocks
from scribe.guides.flow import Flow
from scribe.guides.low_rank import LowRank
from scribe.priors import LATENT_SUFFIX, Latent

__all__ = ["Joint"]


@dataclass(frozen=True)
class Joint(Blocks):
    r"""One distribution of several parameters, coupled within and across genes.

    The parameters ``dense`` form one vector, of all genes, with the law of ``family``: a low-rank normal or a flow. All
    others depend on them, and on those listed before them, by one slope per gene:

    .. math::

        z_{jg} = \text{loc}_{jg} + s_{jg}\epsilon_{jg} + \sum_{i<j} a_{jig}\, e_{ig}

    with :math:`e_i` the part of :math:`z_i` that its own predecessors do not explain. Parameters shared by all genes
    come first and every gene has a slope on them. Without a ``family`` there are slopes alone, which suffice where the
    coupling is within genes, as that of mean and odds.

    Parameters
    ----------
    params
        Names of the parameters; an axis that one of them lacks is averaged over in its dependence on others.
    family
        `LowRank` or `Flow`; None is no coupling across genes.
    dense
        Which of the parameters the family couples; None is all that run over genes.
    init_scale
        Standard deviation every element starts with.
    """

    name: ClassVar[str] = "joint"

    params: tuple[str, ...]
    _: KW_ONLY
    family: LowRank | Flow | None = None
    dense: tuple[str, ...] | None = None
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(self.params))
        if self.dense is not None:
            object.__setattr__(self, "dense", tuple(self.dense))
        extra = [name for name in self.dense or () if name not in self.params]
        if extra:
            msg = f"dense has {extra}, which is not among params={list(self.params)}: add it there."
            raise ValueError(msg)
        if self.dense and self.family is None:
            msg = f"dense={list(self.dense)} needs a family, e.g. Joint(params, family=LowRank(8), dense=...)."
            raise ValueError(msg)

    def blocks(self, latents: Latents) -> tuple[Block, ...]:
        """One."""
        found = {name: _latent(name, latents) for name in self.params}
        dense: Latents = ()
        if self.family is not None:
            chosen = self.params if self.dense is None else self.dense
            dense = tuple(found[name] for name in chosen if "gene" in found[name].axes)
        linear = tuple(latent for latent in found.values() if latent not in dense)
        # a chain of flows where some of the parameters were singled out, one flow of all otherwise
        core = (self.family or LowRank()).core(chain=self.dense is not None)
        return (Block(core, dense, linear, init_scale=self.init_scale),)


def _latent(name: str, latents: Latents) -> Latent:
    """The latent with the values of a parameter: its own, what its prior scales, or what effects add up on."""
    stems = {latent.name.removesuffix(LATENT_SUFFIX): latent for latent in latents}
    latent = stems.get(name) or stems.get(f"{name}_raw") or stems.get(f"{name}_loc")
    if latent is None or "cell" in latent.axes:
        allowed = [stem for stem, one in stems.items() if "cell" not in one.axes]
        hint = f"{nearest(name, allowed)} It has: {', '.join(allowed)}."
        msg = f"A joint guide of {name!r}: this model samples no such parameter of genes.{hint}"
        raise ValueError(msg)
    return latent
