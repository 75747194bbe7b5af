"""Differential expression from the call to the table: truth of simulations, groups that a fit knows or not, files."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

import scribe
from scribe._counts.checks import CountsWarning

pytestmark = pytest.mark.loose_promotion

N_CELLS, N_GENES, N_UP = 320, 60, 6
MEANS = {"dataset_params": "mean", "parameterization": "mean_disp"}
QUICK = {"n_steps": 300, "early_stopping": False}
CELLS = pytest.warns(UserWarning, match=r"without sample_key: errors are those of these cells")


def quiet_fit(adata: ad.AnnData, **options) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        warnings.simplefilter("ignore", CountsWarning)
        scribe.tl.fit(adata, **{**QUICK, **options})
    return adata


@pytest.fixture(scope="module")
def truth() -> ad.AnnData:
    """Two conditions of four donors each: six genes are up by a factor of four, six down; donors vary by 20 %."""
    rng = np.random.default_rng(0)
    log_mean = rng.normal(1.0, 1.0, N_GENES)
    effect = np.zeros(N_GENES)
    effect[:N_UP], effect[N_UP : 2 * N_UP] = np.log(4), -np.log(4)
    donor = np.repeat(np.arange(8), N_CELLS // 8)
    treated = donor % 2 == 0
    logs = log_mean + np.where(treated[:, None], effect, 0.0) + rng.normal(0, 0.2, (8, N_GENES))[donor]
    depth = rng.lognormal(0, 0.3, (N_CELLS, 1))
    counts = rng.poisson(rng.gamma(2.0, depth * np.exp(logs) / 2.0)).astype(np.float32)
    counts[:, -1] = 0
    obs = pd.DataFrame(
        {
            "condition": pd.Categorical(np.where(treated, "treated", "control")),
            "donor": [f"d{d}" for d in donor],
            "pair": [f"p{d // 2}" for d in donor],
            "type": np.where(np.arange(N_CELLS) % 3 == 0, "T/cell", "B"),
            "some": pd.Categorical(np.where(np.arange(N_CELLS) < 50, None, np.where(treated, "x", "y"))),
        },
        index=[f"c{i}" for i in range(N_CELLS)],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))
    adata.uns["effect"] = effect
    return adata


@pytest.fixture(scope="module")
def known(truth) -> ad.AnnData:
    """A fit that tells the conditions apart, and its comparison."""
    adata = quiet_fit(truth.copy(), dataset_key="condition", **MEANS)
    with CELLS:
        scribe.tl.de(adata, "condition", group="treated", reference="control")
    return adata


def slots(adata: ad.AnnData) -> dict[str, list[str]]:
    return {name: sorted(getattr(adata, name)) for name in ("obs", "var", "obsm", "varm", "layers", "uns")}


def test_effects_are_found_with_sign_size_and_interval(truth, known) -> None:
    table, effect = scribe.get.de(known), truth.uns["effect"] / np.log(2)
    assert list(table["names"]) == list(truth.var_names)
    assert set(table["group"]) == {"treated"}
    changed = np.abs(effect) > 0
    assert table["is_de"][changed].all()
    # donors vary, which a comparison of cells takes for effects: those are small
    np.testing.assert_allclose(table["lfc_mean"][changed], effect[changed], atol=0.6)
    assert (table["lfc_q05"] <= table["lfc_q95"])[:-1].all()
    assert set(table["level"]) == {"cell"}
    assert table["status"].iloc[-1] == "no counts"
    assert table.iloc[-1][["lfc_mean", "lfsr", "pefp"]].isna().all()
    assert not table["is_de"].iloc[-1]
    np.testing.assert_allclose(table["prob_de"], np.maximum(table["prob_up"], table["prob_down"]))


def test_turning_groups_round_turns_signs_round(known) -> None:
    there = scribe.get.de(known)
    adata = known.copy()
    with CELLS:
        scribe.tl.de(adata, "condition", group="control", reference="treated")
    back = scribe.get.de(adata)
    for column, other in (("lfc_mean", "lfc_mean"), ("lfc_q05", "lfc_q95")):
        np.testing.assert_allclose(back[column], -there[other], atol=1e-3)
    np.testing.assert_allclose(back["prob_up"], there["prob_down"], atol=1e-3)
    np.testing.assert_allclose(back["mean_group"], there["mean_reference"], rtol=1e-5)
    np.testing.assert_allclose(back["lfsr"], there["lfsr"], atol=1e-3)


def test_a_fit_that_knows_no_groups_is_made_again_for_them(truth, known) -> None:
    """For the cells that have a group; nothing but the result is kept."""
    adata = quiet_fit(truth.copy(), n_steps=20)
    before = slots(adata)
    with CELLS, pytest.warns(UserWarning, match=r"\d+ of \d+ cells have no value in adata.obs\['some'\]"):
        scribe.tl.de(adata, "some", group="x", reference="y")
    after = slots(adata)
    assert set(after["uns"]) - set(before["uns"]) == {"scribe_de"}
    assert {name: after[name] for name in after if name != "uns"} == {n: before[n] for n in before if n != "uns"}
    mine, other = scribe.get.de(adata), scribe.get.de(known)
    np.testing.assert_allclose(mine["lfc_mean"][:-1], other["lfc_mean"][:-1], atol=0.6)
    assert mine["is_de"][: 2 * N_UP].all()
    assert "dataset" not in scribe.get.results(adata).spec.levels


def test_samples_are_the_unit_with_sample_key(truth, known) -> None:
    adata = quiet_fit(
        truth.copy(), dataset_key=["donor", "condition"], dataset_params="mean", parameterization="mean_disp"
    )
    scribe.tl.de(adata, "condition", group="treated", reference="control", sample_key="donor", method="empirical")
    by_sample = scribe.get.de(adata)
    assert by_sample.loc[0, ["level", "replicates", "relative_to"]].tolist() == ["sample", "4 vs 4", "unchanged"]
    with CELLS:
        scribe.tl.de(adata, "condition", group="treated", reference="control", method="empirical", key_added="cells")
    by_cell = scribe.get.de(adata, key_added="cells")
    effect = truth.uns["effect"]
    null = (effect == 0) & (by_sample["status"] == "ok")
    assert np.median(by_sample["lfc_sd"][null] / by_cell["lfc_sd"][null]) > 1.3
    assert np.mean(by_sample["lfsr"][null] < 0.025) < 0.15
    assert by_sample["is_de"][effect != 0].all()
    assert {"scribe_de", "cells"} <= set(adata.uns)


def test_samples_with_the_same_label_are_pairs(truth) -> None:
    adata = quiet_fit(
        truth.copy(), dataset_key=["pair", "condition"], dataset_params="mean", parameterization="mean_disp"
    )
    adata = adata[~((adata.obs["pair"] == "p3") & (adata.obs["condition"] == "control"))].copy()
    with pytest.warns(
        UserWarning, match=r"1 of 4 samples have some of the groups only .*: p3\. To compare all samples without pairs"
    ):
        scribe.tl.de(adata, "condition", group="treated", reference="control", sample_key="pair")
    assert scribe.get.de(adata)["is_de"][: 2 * N_UP].mean() > 0.5
    assert set(scribe.get.de(adata)["replicates"]) == {"3 pairs"}


def test_of_cells_the_default_is_draws(known) -> None:
    adata = known.copy()
    about = {"group": "treated", "reference": "control", "estimand": "cell"}
    with CELLS:
        scribe.tl.de(adata, "condition", **about)
    with CELLS:
        scribe.tl.de(adata, "condition", key_added="drawn", method="empirical", **about)
    params = adata.uns["scribe_de"]["params"]
    assert (params["method"], params["n_samples"], params["n_genes_pooled"]) == ("empirical", 1000, 0)
    table = scribe.get.de(adata)
    pd.testing.assert_frame_equal(table, scribe.get.de(adata, key_added="drawn"))
    assert table.attrs == {"positive": "higher in group than in reference", "unit": "log2 fold change"}
    with CELLS:
        scribe.tl.de(adata, "condition", group="control", reference="treated", estimand="cell")
    np.testing.assert_allclose(scribe.get.de(adata)["lfc_mean"], -table["lfc_mean"], atol=1e-4)
    for values, method in ((scribe.get.de(adata), "empirical"), (scribe.get.de(known), "shrinkage")):
        assert np.nanmin(values["lfsr"]) > 0, method


def test_samples_are_counted_before_anything_is_fitted(truth, monkeypatch) -> None:
    few = quiet_fit(truth[truth.obs["donor"].isin(["d0", "d1", "d3"])].copy(), n_steps=5)
    monkeypatch.setattr("scribe._compare.by_obs.fit_counts", None)
    with pytest.raises(ValueError, match=r"Group 'treated' has 1 sample"):
        scribe.tl.de(few, "condition", group="treated", reference="control", sample_key="donor")


def test_partial_pairs_are_told_how_to_become_whole(truth, monkeypatch) -> None:
    """Both remedies, complete pairs and names of their own, come before a comparison of cells."""
    few = truth[(truth.obs["pair"].isin(["p0"])) | (truth.obs["condition"] == "treated")].copy()
    few = quiet_fit(few, n_steps=5)
    monkeypatch.setattr("scribe._compare.by_obs.fit_counts", None)
    with pytest.raises(ValueError, match=r"has 1 pair of samples, and 3 samples have some of the groups only") as error:
        scribe.tl.de(few, "condition", group="treated", reference="control", sample_key="pair")
    said = str(error.value)
    places = [said.index(part) for part in ("Complete the pairs", "sample_key='sample'", "Leave out sample_key")]
    assert places == sorted(places)


def test_one_sample_per_condition_is_refused(truth) -> None:
    few = truth[truth.obs["donor"].isin(["d0", "d1", "d3"])].copy()
    quiet_fit(few, dataset_key=["donor", "condition"], n_steps=5, **MEANS)
    with pytest.raises(ValueError, match=r"Group 'treated' has 1 sample: .* Leave out sample_key .*level='cell'"):
        scribe.tl.de(few, "condition", group="treated", reference="control", sample_key="donor")
    assert "scribe_de" not in few.uns


def test_all_groups_against_the_rest_and_groups_with_slashes(truth) -> None:
    adata = quiet_fit(truth.copy(), dataset_key="type", **MEANS)
    with CELLS:
        scribe.tl.de(adata, "type")
    table = scribe.get.de(adata)
    assert list(dict.fromkeys(table["group"])) == ["B", "T/cell"]
    assert set(table["reference"]) == {"rest"}
    first, second = (scribe.get.de(adata, group=group)["lfc_mean"] for group in ("B", "T/cell"))
    np.testing.assert_allclose(first[:-1], -second[:-1], atol=1e-3)
    assert scribe.get.de(adata)["is_de"].mean() < 0.05, "types differ in nothing"


def test_components_by_their_labels(truth) -> None:
    adata = quiet_fit(truth.copy(), annotation_key="condition", parameterization="mean_disp", n_steps=150)
    with CELLS:
        scribe.tl.de(adata, "condition", group="treated", reference="control")
    table = scribe.get.de(adata)
    assert table["is_de"][:N_UP].all()
    with pytest.raises(ValueError, match=r"The fit is a mixture and does not tell the groups of \['type'\] apart"):
        scribe.tl.de(adata, "type")


def test_conditions_within_a_component_and_components_of_all_datasets(truth) -> None:
    adata, marker = truth[:, : 3 * N_UP].copy(), slice(2 * N_UP, 2 * N_UP + 3)
    adata.X[(adata.obs["type"] == "B").to_numpy(), marker] *= 8
    quiet_fit(adata, annotation_key="type", dataset_key=["condition", "donor"], n_steps=200, **MEANS)
    about = {"group": "treated", "reference": "control"}
    with pytest.raises(
        ValueError, match=r"say in which component, component=, one of B, T/cell; to compare components"
    ):
        scribe.tl.de(adata, "condition", sample_key="donor", **about)
    scribe.tl.assign(adata)
    sizes = adata.obs["scribe_component"].value_counts()
    assert sizes.min() > 50
    for component in ("B", 1):
        with pytest.warns(UserWarning, match=r"In 1 of 1 comparisons .* more than half of the genes change"):
            scribe.tl.de(adata, "condition", sample_key="donor", component=component, **about)
        table = scribe.get.de(adata)
        assert set(table["level"]) == {"sample"}
        assert (np.sign(table["lfc_mean"][: 2 * N_UP]) == np.sign(truth.uns["effect"][: 2 * N_UP])).all()
    with CELLS, pytest.warns(UserWarning, match="more than half"):
        scribe.tl.de(adata, "condition", component="T/cell", key_added="cells", **about)
    assert np.corrcoef(scribe.get.de(adata, key_added="cells")["lfc_mean"], table["lfc_mean"])[0, 1] > 0.95
    with CELLS:
        scribe.tl.de(adata, "scribe_component", group="B", reference="T/cell", key_added="components")
    found = scribe.get.de(adata, key_added="components")["lfc_mean"].to_numpy()
    assert found[marker].min() > 1.5
    assert np.abs(np.delete(found, np.r_[marker])).max() < 1.0
    with pytest.raises(KeyError, match="There is no component 'Z'"):
        scribe.tl.de(adata, "condition", sample_key="donor", component="Z", **about)


def test_masks_sets_and_thresholds(known) -> None:
    adata = known.copy()
    mask = np.arange(N_GENES) % 2 == 0
    sets = {"up": [f"g{i}" for i in range(N_UP)], "others": [f"g{i}" for i in range(20, 40)]}
    with CELLS:
        scribe.tl.de(
            adata, "condition", group="treated", gene_mask=mask, gene_sets=sets, min_lfc=1.0, reference_genes="clr"
        )
    table = scribe.get.de(adata)
    assert list(table["status"] == "pooled") == [bool(not m and i < N_GENES - 1) for i, m in enumerate(mask)]
    assert table["lfc_mean"][~mask].isna().all()
    plain = scribe.get.de(known)
    assert (table["prob_de"] <= plain["prob_de"] + 0.02)[mask].mean() > 0.9
    found = adata.uns["scribe_de"]["gene_sets"].set_index("gene_set")
    assert found.loc["up", "is_de"]
    assert found.loc["up", "n_genes"] == N_UP / 2
    assert found.loc["up", "balance_mean"] > 0


def test_scanpy_reads_the_result(known, through_file) -> None:
    adata = through_file(known)
    frame = sc.get.rank_genes_groups_df(adata, group="treated", key="scribe_de")
    table = scribe.get.de(adata).set_index("names")
    score = table["lfc_mean"] / table["lfc_sd"]
    assert list(frame["names"][:5]) == list(score.sort_values(ascending=False).index[:5])
    np.testing.assert_allclose(frame["logfoldchanges"][:5], table.loc[frame["names"][:5], "lfc_mean"])
    np.testing.assert_allclose(frame["pvals_adj"][:5], table.loc[frame["names"][:5], "pefp"])
    pd.testing.assert_frame_equal(
        scribe.get.de(adata), scribe.get.de(known), check_dtype=False, check_categorical=False
    )
    assert "treated vs. control" in sc.pl.rank_genes_groups(adata, key="scribe_de", show=False)[0].get_title()
    only = scribe.get.de(adata, only_de=True)
    assert only["lfc_mean"].abs().is_monotonic_decreasing
    assert only["is_de"].all()


def test_seeds_and_copies(known) -> None:
    with CELLS:
        first = scribe.tl.de(known, "condition", group="treated", rng=1, copy=True, key_added="other")
    with CELLS:
        again = scribe.tl.de(known, "condition", group="treated", rng=1, copy=True, key_added="other")
    assert "other" not in known.uns
    pd.testing.assert_frame_equal(scribe.get.de(first, key_added="other"), scribe.get.de(again, key_added="other"))


def test_a_new_fit_removes_what_was_computed_from_the_old_one(known) -> None:
    adata = quiet_fit(known.copy(), n_steps=2)
    assert "scribe_de" not in adata.uns


def test_what_is_asked_must_be_there(known) -> None:
    for groupby in ("type", "condition"):
        with pytest.raises(ValueError, match="component='B' chooses a component, but the fit is no mixture"):
            scribe.tl.de(known, groupby, component="B")
    adata = known.copy()
    for wrong, error, match in (
        ({"sample_key": "donors"}, KeyError, r"sample_key='donors' is not a column .* Did you mean 'donor'"),
        ({"group": []}, ValueError, r"group=\[\] names no group: pass one of control, treated"),
        ({"group": 1}, ValueError, r"'1' is no group"),
        ({"reference": 0}, ValueError, r"'0' is no group"),
        ({"target_pefp": 5}, ValueError, "target_pefp must lie between 0 and 1, got 5"),
        ({"rank": 3}, ValueError, "rank=3 is that of the normal law"),
        ({"estimand": "cell", "method": "shrinkage"}, ValueError, "estimand='cell' varies as cells do"),
        ({"key_added": "a/b"}, ValueError, "key_added='a/b' must be a name without '/'"),
        ({"reference_genes": "alr"}, KeyError, "'alr' is neither a gene nor one of 'unchanged', 'expressed', 'clr'"),
        ({"gene_mask": ["g0", "x"]}, KeyError, r"not in the results, the first: \['x'\]"),
        ({"gene_sets": "no.gmt"}, FileNotFoundError, "no.gmt"),
    ):
        with pytest.raises(error, match=match):
            scribe.tl.de(adata, "condition", **wrong)
    with pytest.raises(TypeError, match=r"groupby is the name of one column of adata.obs, got \['condition'\]"):
        scribe.tl.de(adata, ["condition"])
    adata.obs["depth"] = np.arange(adata.n_obs) / 7
    with pytest.raises(ValueError, match=rf"groupby='depth' has {N_CELLS} different numbers: .* pd.cut"):
        scribe.tl.de(adata, "depth")
    with pytest.raises(
        KeyError, match=r"'scribe_de'\] is no fit, but was computed from the fit 'scribe': pass key='scr"
    ):
        scribe.get.de(adata, key="scribe_de")
    with pytest.raises(KeyError, match=r"groupby='conditions' is not a column .* Did you mean 'condition'"):
        scribe.tl.de(adata, "conditions")
    with pytest.raises(ValueError, match=r"'treat' is no group .* Did you mean 'treated'"):
        scribe.tl.de(adata, "condition", group="treat")
    with pytest.raises(ValueError, match="group and reference are both 'treated'"):
        scribe.tl.de(adata, "condition", group="treated", reference="treated")
    with pytest.raises(ValueError, match="sample_key compares the means of samples gene by gene"):
        scribe.tl.de(adata, "condition", sample_key="donor", method="parametric")
    with pytest.raises(ValueError, match="min_lfc must not be negative"):
        scribe.tl.de(adata, "condition", min_lfc=-1)
    with pytest.raises(TypeError, match=r"unknown keyword 'taus'"):
        scribe.tl.de(adata, "condition", taus=1)
    with pytest.raises(KeyError, match=r"Run scribe\.tl\.de\(adata\) first"):
        scribe.get.de(quiet_fit(known.copy(), n_steps=2))
    with pytest.raises(KeyError, match="No group 'x' was compared"):
        scribe.get.de(known, group="x")
    adata.uns["scribe_de"] = {"mine": 1}
    with pytest.raises(ValueError, match=r"adata\.uns\['scribe_de'\] is taken by something else"):
        scribe.tl.de(adata, "condition")


def test_sets_from_a_file(tmp_path, known) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("up\thttp://x\tg0\tg1\tabsent\t\nnone\t\tother\n")
    assert scribe.get.gene_sets(path) == {"up": ["g0", "g1", "absent"], "none": ["other"]}
    adata = known.copy()
    with CELLS:
        scribe.tl.de(adata, "condition", group="treated", gene_sets=path)
    table = adata.uns["scribe_de"]["gene_sets"]
    assert list(table["n_genes"]) == [2, 0]
    assert table["balance_mean"].isna().tolist() == [False, True]
    path.write_text("up\n")
    with pytest.raises(ValueError, match=r"sets\.gmt, line 1: expected a new name"):
        scribe.get.gene_sets(path)


def two_groups(n_cells: int, log_fold: np.ndarray, *, seed: int = 0, depth: float = 1.0) -> ad.AnnData:
    """Negative binomial counts of the groups A and B, which differ by ``log_fold`` and in depth."""
    rng, n_genes = np.random.default_rng(seed), len(log_fold)
    mean = np.exp(rng.normal(0, 1.3, n_genes))
    mean, size = mean / mean.sum() * 2000, np.exp(rng.normal(0.5, 0.6, n_genes))
    counts = [
        rng.poisson(rng.gamma(size, np.exp(rng.normal(0, 0.4, n_cells))[:, None] * mean * scale * np.exp(fold) / size))
        for scale, fold in ((1.0, 0.0), (depth, log_fold))
    ]
    obs = pd.DataFrame({"g": np.repeat(["A", "B"], n_cells)}, index=[f"c{i}" for i in range(2 * n_cells)])
    return ad.AnnData(
        np.concatenate(counts).astype(np.float32), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    )


def a_and_b(adata: ad.AnnData, **options) -> pd.DataFrame:
    quiet_fit(adata, dataset_key="g", n_steps=400, **MEANS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scribe.tl.de(adata, "g", group="B", reference="A", **options)
    return scribe.get.de(adata)


def test_genes_that_change_to_one_side_do_not_displace_the_others() -> None:
    """30 % of the genes go up eightfold in a group of a quarter of the depth."""
    log_fold = np.where(np.arange(120) < 36, np.log(8), 0.0)
    adata = two_groups(120, log_fold, depth=0.25)
    table = a_and_b(adata)
    null = log_fold == 0
    assert abs(np.median(table["lfc_mean"][null])) < 0.05
    assert (table["is_de"] & null).sum() <= 2
    assert table["is_de"][~null].mean() > 0.8
    assert set(table["relative_to"]) == {"unchanged"}
    # of draws, too; a plain mean of log-ratios is off by 0.9
    plain = a_and_b(adata, method="empirical")
    assert abs(np.median(plain["lfc_mean"][null])) < 0.1
    shifted = a_and_b(adata, method="empirical", reference_genes="expressed")
    assert np.median(shifted["lfc_mean"][null]) < -0.6


def test_evidence_of_genes_that_one_group_lacks_is_that_of_their_counts() -> None:
    """Unseen in 150 cells of A and seen in 8, 15, 30 of 150 of B, against Fisher's exact test."""
    adata, seen = two_groups(150, np.zeros(120)), (8, 15, 30)
    rng = np.random.default_rng(1)
    for gene, n in enumerate(seen):
        adata.X[:, gene] = 0
        adata.X[150 + rng.choice(150, n, replace=False), gene] = 1
    table = a_and_b(adata)
    p_values = [stats.fisher_exact([[0, 150], [n, 150 - n]]).pvalue for n in seen]
    rates = table["lfsr"][:3].to_numpy()
    assert rates[1] < 0.03
    assert rates[2] < 1e-4
    assert np.all(np.diff(np.log(rates)) < 0.3 * np.diff(np.log(p_values))), "it falls as the p-values do"
    assert table["is_de"][3:].sum() <= 1
    assert (table["lfc_q95"] - table["lfc_q05"])[1:3].min() > 3, "no upper limit but that of the prior"


