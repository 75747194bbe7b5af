"""Inference engines."""

from scribe.engines.contract import Engine, Fitted, Task
from scribe.engines.convergence import EarlyStopping, Verdict
from scribe.engines.loop import NonFiniteError
from scribe.engines.mixing import Mixing, diagnostics
from scribe.engines.nuts import NUTS
from scribe.engines.optimizers import Optimizer
from scribe.engines.outcome import Outcome
from scribe.engines.svi import SVI

ALL: dict[str, type[Engine]] = {engine.name: engine for engine in (SVI, NUTS)}
"""Every engine by the name users pass as ``engine`` or ``inference_method``."""

__all__ = [
    "ALL",
    "NUTS",
    "SVI",
    "EarlyStopping",
    "Engine",
    "Fitted",
    "Mixing",
    "NonFiniteError",
    "Optimizer",
    "Outcome",
    "Task",
    "Verdict",
    "diagnostics",
]
