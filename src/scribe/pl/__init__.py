"""Plots: each computes a tidy table from the slots of a fit, then draws it."""

from scribe.pl.capture import capture
from scribe.pl.capture_anchor import capture_anchor
from scribe.pl.compositional_ppc import compositional_ppc
from scribe.pl.corner_ppc import corner_ppc
from scribe.pl.correlation import correlation
from scribe.pl.de_evidence import de_evidence
from scribe.pl.de_mask_threshold import de_mask_threshold
from scribe.pl.de_mean_expression import de_mean_expression
from scribe.pl.gof import gof
from scribe.pl.gof_scores import gof_scores
from scribe.pl.loss import loss
from scribe.pl.ma import ma
from scribe.pl.mean_calibration import mean_calibration
from scribe.pl.mixture_composition import mixture_composition
from scribe.pl.model_comparison import model_comparison
from scribe.pl.model_comparison_genes import model_comparison_genes
from scribe.pl.mu_pairwise import mu_pairwise
from scribe.pl.posterior import posterior
from scribe.pl.posterior_pairs import posterior_pairs
from scribe.pl.ppc import ppc
from scribe.pl.rank import rank
from scribe.pl.trace import trace
from scribe.pl.umap_ppc import umap_ppc
from scribe.pl.volcano import volcano

__all__ = [
    "capture",
    "capture_anchor",
    "compositional_ppc",
    "corner_ppc",
    "correlation",
    "de_evidence",
    "de_mask_threshold",
    "de_mean_expression",
    "gof",
    "gof_scores",
    "loss",
    "ma",
    "mean_calibration",
    "mixture_composition",
    "model_comparison",
    "model_comparison_genes",
    "mu_pairwise",
    "posterior",
    "posterior_pairs",
    "ppc",
    "rank",
    "trace",
    "umap_ppc",
    "volcano",
]
