"""A factor model of log rates as a modifier of any family: what a new family whose cells have latents has to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scribe._counts.predictors import LowRank, Predictor
from scribe._types import Array, Key, Natural
from scribe.families import Modifier, MoleculePosterior, Moments, Param
from scribe.priors import TransformedNormal

__all__ = ["LOADINGS", "SCORES", "Factors"]

_NORMAL = TransformedNormal(0.0, 1.0, "identity")

LOADINGS = Param("loadings", ("factor_loadings",), "real", ("factor", "gene"), _NORMAL, (0.0, 1.0), spread=0.3)
SCORES = Param("scores", ("factor_scores",), "real", ("cell", "factor"), _NORMAL, (0.0, 1.0), spread=0.3)


@dataclass(frozen=True)
class Factors(Modifier):
    """Counts whose log rates are :math:`\\log\\mu_g + \\log\\nu_c + \\sum_k s_{ck} w_{kg}`."""

    kind = "factors"
    shifts = (LOADINGS, SCORES)

    rank: int = 2

    @property
    def axes(self) -> Mapping[str, int]:
        """The factors."""
        return {**self.base.axes, "factor": self.rank}

    def predictor(self, working: Mapping[str, Array], log_exposure: Array) -> Predictor:
        """What the factors add."""
        return LowRank(log_exposure, working[SCORES.name], working[LOADINGS.name].T)

    def cell_term(self, u: Array, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.cell_term(u, natural, offset)

    def sample(self, key: Key, natural: Natural, offset: Array) -> Array:
        """That of the base."""
        return self.base.sample(key, natural, offset)

    def moments(self, natural: Natural, offset: Array) -> Moments:
        """Those of the base."""
        return self.base.moments(natural, offset)

    def denoise(self, u: Array, natural: Natural, offset: Array) -> MoleculePosterior:
        """That of the base."""
        return self.base.denoise(u, natural, offset)
