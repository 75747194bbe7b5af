r"""Where a fit starts: moments of the data.

.. math::

    \nu_c = L_c / Q_{0.99}(L) \text{ or } L_c/M_0,\qquad
    \mu_g = \sum_c u_{cg} / \sum_c \nu_c,\qquad
    s_g = \frac{\sum_c (u_{cg}-\nu_c\mu_g)^2 - \nu_c\mu_g}{\sum_c (\nu_c\mu_g)^2},\quad r_g = 1/s_g.

With shared odds :math:`r_g = \phi\mu_g`, and :math:`\phi` is the ratio of the pooled numerators and denominators.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from scribe._counts.container import Counts
from scribe._model.spec import ModelSpec
from scribe._types import Array, FloatArray
from scribe.priors import CaptureAnchor

__all__ = ["start_values"]

_SIZE_RANGE = (1e-2, 1e3)
_GATE_START = -3.0


def _capture(spec: ModelSpec, counts: Counts) -> FloatArray:
    """Capture of every cell relative to a deep one, or to the organism's total mRNA."""
    if not spec.family.captured:
        return np.ones(counts.n_cells)
    totals = np.maximum(counts.totals, 0.5)
    anchor = spec.priors.get("eta_capture")
    if isinstance(anchor, CaptureAnchor):
        return np.clip(totals / np.exp(anchor.log_m0), 1e-8, 0.99)
    return np.clip(totals / np.quantile(totals, 0.99), 1e-8, 0.99)


def start_values(spec: ModelSpec, counts: Counts) -> dict[str, Array]:
    """Starting value of every site on the real line, from one pass over the non-zeros."""
    capture = _capture(spec, counts)
    moments = counts.moments(capture)
    exposure, exposure2 = capture.sum(), np.square(capture).sum()
    mean = (moments.total + 0.5) / (exposure + 0.5)
    expected = mean * exposure
    excess = moments.square - 2 * mean * moments.weighted + mean**2 * exposure2 - expected
    if "gene" in spec.coordinates.natural_axes.get("log_odds", ("gene",)):
        ratio = np.maximum(excess, 0) / np.maximum(mean**2 * exposure2, 1e-12)
        log_size = np.log(np.clip(1 / np.maximum(ratio, 1 / _SIZE_RANGE[1]), *_SIZE_RANGE))
        log_odds = log_size - np.log(mean)
    else:
        odds = np.sum(mean * exposure2) / max(np.sum(excess), 1e-3 * np.sum(mean * exposure2))
        log_odds = np.asarray(np.log(np.clip(odds, 1e-4, 1e4)))
    natural = {"log_mean": jnp.asarray(np.log(mean), float), "log_odds": jnp.asarray(log_odds, float)}
    working = spec.coordinates.from_natural(natural)
    working.update({p.name: jnp.full(counts.n_genes, _GATE_START) for p in spec.family.params})
    start = {site.name: site.link.from_working(working[site.name]) for site in spec.sites if site.name in working}
    if spec.capture_site is not None:
        start[spec.capture_site] = _capture_start(spec, capture)
    return start


def _capture_start(spec: ModelSpec, capture: FloatArray) -> Array:
    log_capture = np.log(capture)
    if spec.capture_site == "eta_capture":
        eta = jnp.asarray(-log_capture, float)
        return next(s for s in spec.sites if s.name == "eta_capture").link.inverse(eta)
    logit = jnp.asarray(log_capture - np.log1p(-capture), float)
    site = next(s for s in spec.sites if s.name == spec.capture_site)
    return site.link.from_working(logit if spec.capture_site == "p_capture" else -logit)
