"""Special functions of count models and the numpyro distributions missing upstream."""

from scribe._dist.log_gamma import LogGamma
from scribe._dist.log_half_cauchy import LogHalfCauchy
from scribe._dist.logit_beta import LogitBeta
from scribe._dist.special import (
    deviance_term,
    digamma_difference,
    log1mexp,
    log1pmx,
    log_binomial,
    log_rising,
    log_softplus,
    nb_log_pmf,
    softplus_inverse,
    stirling_error,
)
from scribe._dist.truncated import SoftplusTruncatedNormal

__all__ = [
    "LogGamma",
    "LogHalfCauchy",
    "LogitBeta",
    "SoftplusTruncatedNormal",
    "deviance_term",
    "digamma_difference",
    "log1mexp",
    "log1pmx",
    "log_binomial",
    "log_rising",
    "log_softplus",
    "nb_log_pmf",
    "softplus_inverse",
    "stirling_error",
]
