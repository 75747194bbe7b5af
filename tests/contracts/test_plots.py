"""What holds for all plots: a tidy frame first, then axes; the user's own axes, files and figures are respected."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import scribe

pytestmark = pytest.mark.loose_promotion


class Row(NamedTuple):
    """What the tests of a plot need to know of it."""

    columns: list[str]
    """Columns of its frame."""
    missing: tuple[str, str]
    """Attribute and name of a slot it cannot do without."""
    verb: str = "fit"
    """The verb that writes this slot."""
    fit: str = "small_check"
    """Fixture of the fit it is for."""
    one_panel: Mapping[str, object] = MappingProxyType({})
    """Options under which it has one panel."""
    key: str = "scribe"
    """Name of the fit, or of the comparison of fits."""


BANDS = ["lower_95", "lower_68", "lower_50", "median", "upper_50", "upper_68", "upper_95"]
DRAWS = ["parameter", "gene", "level", "chain", "draw", "value"]
PLOTS = {
    "loss": Row(["step", "loss", "smoothed"], ("uns", "scribe")),
    "capture": Row(["total", "capture", "sd"], ("obs", "scribe_capture")),
    "mean_calibration": Row(["observed", "predicted"], ("varm", "scribe_params")),
    "ppc": Row(
        ["gene", "group", "count", "count_to", "observed", *BANDS],
        ("uns", "scribe_ppc"),
        verb="ppc",
        one_panel={"genes": "CD74"},
    ),
    "corner_ppc": Row(
        ["gene", "other", "count", "count_to", "other_count", "other_count_to", "observed", "expected"],
        ("uns", "scribe_ppc"),
        verb="ppc",
        one_panel={"genes": "CD74"},
    ),
    "compositional_ppc": Row(
        ["gene", "share", "share_to", "observed", *BANDS, "pseudobulk"],
        ("uns", "scribe_ppc"),
        verb="ppc",
        one_panel={"genes": "CD74"},
    ),
    "mu_pairwise": Row(
        ["gene", "level", "mean", "sd", "other", "other_mean", "other_sd"],
        ("varm", "scribe_params"),
        fit="small_mixture",
    ),
    "gof": Row(
        ["normal", "lower", "upper", "panel", "residual", "n_genes", "genes_lower", "genes_upper"],
        ("uns", "scribe_gof"),
        verb="gof",
        fit="small_residuals",
        one_panel={"genes": "CD74"},
    ),
    "gof_scores": Row(
        ["gene", "expression", "described", "score", "value"],
        ("uns", "scribe_gof"),
        verb="gof",
        fit="small_residuals",
        one_panel={"scores": "ks"},
    ),
    "umap_ppc": Row(["source", "umap1", "umap2"], ("uns", "scribe_ppc_umap"), verb="ppc_umap", fit="small_map"),
    "model_comparison": Row(
        ["model", "elpd", "elpd_diff", "dse", "weight"],
        ("uns", "scribe_compare"),
        verb="compare_models",
        fit="compared",
        key="scribe_compare",
    ),
    "model_comparison_genes": Row(
        ["gene", "best", "model", "mean", "elpd_diff", "elpd_diff_se"],
        ("varm", "scribe_compare_genes"),
        verb="compare_models",
        fit="compared",
        key="scribe_compare",
    ),
    "mixture_composition": Row(
        ["group", "component", "n_cells", "fraction"], ("obs", "scribe_component"), fit="small_mixture"
    ),
    "capture_anchor": Row(["total", "capture", "sd", "molecules"], ("obs", "scribe_capture"), fit="anchored"),
    "posterior": Row(DRAWS, ("varm", "scribe_r"), one_panel={"params": "p"}),
    "posterior_pairs": Row(DRAWS, ("varm", "scribe_r"), one_panel={"params": ["r", "p"]}),
    "correlation": Row(["gene", "other", "correlation"], ("varm", "scribe_r"), fit="made_chains"),
    "trace": Row(DRAWS, ("varm", "scribe_r"), fit="made_chains", one_panel={"params": "p"}),
    "rank": Row(
        [*DRAWS[:4], "from", "to", "n_draws"], ("varm", "scribe_r"), fit="made_chains", one_panel={"params": "p"}
    ),
}

GENES = ["group", "reference", "names", "lfc_mean", "lfc_sd", "lfsr", "pefp", "is_de", "mean_group", "mean_reference"]
PLOTS |= {
    name: Row(columns, ("uns", "scribe_de"), verb="de", fit="small_comparison")
    for name, columns in {
        "volcano": GENES,
        "ma": [*GENES, "mean"],
        "de_mean_expression": GENES,
        "de_evidence": ["group", "reference", "names", "lfsr", "pefp", "n_called"],
        "de_mask_threshold": ["group", "reference", "threshold", "kept", "called"],
    }.items()
}

every = pytest.mark.parametrize("name", scribe.pl.__all__)


@pytest.fixture(autouse=True)
def figures():
    """Every figure a plot opens is accounted for by its test."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def adata(request, name):
    return request.getfixturevalue(PLOTS[name].fit)


@pytest.fixture(scope="module")
def from_file(tmp_path_factory):
    """Some cells and genes of a fit that was written and read back; one file for all plots of the fit."""
    read = {}

    def make(fit, adata):
        if fit not in read:
            path = tmp_path_factory.mktemp("fits") / f"{fit}.h5ad"
            adata.write_h5ad(path)
            read[fit] = ad.read_h5ad(path)[:50, :20]
        return read[fit]

    return make


@pytest.fixture
def shown(monkeypatch):
    """Figures that were shown, by number."""
    numbers = []
    monkeypatch.setattr(plt, "show", lambda: numbers.append(plt.gcf().number))
    return numbers


