"""What is read from the records of fits in ``uns``, as far as it can be trusted: files may be damaged, or crafted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from anndata import AnnData

from scribe import engines
from scribe._adata.names import Slots, check_name
from scribe._counts.checks import NonInteger
from scribe._model.checks import nearest
from scribe._model.spec import ModelSpec
from scribe.guides import Approximation
from scribe.guides import from_json as guide_from_json

__all__ = ["SCHEMA_VERSION", "Config", "derived_from", "owned", "read_config", "readable", "require"]

SCHEMA_VERSION = 1

_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What parsing of damaged records raises."""


@dataclass(frozen=True)
class Config:
    """What the JSON text ``uns[key]["config"]`` says of a fit."""

    spec: ModelSpec
    engine: str
    guide: Approximation
    layout: Mapping[str, Mapping[str, Any]]
    layer: str | None
    options: Mapping[str, str]
    slots: dict[str, list[str]]
    non_integer: NonInteger = "warn"


@contextlib.contextmanager
def readable(slot: str, *, key: str) -> Iterator[None]:
    """Turn what goes wrong with the contents of a slot of the fit ``key`` into one error that names the slot."""
    try:
        yield
    except _UNREADABLE as error:
        msg = (
            f"{slot} cannot be read ({type(error).__name__}: {error}). It was damaged or changed: restore it from the "
            f"original file. To fit anew choose another key_added, or delete adata.uns[{key!r}] and the slots whose "
            f"names begin with {key + '_'!r}."
        )
        raise ValueError(msg) from error


def read_config(record: Mapping[str, Any], key: str) -> Config:
    """Parse and check the configuration of a fit.

    Raises
    ------
    ValueError
        If it is not what `scribe.tl.fit` writes: the text is no JSON, or fields are missing, unknown or of another
        type.
    """
    with readable(f"adata.uns[{key!r}]['config']", key=key):
        found = dict(_of_type(json.loads(record["config"]), Mapping, "the text"))
        spec = ModelSpec.from_json(json.dumps(_of_type(found.pop("spec"), Mapping, "spec")))
        guide, slots = guide_from_json(_of_type(found.pop("guide"), Mapping, "guide")), _names(found.pop("slots"))
        config = Config(spec, guide=guide, slots=slots, **found)
        engines.ALL[config.engine]
        for name, place in _of_type(config.layout, Mapping, "layout").items():
            if place["slot"] not in ("uns", "varm", "obsm"):
                msg = f"layout[{name!r}] is in {place['slot']!r}"
                raise ValueError(msg)
        _of_type(config.layer, (str, type(None)), "layer")
        _of_type(config.options, Mapping, "options")
        if config.non_integer not in get_args(NonInteger):
            msg = f"non_integer={config.non_integer!r}"
            raise ValueError(msg)
    return config


def _of_type(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind):
        msg = f"{name} is {value!r:.60}"
        raise TypeError(msg)
    return value


def _names(slots: Any) -> dict[str, list[str]]:
    """Slots, attribute -> names."""
    named = {}
    for attribute, names in _of_type(slots, Mapping, "slots").items():
        named[attribute] = [_of_type(name, str, "the name of a slot") for name in _of_type(names, list, attribute)]
    return named


def derived_from(record: Any) -> tuple[str, ...]:
    """Keys of the fits that a record in ``uns`` was computed from; empty for everything else there."""
    made_here = isinstance(record, Mapping) and {"derived_from", "slots"} <= set(record)
    return tuple(map(str, np.atleast_1d(record["derived_from"]))) if made_here else ()


def owned(record: Any, place: str) -> dict[str, list[str]]:
    """Slots of the fit or result in ``uns[place]``, attribute -> names.

    They are the names that such a one has. What a file says of them would let it have anything of the user's deleted.
    """
    origin = derived_from(record)
    if origin:
        with readable(f"adata.uns[{place!r}]['slots']", key=place):
            said = _names(json.loads(record["slots"]))
            return Slots(origin[0]).of_derived(str(record.get("kind", "denoised")), place, said)
    if not (isinstance(record, Mapping) and "config" in record):
        return {}
    config = read_config(record, place)
    slots = Slots(place)
    return slots.of_fit(config.spec, logits=slots.logits in config.slots.get("obsm", ()))


def require(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Record of the fit under ``key``; an error names the verb to call, or the nearest key there is."""
    check_name(key, what="key")
    record = adata.uns.get(key)
    if isinstance(record, Mapping) and "schema_version" in record:
        with readable(f"adata.uns[{key!r}]['schema_version']", key=key):
            found = int(record["schema_version"])
        if found > SCHEMA_VERSION:
            msg = (
                f"adata.uns[{key!r}] was written by a newer scribe (schema {found}, this one reads up to "
                f"{SCHEMA_VERSION}): upgrade with `pip install -U scribe-bayes`."
            )
            raise ValueError(msg)
        return record
    if derived_from(record):
        origin = derived_from(record)[0]
        msg = f"adata.uns[{key!r}] is no fit, but was computed from the fit {origin!r}: pass key={origin!r}" + (
            "." if len(derived_from(record)) > 1 else f", key_added={key!r}."
        )
        raise KeyError(msg)
    fits = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "schema_version" in v]
    hint = nearest(key, fits) or (f" Fits found: {', '.join(map(repr, fits))}." if fits else "")
    msg = f"No fit under adata.uns[{key!r}].{hint} Run scribe.tl.fit(adata, key_added={key!r}) first."
    raise KeyError(msg)
