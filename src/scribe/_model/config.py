"""A model as an object: the keywords that define it, put together step by step and checked as a whole."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, Self

from scribe._model.labels import joined
from scribe._model.options import FitOptions, ModelOptions, complete, options_table, properly_named
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec
from scribe.priors import Prior, from_json

__all__ = ["ModelConfig", "configured"]

_GROUPS = ("model", "mixture", "dataset", "guide")


class ModelConfig:
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

    model: str | None
    options: dict[str, Any]

    def __init__(self, model: str | None = None, **options: Any) -> None:
        vars(self).update(model=model, options=_checked(options))

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would have no effect, or change a configuration that others share."""
        msg = f"A ModelConfig does not change: derive another, config.with_options({name.lstrip('_')}={value!r})."
        raise AttributeError(msg)

    def with_options(self, **options: Any) -> Self:
        """Set keywords, replacing those set before."""
        return type(self)(self.model, **{**self.options, **_checked(options)})

    def for_model(self, model: str) -> Self:
        """Set the name of the model."""
        return type(self)(model, **self.options)

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

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"ModelConfig({', '.join(filter(None, [repr(self.model) if self.model else '', named]))})"


def configured(model: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Model and complete options of a fit, with those that configuration objects stand for.

    Raises
    ------
    TypeError
        If an object is none that says what it should.
    ValueError
        If a keyword is given beside an object that sets it.
    """
    said, table = complete(options), options_table(FitOptions)
    for name, values in (("model_config", _of_model(said["model_config"])), ("inference_config", _of_engine(said))):
        clash = [n for n in values if n != "model" and said[n] != table[n].default]
        if model is not None and "model" in values:
            clash.append("model")
        if clash:
            msg = f"{', '.join(clash)} was given, which {name} sets as well: leave one out."
            raise ValueError(msg)
        model = values.get("model", model)
        said |= {n: value for n, value in values.items() if n != "model"}
    if isinstance(said["model_config"], ModelSpec) and (model is not None or _model_keywords(said)):
        others = ", ".join(["model"] * (model is not None) + _model_keywords(said))
        msg = f"model_config is a whole specification, but {others} was given as well: leave one out."
        raise ValueError(msg)
    return model, said


def _model_keywords(said: Mapping[str, Any]) -> list[str]:
    table = options_table(ModelOptions)
    return [name for name, option in table.items() if said[name] != option.default]


def _of_model(config: Any) -> dict[str, Any]:
    if config is None or isinstance(config, ModelSpec):
        return {}
    if not isinstance(config, ModelConfig):
        msg = f"model_config takes scribe.ModelConfig(...) or a specification such as results.spec; got {config!r}."
        raise TypeError(msg)
    return {**config.options, **({} if config.model is None else {"model": config.model})}


def _of_engine(said: Mapping[str, Any]) -> dict[str, Any]:
    config, table = said["inference_config"], options_table(FitOptions)
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        return {"inference_method": config}
    chosen = properly_named(config, verb="inference_config")
    foreign = [name for name in chosen if table[name].group in (*_GROUPS, "data")]
    if foreign:
        msg = f"inference_config has {', '.join(foreign)}, which says nothing of the engine: pass it to fit."
        raise TypeError(msg)
    return chosen


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords under their proper names, refusing those that say nothing of the model."""
    table, proper = options_table(FitOptions), properly_named(options, verb="ModelConfig")
    for name in proper:
        if table[name].group not in _GROUPS or name == "model_config":
            known = [n for n, o in table.items() if o.group in _GROUPS and n != "model_config"]
            msg = f"ModelConfig has {name!r}, which is no part of the model: pass it to fit. Parts: {', '.join(known)}."
            raise TypeError(msg)
    return {name: _frozen(value) for name, value in proper.items()}


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down: JSON knows no difference."""
    if isinstance(value, Mapping):
        return {name: _frozen(part) for name, part in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _record(value: object) -> Any:
    """A prior as its record."""
    if isinstance(value, Prior):
        return value.to_json()
    msg = f"{value!r} cannot be written as text: give it to fit, or say it in keywords."
    raise TypeError(msg)
