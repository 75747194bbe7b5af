"""Data to try things on: embedded, simulated, fetched."""

from scribe.datasets.embedded import pbmc3k, pbmc68k_counts
from scribe.datasets.simulate import simulate

__all__ = ["pbmc3k", "pbmc68k_counts", "simulate"]
