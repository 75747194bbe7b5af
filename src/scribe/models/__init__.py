"""Where SCRIBE keeps its configuration objects."""

from scribe.models import config

__all__ = ["config"]
