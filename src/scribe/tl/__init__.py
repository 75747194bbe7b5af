"""Verbs: each reads an AnnData and writes what it learned into it."""

from scribe.tl.fit import fit

__all__ = ["fit"]
