"""Results written to the slots of an AnnData, found there again, and deleted."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData, ImplicitModificationWarning

from scribe._adata.names import Slots, check_name
from scribe._adata.records import derived_from, owned, require
from scribe._adata.uns import clean_uns
from scribe._model.checks import nearest

__all__ = [
    "Slots",
    "check_free",
    "check_key",
    "check_name",
    "check_target",
    "computed_layers",
    "computed_x",
    "read_comparison",
    "read_derived",
    "refuse_computed_layer",
    "refuse_taken",
    "remove_derived",
    "remove_fit",
    "require",
    "write_derived",
    "write_slots",
]

_log = logging.getLogger("scribe")


def check_target(adata: AnnData, *, copy: bool) -> None:
    """Raise, before anything is computed, where its results could not be written."""
    if adata.isbacked and (copy or adata.is_view):
        what = (
            "is a view of a file on disk" if adata.is_view else "is backed by a file, so that copy=True needs another"
        )
        msg = f"adata {what}: load it with adata = adata.to_memory() first."
        raise ValueError(msg)


def check_key(adata: AnnData, key_added: str) -> None:
    """Raise where a fit cannot be kept under a key."""
    check_name(key_added)
    record = adata.uns.get(key_added)
    if record is not None and not (isinstance(record, Mapping) and "schema_version" in record):
        msg = f"adata.uns[{key_added!r}] is taken by something else: rename it, or choose another key_added."
        raise ValueError(msg)


def write_slots(adata: AnnData, slots: Mapping[str, Mapping[str, Any]]) -> None:
    """Assign everything at once: ``slots`` is attribute -> name -> value."""
    check_target(adata, copy=False)
    if adata.is_view:
        _log.warning("received a view of an AnnData: making a copy of it to hold the results")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        for attribute, named in slots.items():
            for name, value in named.items():
                # looked up each time: a view becomes a copy on the first assignment
                getattr(adata, attribute)[name] = clean_uns(value, f"uns[{name!r}]") if attribute == "uns" else value


def remove_fit(adata: AnnData, key: str) -> None:
    """Delete every slot that an earlier fit under this key wrote, and what was computed from it."""
    for name in [name for name, record in adata.uns.items() if key in derived_from(record)]:
        _delete(adata, name)
    if key in adata.uns:
        _delete(adata, key)


def _delete(adata: AnnData, place: str) -> None:
    """Delete the fit or result in ``uns[place]`` with its slots, as far as they are still there."""
    slots = {**owned(adata.uns[place], place), "uns": [place]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        for attribute, names in slots.items():
            for name in names:
                # looked up each time: a view becomes a copy on the first deletion
                if name in getattr(adata, attribute):
                    del getattr(adata, attribute)[name]


def check_free(adata: AnnData, slots: Mapping[str, Iterable[str]], *, key: str | Sequence[str]) -> None:
    """Raise where slots, attribute -> names, hold what is neither of the fits under ``key`` nor computed from them."""
    keys = {key} if isinstance(key, str) else set(key)
    mine = [owned(record, name) for name, record in adata.uns.items() if name in keys or keys & {*derived_from(record)}]
    taken = []
    for attribute, names in slots.items():
        own = {name for slots in mine for name in slots.get(attribute, ())}
        there = [name for name in names if name in getattr(adata, attribute) and name not in own]
        taken += [f"adata.{attribute}[{name!r}]" for name in there]
    if taken:
        also = f", and so are {', '.join(taken[1:])}" if taken[1:] else ""
        msg = (
            f"{taken[0]} is taken by something else{also}. Rename or delete what is yours, or choose another key. "
            "Slots of fits that are gone, as after anndata.concat, can be deleted."
        )
        raise ValueError(msg)


def computed_layers(adata: AnnData) -> dict[str | None, str]:
    """Layers that were computed from a fit, None standing for ``X``, and the record in ``uns`` of each."""
    records = {name: owned(record, name) for name, record in adata.uns.items() if derived_from(record)}
    layers: dict[str | None, str] = {
        layer: name for name, slots in records.items() for layer in slots.get("layers", [])
    }
    whole = [name for name, record in adata.uns.items() if _computed_x(record)]
    return layers | ({None: whole[-1]} if whole else {})


def computed_x(record: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """Complete the record of an object whose ``X`` was computed from the fit ``key`` of another one.

    No new fit and no verb replaces it: what it says of ``X`` stays true.
    """
    return clean_uns({**record, "computed": "X", "derived_from": key})


def _computed_x(record: Any) -> bool:
    return isinstance(record, Mapping) and record.get("computed") == "X"


def refuse_computed_layer(adata: AnnData, layer: str | None) -> None:
    """Raise where ``layer``, None for ``X``, was computed from a fit, by `scribe.tl.denoise` or `scribe.get.denoised`.

    A fit to such values would find less noise and more correlation than the data have, whatever it says of itself.
    """
    place = computed_layers(adata).get(layer)
    if place is None:
        return
    if layer is None:
        what, verb, remedy = "X", "get.denoised", "fit the AnnData it was made of, or name a layer of counts"
    else:
        kind = adata.uns[place].get("kind", "denoised")
        what, verb = f"layers[{layer!r}]", {"denoised": "tl.denoise", "normalized": "tl.normalize"}[kind]
        remedy = "fit the raw counts: leave out layer for adata.X, or name their layer"
    msg = (
        f"{what} was computed from the fit {adata.uns[place]['derived_from']!r} by scribe.{verb} (see "
        f"adata.uns[{place!r}]): such values are not counts, and a fit to them understates the noise. "
        f"Instead, {remedy}."
    )
    raise ValueError(msg)


def write_derived(
    adata: AnnData,
    slots: Mapping[str, Mapping[str, Any]],
    *,
    key: str | Sequence[str],
    name: str,
    record: Mapping[str, Any],
    place: str | None = None,
) -> None:
    """Write what a verb computed from the fit ``key``, or from several, replacing what its last run wrote.

    ``slots`` is attribute -> slot -> value, without ``uns``. ``record``, what else to keep, goes to the slot ``name``
    of the key in ``uns``, or to ``uns[place]``. ``derived_from`` (the key), ``kind`` (the name) and ``slots`` (JSON)
    are added to it, so that `remove_derived` and a new fit under the same key find every slot and leave none that is
    out of date.
    """
    if place is None:
        place = Slots(str(key)).of(name)
    refuse_taken(adata, key=key, name=name, place=place)
    check_free(adata, slots, key=key)
    names = {**{attribute: sorted(named) for attribute, named in slots.items()}, "uns": [place]}
    origin = key if isinstance(key, str) else np.array(key)
    full = clean_uns({**record, "kind": name, "derived_from": origin, "slots": json.dumps(names)}, f"uns[{place!r}]")
    if place in adata.uns:
        _delete(adata, place)
    write_slots(adata, {**slots, "uns": {place: full}})


def refuse_taken(adata: AnnData, *, key: str | Sequence[str], name: str, place: str) -> None:
    """Raise where ``uns[place]`` holds something that the result ``name`` of ``key`` may not replace.

    That of one fit replaces its own last result of the same name, that of several fits any such result of several.
    """
    check_name(place)
    record = adata.uns.get(place)
    found = derived_from(record)
    mine = found == (key,) if isinstance(key, str) else len(found) > 1
    if place in adata.uns and not (mine and _kind(record, name) == name):
        by = f"another result of the fit {found[0]!r}" if found == (key,) else "something else"
        msg = f"adata.uns[{place!r}] is taken by {by}: rename it, or choose another key_added."
        raise ValueError(msg)


def _kind(record: Mapping[str, Any], default: str) -> str:
    """Name of the result that a record is of."""
    return str(record.get("kind", default))


def remove_derived(adata: AnnData, *, key: str, name: str) -> None:
    """Delete the slots of one result of `write_derived`, if it is there."""
    place = Slots(key).of(name)
    if place in adata.uns and derived_from(adata.uns[place]) == (key,):
        _delete(adata, place)


def read_derived(adata: AnnData, *, key: str, name: str, verb: str, place: str | None = None) -> Mapping[str, Any]:
    """Record of one result of `write_derived`; the error of a missing one names the verb that writes it.

    A result at a ``place`` of its own is found whatever fit it is of.
    """
    if place is None:
        require(adata, key)
    found = {n: record for n, record in adata.uns.items() if derived_from(record) and _kind(record, name) == name}
    slot = Slots(key).of(name) if place is None else place
    if slot not in found or (place is None and derived_from(found[slot]) != (key,)):
        hint = "" if place is None else nearest(slot, list(found))
        fit = "" if key == "scribe" else f", key={key!r}"
        msg = f"No result of scribe.tl.{verb} in adata.uns[{slot!r}].{hint} Run scribe.tl.{verb}(adata{fit}) first."
        raise KeyError(msg)
    record: Mapping[str, Any] = found[slot]
    return record


def read_comparison(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Record of a comparison of several fits; the error of a missing one names the verb that makes it."""
    found = {name: record for name, record in adata.uns.items() if len(derived_from(record)) > 1}
    if key not in found:
        msg = (
            f"No comparison of models in adata.uns[{key!r}].{nearest(key, list(found))} "
            f"Run scribe.tl.compare_models(adata, keys=[...], key_added={key!r}) first."
        )
        raise KeyError(msg)
    record: Mapping[str, Any] = found[key]
    return record
