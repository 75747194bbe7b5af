"""Models and fits as objects: keywords put together step by step, checked, and given to fit in place of keywords."""

from __future__ import annotations

import itertools
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from scribe._counts.checks import outside_stacklevel
from scribe._model.completion import complete, properly_named
from scribe._model.labels import joined
from scribe._model.options import FitOptions, ModelOptions, options_table
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.priors import Prior, from_json

__all__ = ["InferenceConfig", "ModelConfig", "ModelConfigBuilder", "configured"]

_OF_MODELS = ("model", "mixture", "dataset", "guide")
_OF_ENGINES = ("inference", "svi", "mcmc")
_ELSEWHERE = ("model_config", "inference_config", "svi_init", "informative_priors_from")
"""Keywords of these groups that take objects of a fit, and are no part of a configuration."""

_REPLACED = {
    "model_config": (
        "model",
        "variable_capture",
        "zero_inflation",
        "parameterization",
        "unconstrained",
        "n_components",
        "mixture_params",
        "joint_params",
        "dense_params",
        "guide_rank",
        "priors",
    ),
    "inference_config": (
        "inference_method",
        "n_steps",
        "batch_size",
        "stable_update",
        "log_progress_lines",
        "n_samples",
        "n_warmup",
        "n_chains",
    ),
}
"""Keywords that a configuration replaces even where it leaves them at their defaults: the list of SCRIBE's manual."""


class _Steps(ABC):
    """A model and its keywords, set step by step."""

    model: str | None
    options: dict[str, Any]

    def __init__(self, model: str | None = None, **options: Any) -> None:
        vars(self).update(model=model, options=_checked(options, _OF_MODELS, type(self).__name__))

    @abstractmethod
    def _set(self, model: str | None, options: Mapping[str, Any]) -> Self:
        """The object with this model and these keywords."""

    @abstractmethod
    def build(self) -> ModelConfig:
        """Check that the keywords make a model."""

    def with_options(self, **options: Any) -> Self:
        """Set keywords, replacing those set before."""
        return self._set(self.model, {**self.options, **_checked(options, _OF_MODELS, type(self).__name__)})

    def for_model(self, model: str) -> Self:
        """Set the name of the model."""
        return self._set(model, self.options)

    def with_parameterization(self, parameterization: str) -> Self:
        """Set which parameters are sampled."""
        return self.with_options(parameterization=parameterization)

    def unconstrained(self) -> Self:
        """Use normal priors pushed through a transform, which hierarchies need."""
        return self.with_options(unconstrained=True)

    def as_mixture(self, n_components: int, **options: Any) -> Self:
        """Make it a mixture, with further keywords such as ``mixture_params``."""
        return self.with_options(n_components=n_components, **options)

    def with_priors(self, **priors: Any) -> Self:
        """Set priors by parameter name, keeping those set before."""
        return self.with_options(priors={**self.options.get("priors", {}), **priors})

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({', '.join(filter(None, [repr(self.model) if self.model else '', named]))})"


class ModelConfig(_Steps):
    """Everything that says which model is fitted, to be used again and again.

    Every method returns a new object, so that configurations can be derived from each other:

    >>> import scribe
    >>> base = scribe.ModelConfig().for_model("nbvcp").with_parameterization("mean_odds").unconstrained()
    >>> config = base.as_mixture(n_components=5).with_options(expression_prior="horseshoe").build()

    and ``scribe.fit(adata, model_config=config)`` is ``scribe.fit(adata, "nbvcp", parameterization="mean_odds", ...)``.

    Parameters
    ----------
    model
        Name of the model; ``"nbvcp"`` unless given.
    **options
        The keywords of :func:`scribe.fit` of the groups model, mixture, dataset and guide.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would have no effect, or change a configuration that others share."""
        msg = f"A ModelConfig does not change: derive another, config.with_options({name.lstrip('_')}={value!r})."
        raise AttributeError(msg)

    def _set(self, model: str | None, options: Mapping[str, Any]) -> Self:
        return type(self)(model, **options)

    def build(self) -> Self:
        """Check that the keywords make a model, as far as that can be known without data.

        Raises
        ------
        ValueError
            If they contradict each other; the message names the fix.
        """
        n = self.options.get("n_components")
        labels = tuple(str(k) for k in range(n or (2 if "annotation_key" in self.options else 0)))
        keys = self.options.get("dataset_key", ())
        names = [keys] if isinstance(keys, str) else list(keys or ())
        leaves = list(itertools.product("ab", repeat=len(names))) if names else []
        factors = {name: tuple(leaf[i] for leaf in leaves) for i, name in enumerate(names)}
        table = options_table(ModelOptions)
        chosen = {name: value for name, value in self.options.items() if name in table}
        resolve_spec(
            self.model, components=labels, datasets=joined(factors) if names else (), factors=factors, **chosen
        )
        return self

    def to_json(self) -> str:
        """One JSON string, for keywords with plain values and priors; objects such as guides cannot be written."""
        return json.dumps({"model": self.model, "options": self.options}, default=_record)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a configuration from its JSON string."""
        record: dict[str, Any] = json.loads(text, object_hook=lambda x: from_json(x) if "args" in x else x)
        return cls(record["model"], **record["options"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelConfig) and (self.model, self.options) == (other.model, other.options)

    def __hash__(self) -> int:
        return hash((self.model, repr(sorted(self.options.items()))))


class ModelConfigBuilder(_Steps):
    """A model put together in place: every step changes the builder, and `build` gives the `ModelConfig`.

    Keywords can also be set as attributes, with or without an underscore:

    >>> from scribe.models.config import ModelConfigBuilder
    >>> builder = ModelConfigBuilder().for_model("nbvcp").unconstrained().as_mixture(n_components=5)
    >>> builder._expression_prior = "horseshoe"
    >>> builder.build().options["expression_prior"]
    'horseshoe'

    Parameters
    ----------
    model
        Name of the model; ``"nbvcp"`` unless given.
    **options
        The keywords of :func:`scribe.fit` of the groups model, mixture, dataset and guide.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        keyword = name.lstrip("_")
        self.for_model(value) if keyword == "model" else self.with_options(**{keyword: value})

    def __getattr__(self, name: str) -> Any:
        options = vars(self).get("options", {})
        if name.lstrip("_") not in options:
            msg = f"{name!r} is no step of {type(self).__name__}, and no keyword that was set: {', '.join(options)}."
            raise AttributeError(msg)
        return options[name.lstrip("_")]

    def _set(self, model: str | None, options: Mapping[str, Any]) -> Self:
        vars(self).update(model=model, options=dict(options))
        return self

    def build(self) -> ModelConfig:
        """Check that the keywords make a model, as far as that can be known without data.

        Returns
        -------
        The model as it is now; further steps of the builder do not change it.

        Raises
        ------
        ValueError
            If keywords contradict each other; the message names the fix.
        """
        return ModelConfig(self.model, **self.options).build()


