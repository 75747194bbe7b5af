"""How a fit ended, whatever the engine."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Whether a fit converged, and by which rule; or what to do about it."""

    converged: bool
    reason: str

    def __str__(self) -> str:
        """One line for logs and plots."""
        return ("converged: " if self.converged else "NOT converged: ") + self.reason
