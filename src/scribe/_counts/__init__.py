"""Count matrices on the host: one container, its summaries and its checks (numpy and scipy only)."""

from scribe._counts.checks import CountsWarning, NonInteger
from scribe._counts.container import Counts
from scribe._counts.summaries import CellGroups, GeneMoments, PairHistogram

__all__ = ["CellGroups", "Counts", "CountsWarning", "GeneMoments", "NonInteger", "PairHistogram"]
