"""The numbers behind each plot, and what the plot says about them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scribe
from scribe.pl import _canvas
from scribe.pl.capture import frame as capture_frame
from scribe.pl.capture import medians
from scribe.pl.loss import frame as loss_frame
from scribe.pl.mean_calibration import calibration
from scribe.pl.mean_calibration import frame as calibration_frame
from scribe.pl.ppc import frame as ppc_frame

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
    middle = medians(table)
    assert len(middle) == 12
    np.testing.assert_allclose(middle["total"], np.arange(12) * 5 + 2)
    np.testing.assert_allclose(middle["capture"], middle["total"] / 100)
    assert len(medians(table.iloc[:3])) == 1


def test_mean_calibration(small_fit):
    table = calibration_frame(small_fit)
    np.testing.assert_allclose(table["observed"], small_fit.X.toarray().mean(0), rtol=1e-6)
    params = scribe.get.params(small_fit)
    expected = params["mu_mean"] * small_fit.obs["scribe_capture"].mean()
    np.testing.assert_allclose(table["predicted"], expected, rtol=1e-5)
    replicates = scribe.get.results(small_fit).get_ppc_samples(60).mean((0, 1))
    np.testing.assert_allclose(table["predicted"], replicates, rtol=0.25, atol=0.02)


def test_mean_calibration_keeps_to_the_cells_of_the_fit(small_fit):
    whole, part = calibration_frame(small_fit), calibration_frame(small_fit[:20])
    pd.testing.assert_frame_equal(whole, part)


def test_mean_calibration_counts_the_open_gates(small_fit):
    adata = small_fit.copy()
    gate = np.linspace(0.0, 0.9, adata.n_vars)
    adata.varm["scribe_params"]["gate_mean"] = gate
    expected = calibration_frame(small_fit)["predicted"] * (1 - gate)
    np.testing.assert_allclose(calibration_frame(adata)["predicted"], expected)


def test_plots_of_a_model_without_capture(small_counts):
    adata = small_counts.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, model="poisson", n_steps=100, early_stopping=False)
    np.testing.assert_allclose(calibration_frame(adata)["predicted"], scribe.get.params(adata)["mu_mean"])
    with pytest.raises(KeyError, match="has no capture probabilities"):
        scribe.pl.capture(adata)


def test_calibration_statistics():
    x = np.exp(np.random.default_rng(0).normal(size=500))
    noise = np.exp(0.1 * np.random.default_rng(1).normal(size=500))
    table = pd.DataFrame({"observed": np.r_[x, 0.0], "predicted": np.r_[3 * x**0.8 * noise, 1.0]})
    found = calibration(table)
    assert found.slope == pytest.approx(0.8, abs=0.02)
    assert found.correlation == pytest.approx(np.corrcoef(np.log(x), np.log(3 * x**0.8 * noise))[0, 1])
    assert np.isnan(calibration(table.iloc[:2]).slope)


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


def test_a_grid_has_no_empty_panels():
    assert len(_canvas.grid(None, 5, size=(1.0, 1.0))) == 5
    assert len(plt.gcf().axes) == 5


@pytest.mark.parametrize(("value", "text"), [(0.001, "0.001"), (10.0, "10"), (20000.0, "20,000")])
def test_numbers_are_written_plainly(value, text):
    assert _canvas.plain(value) == text
