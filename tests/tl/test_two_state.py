"""Every verb with a two-state promoter, on real counts."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

import scribe

pytestmark = pytest.mark.loose_promotion


@pytest.mark.filterwarnings("ignore::scribe.ConvergenceWarning")
def test_real_counts(small_counts, tmp_path):
    """All verbs, on counts of 40 cells and 17 genes and through a file."""
    adata = small_counts[:40, :17].copy()
    scribe.tl.fit(adata, "twostatevcp", n_steps=30, early_stopping=False)
    adata.write_h5ad(tmp_path / "fit.h5ad")
    again = anndata.read_h5ad(tmp_path / "fit.h5ad")
    results = scribe.get.results(again)
    loss = np.asarray(results.loss_history)
    assert np.isfinite(loss).all()
    assert loss[-5:].mean() < loss[:5].mean()
    scribe.tl.denoise(again, n_samples=2)
    assert (again.layers["scribe_denoised"] >= again.X.toarray() - 1e-4).all()
    scribe.tl.ppc(again, n_samples=4, n_genes=4)
    assert set(results.get_map()) >= {"mu", "excess_fano", "inv_concentration", "p_capture"}
