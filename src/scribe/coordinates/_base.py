"""Coordinates: which parameters are sampled, and how they make up the natural ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scribe._types import Array, Natural
from scribe.families import Param

__all__ = ["Coordinates"]

Working = Mapping[str, Array]


@dataclass(frozen=True)
class Coordinates:
    """A choice of sampled parameters for a family.

    All maps act on the working scale: logarithms of positive parameters, logits of probabilities.

    Parameters
    ----------
    name
        Name users pass as ``parameterization``.
    aliases
        Other names for the same coordinates.
    family
        Name of the base family these coordinates belong to.
    sampled
        The sampled parameters, in sampling order.
    to_natural
        Sampled parameters -> natural parameters.
    from_natural
        Natural parameters -> sampled parameters; the inverse of ``to_natural`` on its image.
    capture
        Name of the capture site when nothing anchors it.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    sampled: tuple[Param, ...]
    to_natural: Callable[[Working], dict[str, Array]]
    from_natural: Callable[[Natural], dict[str, Array]]
    capture: str = "p_capture"

    @property
    def names(self) -> list[str]:
        """Names of the sampled parameters."""
        return [param.name for param in self.sampled]

    @property
    def shared(self) -> list[str]:
        """Names of those that all genes share."""
        return [param.name for param in self.sampled if "gene" not in param.axes]
