"""Bayesian analysis of single-cell counts, for AnnData and scanpy."""

from scribe import coordinates, datasets, engines, families, get, guides, pl, priors, tl
from scribe._compare.compare import compare, compare_datasets, compare_groups
from scribe._compare.differential import DifferentialExpression
from scribe._compare.masks import (
    compute_composition_coverage_mask,
    compute_expression_mask,
    get_shared_labels,
    match_components_by_label,
)
from scribe._fit import ConvergenceWarning, fit
from scribe._model.config import ModelConfig
from scribe._posterior.by_engine import ScribeMCMCResults, ScribeSVIResults
from scribe._settings import settings
from scribe.engines import EarlyStopping as EarlyStoppingConfig
from scribe.guides import Amortised as AmortizationConfig

__version__ = "0.1.0"

ModelConfigBuilder = ModelConfig
"""Name of the same in SCRIBE; so are ``EarlyStoppingConfig`` and ``AmortizationConfig``."""

__all__ = [
    "AmortizationConfig",
    "ConvergenceWarning",
    "DifferentialExpression",
    "EarlyStoppingConfig",
    "ModelConfig",
    "ModelConfigBuilder",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "compare",
    "compare_datasets",
    "compare_groups",
    "compute_composition_coverage_mask",
    "compute_expression_mask",
    "coordinates",
    "datasets",
    "engines",
    "families",
    "fit",
    "get",
    "get_shared_labels",
    "guides",
    "match_components_by_label",
    "pl",
    "priors",
    "settings",
    "tl",
]
