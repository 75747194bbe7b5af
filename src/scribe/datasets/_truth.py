"""Parameters to simulate from: given ones, draws of given priors, and otherwise values typical of UMI data."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scribe import coordinates as coordinate_systems
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.checks import nearest
from scribe._model.names import DESCRIPTIVE, site_of
from scribe._model.sites import CAPTURE_SITES, Site
from scribe._model.spec import ModelSpec
from scribe._types import Array, Key
from scribe.coordinates import Coordinates
from scribe.families import Param
from scribe.priors import CaptureAnchor, Context, Latent, PriorFunction

__all__ = ["true_parameters"]

_LOG_MEAN, _LOG_MEAN_SD = float(np.log(3.0)), 1.6
"""Expression before capture: log-normal with median 3 molecules; genes span three to four decades."""

_CAPTURE, _CAPTURE_CV = 0.1, 0.4
"""Capture: log-normal with median 0.1, cut off at 0.95."""

_ODDS = 0.25
"""Odds shared by all genes: variance over mean is 1 + capture/odds, 1.4 for a typical cell."""

_LOG_SIZE_SD = 0.5
"""Sizes of genes that have their own: log-normal with median 1."""

_GATE = (1.0, 9.0)
"""Shapes of the Beta distribution of the zero inflation of a gene."""


def true_parameters(
    spec: ModelSpec, key: Key, *, shape: tuple[int, int], params: Mapping[str, Any], drawn: Collection[str]
) -> Parameters:
    """Natural parameters and log capture of every cell; ``shape`` are the numbers of cells and genes.

    ``params`` are given under internal or descriptive names, on their own scale; the sites in ``drawn`` are drawn from
    their prior in ``spec``.
    """
    n_cells, n_genes = shape
    given = _by_site(params, spec)
    working = _default(spec, key, n_genes)
    for site in spec.sites:
        if site.name in drawn and site.axes != ("cell",):
            size = (n_genes,) if site.axes else ()
            working[site.name] = site.link.working(_prior_draw(site, key, size))
    natural = spec.natural(working)
    if spec.anchor is not None and not {"mu", "r"} & (set(given) | set(drawn)):
        natural = _scaled(natural, spec.anchor.log_m0)
    natural = _replaced(natural, given, spec, n_genes)
    return Parameters(natural, Scalar(_offset(spec, key, n_cells, given=given, drawn=drawn)))


def _stream(key: Key, name: str) -> Key:
    """Key of one parameter, by its name, so that giving one parameter leaves the draws of the others as they are."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def _by_site(params: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Given parameters under site names, refusing those the model does not have."""
    out: dict[str, Any] = {}
    base = [name for c in coordinate_systems.of_family(spec.coordinates.family) for name in c.names]
    capture = list(CAPTURE_SITES) if spec.family.captured else []
    known = list(dict.fromkeys([*base, *(p.name for p in spec.family.params), *capture]))
    for name, value in params.items():
        site = site_of(name)
        if site not in known:
            hint = nearest(name, [*known, *(DESCRIPTIVE[k] for k in known)])
            msg = f"params has {name!r}, which {spec.family.name} does not have.{hint} It has: {', '.join(known)}."
            raise ValueError(msg)
        if site in out or (site in capture and set(capture) & set(out)):
            msg = f"params gives {DESCRIPTIVE[site]!r} twice, under two names: keep one."
            raise ValueError(msg)
        out[site] = value
    return out


def _default(spec: ModelSpec, key: Key, n_genes: int) -> dict[str, Array]:
    """Typical values of the sampled parameters on the working scale."""
    shift = 0.0 if spec.family.captured else float(np.log(_CAPTURE))
    noise = jax.random.normal(_stream(key, "mu"), (n_genes,))
    natural = {"log_mean": _LOG_MEAN + shift + _LOG_MEAN_SD * noise}
    if "gene" in spec.natural_axes.get("log_odds", ("gene",)):
        log_size = _LOG_SIZE_SD * jax.random.normal(_stream(key, "r"), (n_genes,))
        natural["log_odds"] = log_size - natural["log_mean"]
    else:
        natural["log_odds"] = jnp.asarray(np.log(_ODDS) - shift, noise.dtype)
    working = spec.coordinates.from_natural(spec.family.from_moments(natural["log_mean"], natural["log_odds"]))
    for param in spec.family.params:
        gate = np.random.default_rng(_seed(_stream(key, param.name))).beta(*_GATE, n_genes)
        working[param.name] = jnp.asarray(np.log(gate) - np.log1p(-gate), noise.dtype)
    return working


def _seed(key: Key) -> int:
    return int(jax.random.randint(key, (), 0, 2**31 - 1))


