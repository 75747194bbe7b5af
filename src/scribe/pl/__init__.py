"""Plots: each computes a tidy table from the slots of a fit, then draws it."""

from scribe.pl.capture import capture
from scribe.pl.loss import loss
from scribe.pl.mean_calibration import mean_calibration
from scribe.pl.ppc import ppc

__all__ = ["capture", "loss", "mean_calibration", "ppc"]
