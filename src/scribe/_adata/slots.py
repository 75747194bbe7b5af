"""What a fit writes into an AnnData and how it is read back: the only file that knows the names of the slots."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, ImplicitModificationWarning

from scribe._adata.read import read_counts
from scribe._counts.checks import CountsWarning
from scribe._counts.container import Counts
from scribe._model.names import nearest
from scribe._model.spec import ModelSpec
from scribe._posterior.posterior import Posterior, Summary
from scribe._posterior.results import ScribeSVIResults
from scribe.engines import Verdict
from scribe.guides import from_json as guide_from_json
from scribe.priors import latent_name

__all__ = ["SCHEMA_VERSION", "Slots", "clean_uns", "read_fit", "require", "write_fit", "write_slots"]

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


def clean_uns(value: Any, path: str = "uns") -> Any:
    """Turn a value into what every h5ad and zarr reader gets back unchanged, or say why it cannot be.

    Arrays of any library become NumPy arrays and NumPy scalars Python ones; None is refused (files with it cannot be
    opened by anndata <= 0.11), as are lists, tuples and keys with a slash: those belong into the JSON string.
    """
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or "/" in name:
                msg = f"{path} has the key {name!r}; keys must be strings without '/'."
                raise TypeError(msg)
        return {name: clean_uns(item, f"{path}[{name!r}]") for name, item in value.items()}
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, pd.DataFrame):
        if not all(isinstance(column, str) for column in value.columns):
            msg = f"{path} is a table whose column names are not all strings."
            raise TypeError(msg)
        return value
    if isinstance(value, np.generic):
        return value.item()
    if value is not None and not isinstance(value, (list, tuple, set)):
        array = np.asarray(value)
        if array.dtype != object:
            return array
    msg = f"{path} is a {type(value).__name__}, which cannot be stored: use an array or the JSON configuration."
    raise TypeError(msg)


def write_slots(adata: AnnData, slots: Mapping[str, Mapping[str, Any]]) -> None:
    """Assign everything at once: ``slots`` is attribute -> name -> value."""
    if adata.is_view:
        if adata.isbacked:
            msg = "adata is a view of a file on disk: load it with adata = adata.to_memory() and fit again."
            raise ValueError(msg)
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
    """Arrays of the guide, one slot per site: attribute -> site -> array, and where each column is from."""
    placed: dict[str, dict[str, Any]] = {"varm": {}, "obsm": {}, "uns": {}}
    layout: dict[str, dict[str, Any]] = {}
    for site in posterior.spec.sites:
        prefix = latent_name(site.name)
        names = [name for name in posterior.params if name.startswith(prefix)]
        arrays = [np.asarray(posterior.params[name]) for name in names]
        attribute = _AXIS_SLOT[site.axes[0]] if site.axes else "uns"
        placed[attribute][site.name] = np.stack(arrays, axis=-1)
        layout[site.name] = {"slot": attribute, "columns": [name.removeprefix(prefix) for name in names]}
    return placed, layout


def _gene_table(counts: Counts, summaries: Mapping[str, Summary], *, index: pd.Index[str]) -> pd.DataFrame:
    """Posterior summaries per gene, and whether the gene had any counts."""
    columns: dict[str, Any] = {}
    for name, summary in summaries.items():
        if summary.mean.shape == (counts.n_genes,):
            columns[f"{name}_mean"], columns[f"{name}_sd"] = summary.mean, summary.sd
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
    if "/" in key:
        msg = f"key_added={key!r} must not contain '/'."
        raise ValueError(msg)
    slots = Slots(key)
    summaries = results.get_summaries()
    placed, layout = _site_arrays(results.posterior)
    new: dict[str, dict[str, Any]] = {
        "varm": {slots.params: _gene_table(counts, summaries, index=adata.var_names)},
        "obs": {},
        "obsm": {},
    }
    for attribute in ("varm", "obsm"):
        new[attribute] |= {slots.of(site): array for site, array in placed[attribute].items()}
    if "p_capture" in summaries:
        new["obs"] = {slots.capture: summaries["p_capture"].mean, slots.capture_sd: summaries["p_capture"].sd}
    scalars = {}
    for name, summary in summaries.items():
        if summary.mean.ndim == 0:
            scalars[f"{name}_mean"], scalars[f"{name}_sd"] = float(summary.mean), float(summary.sd)
    config = {
        "spec": json.loads(results.spec.to_json()),
        "guide": results.posterior.guide.to_json(),
        "layout": layout,
        "layer": layer,
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
            "integer": counts.integer,
            "capture": results.capture_identified,
        },
    }
    clean = clean_uns(record, f"uns[{key!r}]")
    _remove(adata, key)
    write_slots(adata, {**new, "uns": {key: clean}})


def _remove(adata: AnnData, key: str) -> None:
    """Delete every slot that an earlier fit under this key wrote, and what was computed from it."""
    if key not in adata.uns or "config" not in adata.uns[key]:
        return
    owned = json.loads(adata.uns[key]["config"]).get("slots", {})
    for attribute, target in (("varm", adata.varm), ("obsm", adata.obsm), ("obs", adata.obs)):
        for name in owned.get(attribute, []):
            if name in target:
                del target[name]
    del adata.uns[key]


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
        int(record["seed"]),
        gene_names=np.asarray(adata.var_names, object),
        cell_names=np.asarray(adata.obs_names, object),
        counts_source=_counts_reader(adata, config["layer"]),
    )


def _scalar(value: Any) -> Any:
    """Python scalar of what a file format may give back as a NumPy one."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _read_params(adata: AnnData, key: str, layout: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
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
        for column, suffix in enumerate(place["columns"]):
            params[latent_name(site) + suffix] = stacked[..., column]
    return params


def _counts_reader(adata: AnnData, layer: str | None) -> Callable[[], Counts]:
    def read() -> Counts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CountsWarning)
            return read_counts(adata, layer=layer)

    return read
