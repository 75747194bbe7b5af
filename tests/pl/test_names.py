"""Names of genes: short, and where they cover nothing."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scribe
from scribe.pl._canvas import drawn, legend_below
from scribe.pl._names import Name, Names, short_name, short_names


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("CD3D_ENSG00000167286", "CD3D"),
        ("CD3D-ENSG00000167286.12", "CD3D"),
        ("HLA-DRB1 (ENSG00000196126)", "HLA-DRB1"),
        ("ENSMUSG00000002033_Cd3g", "Cd3g"),
        ("ENSG00000167286.12", "ENSG00000167286"),
        ("ENSG00000167286", "ENSG00000167286"),
        ("RP11-206L10.2", "RP11-206L10.2"),
        ("PNRC2-1", "PNRC2-1"),
        ("MT-ND1", "MT-ND1"),
        ("ENSA", "ENSA"),
    ],
)
def test_identifiers_beside_symbols_are_left_out(name, short):
    assert short_name(name) == short


def test_names_that_would_be_alike_stay_as_they_are():
    names = ["A_ENSG00000000001", "A_ENSG00000000002", "B_ENSG00000000003", "B_ENSG00000000003"]
    assert short_names(names) == [*names[:2], "B", "B"]


def crowd(seed: int, n: int = 60) -> pd.DataFrame:
    """Points close to each other, in the corners and on one line."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(0, 0.02, n), [-3, 3, 3, -3], np.linspace(0, 1, n)])
    y = np.concatenate([rng.normal(0, 0.02, n), [-3, -3, 3, 3], np.ones(n)])
    return pd.DataFrame({"x": x, "y": y, "gene": [f"GENE{i}" for i in range(len(x))]})


def scattered(rows, ax):
    ax.scatter(rows["x"], rows["y"], label="gene")
    ax.text(0.5, 0.5, "a note", transform=ax.transAxes)
    ax.set_xlabel("x")
    legend_below(ax, columns=1)


@pytest.mark.parametrize("seed", range(3))
def test_names_cover_no_text_and_stay_in_the_panel(seed, tmp_path):
    tables = [crowd(seed), crowd(seed + 10)]

    def names(rows):
        return Names([Name(gene, x, y, x > 0) for x, y, gene in rows.to_numpy()], 15)

    panels = drawn(scattered, tables, size=(3.0, 2.5), names=names)
    figure = panels[0].get_figure()
    for dpi in (figure.dpi, 150):
        figure.set_dpi(dpi)
        figure.canvas.draw()
        for panel in panels:
            boxes = [text.get_window_extent() for text in panel.texts]
            assert 8 <= len(boxes) <= 16
            assert not any(a.padded(-1).overlaps(b) for a, b in itertools.combinations(boxes, 2))
            inside = panel.get_window_extent().padded(2)
            assert all(inside.contains(*box.min) and inside.contains(*box.max) for box in boxes)
            legend = panel.get_legend().get_window_extent()
            assert legend.y1 < min(box.y0 for box in boxes)
    plt.close(figure)


def test_the_first_names_have_the_first_choice():
    rows = crowd(0)[-30:]
    names = Names([Name(gene, x, y, True) for x, y, gene in rows.to_numpy()], 3)
    (panel,) = drawn(scattered, [rows], size=(3.0, 2.5), names=lambda _: names)
    assert [text.get_text() for text in panel.texts][1] == rows["gene"].iloc[0]
    assert len(panel.texts) == 4
    plt.close("all")


def changes(lfc: float, lfsr: float) -> pd.DataFrame:
    rng, n = np.random.default_rng(0), 40
    rows = pd.DataFrame(
        {
            "group": "a",
            "reference": "b",
            "names": [f"g{i}" for i in range(n)],
            "lfc_mean": rng.normal(0, lfc, n),
            "lfc_sd": 1.0,
            "lfsr": np.full(n, lfsr),
            "is_de": False,
            "mean_group": rng.lognormal(size=n),
            "mean_reference": rng.lognormal(size=n),
        }
    )
    rows.attrs = {"min_lfc": 0.0, "target_pefp": 0.05, "n_names": 5}
    return rows.assign(mean=rows["mean_group"])


@pytest.mark.parametrize(("name", "axis"), [("volcano", "x"), ("ma", "y")])
def test_axes_of_nothing_show_a_doubling(name, axis):
    module = importlib.import_module(f"scribe.pl.{name}")
    for lfc, least in ((1e-9, 1.0), (4.0, 6.0)):
        (panel,) = drawn(module.draw, [changes(lfc, 0.5)], size=(4, 3), names=module.gene_names)
        low, high = getattr(panel, f"get_{axis}lim")()
        assert low <= -least
        assert high >= least
        if name == "volcano":
            assert panel.get_ylim() == (0, pytest.approx(1.12 * 1.5))
    plt.close("all")


def test_volcano_of_a_comparison_names_short(small_comparison):
    adata = small_comparison.copy()
    table = adata.uns["scribe_de"]["table"]
    table["names"] = table["names"].astype(str) + "_ENSG00000167286"
    panel = scribe.pl.volcano(adata)[0]
    named = [text.get_text() for text in panel.texts]
    assert named
    assert not any("ENSG" in name for name in named)
    plt.close("all")
