"""A fit in the slots of an AnnData: how it is written, and how the results are rebuilt from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.names import AXIS_SLOT, KNOWN, Slots
from scribe._adata.records import SCHEMA_VERSION, Config, read_config, readable, require
from scribe._adata.slots import check_free, check_key, check_target, remove_fit, write_slots
from scribe._adata.source import counts_reader
from scribe._adata.uns import clean_uns
from scribe._counts.container import Counts
from scribe._counts.design import Design, Moments
from scribe._model.labels import apart
from scribe._model.spec import ModelSpec
from scribe._posterior.assign import assign
from scribe._posterior.by_engine import from_record, results_class, thin_enough
from scribe._posterior.identified import identified
from scribe._posterior.levels import levels_without_cells
from scribe._posterior.posterior import Posterior, Summary
from scribe._posterior.results import Results
from scribe._types import AnyArray, FloatArray
from scribe.guides import roles
from scribe.priors import LATENT_SUFFIX, Latent, latent_name

__all__ = ["FitRecord", "check_slots", "fit_record", "labels_of", "level_names", "read_fit", "write_fit"]


def _versions() -> dict[str, str]:
    out = {}
    for package in ("scribe-bayes", "jax", "numpyro", "anndata"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"
    return out


def _joined(arrays: Sequence[AnyArray], n_axes: int) -> tuple[AnyArray, list[list[int]]]:
    """Arrays that share their first axes as columns of one, and the axes that each has beyond them."""
    more = [list(x.shape[n_axes:]) for x in arrays]
    return np.concatenate([x.reshape(*x.shape[:n_axes], -1) for x in arrays], axis=-1), more


def _split(columns: AnyArray, more_axes: Sequence[Sequence[int]]) -> list[AnyArray]:
    """Undo `_joined`."""
    ends = np.cumsum([math.prod(axes) for axes in more_axes])
    parts = np.split(columns, ends[:-1], axis=-1)
    return [part.reshape((*part.shape[:-1], *axes)) for part, axes in zip(parts, more_axes, strict=True)]


def _aligned(latent: Latent) -> str | None:
    """The axis of a latent along which its slot is subset, if any.

    Raises
    ------
    TypeError
        If it runs over cells and genes: no slot is subset along both, and it would be as large as the data.
    """
    axes = [axis for axis in latent.axes if axis in AXIS_SLOT]
    if len(axes) > 1:
        msg = f"{latent.name} runs over {' and '.join(axes)}: such a latent is made anew from counts, never stored."
        raise TypeError(msg)
    return axes[0] if axes else None


def _site_arrays(posterior: Posterior) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Arrays of the guide: attribute -> name -> array, and where each column is from.

    There is one slot per latent, and one in ``uns`` for every array that belongs to no latent.
    """
    placed: dict[str, dict[str, Any]] = {"varm": {}, "obsm": {}, "uns": {}}
    layout: dict[str, dict[str, Any]] = {}

    def place(slot: str, latent: Latent, columns: Mapping[str, AnyArray]) -> None:
        aligned = _aligned(latent)
        attribute = "uns" if aligned is None else AXIS_SLOT[aligned]
        stacked, more_axes = _joined([np.asarray(array) for array in columns.values()], len(latent.axes))
        # genes or cells come first in a slot that is subset with them
        placed[attribute][slot] = stacked if aligned is None else np.moveaxis(stacked, latent.axes.index(aligned), 0)
        layout[slot] = {"slot": attribute, "columns": list(columns), "more_axes": more_axes}

    for latent in posterior.spec.latents:
        mine = {role.kind: posterior.params[name] for name, role in posterior.roles.items() if role.latent == latent}
        place(latent.name.removesuffix(LATENT_SUFFIX), latent, mine)
    for name, known in posterior.design.known.items():
        about = Latent(name, known.axes)
        place(name.removesuffix(LATENT_SUFFIX) + KNOWN, about, {"_loc": known.loc, "_scale": known.scale})
    for name, role in posterior.roles.items():
        if role.latent is None:
            placed["uns"][name], layout[name] = np.asarray(posterior.params[name]), {"slot": "uns"}
    return placed, layout