def test_the_prior_counts_once_however_many_samples_lack_a_gene() -> None:
    rng, n, genes = np.random.default_rng(3), 40, 60
    mean = np.exp(rng.normal(0, 1.2, genes))
    mean, donors = mean / mean.sum() * 1500, 10
    donor = np.repeat(np.arange(donors), n)
    rates = mean * np.exp(rng.normal(0, 0.2, (donors, genes)))[donor] * np.exp(rng.normal(0, 0.4, (len(donor), 1)))
    counts = rng.poisson(rng.gamma(1.5, rates / 1.5)).astype(np.float32)
    counts[donor < 5, 0] = 0
    counts[donor >= 5, 0] = rng.poisson(0.7, 5 * n)
    obs = pd.DataFrame({"g": np.where(donor < 5, "A", "B"), "donor": [f"d{d}" for d in donor]})
    obs.index = obs.index.astype(str)
    adata = quiet_fit(ad.AnnData(counts, obs), dataset_key=["donor", "g"], **MEANS)
    for method in ("empirical", "shrinkage"):
        scribe.tl.de(adata, "g", group="B", reference="A", sample_key="donor", method=method)
        first = scribe.get.de(adata).iloc[0]
        assert first["lfsr"] < 0.01
        assert first["lfc_q95"] - first["lfc_q05"] > 4
    with pytest.raises(ValueError, match="n_samples=50 draws from the posterior, which sample_key does without"):
        scribe.tl.de(adata, "g", group="B", reference="A", sample_key="donor", n_samples=50)


