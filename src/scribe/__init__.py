"""Bayesian analysis of single-cell counts, for AnnData and scanpy."""

from scribe import datasets, engines, get, guides, pl, tl
from scribe._fit import ConvergenceWarning, fit
from scribe._posterior.results import ScribeSVIResults
from scribe._settings import settings

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "ScribeSVIResults",
    "datasets",
    "engines",
    "fit",
    "get",
    "guides",
    "pl",
    "settings",
    "tl",
]