def _gene_table(
    counts: Counts, summaries: Mapping[str, Summary], posterior: Posterior, *, index: pd.Index[str]
) -> pd.DataFrame:
    """Posterior summaries per gene and level, which of them counts determine, and whether it had any counts."""
    columns: dict[str, Any] = {}
    from_counts = identified(posterior.spec, summaries)
    status = {"status": np.where(counts.gene_totals > 0, "ok", "all zero")}
    for name, summary in summaries.items():
        axes = posterior.spec.named_axes[name]
        if "gene" not in axes:
            continue
        empty = levels_without_cells(posterior, axes)
        for level, label in labels_of(posterior.spec, axes):
            known = (np.full(counts.n_genes, np.nan),) * 2 if level in empty else (x[level] for x in summary)
            columns[f"{name}_mean{label}"], columns[f"{name}_sd{label}"] = known
            if name in from_counts:
                columns[f"{name}_identified{label}"] = from_counts[name][level] & (level not in empty)
            status |= {f"status{label}": np.full(counts.n_genes, "no cells")} if level in empty else {}
    columns["observed_mean"] = counts.gene_totals / max(counts.n_cells, 1)
    columns |= {name: pd.Categorical(values, categories=_STATUS) for name, values in status.items()}
    return pd.DataFrame(columns, index=index)


_STATUS = ["ok", "all zero", "no cells"]
"""What the table says of a gene, and of a gene at a level of the model."""


