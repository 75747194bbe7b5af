"""Readers of what a fit left in an AnnData."""

from scribe.get.arviz import datatree
from scribe.get.comparisons import model_comparison
from scribe.get.de import de, gene_sets
from scribe.get.denoised import denoised
from scribe.get.fits import params, results

__all__ = ["datatree", "de", "denoised", "gene_sets", "model_comparison", "params", "results"]
