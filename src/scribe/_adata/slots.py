"""What a fit writes into an AnnData and how it is read back: the only file that knows the names of the slots."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, ImplicitModificationWarning

from scribe._adata.columns import join, split
from scribe._adata.source import counts_reader
from scribe._adata.uns import clean_uns
from scribe._counts.container import Counts
from scribe._model.names import nearest
from scribe._model.spec import CAPTURE_SITES, ModelSpec
from scribe._posterior.posterior import Posterior, Summary
from scribe._posterior.results import ScribeSVIResults
from scribe._types import AnyArray
from scribe.engines import Verdict
from scribe.guides import from_json as guide_from_json
from scribe.priors import LATENT_SUFFIX, latent_name

__all__ = [
    "SCHEMA_VERSION",
    "Slots",
    "check_target",
    "read_derived",
    "read_fit",
    "refuse_taken",
    "remove_derived",
    "require",
    "write_derived",
    "write_fit",
    "write_slots",
]

SCHEMA_VERSION = 1

_log = logging.getLogger("scribe")
_AXIS_SLOT = {"gene": "varm", "cell": "obsm"}


@dataclass(frozen=True)
class Slots:
    """Names of the slots of one key."""

    key: str

    def of(self, name: str) -> str:
        """Name of a slot that holds ``name``."""
        return f"{self.key}_{name}"

    @property
    def params(self) -> str:
        """``.varm``: table of posterior summaries per gene."""
        return self.of("params")

    @property
    def capture(self) -> str:
        """``.obs``: posterior mean of the capture probability."""
        return self.of("capture")

    @property
    def capture_sd(self) -> str:
        """``.obs``: posterior standard deviation of the capture probability."""
        return self.of("capture_sd")

    @property
    def total(self) -> str:
        """``.obs``: total count of the cell in the genes that were fitted."""
        return self.of("total")

    @property
    def denoised(self) -> str:
        """``.layers`` or ``.obsm``: denoised counts."""
        return self.of("denoised")

    def ppc(self, score: str) -> str:
        """``.var`` and ``.obs``: one score of the posterior predictive check."""
        return self.of(f"ppc_{score}")


def check_target(adata: AnnData, *, copy: bool, key_added: str | None = None) -> None:
    """Raise, before anything is computed, where its results could not be written."""
    if adata.isbacked and (copy or adata.is_view):
        what = (
            "is a view of a file on disk" if adata.is_view else "is backed by a file, so that copy=True needs another"
        )
        msg = f"adata {what}: load it with adata = adata.to_memory() first."
        raise ValueError(msg)
    if key_added is None:
        return
    if "/" in key_added or not key_added:
        msg = f"key_added={key_added!r} must be a name without '/'."
        raise ValueError(msg)
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
                _holder(adata, attribute)[name] = clean_uns(value, f"uns[{name!r}]") if attribute == "uns" else value


def _holder(adata: AnnData, attribute: str) -> Any:
    holders: dict[str, Callable[[], Any]] = {
        "obs": lambda: adata.obs,
        "var": lambda: adata.var,
        "obsm": lambda: adata.obsm,
        "varm": lambda: adata.varm,
        "layers": lambda: adata.layers,
        "uns": lambda: adata.uns,
    }
    return holders[attribute]()


def _versions() -> dict[str, str]:
    out = {}
    for package in ("scribe-bayes", "jax", "numpyro", "anndata"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"
    return out


def _site_arrays(posterior: Posterior) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Arrays of the guide: attribute -> name -> array, and where each column is from.

    There is one slot per latent, and one in ``uns`` for every array that belongs to no latent.
    """
    placed: dict[str, dict[str, Any]] = {"varm": {}, "obsm": {}, "uns": {}}
    layout: dict[str, dict[str, Any]] = {}
    for latent in posterior.spec.latents:
        names = [name for name in posterior.params if name.startswith(latent.name)]
        arrays = [np.asarray(posterior.params[name]) for name in names]
        attribute = _AXIS_SLOT[latent.axes[0]] if latent.axes else "uns"
        slot = latent.name.removesuffix(LATENT_SUFFIX)
        placed[attribute][slot], more_axes = join(arrays, len(latent.axes))
        suffixes = [name.removeprefix(latent.name) for name in names]
        layout[slot] = {"slot": attribute, "columns": suffixes, "more_axes": more_axes}
    for name in posterior.params:
        if not name.startswith(tuple(latent.name for latent in posterior.spec.latents)):
            placed["uns"][name], layout[name] = np.asarray(posterior.params[name]), {"slot": "uns"}
    return placed, layout


