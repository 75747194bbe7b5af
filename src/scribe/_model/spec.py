"""The specification of a model: a family, coordinates and a prior for every sampled parameter."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from scribe import coordinates as coordinate_systems
from scribe import priors as prior_table
from scribe._counts.data import Known
from scribe._counts.parameters import Parameters
from scribe._model.axes import LEVEL_AXES, LEVELS_AND_GENES, Levels
from scribe._model.likelihood import Likelihood
from scribe._model.sites import CAPTURE_SITES, MIXING, SCALING, Site
from scribe._types import AnyArray, Array
from scribe.coordinates import Coordinates
from scribe.families import Family, Param, from_layers
from scribe.priors import (
    CaptureAnchor,
    Draw,
    Effects,
    Hierarchical,
    Informed,
    Latent,
    MeanAnchor,
    Prior,
    PriorFunction,
)

__all__ = ["ModelSpec"]

_DUMMY = {"gene": 3, "cell": 5}
"""Lengths of axes that a specification does not know, while shapes are traced."""


_Arrays = Mapping[str, Array]

_NOTHING_KNOWN: Mapping[str, Known] = MappingProxyType({})


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
    levels
        The levels of the axes ``"component"`` (of a mixture) and ``"dataset"``, where the model has them, and those of
        the factors that datasets are combinations of, such as ``"dataset:donor"``, which parameters are sums over.
    """

    family: Family
    coordinates: Coordinates
    priors: Mapping[str, Prior]
    levels: Mapping[str, Levels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [p.name for p in self.params if p.name not in self.priors]
        extra = [name for name in self.priors if name not in {p.name for p in self.params}]
        if missing or extra:
            msg = f"A specification needs one prior per sampled parameter; missing {missing}, superfluous {extra}."
            raise ValueError(msg)

    def __hash__(self) -> int:
        """Lets a specification decide which compiled functions serve it."""
        parts = frozenset(self.priors.items()), frozenset(self.levels.items())
        return hash((self.family.layers, self.coordinates.name, parts))

    @property
    def params(self) -> tuple[Param, ...]:
        """All sampled parameters, in sampling order."""
        capture = (CAPTURE_SITES[self.capture_site],) if self.capture_site else ()
        scaling = (SCALING,) if SCALING.name in self.priors else ()
        mixing = (MIXING,) if "component" in self.levels else ()
        return (*self.coordinates.sampled, *self.family.params, *scaling, *self.family.field, *capture, *mixing)

    @functools.cached_property
    def sites(self) -> tuple[Site, ...]:
        """All sampled parameters with their priors, in sampling order."""
        return tuple(Site(p, self.priors[p.name], self._axes(p)) for p in self.params)

    def site(self, name: str) -> Site:
        """A site by name."""
        return next(site for site in self.sites if site.name == name)

    def _axes(self, param: Param) -> tuple[str, ...]:
        """Axes of levels it has values at and what its prior adds, levels first, then those of the parameter itself."""
        levels = {axis for axis in self.level_axes if param.name in self.levels[axis].params}
        others = {*self.priors[param.name].adds, *levels} - {*param.axes}
        return (*(axis for axis in LEVELS_AND_GENES if axis in others), *param.axes)

    @property
    def level_axes(self) -> tuple[str, ...]:
        """Which of `LEVEL_AXES` the model has."""
        return tuple(axis for axis in LEVEL_AXES if axis in self.levels)

    @property
    def lengths(self) -> dict[str, int]:
        """Number of levels by axis."""
        return {axis: len(levels.labels) for axis, levels in self.levels.items()}

    @functools.cached_property
    def latents(self) -> tuple[Latent, ...]:
        """Everything that is sampled, in sampling order: one per parameter, and what priors have of their own."""
        return tuple(latent for latent in self._every_latent if not latent.frozen)

    @functools.cached_property
    def frozen(self) -> tuple[Latent, ...]:
        """Everything that stays where an earlier fit left it."""
        return tuple(latent for latent in self._every_latent if latent.frozen)

    @functools.cached_property
    def _every_latent(self) -> tuple[Latent, ...]:
        found: list[Latent] = []

        def note(latent: Latent, law: PriorFunction) -> Array:
            found.append(latent)
            return self._nothing(latent, law)

        jax.eval_shape(lambda: [site.prior(site.name, site.axes, note) for site in self.sites])
        return tuple(found)

    def _nothing(self, latent: Latent, _: PriorFunction) -> Array:
        """Zeros in the shape of a latent, while shapes are traced."""
        return jnp.zeros(tuple(_DUMMY.get(axis, self.lengths.get(axis, 1)) for axis in latent.axes))

    @functools.cached_property
    def effect_axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of the effects of factors, by name."""
        found: dict[str, tuple[str, ...]] = {}

        def note() -> None:
            found.update({name: axes for name, (axes, _) in self._effects(self._nothing).items()})

        jax.eval_shape(note)
        return found

    def values(self, latents: Mapping[str, Array], known: Mapping[str, Known] = _NOTHING_KNOWN) -> dict[str, Array]:
        """Parameters on the real line from all latents, and the effects of factors that they are sums of.

        Frozen latents that are not among them stay at the means in ``known``.
        """

        def read(latent: Latent, _: PriorFunction) -> Array:
            return latents[latent.name] if latent.name in latents else known[latent.name].loc

        sites = {site.name: site.prior(site.name, site.axes, read) for site in self.sites}
        effects = self._effects(read)
        return {**sites, **{name: value for name, (_, value) in effects.items()}}

    def _effects(self, draw: Draw) -> Effects:
        return {k: v for site in self.sites for k, v in site.prior.effects(site.name, site.axes, draw).items()}

    def start(self, values: Mapping[str, AnyArray | Array]) -> dict[str, Any]:
        """Latents at which the parameters have the given values on the real line."""
        return {k: v for s in self.sites for k, v in s.prior.start(s.name, s.axes, values[s.name]).items()}

    @property
    def capture_site(self) -> str | None:
        """Name of the sampled form of capture; None without capture."""
        if not self.family.captured:
            return None
        return "eta_capture" if "eta_capture" in self.priors else self.coordinates.capture

    @property
    def anchor(self) -> CaptureAnchor | None:
        """What anchors capture to the total mRNA of a cell, if anything does."""
        prior = self.priors.get("eta_capture")
        prior = prior.base if isinstance(prior, Informed) else prior
        return prior if isinstance(prior, CaptureAnchor) else None

    @functools.cached_property
    def centred_sites(self) -> tuple[Site, ...]:
        """Parameters whose priors are centred by the mean counts of the genes that are fitted."""
        return tuple(site for site in self.sites if isinstance(_innermost(site.prior), MeanAnchor))

    @property
    def anchored(self) -> bool:
        """Whether capture is anchored, so that absolute expression is identified and not only ratios."""
        return not self.family.captured or self.anchor is not None

    @property
    def totals_suffice(self) -> bool:
        """Whether the likelihood needs of every cell no more than its total."""
        separable = not self.family.field
        return separable and "component" not in self.levels and self.family.summarises(self.natural_axes)

    @property
    def n_datasets(self) -> int:
        """Number of datasets whose genes have parameters of their own; 1 where none have."""
        return self.lengths["dataset"] if any("dataset" in axes for axes in self.natural_axes.values()) else 1

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of the family."""
        return Likelihood(self.family)

    def parameters(
        self, values: Mapping[str, Array], *, n_cells: int, dataset: Array | None = None, logits: Array | None = None
    ) -> Parameters:
        """What the likelihood reads, from the value of every site on the real line.

        ``dataset`` (cells,) and ``logits`` (cells, components) are those of `scribe._counts.design.Design`.
        """
        log_weights = self.log_weights(values, dataset, logits, n_cells=n_cells)
        working, log_capture = self.working(values), self.offset(values, n_cells)
        predictor = self.family.predictor(working, log_capture)
        return Parameters(self.natural(working), predictor, dataset, log_weights)

    def log_weights(
        self, values: Mapping[str, Array], dataset: Array | None, logits: Array | None, *, n_cells: int
    ) -> Array | None:
        """Log prior probability of every component in every cell, (cells, components); None without components.

        ``dataset`` (cells,) and ``logits`` (cells, components) are those of `scribe._counts.design.Design`.
        """
        if "component" not in self.levels:
            return None
        weights = jax.nn.log_softmax(values[MIXING.name])
        if weights.ndim == 2:
            weights = weights[_required(dataset)]
        weights = jnp.broadcast_to(weights, (n_cells, weights.shape[-1]))
        return weights if logits is None else jax.nn.log_softmax(weights + logits)

    @functools.cached_property
    def natural_axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every natural parameter, as the axes of the sampled ones make them."""
        return self._traced_axes(self.natural)

    @functools.cached_property
    def named_axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every quantity of `named`."""
        derived = self._traced_axes(lambda working: self.family.named(self.natural(working)))
        sampled = {**{site.name: site.axes for site in self.sites}, **self.effect_axes}
        capture = dict.fromkeys(self._capture_forms, ("cell",))
        return {**derived, **{n: a for n, a in sampled.items() if n not in derived}, **capture}

    @property
    def _capture_forms(self) -> tuple[str, ...]:
        """Forms in which capture is reported beside that which is sampled."""
        return tuple(dict.fromkeys(("p_capture", self.coordinates.capture))) if self.family.captured else ()

    def _traced_axes(
        self, quantities: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    ) -> dict[str, tuple[str, ...]]:
        """Axes of quantities that are computed elementwise from the sampled ones, found by their lengths."""
        lengths = {**self.lengths, **_DUMMY}
        working = {s.name: jnp.zeros(tuple(lengths[axis] for axis in s.axes)) for s in self.sites}
        found = jax.eval_shape(lambda: quantities(working))
        return {
            name: tuple(axis for axis, n in zip(LEVELS_AND_GENES[3 - value.ndim :], value.shape, strict=True) if n > 1)
            for name, value in found.items()
        }

    def natural(self, working: Mapping[str, Array], *, log_fold: Array | None = None) -> dict[str, Array]:
        """Natural parameters from the sampled ones, all on the working scale.

        Where the model has levels, arrays are (components, datasets, genes), of length 1 where nothing varies: see
        `scribe._counts.levels`. Numbers without any axis stay scalars. ``log_fold``, of that shape or (genes,), changes
        the mean of genes and keeps all other sampled parameters.
        """
        natural = {param.name for param in (*self.coordinates.sampled, *self.family.params)} & set(working)
        aligned = {site.name: self._aligned(site, working[site.name]) for site in self.sites if site.name in natural}
        if log_fold is not None:
            mean = "mu" if "mu" in self.coordinates.names else "r"
            aligned[mean] = aligned[mean] + log_fold
        added = {p.natural: aligned[p.name] for p in self.family.params}
        return {**self.coordinates.to_natural(aligned), **added}

    def _aligned(self, site: Site, value: Array) -> Array:
        if not self.level_axes or not site.axes:
            return value
        lengths = dict(zip(site.axes, value.shape, strict=True))
        return value.reshape([lengths.get(axis, 1) for axis in LEVELS_AND_GENES])

    def offset(self, values: Mapping[str, Array], n_cells: int) -> Array:
        """Log capture of every cell from values on the real line."""
        site = self.capture_site
        if site is None:
            return jnp.zeros(n_cells)
        z, link = values[site], self.site(site).link
        if site == "eta_capture":
            return -link.value(z)
        working = link.working(z)
        return -jax.nn.softplus(-working if site == "p_capture" else working)

    def log_total(self, values: Mapping[str, Array], dataset: Array | None) -> Array | None:
        """Log of the total mRNA, () or (cells,), where it is a parameter; ``dataset`` as in `log_weights`."""
        value = values.get(SCALING.name)
        return value if value is None or value.ndim == 0 else value[_required(dataset)]

    def working(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Sampled parameters on the working scale from values on the real line."""
        return {site.name: site.link.working(values[site.name]) for site in self.sites if site.name in values}

    def named(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Every named quantity users know from values on the real line: sampled and derived ones.

        With a capture site, ``p_capture`` is among them, ``phi_capture`` in coordinates that have it, and
        ``eta_capture`` where it is sampled. Effects of factors stay on the real line, where they add up.
        """
        out = self.family.named(self.natural(self.working(values)))
        out = {name: self._squeezed(name, value) for name, value in out.items()}
        for site in self.sites:
            if site.name not in out:
                out[site.name] = site.link.value(values[site.name])
        out |= {name: values[name] for name in self.effect_axes if name in values}
        if self.capture_site is not None:
            offset = self.offset(values, values[self.capture_site].shape[-1])
            forms = {"p_capture": jnp.exp, "phi_capture": lambda x: jnp.expm1(-x)}
            out |= {name: forms[name](offset) for name in self._capture_forms if name not in out}
        return out

    def _squeezed(self, name: str, value: Array) -> Array:
        """Without the axes of length 1 along which a quantity does not vary."""
        if not self.level_axes or value.ndim == 0:
            return value
        mine = self.named_axes[name]
        return value.reshape([n for axis, n in zip(LEVELS_AND_GENES, value.shape, strict=True) if axis in mine])

    def to_json(self) -> str:
        """One JSON string from which `from_json` rebuilds the specification."""
        record = {
            "layers": list(self.family.layers),
            "settings": self.family.settings,
            "coordinates": self.coordinates.name,
            "priors": {name: prior.to_json() for name, prior in self.priors.items()},
            "levels": {axis: asdict(levels) for axis, levels in self.levels.items()},
        }
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Rebuild a specification from its JSON string."""
        record: dict[str, Any] = json.loads(text)
        family = from_layers(record["layers"], record.get("settings"))
        return cls(
            family,
            coordinate_systems.find(record["coordinates"], family=family.layers[0]),
            {name: prior_table.from_json(prior) for name, prior in record["priors"].items()},
            {axis: _levels(**stored) for axis, stored in record.get("levels", {}).items()},
        )

    @property
    def informed(self) -> dict[str, Informed]:
        """Priors that an earlier fit has left behind, by site name."""
        return {name: prior for name, prior in self.priors.items() if isinstance(prior, Informed)}

    @property
    def uninformed(self) -> ModelSpec:
        """The same model without what an earlier fit says."""
        return self.with_priors({name: prior.base for name, prior in self.informed.items()})

    def with_priors(self, priors: Mapping[str, Prior]) -> ModelSpec:
        """Return the same model with some priors replaced."""
        return replace(self, priors={**self.priors, **priors})


def _levels(labels: list[str], params: list[str], factors: list[list[Any]] | None = None) -> Levels:
    """Levels as JSON has them; those of older fits say nothing of factors."""
    return Levels(tuple(labels), tuple(params), tuple((name, tuple(of)) for name, of in factors or ()))


def _innermost(prior: Prior) -> Prior:
    """Prior of the location of the outermost population, or the prior itself."""
    return _innermost(prior.base) if isinstance(prior, Hierarchical) else prior


def _required(dataset: Array | None) -> Array:
    if dataset is None:
        msg = "This model has datasets, but the cells do not say to which they belong."
        raise ValueError(msg)
    return dataset
