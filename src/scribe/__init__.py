"""Bayesian analysis of single-cell counts, for AnnData and scanpy."""

from scribe import coordinates, datasets, engines, families, get, guides, models, pl, priors, tl
from scribe._compare.compare import compare, compare_datasets
from scribe._compare.compare_groups import compare_groups
from scribe._compare.comparison import ModelComparison
from scribe._compare.differential import DifferentialExpression
from scribe._compare.masks import (
    compute_composition_coverage_mask,
    compute_expression_mask,
    get_shared_labels,
    match_components_by_label,
)
from scribe._compare.models import compare_models
from scribe._fit import ComponentsWarning, ConvergenceWarning, fit
from scribe._model.config import InferenceConfig, ModelConfig, ModelConfigBuilder
from scribe._posterior.by_engine import ScribeMCMCResults, ScribeSVIResults
from scribe._posterior.results import Results
from scribe._settings import settings
from scribe._stats.residuals import compute_gof_mask, goodness_of_fit
from scribe.engines import EarlyStopping as EarlyStoppingConfig
from scribe.guides import Amortised as AmortizationConfig

__version__ = "0.1.0"

__all__ = [
    "AmortizationConfig",
    "ComponentsWarning",
    "ConvergenceWarning",
    "DifferentialExpression",
    "EarlyStoppingConfig",
    "InferenceConfig",
    "ModelComparison",
    "ModelConfig",
    "ModelConfigBuilder",
    "Results",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "compare",
    "compare_datasets",
    "compare_groups",
    "compare_models",
    "compute_composition_coverage_mask",
    "compute_expression_mask",
    "compute_gof_mask",
    "coordinates",
    "datasets",
    "engines",
    "families",
    "fit",
    "get",
    "get_shared_labels",
    "goodness_of_fit",
    "guides",
    "match_components_by_label",
    "models",
    "pl",
    "priors",
    "settings",
    "tl",
]
