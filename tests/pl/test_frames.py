"""The numbers behind each plot, and what the plot says about them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import sparse, stats

import scribe
from scribe import guides
from scribe.engines import diagnostics
from scribe.pl import _canvas
from scribe.pl.capture import frame as capture_frame
from scribe.pl.capture import medians
from scribe.pl.capture_anchor import frame as anchor_frame
from scribe.pl.compositional_ppc import frame as compositional_frame
from scribe.pl.corner_ppc import frame as corner_frame
from scribe.pl.corner_ppc import regions
from scribe.pl.correlation import _by_gene as independent
from scribe.pl.correlation import _clustered as clustered
from scribe.pl.correlation import frame as correlation_frame
from scribe.pl.loss import frame as loss_frame
from scribe.pl.mean_calibration import calibration
from scribe.pl.mean_calibration import frame as calibration_frame
from scribe.pl.mixture_composition import frame as composition_frame
from scribe.pl.mu_pairwise import frame as mu_frame
from scribe.pl.mu_pairwise import surest
from scribe.pl.posterior import frame as posterior_frame
from scribe.pl.posterior_pairs import frame as pairs_frame
from scribe.pl.ppc import _layout as layout
from scribe.pl.ppc import frame as ppc_frame
from scribe.pl.rank import frame as rank_frame
from scribe.pl.trace import frame as trace_frame
from scribe.pl.volcano import frame as volcano_frame

pytestmark = pytest.mark.loose_promotion


@pytest.fixture(autouse=True)
def figures():
    yield
    plt.close("all")


def test_loss(small_fit):
    table = loss_frame(small_fit)
    np.testing.assert_array_equal(table["loss"], small_fit.uns["scribe"]["loss"])
    assert table["step"].tolist() == list(range(1, 301))
    window = table["loss"].iloc[149:152]
    assert table["smoothed"][150] == window.median()
    assert table["smoothed"].diff().abs().mean() < table["loss"].diff().abs().mean()


@pytest.mark.parametrize("converged", [True, False])
def test_the_loss_shows_the_verdict_and_the_tail(small_fit, converged):
    adata = small_fit.copy()
    adata.uns["scribe"]["convergence"] |= {"converged": converged, "reason": "at step 300, for a reason"}
    adata.uns["scribe"]["loss"] = np.r_[1e9, 1e7, np.linspace(2000.0, 1000.0, 298)]
    ax = scribe.pl.loss(adata)
    assert ax.get_title(loc="left") == ("" if converged else "NOT ") + (
        "converged at step 300, for a reason" if converged else "converged: at step 300, for a reason"
    )
    low, high = ax.get_ylim()
    assert 800 < low < 1000
    assert 1900 < high < 3000, "the first steps do not set the scale"


def test_loss_of_one_step_and_with_gaps(small_fit):
    adata = small_fit.copy()
    for values in ([5.0], [5.0, np.nan, 4.0, np.inf, 3.0] * 10):
        adata.uns["scribe"]["loss"] = np.asarray(values)
        scribe.pl.loss(adata).get_figure().canvas.draw()


def test_capture(small_fit):
    table = capture_frame(small_fit)
    np.testing.assert_allclose(table["total"], small_fit.X.sum(1).A1)
    np.testing.assert_array_equal(table["capture"], small_fit.obs["scribe_capture"])
    np.testing.assert_array_equal(table["sd"], small_fit.obs["scribe_capture_sd"])
    assert table.index.equals(small_fit.obs_names)
    assert table.attrs["capture"] == "relative"


@pytest.mark.parametrize(("kind", "label"), [("absolute", "capture probability"), ("relative", "relative capture")])
def test_capture_says_what_is_known(small_fit, kind, label):
    adata = small_fit.copy()
    adata.uns["scribe"]["data"]["capture"] = kind
    ax = scribe.pl.capture(adata)
    assert ax.get_ylabel().startswith(label)
    assert ax.get_title(loc="left").startswith(kind)


def test_capture_leaves_out_empty_cells(small_fit):
    adata = small_fit.copy()
    adata.obs.loc[adata.obs_names[0], "scribe_total"] = 0.0
    scribe.pl.capture(adata).get_figure().canvas.draw()


def test_medians_of_bins():
    table = pd.DataFrame({"total": np.arange(60.0)[::-1], "capture": np.arange(60.0)[::-1] / 100})
    middle = medians(table, "capture")
    assert len(middle) == 12
    np.testing.assert_allclose(middle["total"], np.arange(12) * 5 + 2)
    np.testing.assert_allclose(middle["capture"], middle["total"] / 100)
    assert len(medians(table.iloc[:3], "capture")) == 1


def test_mean_calibration(small_check):
    table = calibration_frame(small_check)
    np.testing.assert_allclose(table["observed"], small_check.X.toarray().mean(0), rtol=1e-6)
    params = scribe.get.params(small_check)
    expected = params["mu_mean"] * small_check.obs["scribe_capture"].mean()
    np.testing.assert_allclose(table["predicted"], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def two_halves(small_counts):
    """A fit of two datasets, one sequenced less deeply in all but the rarest genes."""
    adata = small_counts.copy()
    adata.obs["half"] = ["a", "b/c"] * 75
    dense = adata.X.toarray()
    dense[1::2, :-3] //= 2
    adata.X = sparse.csr_matrix(dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, n_steps=100, early_stopping=False, dataset_key="half", dataset_params="mean")
    scribe.tl.ppc(adata, n_samples=20, n_genes=1)
    return adata


@pytest.fixture(scope="module")
def gated(made_fit):
    adata = made_fit("zinbvcp", shape=(60, 10))
    scribe.tl.ppc(adata, n_samples=20, n_genes=1)
    return adata


def levels_of(params):
    return [name.removeprefix("mu_mean") for name in params if name.startswith("mu_mean")]


@pytest.mark.parametrize("fit", ["small_check", "small_mixture", "two_halves", "gated"])
def test_mean_calibration_predicts_the_mean_of_replicates(request, fit):
    adata = request.getfixturevalue(fit)
    table = calibration_frame(adata)
    replicates, n_samples = adata.varm["scribe_ppc"], adata.uns["scribe_ppc"]["n_samples"]
    params = scribe.get.params(adata)
    # every replicate has parameters of its own
    relative = np.max([params[f"mu_sd{k}"] / params[f"mu_mean{k}"] for k in levels_of(params)], axis=0)
    between = np.square(relative * table["predicted"])
    error = np.sqrt((replicates["variance_expected"] / adata.n_obs + between) / n_samples)
    assert (np.abs(table["predicted"] - replicates["mean_expected"]) < 4 * error + 0.15 * table["predicted"]).all()
    pd.testing.assert_frame_equal(table, calibration_frame(adata[:20]))


def test_plots_of_a_model_without_capture(made_fit):
    adata = made_fit("poisson")
    np.testing.assert_allclose(calibration_frame(adata)["predicted"], scribe.get.params(adata)["mu_mean"])
    with pytest.raises(KeyError, match="has no capture probabilities"):
        scribe.pl.capture(adata)


def test_calibration_statistics():
    x = np.exp(np.random.default_rng(0).normal(size=500))
    noise = np.exp(0.1 * np.random.default_rng(1).normal(size=500))
    table = pd.DataFrame({"observed": np.r_[x, 0.0], "predicted": np.r_[3 * x**0.8 * noise, 1.0]})
    correlation, slope = calibration(table)
    assert slope == pytest.approx(0.8, abs=0.02)
    assert correlation == pytest.approx(np.corrcoef(np.log(x), np.log(3 * x**0.8 * noise))[0, 1])
    assert np.isnan(calibration(table.iloc[:2])).all()


def test_ppc(small_check):
    table = ppc_frame(small_check)
    for level in ("95", "68", "50"):
        assert (table[f"lower_{level}"] <= table["median"]).all()
        assert (table["median"] <= table[f"upper_{level}"]).all()
    assert (table["lower_95"] <= table["lower_50"]).all()


def test_ppc_draws_the_genes_asked_for(small_check):
    kept = list(dict.fromkeys(ppc_frame(small_check)["gene"]))
    axes = scribe.pl.ppc(small_check, [kept[2], kept[0]])
    assert [ax.get_title() for ax in axes] == [kept[2], kept[0]]
    points = axes[1].get_lines()[0]
    rows = ppc_frame(small_check).query("gene == @kept[0]")
    width = rows["count_to"] - rows["count"] + 1
    np.testing.assert_allclose(points.get_ydata(), (rows["observed"] / width)[: len(points.get_ydata())])
    assert len(axes[0].patches) == 3, "one band per level"
    with pytest.raises(KeyError, match=r"no histograms of \['nothing'\].*scribe\.tl\.ppc\(adata, genes="):
        scribe.pl.ppc(small_check, ["nothing"])
    with pytest.raises(KeyError, match="any gene"):
        scribe.pl.ppc(small_check, [])


def test_ppc_takes_an_array_of_axes(small_check):
    kept = list(dict.fromkeys(ppc_frame(small_check)["gene"]))[:3]
    _, axes = plt.subplots(2, 2)
    drawn = scribe.pl.ppc(small_check, kept, ax=axes)
    assert list(drawn) == list(axes.ravel()[:3])
    with pytest.raises(ValueError, match="2 axes for 3 panels"):
        scribe.pl.ppc(small_check, kept, ax=axes[0])


def test_labels_that_panels_share_are_written_once(small_check):
    axes = scribe.pl.ppc(small_check)
    assert [ax.get_xlabel() for ax in axes] == [""] * 3 + ["count"] * 3
    assert [ax.get_ylabel() for ax in axes] == ["cells per count", "", ""] * 2


def test_a_legend_wider_than_the_figure_stands_beside_the_panel(small_check):
    panel = scribe.pl.ppc(small_check, "CD74")[0]
    figure = panel.get_figure()
    figure.canvas.draw()
    inside, legend = panel.get_window_extent(), figure.legends[0].get_window_extent()
    assert legend.x0 > inside.x1
    assert inside.x0 > figure.bbox.x0
    assert legend.x1 <= figure.bbox.x1
    assert inside.width > 0.4 * figure.bbox.width


def test_long_labels_are_broken_into_lines_of_the_width_of_the_panel(small_mixture):
    axes = scribe.pl.posterior_pairs(small_mixture, "CD74", "mu", n_samples=5)
    assert axes[0].get_xlabel() == "expression mu, CD74\n[component 0]"


def test_a_grid_has_no_empty_panels():
    assert len(_canvas.drawn(lambda _, ax: ax.plot([1]), [None] * 5, size=(1.0, 1.0))) == 5
    assert len(plt.gcf().axes) == 5


@pytest.mark.parametrize(("value", "text"), [(0.001, "0.001"), (10.0, "10"), (20000.0, "20,000")])
def test_numbers_are_written_plainly(value, text):
    assert _canvas.plain(value) == text


def test_mixture_composition(small_mixture):
    table = composition_frame(small_mixture)
    component = small_mixture.obs["scribe_component"]
    assert table["group"].unique().tolist() == ["all"]
    np.testing.assert_array_equal(table["n_cells"], component.value_counts(sort=False))
    assert table["fraction"].sum() == pytest.approx(1.0)
    adata = small_mixture.copy()
    adata.obs["place"] = pd.Categorical(["here", "there", None] * 50, categories=["nowhere", "there", "here"])
    table = composition_frame(adata, groupby="place")
    assert table["group"].unique().tolist() == ["there", "here"]
    for _, row in table.iterrows():
        inside = adata.obs["place"] == row["group"]
        assert row["n_cells"] == (component[inside] == row["component"]).sum()
        assert row["fraction"] == pytest.approx(row["n_cells"] / 50)
    ax = scribe.pl.mixture_composition(adata, "place")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["there", "here"]
    shares = table["fraction"].to_numpy().reshape(2, 2)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(shares.T.ravel())
    with pytest.raises(KeyError, match=r"Did you mean 'place'\?"):
        scribe.pl.mixture_composition(adata, "plaec")
    adata.obs["place"] = None
    with pytest.raises(ValueError, match="has a value in none of the cells"):
        scribe.pl.mixture_composition(adata, "place")


def test_composition_keeps_components_without_cells(small_mixture):
    cells = small_mixture.obs["scribe_component"] == "0"
    assert composition_frame(small_mixture[cells.to_numpy()])["n_cells"].tolist() == [cells.sum(), 0]


def test_capture_anchor(anchored, small_fit):
    table = anchor_frame(anchored)
    eta = np.asarray(scribe.get.results(anchored).get_map()["eta_capture"])
    np.testing.assert_allclose(np.log(table["molecules"]), np.log(table["total"]) + eta, atol=0.05)
    ax = scribe.pl.capture_anchor(anchored)
    (line,) = (line for line in ax.get_lines() if line.get_label() == "prior, $M_0$")
    np.testing.assert_allclose(line.get_ydata(), 5e4)
    with pytest.raises(ValueError, match=r"not anchored.*'organism': 'human'.*scribe\.pl\.capture"):
        scribe.pl.capture_anchor(small_fit)


def test_posterior_of_every_level(small_mixture):
    adata = small_mixture
    names = list(adata.var_names[[3, 0]])
    table = posterior_frame(adata, genes=names, params=["expression", "mixing_weights"], n_samples=40, rng=5)
    assert table.groupby(["parameter", "gene", "level"], sort=False).size().to_dict() == {
        **{("mu", gene, f"component {k}"): 40 for gene in names for k in range(2)},
        **{("mixing_weights", "", f"component {k}"): 40 for k in range(2)},
    }
    results = scribe.get.results(adata)[names].cells([0])
    drawn = results.get_posterior_samples(40, rng=5)
    tables = dict(list(table.groupby(["parameter", "gene", "level"])))
    for number, gene in enumerate(names):
        for k in range(2):
            found = tables["mu", gene, f"component {k}"]
            np.testing.assert_allclose(found["value"], drawn["mu"][:, k, number], rtol=1e-6)
    sums = table.query("parameter == 'mixing_weights'").groupby("draw")["value"].sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-5)
    axes = scribe.pl.posterior(adata, names, ["mu", "mixing_weights"], n_samples=40)
    assert [ax.get_title() for ax in axes] == [*names, ""]
    assert axes[0].get_xlabel() == "expression mu (molecules per cell)"
    assert [text.get_text() for text in plt.gcf().legends[0].get_texts()] == ["component 0", "component 1"]


def test_posterior_chooses_sampled_parameters_and_genes(small_fit):
    table = posterior_frame(small_fit, n_samples=5)
    assert set(table["parameter"]) == {"p", "r"}
    assert table.loc[table["parameter"] == "r", "gene"].nunique() == 3
    assert set(posterior_frame(small_fit, genes="CD74", params="r", n_samples=5)["gene"]) == {"CD74"}
    with pytest.raises(ValueError, match=r"'p_capture' has a value for every cell: see scribe\.pl\.capture"):
        scribe.pl.posterior(small_fit, params=["p_capture"])
    with pytest.raises(ValueError, match="No parameter 'rr' in this fit"):
        scribe.pl.posterior(small_fit, params=["rr"])
    with pytest.raises(ValueError, match="params is empty"):
        scribe.pl.posterior(small_fit, params=[])
    with pytest.raises(KeyError, match="not in the results"):
        scribe.pl.posterior(small_fit, "no such gene")


def test_pairs(small_fit):
    table = pairs_frame(small_fit, genes="CD74", params=["p", "r", "phi"], n_samples=50)
    values = {name: part["value"].to_numpy() for name, part in table.groupby("parameter")}
    axes = scribe.pl.posterior_pairs(small_fit, "CD74", ["p", "r", "phi"], n_samples=50)
    for ax, (x, y) in zip(axes, [("p", "r"), ("p", "phi"), ("r", "phi")], strict=True):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), np.column_stack([values[x], values[y]]))
        correlation = stats.spearmanr(values[x], values[y]).statistic
        assert float(ax.get_title(loc="right").split()[-1]) == pytest.approx(correlation, abs=0.006)
    assert axes[1].get_title(loc="right").endswith(" -1.00"), "phi is a function of p"
    assert [ax.get_ylabel() for ax in axes] == ["dispersion r, CD74", "odds phi", ""]
    with pytest.raises(ValueError, match="Pairs need 2 to 10 quantities, these are 1: prob p"):
        scribe.pl.posterior_pairs(small_fit, params="p")


def test_correlation(made_chains):
    table = correlation_frame(made_chains, param="dispersion")
    draws = scribe.get.results(made_chains).get_samples()["r"]
    expected = pd.DataFrame(draws, columns=made_chains.var_names).corr("spearman")
    for _, row in table.iterrows():
        assert row["correlation"] == pytest.approx(expected.loc[row["gene"], row["other"]])
    few = correlation_frame(made_chains, genes=2)
    assert set(few["gene"]) == set(scribe.get.params(made_chains)["observed_mean"].nlargest(2).index)
    with pytest.raises(ValueError, match="'p' has no value per gene: choose among"):
        scribe.pl.correlation(made_chains, "p")
    with pytest.raises(ValueError, match="two genes or more, got 1"):
        scribe.pl.correlation(made_chains, genes=1)


def test_correlating_genes_stand_together():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(500, 2))
    matrix = np.corrcoef(shared[:, np.arange(8) % 2] + 0.3 * rng.normal(size=(500, 8)), rowvar=False)
    assert (np.diff(clustered(matrix) % 2) != 0).sum() == 1


def test_correlation_of_one_level_and_of_a_mean_field_guide(small_mixture):
    with pytest.warns(UserWarning, match="mean-field guide, which holds the parameters of genes independent"):
        table = correlation_frame(small_mixture, genes=4, component="1")
    assert len(table) == 16
    with pytest.raises(ValueError, match="differs between levels of 'component': pass component=, one of 0, 1"):
        scribe.pl.correlation(small_mixture)


@pytest.mark.parametrize(
    ("guide", "expected"),
    [
        (guides.MeanField(), True),
        (guides.Composed((guides.Amortised(), guides.MeanField())), True),
        (guides.Composed((guides.LowRank(2), guides.MeanField())), False),
        (guides.Composed((guides.Joint(("p", "r")), guides.MeanField())), False),
        (guides.Draws(2), False),
    ],
)
def test_which_guides_hold_genes_independent(small_fit, guide, expected):
    results = scribe.get.results(small_fit)
    assert independent(replace(results, posterior=replace(results.posterior, guide=guide))) is expected


def test_chains(made_chains):
    table = trace_frame(made_chains, genes=["gene1"], params=["r"])
    draws = scribe.get.results(made_chains).get_samples(group_by_chain=True)["r"][:, :, 1]
    # one gene and all may be computed in other orders
    np.testing.assert_allclose(table.pivot(index="chain", columns="draw", values="value"), draws, rtol=1e-6)
    ax = scribe.pl.trace(made_chains, ["gene1"], ["r"])[0]
    assert f"R-hat {diagnostics(draws).r_hat:.3f}" in ax.get_title(loc="left")
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), draws[1], rtol=1e-6)
    ranks = rank_frame(made_chains, genes=["gene1"], params=["r"])
    order = stats.rankdata(draws).reshape(draws.shape)
    for chain, rows in ranks.groupby("chain"):
        np.testing.assert_array_equal(rows["n_draws"], np.histogram(order[chain], np.linspace(0.5, 100.5, 21))[0])
        np.testing.assert_allclose(rows["to"] - rows["from"], 0.05)


@pytest.mark.parametrize("name", ["trace", "rank"])
def test_fits_without_chains_say_so(small_fit, name):
    with pytest.raises(ValueError, match=r"made by SVI, which runs no chains.*inference_method='mcmc'"):
        getattr(scribe.pl, name)(small_fit)


def test_fits_without_a_loss_say_so(made_chains):
    with pytest.raises(ValueError, match=r"made by MCMC, which has no loss: see scribe\.pl\.trace"):
        scribe.pl.loss(made_chains)


def test_ppc_of_groups(small_mixture):
    table = ppc_frame(small_mixture)
    kept = list(dict.fromkeys(table["gene"]))
    axes = scribe.pl.ppc(small_mixture)
    assert [ax.get_title() for ax in axes] == [f"{gene}\ncomponent {k}" for gene in kept for k in range(2)]
    axes = scribe.pl.ppc(small_mixture, kept[1], groups="1")
    rows = table.query("gene == @kept[1] and group == '1'")
    points = axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(points, (rows["observed"] / (rows["count_to"] - rows["count"] + 1))[: len(points)])
    with pytest.raises(KeyError, match=r"no histograms of \['2'\].*groupby="):
        scribe.pl.ppc(small_mixture, groups=["2"])


def test_many_groups_are_wrapped_gene_by_gene():
    assert layout(4, 1) == (None, range(4))
    assert layout(2, 3) == (3, [0, 1, 2, 3, 4, 5])
    assert layout(2, 7) == (4, [*range(7), *range(8, 15)])


@pytest.mark.parametrize("n", [1, 7, 30])
def test_levels_have_colours_of_their_own(n):
    assert len(set(_canvas.colours(n))) == n


def test_pairs_of_genes(small_check):
    """Every pair has all cells, observed and in the mean of the replicates; genes are those of the check, in order."""
    table = corner_frame(small_check)
    genes = list(dict.fromkeys(table["gene"]))
    assert len(genes) == 4
    sums = table.groupby(["gene", "other"], sort=False)[["observed", "expected"]].sum()
    assert len(sums) == 10
    assert np.allclose(sums, small_check.n_obs)
    x, y = (small_check[:, gene].X.toarray().ravel() for gene in genes[:2])
    pair = table[(table["gene"] == genes[0]) & (table["other"] == genes[1])]
    neither = pair[(pair["count"] == 0) & (pair["other_count"] == 0)]
    assert neither["observed"].item() == np.sum((x == 0) & (y == 0))
    drawn = scribe.pl.corner_ppc(small_check, [genes[2], genes[0]])
    assert len(drawn) == 3
    assert drawn[1].get_ylabel() == f"{genes[0]} (count)"
    with pytest.raises(KeyError, match=r"no pairs of \['ACTB'\], but of .*\. Run scribe.tl.ppc\(adata, joint='ACTB'"):
        scribe.pl.corner_ppc(small_check, "ACTB")


def test_the_smallest_region_that_holds_a_bin():
    np.testing.assert_allclose(regions(np.array([1.0, 6.0, 0.0, 3.0])), [90.0, 0.0, 100.0, 60.0])


def test_shares_of_genes(small_check):
    table = compositional_frame(small_check)
    totals = small_check.X.sum(1).A1
    for gene, rows in table.groupby("gene"):
        counts = small_check[:, gene].X.toarray().ravel()
        assert rows["observed"].sum() == small_check.n_obs
        assert rows["observed"].iloc[0] == np.sum(counts == 0)
        np.testing.assert_allclose(rows["pseudobulk"], counts.sum() / totals.sum())
    with pytest.raises(KeyError, match=r"There are no shares of \['ACTB'\]"):
        scribe.pl.compositional_ppc(small_check, "ACTB")


def test_means_of_pairs_of_levels(small_mixture, small_fit):
    table = mu_frame(small_mixture)
    params = small_mixture.varm["scribe_params"]
    assert set(table["level"]) == {"component 0"}
    assert set(table["other"]) == {"component 1"}
    np.testing.assert_array_equal(table["mean"], params["mu_mean[0]"])
    np.testing.assert_array_equal(table["other_sd"], params["mu_sd[1]"])
    ax = scribe.pl.mu_pairwise(small_mixture)[0]
    assert ax.get_xlabel() == "mean in component 0"
    with pytest.raises(KeyError, match=r"There is no level 'x'\. There are: 0; 1\."):
        scribe.pl.mu_pairwise(small_mixture, ["0", "x"])
    with pytest.raises(ValueError, match=r"differ in mu, these are 1\. Choose levels among 0; 1\."):
        scribe.pl.mu_pairwise(small_mixture, ["0"])
    with pytest.raises(ValueError, match=r"these are 0\. Fit with n_components=5 or dataset_key="):
        scribe.pl.mu_pairwise(small_fit)


def test_the_surest_differences_are_those_beyond_what_all_genes_share():
    rows = pd.DataFrame({"gene": list("abcd"), "mean": [1.0, 2.0, 4.0, 1.0], "other_mean": [3.0, 6.0, 12.0, 9.0]})
    rows["sd"], rows["other_sd"] = rows["mean"] / 10, rows["other_mean"] / 10
    assert surest(rows, 1)["gene"].tolist() == ["d"]


def test_comparisons_by_themselves_are_drawn_as_those_in_an_adata():
    rng = np.random.default_rng(0)
    r = rng.lognormal(np.linspace(-2, 2, 12), 0.1, (200, 12))
    de = scribe.compare(r, r[::-1] * np.where(np.arange(12) == 3, 4.0, 1.0), label_A="x", label_B="y")
    table = volcano_frame(de)
    np.testing.assert_allclose(table["lfc_mean"], de.law.mean / np.log(2))
    for draw in (scribe.pl.volcano, scribe.pl.ma, scribe.pl.de_evidence, scribe.pl.de_mean_expression):
        assert draw(de)[0].get_title() == "x vs y"
    scribe.pl.de_mask_threshold(de)


@pytest.mark.parametrize(("dse", "close"), [(1.0, False), (6.0, True)])
def test_models_are_told_apart_as_the_summary_says(compared, dse, close):
    """Ten nats are more than four, and more than twice 1 but not twice 6."""
    adata = compared.copy()
    adata.uns["scribe_compare"]["table"]["elpd_diff"] = [0.0, 10.0]
    adata.uns["scribe_compare"]["table"]["dse"] = [0.0, dse]
    points = [line for line in scribe.pl.model_comparison(adata).lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == ([2, 0] if close else [1, 1])
