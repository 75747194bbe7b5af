"""Inference engines."""

from scribe.engines.convergence import EarlyStopping, Verdict
from scribe.engines.fit import Fit, Sampled
from scribe.engines.mixing import Mixing, diagnostics
from scribe.engines.nuts import NUTS
from scribe.engines.optimizers import Optimizer
from scribe.engines.outcome import Outcome
from scribe.engines.svi import SVI, NonFiniteError

ALL: dict[str, type[SVI] | type[NUTS]] = {"svi": SVI, "mcmc": NUTS}
"""Every engine by the name users pass as ``engine`` or ``inference_method``."""

__all__ = [
    "ALL",
    "NUTS",
    "SVI",
    "EarlyStopping",
    "Fit",
    "Mixing",
    "NonFiniteError",
    "Optimizer",
    "Outcome",
    "Sampled",
    "Verdict",
    "diagnostics",
]
