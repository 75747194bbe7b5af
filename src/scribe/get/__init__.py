"""Readers of what a fit left in an AnnData."""

from scribe.get.arviz import datatree
from scribe.get.denoised import denoised
from scribe.get.fits import params, results

__all__ = ["datatree", "denoised", "params", "results"]
