"""Readers of what a fit left in an AnnData."""

from scribe.get.arviz import datatree
from scribe.get.fits import params, results

__all__ = ["datatree", "params", "results"]
