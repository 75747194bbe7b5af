"""Verbs: each reads an AnnData and writes what it learned into it."""

from scribe.tl.assign import assign
from scribe.tl.compare_models import compare_models
from scribe.tl.de import de
from scribe.tl.denoise import denoise
from scribe.tl.fit import fit
from scribe.tl.gof import gof
from scribe.tl.normalize import normalize
from scribe.tl.ppc import ppc
from scribe.tl.ppc_umap import ppc_umap
from scribe.tl.split_counts import split_counts

__all__ = ["assign", "compare_models", "de", "denoise", "fit", "gof", "normalize", "ppc", "ppc_umap", "split_counts"]
