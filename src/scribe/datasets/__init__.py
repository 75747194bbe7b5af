"""Data to try things on: embedded, simulated, fetched."""

from scribe.datasets.conditions import conditions
from scribe.datasets.embedded import pbmc3k, pbmc68k_counts
from scribe.datasets.simulate import simulate

__all__ = ["conditions", "pbmc3k", "pbmc68k_counts", "simulate"]
