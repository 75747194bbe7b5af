"""Groups of cells to compare, out of what users pass: results of fits, draws, or logistic-normal laws."""

from __future__ import annotations

import functools
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._counts.checks import outside_stacklevel
from scribe._posterior.expression import Estimand
from scribe._posterior.logistic_normal import LogisticNormal, fit_logistic_normal
from scribe._posterior.results import Results
from scribe._stats.contrasts import Given, Moments
from scribe._stats.laws import Drawn, LinearLaw, LowRankNormal
from scribe._types import AnyArray, Key
from scribe.families.nb import sample_log_gamma

__all__ = [
    "fingerprint",
    "fitted_normal",
    "given_group",
    "is_array",
    "keys_of",
    "n_draws",
    "refuse_idle_rank",
    "refuse_same",
    "warn_of_cells",
    "warn_of_reference",
]


def warn_of_cells(what: str, remedy: str) -> None:
    """Say that the errors of a comparison are those of its cells, to the caller of the function that calls this."""
    msg = (
        f"Comparing {what}: errors are those of these cells (level='cell'), as for markers of cell types. For a "
        f"difference between conditions {remedy}: cells of one sample are not independent."
    )
    warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())


def warn_of_reference(doubtful: Sequence[str], n_comparisons: int) -> None:
    """Say that so many genes change that fold changes depend on the reference, to the caller of the caller."""
    named = ", ".join(doubtful[:3]) + (", ..." if len(doubtful) > 3 else "")
    msg = (
        f"In {len(doubtful)} of {n_comparisons} comparisons ({named}) more than half of the genes change, or two "
        "groups of genes disagree on what a change is. Counts do not say which genes are the unchanged ones, and "
        "another choice shifts all fold changes by one number. Pass reference_genes=[...] if you know stable genes."
    )
    warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())


def refuse_idle_rank(rank: int | None, *, method: str) -> None:
    """Raise where a rank is given that nothing has."""
    if rank is not None and method != "parametric":
        msg = f"rank={rank} is that of the normal law of method='parametric', not of {method!r}: leave it out."
        raise ValueError(msg)


def refuse_same(results: Results, axis: str, remedy: str) -> None:
    """Raise where expression is the same along an axis of the model."""
    if axis not in results.spec.natural_axes["log_mean"]:
        msg = f"Expression is the same in all {axis}s of this model: fit with {remedy}."
        raise ValueError(msg)


def is_array(model: object) -> bool:
    """Whether a model is given by draws."""
    return isinstance(model, (np.ndarray, jax.Array, list, tuple))


def fitted_normal(rank: int | None) -> Callable[[Drawn], LinearLaw]:
    """What makes the logistic-normal law with the moments of draws."""
    return functools.partial(_fitted_normal, rank=rank)


def _fitted_normal(law: Drawn, *, rank: int | None) -> LowRankNormal:
    return normal_law(fit_logistic_normal(law.draws, rank=rank))


def n_draws(said: Mapping[str, Any], *fits: Results) -> int:
    """Draws of the parameters, at most those that all fits have, times the cells to be drawn of each."""
    most = [fit.posterior.n_draws for fit in fits if fit.posterior.n_draws is not None]
    return int(min([said["n_samples"], *most]) * said["n_samples_dirichlet"])


def normal_law(given: LogisticNormal | Mapping[str, Any] | dist.LowRankMultivariateNormal) -> LowRankNormal:
    """Law of log expression up to a common number, from a law of log-ratios."""
    if isinstance(given, dist.LowRankMultivariateNormal):
        given = {"loc": given.loc, "cov_factor": given.cov_factor, "cov_diag": given.cov_diag}
    known = LogisticNormal.from_mapping(given) if isinstance(given, Mapping) else given
    return LowRankNormal(*map(known.of_parts, (known.loc, known.factors, known.noise)))


def of_draws(r: AnyArray, p: AnyArray | None, component: int | None, *, estimand: Estimand, key: Key) -> Given:
    r"""Group of cells by draws of the size r, (draws, genes) or (draws, components, genes).

    ``p`` are draws of the probability, (draws,) or of the shape of r. With them the mean is :math:`m = rp/(1-p)` and
    the variance :math:`m/(1-p)`; without them all genes share it, and shares are those of r.
    """
    if r.ndim == 3:
        if component is None:
            msg = f"The draws are of {r.shape[1]} components: say which to compare, component_A= and component_B=."
            raise ValueError(msg)
        p = p[:, component] if p is not None and p.ndim == 3 else p
        r = r[:, component]
    if r.ndim != 2 or not np.all(r > 0):
        msg = f"Draws must be positive numbers, (draws, genes) or (draws, components, genes); got {r.shape}."
        raise ValueError(msg)
    log_size = np.log(np.asarray(r, np.float32))
    log_mean, moments = log_size, None
    if p is not None:
        p = np.asarray(p, np.float64)
        if not (np.all((p > 0) & (p < 1)) and p.shape in ((len(r),), r.shape)):
            msg = f"Draws of p are between 0 and 1, {(len(r),)} or {r.shape} as those of r; got {p.shape}."
            raise ValueError(msg)
        p = p if p.ndim == 2 else p[:, None]
        log_mean = log_size + (np.log(p) - np.log1p(-p)).astype(np.float32)
        moments = Moments(log_mean, log_mean - np.log1p(-p).astype(np.float32))
    if estimand == "mean":
        return Given(Drawn(log_mean), moments)
    cells = sample_log_gamma(key, jnp.asarray(log_mean), jnp.asarray(log_size))
    return Given(Drawn(np.asarray(cells, np.float32)), moments)


def given_group(
    model: Any, *, component: str | int | None, p_samples: AnyArray | None, estimand: Estimand, key: Key
) -> Given:
    """Group of draws or of a law of log-ratios."""
    if isinstance(model, (LogisticNormal, Mapping, dist.LowRankMultivariateNormal)):
        return Given(normal_law(model))
    if not is_array(model) or np.ndim(model) not in (2, 3):
        msg = (
            "Models to compare are results of fits, as scribe.get.results(adata) returns them, draws (draws, genes) "
            f"or (draws, components, genes), or logistic-normal laws; got {type(model).__name__}."
        )
        raise TypeError(msg)
    number = None if component is None else int(component)
    return of_draws(np.asarray(model), p_samples, number, estimand=estimand, key=key)


def keys_of(key: Key, groups: tuple[bytes, bytes], *, paired: bool) -> tuple[tuple[Key, Key], tuple[Key, Key]]:
    """Keys of the parameters and of the cells of A and of B; draws of one fit are those of the same parameters.

    They go with what the groups are, not with their sides: B against A is A against B with the other sign.
    """
    numbers = tuple(map(zlib.crc32, groups))
    numbers = (0, 1) if numbers[0] == numbers[1] else numbers
    own, cells = (
        [jax.random.fold_in(jax.random.fold_in(key, what), number) for number in numbers] for what in range(2)
    )
    return (key if paired else own[0], cells[0]), (key if paired else own[1], cells[1])


def fingerprint(model: Any) -> bytes:
    """What tells one model from another: numbers of a fit and the levels chosen, or the numbers themselves."""
    if isinstance(model, Results):
        return repr(sorted(model.posterior.chosen.items())).encode() + _crc(*model.posterior.params.values())
    return _crc(model) if is_array(model) else b""


def _crc(*arrays: AnyArray) -> bytes:
    return b"".join(zlib.crc32(np.ascontiguousarray(array).data).to_bytes(4) for array in arrays)