def labels_of(spec: ModelSpec, axes: tuple[str, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Every combination of the levels that a quantity runs over, with what its name is followed by."""
    named = level_names(spec, axes)
    # no reader of h5ad takes a slash in the name of a column; what has none keeps its name
    order = sorted(named, key=lambda level: "/" in named[level])
    shown = dict(zip(order, apart([named[level].replace("/", "|") for level in order]), strict=True))
    for level in named:
        yield level, f"[{shown[level]}]" if level else ""


def level_names(spec: ModelSpec, axes: tuple[str, ...]) -> dict[tuple[int, ...], str]:
    """Labels of every combination of the levels that a quantity runs over."""
    levels = [spec.levels[axis].labels for axis in axes if axis in spec.levels]
    numbers = np.ndindex(*(len(labels) for labels in levels))
    return {number: ", ".join(labels[i] for labels, i in zip(levels, number, strict=True)) for number in numbers}


def _level_slots(results: Results, counts: Counts, slots: Slots) -> dict[str, dict[str, Any]]:
    """Dataset and component of every cell, with the probabilities of all components."""
    spec, design = results.spec, results.posterior.design
    obs: dict[str, Any] = {}
    obsm: dict[str, Any] = {}
    if design.dataset is not None:
        obs[slots.dataset] = pd.Categorical.from_codes(design.dataset, list(spec.levels["dataset"].labels))
    if "component" in spec.levels:
        found = assign(results.posterior, counts)
        obs[slots.component] = pd.Categorical.from_codes(found.component, list(spec.levels["component"].labels))
        obsm[slots.responsibilities] = found.probabilities.astype(np.float32)
    if design.logits is not None:
        obsm[slots.logits] = design.logits
    return {"obs": obs, "obsm": obsm}


def _mean_capture(results: Results, slots: Mapping[str, Mapping[str, Any]], *, key: str) -> FloatArray:
    """Mean capture probability of all cells, by what those of every component and dataset add: (components, datasets).

    Cells count for their components by their responsibilities.
    """
    names, n_cells, lengths = Slots(key), results.n_cells, results.spec.lengths
    capture = slots["obs"].get(names.capture, np.ones(n_cells))
    component = slots["obsm"].get(names.responsibilities, np.ones((n_cells, 1)))
    dataset = np.eye(lengths.get("dataset", 1))[results.posterior.design.datasets(n_cells)]
    return np.einsum("c,ck,cd->kd", capture, component, dataset) / max(n_cells, 1)


def _read_design(
    adata: AnnData, slots: Slots, spec: ModelSpec, *, data: Mapping[str, Any], owned: Mapping[str, Sequence[str]]
) -> Design:
    dataset = None
    if "dataset" in spec.levels:
        if slots.dataset not in adata.obs:
            msg = f"adata.obs[{slots.dataset!r}] is missing, so the fit {slots.key!r} cannot be rebuilt: restore it."
            raise KeyError(msg)
        labels = list(spec.levels["dataset"].labels)
        dataset = np.asarray(pd.Categorical(adata.obs[slots.dataset], categories=labels).codes, np.int32)
    own = slots.logits in adata.obsm and slots.logits in owned.get("obsm", ())
    logits = np.asarray(adata.obsm[slots.logits]) if own else None
    some_genes = (
        "component" in spec.levels and adata.n_vars < int(data["n_genes"]) and slots.responsibilities in adata.obsm
    )
    responsibilities = np.asarray(adata.obsm[slots.responsibilities]) if some_genes else None
    level_cells = data.get("level_cells")
    return Design(dataset, logits, responsibilities, None if level_cells is None else np.asarray(level_cells))


def check_slots(adata: AnnData, key: str, spec: ModelSpec, design: Design) -> None:
    """Raise where a fit under ``key`` would replace what is not its own, before it is made."""
    check_free(adata, Slots(key).of_fit(spec, logits=design.logits is not None), key=key)


@dataclass(frozen=True)
class FitRecord:
    """All that is stored of a fit under a key: slots, attribute -> name -> value, and what ``uns[key]`` holds."""

    key: str
    slots: Mapping[str, Mapping[str, Any]]
    uns: Mapping[str, Any]


def fit_record(
    results: Results,
    counts: Counts,
    *,
    key: str,
    genes: pd.Index[str],
    layer: str | None,
    options: Mapping[str, Any],
) -> FitRecord:
    """Compute what is to be stored of a fit; ``genes`` are the names of the genes, ``options`` the keywords given."""
    names, summaries = Slots(key), results.get_summaries()
    results = thin_enough(results)
    placed, layout = _site_arrays(results.posterior)
    slots: dict[str, dict[str, Any]] = {
        "varm": {names.params: _gene_table(counts, summaries, results.posterior, index=genes)},
        "obs": {names.total: counts.totals},
        "obsm": {},
    }
    for attribute in ("varm", "obsm"):
        slots[attribute] |= {names.of(site): array for site, array in placed[attribute].items()}
    for attribute, named in _level_slots(results, counts, names).items():
        slots[attribute] |= named
    capture, cells = summaries.get("p_capture"), results.posterior.design.level_cells
    if capture is not None:
        slots["obs"] |= {names.capture: capture.mean, names.capture_sd: capture.sd}
    scalars = {}
    for name, summary in summaries.items():
        if not {"gene", "cell"} & set(results.spec.named_axes[name]):
            scalars[f"{name}_mean"], scalars[f"{name}_sd"] = summary.mean, summary.sd
    config = {
        "spec": json.loads(results.spec.to_json()),
        "engine": results.engine,
        "guide": results.posterior.guide.to_json(),
        "layout": layout,
        "layer": layer,
        "non_integer": options.get("non_integer", "warn"),
        "options": {name: repr(value) for name, value in options.items()},
        "slots": {attribute: sorted(values) for attribute, values in slots.items()},
    }
    uns = {
        "schema_version": SCHEMA_VERSION,
        "config": json.dumps(config),
        "sites": placed["uns"],
        "scalars": scalars,
        **results.record(),
        "seed": results.seed,
        "versions": _versions(),
        "data": {
            "source": counts.source,
            "n_cells": counts.n_cells,
            "n_genes": counts.n_genes,
            "var_names_sha256": hashlib.sha256("\n".join(map(str, genes)).encode()).hexdigest(),
            "integer": counts.integer,
            "capture": results.capture_identified,
            "mean_capture": _mean_capture(results, slots, key=key),
            **({} if cells is None else {"level_cells": cells}),
        },
    }
    return FitRecord(key, slots, clean_uns(uns, f"uns[{key!r}]"))


def write_fit(adata: AnnData, record: FitRecord) -> None:
    """Write a fit, replacing all slots that an earlier one under its key had."""
    check_target(adata, copy=False)
    check_key(adata, record.key)
    check_free(adata, record.slots, key=record.key)
    remove_fit(adata, record.key)
    write_slots(adata, {**record.slots, "uns": {record.key: record.uns}})


def read_fit(adata: AnnData, *, key: str = "scribe") -> Results:
    """Rebuild the results of a fit from its slots; genes and cells are those ``adata`` has now."""
    record = require(adata, key)
    names = {"gene": np.asarray(adata.var_names, object), "cell": np.asarray(adata.obs_names, object)}
    config = read_config(record, key)
    spec, (params, moments) = config.spec, _read_params(adata, key, config)
    with readable(f"adata.uns[{key!r}]", key=key):
        seed, data = int(record["seed"]), record["data"]
        all_genes, known = adata.n_vars == int(data["n_genes"]), from_record(record, config.engine)
    posterior = Posterior(
        spec,
        config.guide,
        params,
        n_genes=adata.n_vars,
        n_cells=adata.n_obs,
        design=replace(_read_design(adata, Slots(key), spec, data=data, owned=config.slots), known=moments),
        labels=names,
    )
    return results_class(config.engine)(
        posterior,
        **known,
        engine=config.engine,
        seed=seed,
        gene_names=names["gene"],
        cell_names=names["cell"],
        counts_source=counts_reader(
            adata,
            config.layer,
            non_integer=config.non_integer,
            totals=adata.obs.get(Slots(key).total),
            all_genes=all_genes,
        ),
    )


def _read_params(adata: AnnData, key: str, config: Config) -> tuple[dict[str, AnyArray], dict[str, Moments]]:
    """Arrays of the guide, and moments that an earlier fit left behind; none that is not finite is taken."""
    params: dict[str, AnyArray] = {}
    latents = {latent.name: latent.axes for latent in config.spec.latents}
    of_known = {latent_name(name): latent_name(name + KNOWN) for name in config.spec.informed}
    axes = {latent: config.spec.site(latent.removesuffix(LATENT_SUFFIX)).axes for latent in of_known}
    every = latents | {of_known[latent]: mine for latent, mine in axes.items()}
    for site, place in config.layout.items():
        attribute = place["slot"]
        if attribute == "uns":
            name, holder, where = site, adata.uns[key].get("sites", {}), f"adata.uns[{key!r}]['sites'][{site!r}]"
        else:
            name, holder = Slots(key).of(site), getattr(adata, attribute)
            where = f"adata.{attribute}[{name!r}]"
        if name not in holder:
            msg = (
                f"{where} is missing, so the fit {key!r} cannot be rebuilt. Restore it or "
                f"run scribe.tl.fit(adata, key_added={key!r}) again."
            )
            raise KeyError(msg)
        with readable(where, key=key):
            found = _of_site(np.asarray(holder[name]), site, place, every)
            wrong = [array for array, values in found.items() if not np.all(np.isfinite(values))]
            if wrong:
                msg = f"{', '.join(wrong)} holds values that are not finite"
                raise ValueError(msg)
        params |= found
    with readable(f"adata.uns[{key!r}]['config']", key=key):
        known = {role.latent for role in roles(params, config.spec.latents).values()}
        lacking = [latent.name for latent in config.spec.latents if latent not in known]
        lacking += [name for name in of_known.values() if f"{name}_loc" not in params or f"{name}_scale" not in params]
        if lacking:
            msg = f"layout lacks {', '.join(lacking)}"
            raise ValueError(msg)
    moments = {
        latent: Moments(axes[latent], params.pop(f"{name}_loc"), params.pop(f"{name}_scale"))
        for latent, name in of_known.items()
    }
    return params, moments


def _of_site(
    stacked: AnyArray, site: str, place: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]]
) -> dict[str, AnyArray]:
    """Undo `_site_arrays` for one slot."""
    if place["slot"] != "uns":
        mine = axes[latent_name(site)]
        stacked = np.moveaxis(stacked, 0, [axis in AXIS_SLOT for axis in mine].index(True))
    if "columns" not in place:
        return {site: stacked}
    parts = _split(stacked, place.get("more_axes", [[]] * len(place["columns"])))
    return {latent_name(site) + suffix: part for suffix, part in zip(place["columns"], parts, strict=True)}
