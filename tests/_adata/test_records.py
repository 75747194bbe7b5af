"""Records of fits that were damaged or made to do harm: nothing of the user's is lost, one error says what is wrong."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pytest

import scribe

CRAFTED = {
    "obs": ["precious", "scribe_mine", "scribe_2_total"],
    "layers": ["counts"],
    "uns": ["notes", "scribe_2"],
    "varm": ["PCs", "scribe_2_mu"],
    "X": ["n"],
}


def quick(adata: ad.AnnData, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, **{"n_steps": 12, "early_stopping": False} | options)


def edit(record: dict[str, Any], change: Callable[[dict[str, Any]], object], name: str = "config") -> None:
    """Change the JSON text in a record."""
    found = json.loads(record[name])
    change(found)
    record[name] = json.dumps(found)


@pytest.fixture
def fitted(small_fit: ad.AnnData) -> ad.AnnData:
    """A fit beside things of the user's, and beside slots of another fit."""
    adata = small_fit.copy()
    adata.obs["precious"], adata.obs["scribe_mine"], adata.obs["scribe_2_total"] = 1.0, 2.0, 3.0
    adata.layers["counts"], adata.uns["notes"] = adata.X.copy(), "keep"
    adata.varm["PCs"], adata.varm["scribe_2_mu"] = np.ones((2, adata.n_vars, 2))
    adata.uns["scribe_2"] = {"of": "another fit"}
    return adata


def kept(adata: ad.AnnData) -> bool:
    there = (name in getattr(adata, a) for a, names in CRAFTED.items() if a != "X" for name in names)
    return all(there) and adata.X is not None


@pytest.mark.loose_promotion
@pytest.mark.parametrize(
    "change", [dict.update, lambda slots, more: [slots.setdefault(n, []).extend(more[n]) for n in more]]
)
def test_a_refit_deletes_only_what_fits_are_named(fitted, change):
    edit(fitted.uns["scribe"], lambda config: change(config["slots"], CRAFTED))
    assert "scribe_capture" in fitted.obs
    quick(fitted, model="poisson")
    assert kept(fitted)
    assert "scribe_capture" not in fitted.obs
    assert "scribe_r" not in fitted.varm


@pytest.mark.parametrize("place", ["scribe_gof", "mine"])
@pytest.mark.loose_promotion
def test_nor_do_results_of_a_fit(fitted, place):
    crafted = {"derived_from": "scribe", "kind": "gof", "slots": json.dumps(CRAFTED | {"obs": ["precious"]})}
    fitted.uns[place] = crafted
    quick(fitted, model="poisson")
    assert kept(fitted)
    assert place not in fitted.uns


@pytest.mark.loose_promotion
def test_what_a_file_claims_is_not_replaced_either(fitted):
    """A slot that no fit of this model can have made is the user's."""
    edit(fitted.uns["scribe"], lambda config: config["slots"]["obs"].append("scribe_gof_ks"))
    fitted.obs["scribe_gof_ks"] = "mine"
    with pytest.raises(ValueError, match=r"adata.obs\['scribe_gof_ks'\] is taken by something else"):
        scribe.tl.gof(fitted, n_samples=0)


