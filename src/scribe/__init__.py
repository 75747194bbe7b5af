"""Bayesian analysis of single-cell counts, for AnnData and scanpy."""

from scribe import coordinates, datasets, engines, families, get, guides, pl, priors, tl
from scribe._fit import ConvergenceWarning, fit
from scribe._model.config import ModelConfig
from scribe._posterior.by_engine import ScribeMCMCResults, ScribeSVIResults
from scribe._settings import settings

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "ModelConfig",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "coordinates",
    "datasets",
    "engines",
    "families",
    "fit",
    "get",
    "guides",
    "pl",
    "priors",
    "settings",
    "tl",
]
