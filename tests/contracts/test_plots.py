"""What holds for all plots: a tidy frame first, then axes; the user's own axes, files and figures are respected."""

from __future__ import annotations

import importlib

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import scribe

pytestmark = pytest.mark.loose_promotion

BANDS = ["lower_95", "lower_68", "lower_50", "median", "upper_50", "upper_68", "upper_95"]
DRAWS = ["parameter", "gene", "level", "chain", "draw", "value"]
FRAMES = {
    "loss": ["step", "loss", "smoothed"],
    "capture": ["total", "capture", "sd"],
    "mean_calibration": ["observed", "predicted"],
    "ppc": ["gene", "group", "count", "count_to", "observed", *BANDS],
    "mixture_composition": ["group", "component", "n_cells", "fraction"],
    "capture_anchor": ["total", "capture", "sd", "molecules"],
    "posterior": DRAWS,
    "posterior_pairs": DRAWS,
    "correlation": ["gene", "other", "correlation"],
    "trace": DRAWS,
    "rank": [*DRAWS[:4], "from", "to", "n_draws"],
}
MISSING = {
    "loss": ("uns", "scribe", r"scribe\.tl\.fit"),
    "capture": ("obs", "scribe_capture", r"scribe\.tl\.fit"),
    "mean_calibration": ("varm", "scribe_params", r"scribe\.tl\.fit"),
    "ppc": ("uns", "scribe_ppc", r"scribe\.tl\.ppc"),
    "mixture_composition": ("obs", "scribe_component", r"scribe\.tl\.fit"),
    "capture_anchor": ("obs", "scribe_capture", r"scribe\.tl\.fit"),
    "posterior": ("varm", "scribe_r", r"scribe\.tl\.fit"),
    "posterior_pairs": ("varm", "scribe_r", r"scribe\.tl\.fit"),
    "correlation": ("varm", "scribe_r", r"scribe\.tl\.fit"),
    "trace": ("varm", "scribe_r", r"scribe\.tl\.fit"),
    "rank": ("varm", "scribe_r", r"scribe\.tl\.fit"),
}
FITS = {
    "mixture_composition": "small_mixture",
    "capture_anchor": "anchored",
    "correlation": "made_chains",
    "trace": "made_chains",
    "rank": "made_chains",
}
"""Fixtures of the fits that plots are for; the others take any."""
ONE_PANEL = {
    "posterior": {"params": "p"},
    "posterior_pairs": {"params": ["r", "p"]},
    "trace": {"params": "p"},
    "rank": {"params": "p"},
}

every = pytest.mark.parametrize("name", scribe.pl.__all__)


@pytest.fixture(autouse=True)
def figures():
    """Every figure a plot opens is accounted for by its test."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def anchored(made_fit):
    return made_fit("nbvcp", priors={"organism": "human"})


@pytest.fixture
def adata(request, name):
    return request.getfixturevalue(FITS.get(name, "small_check"))


def plot(name, data, **options):
    return getattr(scribe.pl, name)(data, **options)


def one_panel(name, data):
    """Options under which a plot has one panel."""
    return {"genes": data.uns["scribe_ppc"]["bands"]["gene"].iloc[-1]} if name == "ppc" else ONE_PANEL.get(name, {})


def axes_of(drawn):
    return [drawn] if isinstance(drawn, Axes) else list(drawn.ravel())


def test_the_tables_list_all_plots():
    assert set(FRAMES) == set(MISSING) == set(scribe.pl.__all__)


@every
def test_frame_is_tidy(name, adata):
    frame = importlib.import_module(f"scribe.pl.{name}").frame(adata, "scribe")
    assert isinstance(frame, pd.DataFrame)
    assert set(frame) == set(FRAMES[name])
    assert len(frame) > 0
    assert np.isfinite(frame.select_dtypes("number")).all(axis=None)


@every
def test_returns_labelled_axes_of_a_new_figure(name, adata):
    drawn = axes_of(plot(name, adata))
    assert len(plt.get_fignums()) == 1
    figure = drawn[0].get_figure()
    texts = [ax.get_xlabel() + ax.get_ylabel() for ax in drawn] + [figure.get_supxlabel() + figure.get_supylabel()]
    assert any(texts)
    assert all(ax.has_data() for ax in drawn)
    figure.canvas.draw()


@every
def test_draws_into_the_axes_of_the_user(name, adata):
    figure, ax = plt.subplots()
    drawn = axes_of(plot(name, adata, ax=ax, show=False, **one_panel(name, adata)))
    assert drawn == [ax]
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert plt.get_fignums() == [figure.number]


@every
@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_saves_and_closes_its_own_figure(name, adata, ending, tmp_path):
    plot(name, adata, save=tmp_path / f"plot.{ending}")
    plot(name, adata, save=str(tmp_path / f"again.{ending}"))
    assert (tmp_path / f"plot.{ending}").stat().st_size > 1000
    assert (tmp_path / f"again.{ending}").exists()
    assert plt.get_fignums() == []


@every
def test_saves_the_figure_of_the_user_and_leaves_it_open(name, adata, tmp_path):
    figure, ax = plt.subplots()
    plot(name, adata, ax=ax, save=tmp_path / "plot.png", **one_panel(name, adata))
    assert (tmp_path / "plot.png").exists()
    assert plt.get_fignums() == [figure.number]


@every
def test_shows_when_asked(name, adata, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(name))
    plot(name, adata)
    assert shown == [], "no window and no notebook"
    plot(name, adata, show=True)
    assert shown == [name]
    monkeypatch.setattr(mpl, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    plot(name, adata)
    plot(name, adata, show=False)
    assert shown == [name] * 2
    _, ax = plt.subplots()
    plot(name, adata, ax=ax, **one_panel(name, adata))
    assert shown == [name] * 2, "a figure of the user is shown by the user"


@every
def test_reads_slots_only(name, adata):
    bare = adata.copy()
    bare.X = None
    table = importlib.import_module(f"scribe.pl.{name}").frame
    pd.testing.assert_frame_equal(table(bare, "scribe"), table(adata, "scribe"))


@every
def test_changes_neither_data_nor_settings(name, adata):
    before, uns = dict(mpl.rcParams), set(adata.uns)
    frames = [adata.obs.copy(), adata.var.copy()]
    plot(name, adata)
    assert dict(mpl.rcParams) == before
    assert set(adata.uns) == uns
    pd.testing.assert_frame_equal(adata.obs, frames[0])
    pd.testing.assert_frame_equal(adata.var, frames[1])


@every
def test_a_missing_slot_names_the_verb_to_call(name, adata):
    attribute, slot, verb = MISSING[name]
    bare = adata.copy()
    del getattr(bare, attribute)[slot]
    with pytest.raises(KeyError, match=verb):
        plot(name, bare)
    with pytest.raises(KeyError, match=r"Did you mean 'scribe'\?"):
        plot(name, adata, key="scrib")
    assert plt.get_fignums() == []


@every
def test_draws_what_was_read_back_from_a_file(name, adata, tmp_path):
    import anndata as ad

    adata.write_h5ad(tmp_path / "a.h5ad")
    drawn = axes_of(plot(name, ad.read_h5ad(tmp_path / "a.h5ad")[:50, :20]))
    assert drawn[0].has_data()
