"""Verbs: each reads an AnnData and writes what it learned into it."""

from scribe.tl.assign import assign
from scribe.tl.denoise import denoise
from scribe.tl.fit import fit
from scribe.tl.gof import gof
from scribe.tl.ppc import ppc

__all__ = ["assign", "denoise", "fit", "gof", "ppc"]