def _gene_table(counts: Counts, summaries: Mapping[str, Summary], *, index: pd.Index[str]) -> pd.DataFrame:
    """Posterior summaries per gene, its observed mean, and whether it had any counts."""
    columns: dict[str, Any] = {}
    for name, summary in summaries.items():
        # there may be as many cells as genes, so the shape alone does not tell
        if summary.mean.shape == (counts.n_genes,) and name not in CAPTURE_SITES:
            columns[f"{name}_mean"], columns[f"{name}_sd"] = summary.mean, summary.sd
    columns["observed_mean"] = counts.gene_totals / max(counts.n_cells, 1)
    status = np.where(counts.gene_totals > 0, "ok", "all zero")
    columns["status"] = pd.Categorical(status, categories=["ok", "all zero"])
    return pd.DataFrame(columns, index=index)


def write_fit(
    adata: AnnData,
    results: ScribeSVIResults,
    counts: Counts,
    *,
    key: str,
    layer: str | None,
    options: Mapping[str, Any],
) -> None:
    """Write a fit into the slots of ``key``, replacing all slots an earlier fit under that key had."""
    check_target(adata, copy=False, key_added=key)
    slots = Slots(key)
    summaries = results.get_summaries()
    placed, layout = _site_arrays(results.posterior)
    new: dict[str, dict[str, Any]] = {
        "varm": {slots.params: _gene_table(counts, summaries, index=adata.var_names)},
        "obs": {slots.total: counts.totals},
        "obsm": {},
    }
    for attribute in ("varm", "obsm"):
        new[attribute] |= {slots.of(site): array for site, array in placed[attribute].items()}
    capture = summaries.get("p_capture")
    if capture is not None:
        new["obs"] |= {slots.capture: capture.mean, slots.capture_sd: capture.sd}
    scalars = {}
    for name, summary in summaries.items():
        if summary.mean.ndim == 0:
            scalars[f"{name}_mean"], scalars[f"{name}_sd"] = float(summary.mean), float(summary.sd)
    config = {
        "spec": json.loads(results.spec.to_json()),
        "guide": results.posterior.guide.to_json(),
        "layout": layout,
        "layer": layer,
        "non_integer": options.get("non_integer", "warn"),
        "options": {name: repr(value) for name, value in options.items()},
        "slots": {attribute: sorted(names) for attribute, names in new.items()},
    }
    record = {
        "schema_version": SCHEMA_VERSION,
        "config": json.dumps(config),
        "sites": placed["uns"],
        "scalars": scalars,
        "loss": np.asarray(results.loss_history),
        "convergence": asdict(results.verdict),
        "seed": results.seed,
        "versions": _versions(),
        "data": {
            "source": counts.source,
            "n_cells": counts.n_cells,
            "n_genes": counts.n_genes,
            "var_names_sha256": hashlib.sha256("\n".join(map(str, adata.var_names)).encode()).hexdigest(),
            "integer": counts.integer,
            "capture": results.capture_identified,
            "mean_capture": 1.0 if capture is None else float(np.mean(capture.mean)),
        },
    }
    clean = clean_uns(record, f"uns[{key!r}]")
    _remove(adata, key)
    write_slots(adata, {**new, "uns": {key: clean}})


def _remove(adata: AnnData, key: str) -> None:
    """Delete every slot that an earlier fit under this key wrote, and what was computed from it."""
    for name in [name for name, record in adata.uns.items() if _derived_from(record) == key]:
        _delete(adata, json.loads(adata.uns[name]["slots"]))
    if key in adata.uns and "config" in adata.uns[key]:
        owned = json.loads(adata.uns[key]["config"]).get("slots", {})
        _delete(adata, {**owned, "uns": [key]})


