"""Inference engines."""

from scribe.engines.convergence import EarlyStopping, Verdict
from scribe.engines.fit import Fit
from scribe.engines.optimizers import Optimizer
from scribe.engines.svi import SVI, NonFiniteError

ALL: dict[str, type[SVI]] = {"svi": SVI}
"""Every engine by the name users pass as ``engine`` or ``inference_method``."""

__all__ = ["ALL", "SVI", "EarlyStopping", "Fit", "NonFiniteError", "Optimizer", "Verdict"]
