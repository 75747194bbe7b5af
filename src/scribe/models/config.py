"""Configuration objects under the address they have in SCRIBE; all of them are in ``scribe`` itself, too."""

from scribe._model.config import InferenceConfig, ModelConfig, ModelConfigBuilder
from scribe.engines import EarlyStopping as EarlyStoppingConfig
from scribe.guides import Amortised as AmortizationConfig

__all__ = ["AmortizationConfig", "EarlyStoppingConfig", "InferenceConfig", "ModelConfig", "ModelConfigBuilder"]
