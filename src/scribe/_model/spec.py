"""The specification of a model: a family, coordinates and a prior for every sampled parameter."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from scribe import coordinates as coordinate_systems
from scribe import priors as prior_table
from scribe._dist.links import LINKS, Link
from scribe._types import AnyArray, Array
from scribe.coordinates import Coordinates
from scribe.families import Family, Param, from_layers
from scribe.priors import CaptureAnchor, Latent, Law, Prior

__all__ = ["CAPTURE_SITES", "ModelSpec", "Site"]

CAPTURE_SITES: dict[str, Param] = {
    "p_capture": Param("p_capture", "capture_prob", "unit", ("cell",)),
    "phi_capture": Param("phi_capture", "capture_odds", "positive", ("cell",)),
    "eta_capture": Param("eta_capture", "capture_efficiency", "positive", ("cell",)),
}
"""The forms in which a cell's capture probability may be sampled."""


@dataclass(frozen=True)
class Site:
    """A sampled parameter with its prior."""

    param: Param
    prior: Prior

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.param.name

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes the parameter runs over."""
        return self.param.axes

    @property
    def link(self) -> Link:
        """Link between the real line and the parameter."""
        return LINKS[self.prior.link]


@dataclass(frozen=True)
class ModelSpec:
    """Everything that defines a model apart from the data.

    Parameters
    ----------
    family
        The count distribution with its modifiers.
    coordinates
        Which parameters are sampled.
    priors
        A prior for every sampled parameter, by site name.
    """

    family: Family
    coordinates: Coordinates
    priors: Mapping[str, Prior]

    def __post_init__(self) -> None:
        missing = [p.name for p in self.params if p.name not in self.priors]
        extra = [name for name in self.priors if name not in {p.name for p in self.params}]
        if missing or extra:
            msg = f"A specification needs one prior per sampled parameter; missing {missing}, superfluous {extra}."
            raise ValueError(msg)

    def __hash__(self) -> int:
        """Lets a specification decide which compiled functions serve it."""
        return hash((self.family.layers, self.coordinates.name, frozenset(self.priors.items())))

    @property
    def params(self) -> tuple[Param, ...]:
        """All sampled parameters, in sampling order."""
        capture = (CAPTURE_SITES[self.capture_site],) if self.capture_site else ()
        return (*self.coordinates.sampled, *self.family.params, *capture)

    @property
    def sites(self) -> tuple[Site, ...]:
        """All sampled parameters with their priors, in sampling order."""
        return tuple(Site(p, self.priors[p.name]) for p in self.params)

    @functools.cached_property
    def latents(self) -> tuple[Latent, ...]:
        """Everything that is sampled, in sampling order: one per parameter, and what priors have of their own."""
        found: list[Latent] = []

        def note(latent: Latent, _: Law) -> Array:
            found.append(latent)
            return jnp.zeros((1,) * len(latent.axes))

        jax.eval_shape(lambda: [site.prior(site.name, site.axes, note) for site in self.sites])
        return tuple(found)

    def values(self, latents: Mapping[str, Array]) -> dict[str, Array]:
        """Parameters on the real line from all latents."""
        return {site.name: site.prior(site.name, site.axes, lambda one, _: latents[one.name]) for site in self.sites}

    def start(self, values: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Latents at which the parameters have the given values on the real line."""
        return {k: v for site in self.sites for k, v in site.prior.start(site.name, values[site.name]).items()}

    @property
    def capture_site(self) -> str | None:
        """Name of the sampled form of capture; None without capture."""
        if not self.family.captured:
            return None
        return "eta_capture" if "eta_capture" in self.priors else self.coordinates.capture

    @property
    def anchored(self) -> bool:
        """Whether capture is anchored, so that absolute expression is identified and not only ratios."""
        return not self.family.captured or isinstance(self.priors.get("eta_capture"), CaptureAnchor)

    @property
    def totals_suffice(self) -> bool:
        """Whether the likelihood needs of every cell no more than its total."""
        return self.family.summarises(self.coordinates.natural_axes)

    def natural(self, working: Mapping[str, Array]) -> dict[str, Array]:
        """Natural parameters from the sampled ones, all on the working scale."""
        gates = {f"{p.name}_logit": working[p.name] for p in self.family.params}
        return {**self.coordinates.to_natural(working), **gates}

    def offset(self, values: Mapping[str, Array], n_cells: int) -> Array:
        """Log capture of every cell from values on the real line."""
        site = self.capture_site
        if site is None:
            return jnp.zeros(n_cells)
        z = values[site]
        link = self._link(site)
        if site == "eta_capture":
            return -link.value(z)
        working = link.working(z)
        return -jax.nn.softplus(-working if site == "p_capture" else working)

    def _link(self, site: str) -> Link:
        return LINKS[self.priors[site].link]

    def working(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Sampled parameters on the working scale from values on the real line."""
        return {name: self._link(name).working(z) for name, z in values.items()}

    def readable(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Every named quantity users know from values on the real line: sampled and derived ones.

        With a capture site, ``p_capture`` is among them, and ``phi_capture`` or ``eta_capture`` where sampled.
        """
        out = self.family.readable(self.natural(self.working(values)))
        if self.capture_site is not None:
            z = values[self.capture_site]
            out[self.capture_site] = self._link(self.capture_site).value(z)
            out["p_capture"] = jnp.exp(self.offset(values, z.shape[-1]))
        return out

    def to_json(self) -> str:
        """One JSON string from which `from_json` rebuilds the specification."""
        record = {
            "layers": list(self.family.layers),
            "coordinates": self.coordinates.name,
            "priors": {name: prior.to_json() for name, prior in self.priors.items()},
        }
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Rebuild a specification from its JSON string."""
        record: dict[str, Any] = json.loads(text)
        family = from_layers(record["layers"])
        return cls(
            family,
            coordinate_systems.find(record["coordinates"], family=family.layers[0]),
            {name: prior_table.from_json(prior) for name, prior in record["priors"].items()},
        )

    def with_priors(self, priors: Mapping[str, Prior]) -> ModelSpec:
        """Return the same model with some priors replaced."""
        return replace(self, priors={**self.priors, **priors})
