"""The rim: the only place below the verbs that knows AnnData."""

from scribe._adata.read import as_counts, integer_calls, read_counts

__all__ = ["as_counts", "integer_calls", "read_counts"]
