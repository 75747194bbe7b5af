"""The AnnData contract: what a fit writes survives files and subsetting, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from typing import Any

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scribe
from scribe._adata import fits, records

MODELS = [
    ("nbvcp", {}),
    ("nbvcp", {"parameterization": "mean_odds", "priors": {"organism": "human"}}),
    ("nbdm", {"parameterization": "mean_prob", "unconstrained": True}),
    ("zinbvcp", {"parameterization": "mean_disp"}),
    ("zip", {}),
]
IDS = ["nbvcp", "anchored", "nbdm", "zinbvcp", "zip"]


def digest(value: Any) -> Any:
    """Hash of any value an AnnData holds, mappings key by key."""
    if hasattr(value, "items") and not isinstance(value, pd.DataFrame | pd.Series):
        return {name: digest(item) for name, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return {str(name): digest(column) for name, column in value.items()} | {"index": digest(value.index)}
    if sparse.issparse(value):
        value = np.concatenate([value.data, value.indices, value.indptr])
    if isinstance(value, pd.Series | pd.Index):
        value = np.asarray(value.astype(str))
    array = np.asarray(value)
    data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return str(array.dtype) + str(array.shape) + hashlib.sha1(data).hexdigest()


def fingerprint(adata: ad.AnnData) -> dict[str, Any]:
    """Hashes of all slots; attribute -> slot -> hash."""
    found = {"X": {"X": digest(adata.X)}, "obs": digest(adata.obs), "var": digest(adata.var), "uns": digest(adata.uns)}
    for attribute in ("layers", "obsm", "varm", "obsp", "varp"):
        found[attribute] = digest(getattr(adata, attribute))
    if adata.raw is not None:
        found["raw"] = {"X": digest(adata.raw.X), "var": digest(adata.raw.var)}
    return found


def busy(adata: ad.AnnData) -> ad.AnnData:
    """The same data with something of the user's own in every slot."""
    out = ad.AnnData(adata.X.copy(), obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
    n, g = out.shape
    out.raw = out.copy()
    out.layers["counts"] = out.X.copy()
    out.obs["batch"] = pd.Categorical(["a", "b"] * (n // 2) + ["a"] * (n % 2))
    out.var["chromosome"] = ["1"] * g
    out.obsm["X_pca"], out.varm["PCs"] = np.ones((n, 2)), np.ones((g, 2))
    out.obsp["distances"], out.varp["correlations"] = sparse.eye(n, format="csr"), np.eye(g)
    out.uns["neighbors"] = {"params": {"n": 5}, "list": np.arange(3)}
    return out


def only_scribe(before: dict[str, Any], after: dict[str, Any], key: str) -> set[str]:
    """Slots that were added, all under ``key``; everything there was must be as it was."""
    added = set()
    for attribute, named in after.items():
        assert {name: named[name] for name in before[attribute]} == before[attribute], attribute
        new = set(named) - set(before[attribute])
        assert all(name == key or name.startswith(f"{key}_") for name in new), (attribute, new)
        added |= {f"{attribute}:{name}" for name in new}
    return added


def quick(adata: ad.AnnData, **options: Any) -> ad.AnnData | None:
    """A fit of a few steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        return scribe.tl.fit(adata, **{"n_steps": 12, "early_stopping": False} | options)


def same_posterior(first: scribe.ScribeSVIResults, second: scribe.ScribeSVIResults) -> None:
    assert first.spec == second.spec
    assert set(first.params) == set(second.params)
    for name, value in first.params.items():
        assert value.dtype == second.params[name].dtype
        np.testing.assert_array_equal(value, second.params[name])


@pytest.mark.parametrize(("model", "options"), MODELS, ids=IDS)
def test_posterior_survives_files_bit_for_bit(made_fit, through_file, model, options):
    adata = made_fit(model, **options)
    back = through_file(adata)
    before, after = scribe.get.results(adata), scribe.get.results(back)
    same_posterior(before, after)
    assert after.verdict == before.verdict
    assert after.seed == before.seed == 7
    np.testing.assert_array_equal(after.loss_history, before.loss_history)
    assert list(after.gene_names) == list(adata.var_names)
    drawn, again = before.get_posterior_samples(4, rng=1), after.get_posterior_samples(4, rng=1)
    assert set(drawn) == set(again)
    for name, value in drawn.items():
        np.testing.assert_array_equal(value, again[name])
    pd.testing.assert_frame_equal(scribe.get.params(back), scribe.get.params(adata), check_names=False)


@pytest.mark.parametrize(("model", "options"), MODELS, ids=IDS)
def test_subsetting_the_object_subsets_the_posterior(made_fit, model, options):
    adata = made_fit(model, **options)
    results = scribe.get.results(adata)
    genes, cells = ["gene7", "gene2", "gene11"], np.arange(30) % 3 == 0
    same_posterior(scribe.get.results(adata[:, genes]), results[genes])
    same_posterior(scribe.get.results(adata[cells]), results.cells(cells))
    both = scribe.get.results(adata[cells, genes].copy())
    same_posterior(both, results[genes].cells(cells))
    assert (both.n_cells, both.n_genes) == (10, 3)
    np.testing.assert_array_equal(both.counts().rows(slice(None)), adata[cells, genes].X.toarray())


def test_slots_and_record(made_fit):
    adata = made_fit("zinbvcp", parameterization="mean_odds")
    table = adata.varm["scribe_params"]
    assert list(table.index) == list(adata.var_names)
    named = {"mu", "r", "gate"}
    assert set(table) == {f"{n}_{s}" for n in named for s in ("mean", "sd")} | {"observed_mean", "status"}
    np.testing.assert_allclose(table["observed_mean"], adata.X.toarray().mean(0), rtol=1e-6)
    np.testing.assert_array_equal(adata.obs["scribe_total"], adata.X.toarray().sum(1))
    assert adata.varm["scribe_mu"].shape == (12, 2)
    assert adata.obsm["scribe_phi_capture"].shape == (30, 2)
    assert ((adata.obs["scribe_capture"] > 0) & (adata.obs["scribe_capture"] < 1)).all()
    record = adata.uns["scribe"]
    assert set(record) == {
        *("config", "convergence", "data", "loss", "scalars", "schema_version", "seed", "sites", "versions")
    }
    assert set(record["scalars"]) == {f"{n}_{s}" for n in ("p", "phi") for s in ("mean", "sd")}
    assert set(record["sites"]) == {"phi"}
    assert record["data"]["capture"] == "relative"
    names = "\n".join(adata.var_names).encode()
    assert record["data"]["var_names_sha256"] == hashlib.sha256(names).hexdigest()
    assert record["schema_version"] == records.SCHEMA_VERSION
    assert {"jax", "numpyro", "anndata", "scribe-bayes"} == set(record["versions"])
    assert made_fit("nbvcp", priors={"organism": "human"}).uns["scribe"]["data"]["capture"] == "absolute"
    assert made_fit("nbdm").uns["scribe"]["data"]["capture"] == "none"


@pytest.mark.loose_promotion
def test_all_zero_genes_stay_in_the_table():
    adata = scribe.datasets.simulate(20, 6)
    adata.X = sparse.csr_matrix(adata.X.toarray() * (np.arange(6) != 2))
    with pytest.warns(scribe._counts.checks.CountsWarning, match="gene2"):
        quick(adata)
    table = scribe.get.params(adata)
    assert list(table["status"]) == ["ok", "ok", "all zero", "ok", "ok", "ok"]


def test_files_hold_no_nulls(small_check, tmp_path):
    """Such a file cannot be opened by anndata 0.11."""
    small_check.write_h5ad(tmp_path / "a.h5ad")
    kinds = set()

    def visit(_: str, node: h5py.Group | h5py.Dataset) -> None:
        kinds.add(node.attrs.get("encoding-type", "absent"))

    with h5py.File(tmp_path / "a.h5ad") as file:
        file.visititems(visit)
    assert "dict" in kinds
    assert "null" not in kinds


def test_mudata(small_check, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        mdata = md.MuData({"rna": small_check.copy(), "other": ad.AnnData(np.ones((3, 2), np.float32))})
        mdata.write_h5mu(tmp_path / "a.h5mu")
        back = md.read_h5mu(tmp_path / "a.h5mu")
    same_posterior(scribe.get.results(back["rna"]), scribe.get.results(small_check))


@pytest.mark.loose_promotion
def test_nothing_else_changes_and_two_fits_coexist(small_counts, tmp_path):
    adata = busy(small_counts)
    start = fingerprint(adata)
    quick(adata)
    first = fingerprint(adata)
    added = only_scribe(start, first, "scribe")
    assert added >= {"uns:scribe", "varm:scribe_params", "obs:scribe_capture", "obsm:scribe_p_capture"}
    quick(adata, model="zinb", layer="counts", key_added="other")
    only_scribe(first, fingerprint(adata), "other")
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    for key, capture in (("scribe", "relative"), ("other", "none")):
        same_posterior(scribe.get.results(back, key=key), scribe.get.results(adata, key=key))
        assert scribe.get.results(back, key=key).capture_identified == capture


@pytest.mark.loose_promotion
def test_refit_leaves_no_stale_slot(small_counts):
    adata = busy(small_counts)
    start = fingerprint(adata)
    quick(adata)
    scribe.tl.denoise(adata, sd=True, n_samples=2)
    scribe.tl.denoise(adata, genes=list(adata.var_names[:2]), n_samples=2, key_added="some")
    scribe.tl.ppc(adata, n_samples=3)
    quick(adata, model="poisson")
    added = only_scribe(start, fingerprint(adata), "scribe")
    assert added == {"uns:scribe", "varm:scribe_params", "varm:scribe_mu", "obs:scribe_total"}


def fail(*args: Any, **kwargs: Any) -> None:
    raise FloatingPointError("injected")


@pytest.mark.loose_promotion
@pytest.mark.parametrize(
    ("owner", "name", "replacement", "message"),
    [
        (scribe.engines.SVI, "fit", fail, "injected"),
        (scribe.ScribeSVIResults, "get_summaries", fail, "injected"),
        (fits, "_versions", lambda: {"jax": None}, r"uns\['scribe'\].* cannot be stored"),
    ],
)
@pytest.mark.parametrize("earlier", [True, False], ids=["refit", "first"])
def test_failures_write_nothing(small_counts, small_fit, monkeypatch, owner, name, replacement, message, earlier):
    adata = small_fit.copy() if earlier else busy(small_counts)
    start = fingerprint(adata)
    monkeypatch.setattr(owner, name, replacement)
    with pytest.raises((FloatingPointError, TypeError), match=message):
        quick(adata)
    assert fingerprint(adata) == start


@pytest.mark.loose_promotion
def test_copy(small_counts):
    adata = small_counts.copy()
    start = fingerprint(adata)
    other = quick(adata, copy=True)
    assert fingerprint(adata) == start
    assert "scribe" in other.uns
    assert quick(adata) is None
    same_posterior(scribe.get.results(adata), scribe.get.results(other))


@pytest.mark.loose_promotion
def test_views_become_copies_and_say_so(small_counts, caplog):
    parent = busy(small_counts[:, :40].copy())
    start = fingerprint(parent)
    view = parent[:60]
    with caplog.at_level(logging.WARNING, "scribe"):
        quick(view)
    assert "received a view of an AnnData: making a copy" in caplog.text
    assert not view.is_view
    assert fingerprint(parent) == start
    assert scribe.get.results(view).n_cells == 60


@pytest.mark.loose_promotion
def test_backed_objects_are_fitted_and_their_views_refused(small_counts, tmp_path):
    small_counts.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for verb in (quick, scribe.tl.denoise, scribe.tl.ppc):
        with pytest.raises(ValueError, match=r"is a view of a file on disk: load it with adata = adata.to_memory\(\)"):
            verb(backed[:10])
        with pytest.raises(ValueError, match=r"backed by a file, so that copy=True needs another: load it with"):
            verb(backed, copy=True)
    quick(backed)
    inside = small_counts.copy()
    quick(inside)
    same_posterior(scribe.get.results(backed), scribe.get.results(inside))
    backed.file.close()


def test_keys(small_fit):
    adata = small_fit.copy()
    start = fingerprint(adata)
    for key in ("a/b", ""):
        with pytest.raises(ValueError, match=rf"key_added={key!r} must be a name without '/'"):
            quick(adata, key_added=key)
    adata.uns["log1p"] = {"base": 2}
    with pytest.raises(ValueError, match=r"adata.uns\['log1p'\] is taken by something else"):
        quick(adata, key_added="log1p")
    del adata.uns["log1p"]
    assert fingerprint(adata) == start


def test_missing_and_broken_fits(small_fit):
    adata = small_fit.copy()
    with pytest.raises(
        KeyError, match=r"No fit under adata.uns\['scribee'\]. Did you mean 'scribe'.*tl.fit\(adata, key"
    ):
        scribe.get.results(adata, key="scribee")
    with pytest.raises(KeyError, match=r"Fits found: 'scribe'"):
        scribe.get.params(adata, key="zzz")
    del adata.varm["scribe_r"]
    with pytest.raises(KeyError, match=r"adata.varm\['scribe_r'\] is missing, so the fit 'scribe' cannot be rebuilt"):
        scribe.get.results(adata)
    adata.uns["scribe"]["schema_version"] = 99
    with pytest.raises(ValueError, match=r"written by a newer scribe \(schema 99, this one reads up to 1\)"):
        scribe.get.results(adata)


def test_no_verb_replaces_the_result_of_another(small_fit):
    adata = small_fit.copy()
    scribe.tl.denoise(adata, n_samples=0)
    scribe.tl.gof(adata, n_samples=0)
    for place in ("scribe_denoised", "scribe_gof"):
        with pytest.raises(ValueError, match=rf"'{place}'\] is taken by another result of the fit 'scribe'"):
            scribe.tl.normalize(adata, n_samples=0, layer=False, key_added=place)
    assert "scribe_denoised" in adata.layers
    scribe.tl.normalize(adata, n_samples=2, layer=False, target_sum=1e6, key_added="other")
    scribe.tl.normalize(adata, n_samples=2)
    np.testing.assert_allclose(adata.varm["other_composition"]["share_mean"].sum(), 1e6, rtol=1e-5)
    np.testing.assert_allclose(adata.varm["scribe_composition"]["share_mean"].sum(), 1e4, rtol=1e-5)
    with pytest.raises(ValueError, match=r"layers\['scribe_normalized'\] was computed .* by scribe.tl.normalize"):
        scribe.tl.fit(adata, layer="scribe_normalized", n_steps=2)
    with pytest.raises(
        KeyError, match=r"No result of scribe.tl.de in adata.uns\['scribe_gof'\]. Run scribe.tl.de\(adata\) first"
    ):
        scribe.get.de(adata, key_added="scribe_gof")
    adata.varm["mine_composition"] = np.ones((adata.n_vars, 1))
    with pytest.raises(ValueError, match=r"varm\['mine_composition'\] is taken by something else"):
        scribe.tl.normalize(adata, n_samples=0, layer=False, key_added="mine")
    for verb in (scribe.tl.normalize, scribe.tl.split_counts):
        with pytest.raises(ValueError, match="key_added='a/b' must be a name without '/'"):
            verb(adata, key_added="a/b")


def test_slots_in_the_way_of_a_derived_result(small_fit):
    adata = small_fit.copy()
    adata.uns["scribe_denoised"] = "mine"
    with pytest.raises(ValueError, match=r"adata.uns\['scribe_denoised'\] is taken by something else"):
        scribe.tl.denoise(adata, n_samples=0)


def test_counts_of_the_fit_are_recognised(small_fit):
    adata = small_fit.copy()
    adata.X = adata.X * 2
    with pytest.raises(
        ValueError, match=r"X no longer holds the counts of the fit: 150 of 150 cells have other totals"
    ):
        scribe.get.results(adata).counts()
    with pytest.raises(ValueError, match="Were they normalised"):
        scribe.get.results(adata[:, :5]).log_likelihood(n_samples=0)
    fewer = scribe.get.results(small_fit[:, :5]).counts()
    assert fewer.shape == (150, 5)


@pytest.mark.loose_promotion
def test_rounded_counts_are_rounded_again():
    adata = scribe.datasets.simulate(30, 8)
    adata.X.data += 0.25
    quick(adata, non_integer="round")
    counts = scribe.get.results(adata).counts()
    assert counts.integer
    np.testing.assert_array_equal(counts.rows(slice(None)), np.rint(adata.X.toarray()))


def test_configuration_is_one_string(small_fit):
    config = json.loads(small_fit.uns["scribe"]["config"])
    assert config["spec"]["layers"] == ["nb", "with_capture"]
    assert config["layer"] is None
    assert config["options"] == {"early_stopping": "False", "n_steps": "300"}
    assert scribe.get.results(small_fit).spec.to_json() == json.dumps(config["spec"])


@pytest.mark.loose_promotion
@pytest.mark.parametrize(
    ("attribute", "slot", "options"),
    [
        ("obs", "scribe_total", {}),
        ("obs", "scribe_capture", {}),
        ("obs", "scribe_capture_sd", {}),
        ("obs", "scribe_component", {"n_components": 2}),
        ("obs", "scribe_dataset", {"dataset_key": "half", "dataset_params": "mean"}),
        ("varm", "scribe_params", {}),
        ("varm", "scribe_r", {}),
        ("obsm", "scribe_p_capture", {}),
        ("obsm", "scribe_responsibilities", {"n_components": 2}),
        ("obsm", "scribe_annotation_logits", {"annotation_key": "half"}),
        ("varm", "mine_mu", {"key_added": "mine", "parameterization": "mean_disp"}),
    ],
)
def test_slots_of_the_user_are_refused_before_anything_is_fitted(small_counts, monkeypatch, attribute, slot, options):
    adata = small_counts[:, :6].copy()
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    n = {"obs": (adata.n_obs,), "varm": (adata.n_vars, 2), "obsm": (adata.n_obs, 2)}[attribute]
    getattr(adata, attribute)[slot] = np.ones(n)
    start = fingerprint(adata)
    with monkeypatch.context() as patch:
        patch.setattr("scribe.engines.SVI.fit", None)
        with pytest.raises(ValueError, match=rf"adata.{attribute}\['{slot}'\] is taken by something else"):
            quick(adata, **options)
    assert fingerprint(adata) == start


@pytest.mark.loose_promotion
def test_what_a_fit_does_not_write_may_be_there(small_counts):
    adata = small_counts[:, :6].copy()
    adata.obs["scribe_component"] = adata.obs["scribe_notes"] = "mine"
    adata.obsm["scribe_annotation_logits"] = np.ones((adata.n_obs, 2))
    quick(adata, n_steps=2)
    assert set(adata.obs["scribe_component"]) == {"mine"}
    assert scribe.get.results(adata).posterior.design.logits is None
    quick(adata, n_steps=2)  # its own slots it replaces
    assert set(adata.obs["scribe_component"]) == {"mine"}
    with pytest.raises(ValueError, match="is taken by something else"):
        quick(adata, n_steps=2, n_components=2)


@pytest.mark.parametrize(
    ("verb", "attribute", "slot", "options"),
    [
        ("ppc", "var", "scribe_ppc_mean_p", {"n_samples": 3, "n_genes": 2}),
        ("ppc", "varm", "scribe_ppc", {"n_samples": 3, "n_genes": 2}),
        ("gof", "obs", "scribe_gof_variance", {"n_samples": 0}),
        ("denoise", "layers", "scribe_denoised", {"n_samples": 0}),
        ("denoise", "layers", "scribe_denoised_sd", {"n_samples": 0, "sd": True}),
        ("denoise", "obsm", "scribe_denoised", {"n_samples": 0, "genes": "CD74"}),
        ("normalize", "layers", "scribe_normalized", {"n_samples": 0}),
        ("normalize", "varm", "scribe_composition", {"n_samples": 0, "layer": False}),
    ],
)
def test_no_verb_replaces_what_is_not_its_own(small_fit, verb, attribute, slot, options):
    adata, run = small_fit.copy(), getattr(scribe.tl, verb)
    n, g = adata.shape
    of_user = {"var": np.zeros(g), "obs": np.zeros(n), "varm": np.zeros((g, 1)), "obsm": np.zeros((n, 1))}
    getattr(adata, attribute)[slot] = of_user.get(attribute, adata.X)
    start = fingerprint(adata)
    with pytest.raises(ValueError, match=rf"adata.{attribute}\['{slot}'\] is taken by something else"):
        run(adata, **options)
    assert fingerprint(adata) == start
    del getattr(adata, attribute)[slot]
    run(adata, **options)
    run(adata, **options)