DAMAGE = {
    "no JSON": lambda record: record.update(config="{"),
    "no mapping": lambda record: record.update(config="[1]"),
    "bytes": lambda record: record.update(config=3.5),
    "no config": lambda record: record.pop("config"),
    "unknown field": lambda record: edit(record, lambda c: c.update(more=1)),
    **{f"no {n}": lambda record, n=n: edit(record, lambda c: c.pop(n)) for n in ("spec", "guide", "layout", "slots")},
    "spec": lambda record: edit(record, lambda c: c.update(spec=[1])),
    "layers": lambda record: edit(record, lambda c: c["spec"].update(layers=["nobody"])),
    "priors": lambda record: edit(record, lambda c: c["spec"].update(priors=None)),
    "engine": lambda record: edit(record, lambda c: c.update(engine="steam")),
    "layout": lambda record: edit(record, lambda c: c.update(layout={"r": {"slot": "obsp"}})),
    "no array": lambda record: edit(record, lambda c: c["layout"].pop("r")),
    "layer": lambda record: edit(record, lambda c: c.update(layer=3)),
    "slots": lambda record: edit(record, lambda c: c.update(slots={"obs": "scribe_total"})),
    "non_integer": lambda record: edit(record, lambda c: c.update(non_integer="guess")),
    "deep": lambda record: record.update(config="[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.loose_promotion
def test_a_damaged_configuration_is_one_clear_error(fitted, damage):
    DAMAGE[damage](fitted.uns["scribe"])
    error = r"adata.uns\['scribe'\]\['config'\] cannot be read .*restore it from the original file.*choose another key"
    with pytest.raises(ValueError, match=error):
        scribe.get.results(fitted)
    with pytest.raises(ValueError, match=error):
        scribe.tl.gof(fitted, n_samples=0)
    if damage not in ("no config", "no array"):
        with pytest.raises(ValueError, match=error):
            quick(fitted)
    assert kept(fitted)
    quick(fitted, key_added="anew", model="poisson")


@pytest.mark.loose_promotion
def test_other_damaged_records(fitted):
    fitted.uns["scribe_gof"] = {"derived_from": "scribe", "kind": "gof", "slots": "{"}
    with pytest.raises(ValueError, match=r"adata.uns\['scribe_gof'\]\['slots'\] cannot be read"):
        quick(fitted)
    del fitted.uns["scribe_gof"]
    for name, value in (("seed", "x"), ("data", 1.0), ("convergence", {"odd": 1})):
        broken = fitted.copy()
        broken.uns["scribe"][name] = value
        with pytest.raises(ValueError, match=r"adata.uns\['scribe'\] cannot be read"):
            scribe.get.results(broken)
    fitted.uns["scribe"]["schema_version"] = "new"
    with pytest.raises(ValueError, match=r"\['schema_version'\] cannot be read"):
        scribe.get.results(fitted)


VERBS = {
    "denoise": lambda adata: scribe.tl.denoise(adata, n_samples=0),
    "gof": lambda adata: scribe.tl.gof(adata, n_samples=0),
    "ppc": lambda adata: scribe.tl.ppc(adata, n_samples=2),
    "normalize": lambda adata: scribe.tl.normalize(adata, n_samples=0),
    "resume": lambda adata: quick(adata, resume=True),
    "compare": lambda adata: scribe.tl.compare_models(adata, ["scribe"]),
    "posterior": lambda adata: scribe.pl.posterior(adata, show=False),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("slot", [("varm", "scribe_r"), ("obsm", "scribe_p_capture"), ("uns", "p")], ids=lambda s: s[1])
@pytest.mark.loose_promotion
def test_arrays_that_are_not_finite_are_refused(fitted, slot, value):
    attribute, name = slot
    holder = fitted.uns["scribe"]["sites"] if attribute == "uns" else getattr(fitted, attribute)
    if name not in holder:
        name = next(iter(holder))
    array = np.array(holder[name], float)
    array.ravel()[-1] = value
    holder[name] = array
    for call in VERBS.values():
        with pytest.raises(ValueError, match=rf"\['{name}'\] cannot be read .* not finite"):
            call(fitted)


def test_misshapen_arrays_are_refused(fitted):
    fitted.varm["scribe_r"] = np.asarray(fitted.varm["scribe_r"])[:, :1]
    with pytest.raises(ValueError, match=r"adata.varm\['scribe_r'\] cannot be read"):
        scribe.get.results(fitted)


@pytest.mark.parametrize("key", [None, 3, "", "a/b"])
@pytest.mark.loose_promotion
def test_keys_are_names(fitted, key):
    for call in (
        lambda: quick(fitted, key_added=key),
        lambda: scribe.tl.split_counts(fitted, key_added=key),
        lambda: scribe.tl.compare_models(fitted, ["scribe"], key_added=key),
    ):
        with pytest.raises(ValueError, match=rf"key_added={key!r} must be a name without '/'"):
            call()
    with pytest.raises(ValueError, match=rf"key={key!r} must be a name without '/'"):
        scribe.tl.gof(fitted, key=key)