def _delete(adata: AnnData, owned: Mapping[str, Sequence[str]]) -> None:
    """Delete slots, attribute -> names, as far as they are still there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        for attribute, names in owned.items():
            for name in names:
                # looked up each time: a view becomes a copy on the first deletion
                if name in _holder(adata, attribute):
                    del _holder(adata, attribute)[name]


def _derived_from(record: Any) -> str | None:
    """Key of the fit that a record in ``uns`` was computed from; None for everything else there."""
    made_here = isinstance(record, Mapping) and {"derived_from", "slots"} <= set(record)
    return str(record["derived_from"]) if made_here else None


def write_derived(
    adata: AnnData,
    slots: Mapping[str, Mapping[str, Any]],
    *,
    key: str,
    name: str,
    record: Mapping[str, Any],
    place: str | None = None,
) -> None:
    """Write what a verb computed from the fit ``key``, replacing what its last run wrote.

    Parameters
    ----------
    adata
        Annotated data.
    slots
        The values: attribute -> slot -> value, without ``uns``.
    key, name
        Key of the fit and short name of the result: ``record`` goes to ``uns[key + "_" + name]``.
    record
        What else to keep. ``derived_from`` (the key) and ``slots`` (JSON) are added to it, so that `remove_derived`
        and a new fit under the same key find every slot and leave none that is out of date.
    place
        Slot of ``uns`` to use instead.
    """
    place = Slots(key).of(name) if place is None else place
    refuse_taken(adata, "uns", place, key=key, place=place)
    owned = {**{attribute: sorted(named) for attribute, named in slots.items()}, "uns": [place]}
    full = clean_uns({**record, "derived_from": key, "slots": json.dumps(owned)}, f"uns[{place!r}]")
    if place in adata.uns:
        _delete(adata, json.loads(adata.uns[place]["slots"]))
    write_slots(adata, {**slots, "uns": {place: full}})


def refuse_taken(adata: AnnData, attribute: str, name: str, *, key: str, place: str) -> None:
    """Raise where a slot holds something that the result of the fit ``key`` in ``uns[place]`` may not replace."""
    if name in _holder(adata, attribute) and _derived_from(adata.uns.get(place)) != key:
        msg = f"adata.{attribute}[{name!r}] is taken by something else: rename it, or choose another key_added."
        raise ValueError(msg)


def remove_derived(adata: AnnData, *, key: str, name: str) -> None:
    """Delete the slots of one result of `write_derived`, if it is there."""
    place = Slots(key).of(name)
    if place in adata.uns and _derived_from(adata.uns[place]) == key:
        _delete(adata, json.loads(adata.uns[place]["slots"]))


def read_derived(adata: AnnData, *, key: str, name: str, verb: str) -> Mapping[str, Any]:
    """Record of one result of `write_derived`; the error of a missing one names the verb that writes it."""
    require(adata, key)
    place = Slots(key).of(name)
    record = adata.uns.get(place)
    if _derived_from(record) != key:
        call = f"scribe.tl.{verb}(adata)" if key == "scribe" else f"scribe.tl.{verb}(adata, key={key!r})"
        msg = f"No adata.uns[{place!r}]. Run {call} first."
        raise KeyError(msg)
    found: Mapping[str, Any] = adata.uns[place]
    return found


def require(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Record of the fit under ``key``; an error names the verb to call, or the nearest key there is."""
    record = adata.uns.get(key)
    if isinstance(record, Mapping) and "schema_version" in record:
        found = int(record["schema_version"])
        if found > SCHEMA_VERSION:
            msg = (
                f"adata.uns[{key!r}] was written by a newer scribe (schema {found}, this one reads up to "
                f"{SCHEMA_VERSION}): upgrade with `pip install -U scribe-bayes`."
            )
            raise ValueError(msg)
        return record
    fits = [k for k, v in adata.uns.items() if isinstance(v, Mapping) and "schema_version" in v]
    hint = nearest(key, fits) or (f" Fits found: {', '.join(map(repr, fits))}." if fits else "")
    msg = f"No fit under adata.uns[{key!r}].{hint} Run scribe.tl.fit(adata, key_added={key!r}) first."
    raise KeyError(msg)


def read_fit(adata: AnnData, *, key: str = "scribe") -> ScribeSVIResults:
    """Rebuild the results of a fit from its slots; genes and cells are those ``adata`` has now."""
    record = require(adata, key)
    config = json.loads(record["config"])
    spec = ModelSpec.from_json(json.dumps(config["spec"]))
    posterior = Posterior(
        spec,
        guide_from_json(config["guide"]),
        _read_params(adata, key, config["layout"]),
        n_genes=adata.n_vars,
        n_cells=adata.n_obs,
    )
    convergence = {name: _scalar(value) for name, value in record["convergence"].items()}
    return ScribeSVIResults(
        posterior,
        np.asarray(record["loss"]),
        Verdict(**convergence),
        seed=int(record["seed"]),
        gene_names=np.asarray(adata.var_names, object),
        cell_names=np.asarray(adata.obs_names, object),
        counts_source=counts_reader(
            adata,
            config["layer"],
            non_integer=config.get("non_integer", "warn"),
            totals=adata.obs.get(Slots(key).total),
            all_genes=adata.n_vars == int(record["data"]["n_genes"]),
        ),
    )


def _scalar(value: Any) -> Any:
    """Python scalar of what a file format may give back as a NumPy one."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _read_params(adata: AnnData, key: str, layout: Mapping[str, Any]) -> dict[str, AnyArray]:
    params = {}
    for site, place in layout.items():
        if place["slot"] == "uns":
            stacked = np.asarray(adata.uns[key]["sites"][site])
        else:
            holder = adata.varm if place["slot"] == "varm" else adata.obsm
            name = Slots(key).of(site)
            if name not in holder:
                msg = (
                    f"adata.{place['slot']}[{name!r}] is missing, so the fit {key!r} cannot be rebuilt. Restore it or "
                    f"run scribe.tl.fit(adata, key_added={key!r}) again."
                )
                raise KeyError(msg)
            stacked = np.asarray(holder[name])
        if "columns" not in place:
            params[site] = stacked
            continue
        parts = split(stacked, place.get("more_axes", [[]] * len(place["columns"])))
        params |= {latent_name(site) + suffix: part for suffix, part in zip(place["columns"], parts, strict=True)}
    return params
