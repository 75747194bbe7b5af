"""Cell-specific capture: every molecule of a cell is observed with the cell's own probability."""

from __future__ import annotations

from dataclasses import dataclass

from scribe._types import Array, Key, Natural
from scribe.families._base import Family, Modifier, MoleculePosterior, Moments

__all__ = ["WithCapture", "with_capture"]


@dataclass(frozen=True)
class WithCapture(Modifier):
    r"""A family observed through binomial capture with a probability :math:`\nu_c` per cell.

    Every family takes a cell offset :math:`x_c = \log\nu_c`; this modifier says that the offset is a parameter of the
    model rather than zero. Its form, the capture site, belongs to the coordinates.
    """

    kind = "with_capture"

    @property
    def captured(self) -> bool:
        """Always true."""
        return True

    @property
    def linear(self) -> bool:
        """As the base."""
        return self.base.linear

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.cell_term(u, natural, offset)

    def correction(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.correction(u, natural, offset)

    def log_pmf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.log_pmf(u, natural, offset)

    def cdf(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.cdf(u, natural, offset)

    def below_and_at(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """That of the base."""
        return self.base.below_and_at(u, natural, offset)

    def cell_totals(self, natural: Natural, offset: Array, totals: Array) -> Array | None:
        """Those of the base."""
        return self.base.cell_totals(natural, offset, totals)

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.sample(key, natural, offset)

    def slopes(self, u: Array, natural: Natural, offset: Array) -> tuple[Array, Array]:
        """Those of the base."""
        return self.base.slopes(u, natural, offset)

    def moments(self, natural: Natural, offset: Array) -> Moments:
        """Those of the base."""
        return self.base.moments(natural, offset)

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """That of the base."""
        return self.base.denoise(u, natural, offset)

    def unobserved(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """That of the base."""
        return self.base.unobserved(u, natural, offset)


def with_capture(base: Family) -> Family:
    """Observe ``base`` through a capture probability per cell."""
    return WithCapture(base)