def test_what_rests_on_few_cells_is_said_and_not_called() -> None:
    adata = two_groups(150, np.where(np.arange(60) < 5, np.log(6), 0.0))
    adata.X[:, [50, 51]] = 0
    adata.X[[3, 200], 50] = 1
    adata.X[150:210, 51], adata.X[150:153, 51] = 1, 100
    table = a_and_b(adata).set_index("names")
    few = table.loc["g51"]
    assert (few["status"], few["is_de"]) == ("few cells", False)
    assert few["lfsr"] < 0.01
    assert (few["top_cells_group"], few["top_cells_reference"]) == (300 / 357, 0.0)
    assert table["is_de"].iloc[:5].all()
    assert set(table["status"].iloc[:50]) == {"ok"}
    counts = adata.X[150:, 7]
    np.testing.assert_allclose(table["top_cells_group"].iloc[7], np.sort(counts)[-3:].sum() / counts.sum())
    assert table["top_sample_group"].isna().all()
    assert bool(a_and_b(adata, call_extremes=True).set_index("names").loc["g51", "is_de"])


def test_no_gene_is_called_whose_own_rate_exceeds_the_limit() -> None:
    log_fold = np.where(np.arange(120) < 50, np.log(6) * np.where(np.arange(120) % 2, 1, -1), 0.0)
    log_fold[50:70] = 0.15
    adata = two_groups(100, log_fold)
    default, without = a_and_b(adata), a_and_b(adata, max_lfsr=1.0)
    assert default["lfsr"][default["is_de"]].max() <= 0.2
    assert without["is_de"].sum() > default["is_de"].sum()
    assert without["lfsr"][without["is_de"]].max() > 0.2
