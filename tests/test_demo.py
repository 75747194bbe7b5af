"""The main job leaves plots, a file and a summary behind, for the embedded data as for a user's own."""

from __future__ import annotations

import sys

import anndata as ad
import pytest

import scribe
from scribe import demo

pytestmark = pytest.mark.loose_promotion


@pytest.mark.filterwarnings("ignore:NOT converged")
def test_main_on_a_users_file(small_counts, tmp_path, monkeypatch, capsys):
    adata = small_counts.copy()
    adata.layers["counts"], adata.X = adata.X, adata.X.log1p()
    adata.write_h5ad(tmp_path / "mine.h5ad")
    out = tmp_path / "out"
    options = ("n_steps=30", "early_stopping=False", "parameterization=mean_odds")
    arguments = ["--out", str(out), "--data", str(tmp_path / "mine.h5ad"), "--layer", "counts"]
    arguments += [word for option in options for word in ("--option", option)]
    monkeypatch.setattr(sys, "argv", ["scribe.demo", *arguments])
    demo.main()
    printed = capsys.readouterr().out
    for word in (
        "150 cells x 51 genes",
        "mean_odds",
        "NO, all 30 steps",
        "relative",
        "zero_fraction",
        "seconds",
        "ppc.png",
    ):
        assert word in printed, word
    names = {path.name for path in out.iterdir()}
    assert names == {"loss.png", "ppc.png", "capture.png", "mean_calibration.png", "scribe.h5ad"}
    assert all(path.stat().st_size > 5000 for path in out.iterdir())
    back = ad.read_h5ad(out / "scribe.h5ad")
    assert scribe.get.results(back).counts().source == "layers['counts']"
    assert back.layers["scribe_denoised"].shape == back.shape


def test_options_are_read_as_python_or_text():
    assert dict(map(demo.option, ["a=1", "b=False", "c=mean_disp", "d={'organism': 'human'}", "e=x=y"])) == {
        **{"a": 1, "b": False, "c": "mean_disp", "d": {"organism": "human"}, "e": "x=y"}
    }