def _prior_draw(site: Site, key: Key, shape: tuple[int, ...]) -> Array:
    """Value of a site on the real line from its prior."""

    def draw(latent: Latent, law: PriorFunction) -> Array:
        distribution = law(Context(jnp.ones(shape), jnp.ones(shape), jnp.ones(()))).expand(shape if latent.axes else ())
        value: Array = distribution.sample(_stream(key, latent.name))
        return value

    return site.prior(site.name, site.axes, draw)


def _scaled(natural: Mapping[str, Array], log_total: float) -> dict[str, Array]:
    """Scale expression so that a cell holds ``exp(log_total)`` molecules; sizes of genes' own stay as they are."""
    shift = log_total - jax.nn.logsumexp(natural["log_mean"])
    out = {**natural, "log_mean": natural["log_mean"] + shift}
    if "log_odds" in natural:
        out["log_odds"] = natural["log_odds"] - (shift if natural["log_odds"].ndim else 0.0)
    return out


def _replaced(
    natural: Mapping[str, Array], given: Mapping[str, Any], spec: ModelSpec, n_genes: int
) -> dict[str, Array]:
    """Natural parameters with the given ones in place, in whichever coordinates have all of them."""
    out = dict(natural)
    for param in spec.family.params:
        if param.name in given:
            out[param.natural] = jnp.broadcast_to(_working(param, given[param.name], n_genes), (n_genes,))
    added = {param.name for param in spec.family.params}
    base = [name for name in given if name not in CAPTURE_SITES and name not in added]
    if not base:
        return out
    coordinates = _coordinates_of(base, spec)
    working = coordinates.from_natural(natural)
    for param in coordinates.sampled:
        if param.name in base:
            working[param.name] = _working(param, given[param.name], n_genes)
    for name, value in coordinates.to_natural(working).items():
        per_gene = "gene" in spec.natural_axes[name]
        out[name] = jnp.broadcast_to(value, (n_genes,)) if per_gene else _shared(value, spec.coordinates)
    return out


def _coordinates_of(names: list[str], spec: ModelSpec) -> Coordinates:
    mine = coordinate_systems.of_family(spec.coordinates.family)
    for coordinates in (spec.coordinates, *mine):
        if set(names) <= set(coordinates.names):
            return coordinates
    allowed = " or ".join(str(c.names) for c in mine)
    msg = f"params gives {names}, which do not determine the model together: give {allowed}, or some of one of these."
    raise ValueError(msg)


def _working(param: Param, value: Any, size: int) -> Array:
    """Logarithm of a positive parameter, logit of a probability; a scalar or one value per gene or cell."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (size,)):
        axis = "cells" if param.axes == ("cell",) else "genes"
        msg = f"params[{param.name!r}] has shape {array.shape}: expected one number or one for each of {size:,} {axis}."
        raise ValueError(msg)
    inside = array > 0 if param.support == "positive" else (array > 0) & (array < 1)
    if not np.all(inside & np.isfinite(array)):
        allowed = "above 0" if param.support == "positive" else "between 0 and 1"
        msg = f"params[{param.name!r}] must be {allowed}, got values from {array.min():g} to {array.max():g}."
        raise ValueError(msg)
    log = np.log(array)
    return jnp.asarray(log if param.support == "positive" else log - np.log1p(-array), jnp.zeros(()).dtype)


def _shared(value: Array, coordinates: Coordinates) -> Array:
    values = np.asarray(value)
    if np.ptp(values) > 1e-4:
        msg = (
            f"parameterization={coordinates.name!r} gives all genes the same ratio of r to mu, but in params it varies "
            "between genes. Pass parameterization='mean_disp', whose genes have their own."
        )
        raise ValueError(msg)
    return value if value.ndim == 0 else value[0]


def _offset(spec: ModelSpec, key: Key, n_cells: int, *, given: Mapping[str, Any], drawn: Collection[str]) -> Array:
    """Log capture of every cell."""
    if not spec.family.captured:
        return jnp.zeros(n_cells)
    for name in (name for name in CAPTURE_SITES if name in given):
        return _log_capture(CAPTURE_SITES[name], _working(CAPTURE_SITES[name], given[name], n_cells), n_cells)
    site = spec.site(str(spec.capture_site))
    if site.name in drawn and not isinstance(site.prior, CaptureAnchor):
        return spec.offset({site.name: _prior_draw(site, key, (n_cells,))}, n_cells)
    sigma = float(np.sqrt(np.log1p(_CAPTURE_CV**2)))
    noise = jax.random.normal(_stream(key, "p_capture"), (n_cells,))
    return jnp.minimum(np.log(_CAPTURE) + sigma * noise, float(np.log(0.95)))


def _log_capture(param: Param, working: Array, n_cells: int) -> Array:
    logs = {
        "p_capture": -jax.nn.softplus(-working),
        "phi_capture": -jax.nn.softplus(working),
        "eta_capture": -jnp.exp(working),
    }
    return jnp.broadcast_to(logs[param.name], (n_cells,))