def plot(name, data, **options):
    return getattr(scribe.pl, name)(data, **options)


def frame(name, data):
    return importlib.import_module(f"scribe.pl.{name}").frame(data, PLOTS[name].key)


def axes_of(drawn):
    return [drawn] if isinstance(drawn, Axes) else list(drawn.ravel())


def test_the_table_lists_all_plots():
    assert set(PLOTS) == set(scribe.pl.__all__)


@every
def test_frame_is_tidy_and_of_slots_alone(name, adata):
    table = frame(name, adata)
    assert isinstance(table, pd.DataFrame)
    assert set(table) == set(PLOTS[name].columns)
    assert len(table) > 0
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
    bare = adata.copy()
    bare.X = None
    pd.testing.assert_frame_equal(frame(name, bare), table)


@every
def test_returns_labelled_axes_of_a_new_figure_and_changes_nothing_else(name, adata, shown):
    before, uns, obs, var = dict(mpl.rcParams), set(adata.uns), adata.obs.copy(), adata.var.copy()
    drawn = axes_of(plot(name, adata))
    assert len(plt.get_fignums()) == 1
    assert shown == [], "no window and no notebook"
    assert any(ax.get_xlabel() for ax in drawn)
    assert any(ax.get_ylabel() for ax in drawn)
    assert all(ax.has_data() for ax in drawn)
    assert dict(mpl.rcParams) == before
    assert set(adata.uns) == uns
    pd.testing.assert_frame_equal(adata.obs, obs)
    pd.testing.assert_frame_equal(adata.var, var)


@every
@pytest.mark.parametrize("own", [True, False])
def test_legends_and_texts_cover_no_text(name, adata, own):
    """Whether the figure is the plot's or the user's."""
    options = {} if own else {"ax": plt.subplots(figsize=(5, 4), layout="constrained")[1], **PLOTS[name].one_panel}
    drawn = axes_of(plot(name, adata, **options))
    figure = drawn[0].get_figure()
    figure.canvas.draw()
    texts = [text.get_window_extent() for ax in drawn for text in ax.texts if text.get_text()]
    legends = [*figure.legends, *(legend for ax in drawn if (legend := ax.get_legend()))]
    labels = [text.get_window_extent() for ax in drawn for text in (ax.xaxis.label, ax.yaxis.label) if text.get_text()]
    assert not any(a.padded(-1).overlaps(b) for a, b in itertools.combinations(texts, 2))
    for legend in (one.get_window_extent().padded(-1) for one in legends):
        assert not any(legend.overlaps(box) for box in [*texts, *labels])
    plt.close(figure)


@every
def test_draws_into_the_axes_of_the_user_and_saves_them(name, adata, tmp_path):
    figure, ax = plt.subplots()
    drawn = axes_of(plot(name, adata, ax=ax, show=False, save=tmp_path / "plot.png", **PLOTS[name].one_panel))
    assert drawn == [ax]
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert plt.get_fignums() == [figure.number], "left open"


@every
def test_shows_and_saves_and_closes_its_own_figure(name, adata, shown, tmp_path):
    before = dict(mpl.rcParams)
    plot(name, adata, save=str(tmp_path / "plot.pdf"), show=True)
    assert dict(mpl.rcParams) == before
    assert (tmp_path / "plot.pdf").stat().st_size > 1000
    assert shown == [1]
    assert plt.get_fignums() == []


def test_shows_its_own_figures_where_there_is_a_window(small_fit, shown, monkeypatch):
    """What is one function of all plots, `_canvas.drawn`, is tested on one."""
    monkeypatch.setattr(mpl, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    scribe.pl.loss(small_fit)
    assert shown == [1]
    scribe.pl.loss(small_fit, show=False)
    assert shown == [1]
    _, ax = plt.subplots()
    scribe.pl.loss(small_fit, ax=ax)
    assert shown == [1], "a figure of the user is shown by the user"
    scribe.pl.loss(small_fit, ax=ax, show=True)
    assert shown == [1, 3]


@every
def test_a_missing_slot_names_the_verb_to_call(name, adata):
    attribute, slot = PLOTS[name].missing
    bare = adata.copy()
    del getattr(bare, attribute)[slot]
    with pytest.raises(KeyError, match=rf"scribe\.tl\.{PLOTS[name].verb}"):
        plot(name, bare)
    key = PLOTS[name].key
    with pytest.raises(KeyError, match=rf"Did you mean '{key}'\?"):
        plot(name, adata, key=key[:-1])
    with pytest.raises(TypeError, match=rf"{name}\(\): unknown keyword 'axes'\. Did you mean 'ax'\?"):
        plot(name, adata, axes=None)
    assert plt.get_fignums() == []


@every
def test_draws_what_was_read_back_from_a_file(name, adata, from_file):
    drawn = axes_of(plot(name, from_file(PLOTS[name].fit, adata)))
    assert drawn[0].has_data()


@every
def test_signature_and_words_agree(name):
    """The keywords of figures and what is said of shared ones come from one place, in the order of the signature."""
    function = getattr(scribe.pl, name)
    signature = inspect.signature(function)
    assert list(signature.parameters)[-3:] == ["ax", "show", "save"]
    assert all(signature.parameters[last].default is None for last in ("ax", "show", "save"))
    lines = inspect.getdoc(function).splitlines()
    told = [word for line in lines[lines.index("Parameters") + 2 : lines.index("Returns")] for word in line.split(", ")]
    assert [word for word in told if word in signature.parameters] == list(signature.parameters)
    many = "Array" in str(signature.return_annotation)
    assert lines[lines.index("Returns") + 2].startswith("Array of the axes, one per " if many else "The axes.")
