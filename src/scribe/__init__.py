"""Bayesian analysis of single-cell counts, for AnnData and scanpy."""

from scribe import coordinates, datasets, engines, families, get, guides, pl, priors, tl
from scribe._fit import ConvergenceWarning, fit
from scribe._model.config import ModelConfig
from scribe._posterior.by_engine import ScribeMCMCResults, ScribeSVIResults
from scribe._posterior.compare import Contrast, compare_datasets
from scribe._settings import settings
from scribe.engines import EarlyStopping as EarlyStoppingConfig
from scribe.guides import Amortised as AmortizationConfig

__version__ = "0.1.0"

ModelConfigBuilder = ModelConfig
"""Name of the same in SCRIBE; so are ``EarlyStoppingConfig`` and ``AmortizationConfig``."""

__all__ = [
    "AmortizationConfig",
    "Contrast",
    "ConvergenceWarning",
    "EarlyStoppingConfig",
    "ModelConfig",
    "ModelConfigBuilder",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "compare_datasets",
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
