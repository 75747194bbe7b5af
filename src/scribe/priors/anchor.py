r"""Expression anchored to the observed means.

Where capture is uncertain, a scale of expression can be traded for it. The anchor says what the scale is:
:math:`\log\mu_g \sim N(\log(\bar u_g/\bar\nu), \sigma)`, with the mean count :math:`\bar u_g` of the gene and
the mean capture :math:`\bar\nu` that the capture prior implies.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist

from scribe._dist.links import LINKS
from scribe._dist.working_normal import WorkingNormal
from scribe.priors._base import Base, Context
from scribe.priors._scatter import check_positive

__all__ = ["MeanAnchor"]


@dataclass(frozen=True)
class MeanAnchor(Base):
    r"""Log-normal :math:`\mu_g` about the observed mean of the gene over the mean capture.

    Half a count is added to the total of every gene, so that silent ones have a mean.

    Parameters
    ----------
    sigma
        Standard deviation of :math:`\log\mu_g`.
    log_m0
        Logarithm of the total mRNA of a cell: mean capture is the mean total count over it, 1 at most. None without
        capture.
    transform
        Link of :math:`\mu`. The prior is the same under every link.
    """

    kind = "mean_anchor"
    sigma: float
    log_m0: float | None = None
    transform: str = "exp"

    def __post_init__(self) -> None:
        check_positive("MeanAnchor(sigma)", sigma=self.sigma)

    @property
    def link(self) -> str:
        """The transform."""
        return self.transform

    def distribution(self, context: Context) -> dist.Distribution:
        """Log-normal per gene, on the real line of the link."""
        log_capture = jnp.zeros_like(context.mean_total)
        if self.log_m0 is not None:
            log_capture = jnp.minimum(jnp.log(context.mean_total) - self.log_m0, 0.0)
        return WorkingNormal(jnp.log(context.gene_means) - log_capture, self.sigma, LINKS[self.transform])
