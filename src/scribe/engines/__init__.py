"""Inference engines."""

from scribe.engines.chains import ChainDiagnostics, diagnostics
from scribe.engines.contract import Engine, Fitted, Task
from scribe.engines.convergence import EarlyStopping, Verdict
from scribe.engines.loop import NonFiniteError
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
    "ChainDiagnostics",
    "EarlyStopping",
    "Engine",
    "Fitted",
    "NonFiniteError",
    "Optimizer",
    "Outcome",
    "Task",
    "Verdict",
    "diagnostics",
]