class InferenceConfig(Mapping[str, Any]):
    """How a model is fitted, to be used again and again: a mapping of keywords that does not change.

    >>> import scribe
    >>> config = scribe.InferenceConfig(inference_method="svi", n_steps=20_000)

    and ``scribe.fit(adata, inference_config=config)`` is
    ``scribe.fit(adata, inference_method="svi", n_steps=20_000)``.

    Parameters
    ----------
    **options
        The keywords of :func:`scribe.fit` of the groups inference, svi and mcmc.
    """

    __slots__ = ("_options",)

    def __init__(self, **options: Any) -> None:
        self._options = _checked(options, _OF_ENGINES, type(self).__name__)

    def __getitem__(self, name: str) -> Any:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __repr__(self) -> str:
        return f"InferenceConfig({', '.join(f'{name}={value!r}' for name, value in self.items())})"


def configured(model: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Model and complete options of a fit, with those that configuration objects stand for.

    An object wins over keywords beside it, and a warning names those that it overrides.

    Raises
    ------
    TypeError
        If an object is none that says what it should.
    """
    defaults = {"model": None, **complete({})}
    said = {"model": model, **complete(options)}
    lost = []
    for name, read in (("model_config", _of_model), ("inference_config", _of_engine)):
        if said[name] is None:
            continue
        values = read(said[name])
        given = [n for n in values if said[n] != defaults[n] and _frozen(said[n]) != values[n]]
        lost += [f"{name} overrides {', '.join(given)}"] if given else []
        said |= values
    if lost:
        msg = f"{'; '.join(lost)}: leave the keywords out, or set them in the object."
        warnings.warn(msg, UserWarning, stacklevel=outside_stacklevel())
    return said.pop("model"), said


def _of_model(config: Any) -> dict[str, Any]:
    """The model and keywords that a configuration stands for."""
    if isinstance(config, ModelSpec):
        return _defaults(["model", *options_table(ModelOptions)])
    if not isinstance(config, ModelConfig):
        msg = (
            "model_config takes a scribe.ModelConfig, which ModelConfigBuilder.build() gives, or a specification such "
            f"as results.spec; got {config!r}."
        )
        raise TypeError(msg)
    return {**_defaults(_REPLACED["model_config"]), "model": config.model, **config.options}


def _of_engine(config: Any) -> dict[str, Any]:
    """The keywords that a configuration of the fit stands for."""
    if isinstance(config, Mapping):
        return {**_defaults(_REPLACED["inference_config"]), **InferenceConfig(**config)}
    table = options_table()
    whole = [n for n, option in table.items() if option.group in ("svi", "mcmc") and n not in _ELSEWHERE]
    return {**_defaults(whole), "inference_method": config}


def _defaults(names: Iterable[str]) -> dict[str, Any]:
    every = complete({})
    return {name: every.get(name) for name in names}


def _checked(options: Mapping[str, Any], groups: tuple[str, ...], kind: str) -> dict[str, Any]:
    """Keywords under their proper names, refusing those of other groups."""
    table, proper = options_table(FitOptions), properly_named(options, verb=kind)
    known = [name for name, option in table.items() if option.group in groups and name not in _ELSEWHERE]
    for name in proper:
        if name not in known:
            msg = f"{name!r} is no part of {kind}: pass it to fit. Parts: {', '.join(known)}."
            raise TypeError(msg)
    return {name: _frozen(value) for name, value in proper.items()}


def _frozen(value: Any) -> Any:
    """Lists and arrays as tuples, all the way down: JSON knows no difference."""
    if isinstance(value, Mapping):
        return {name: _frozen(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return _frozen(value.tolist())
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _record(value: object) -> Any:
    """A prior as its record."""
    if isinstance(value, Prior):
        return value.to_json()
    msg = f"{value!r} cannot be written as text: give it to fit, or say it in keywords."
    raise TypeError(msg)
