"""Total mRNA that is learned: of one dataset about the anchor, of several as a population."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scribe
from scribe._model.resolve import resolve_spec
from scribe._model.spec import ModelSpec

pytestmark = pytest.mark.loose_promotion

HUMAN = {"priors": {"organism": "human"}}


def test_axes_and_priors() -> None:
    one = resolve_spec(capture_scaling_prior="gaussian", **HUMAN)
    assert one.site("mu_eta").axes == ()
    assert (one.priors["mu_eta"].loc, one.priors["mu_eta"].scale) == (np.log(200_000.0), 1.0)
    two = resolve_spec(capture_scaling_prior="neg", datasets=("a", "b"), dataset_params="mean", **HUMAN)
    assert two.site("mu_eta").axes == ("dataset",)
    assert two.priors["mu_eta"].adds == ("dataset",)
    assert ModelSpec.from_json(two.to_json()) == two
    given = resolve_spec(priors={"organism": "human", "capture_scaling": (10.0, 0.2)})
    assert (given.priors["mu_eta"].loc, given.priors["mu_eta"].scale) == (10.0, 0.2)
    spelled = resolve_spec(priors={"organism": "human", "capture_scaling": "gaussian"})
    assert spelled == one
    assert "mu_eta" not in {site.name for site in resolve_spec(**HUMAN).sites}


def test_needs_an_anchor() -> None:
    with pytest.raises(ValueError, match="capture_scaling needs a prior of capture"):
        resolve_spec(capture_scaling_prior="gaussian")


def test_the_learned_scale_is_that_of_the_cells() -> None:
    """Of every dataset, the mean of eta + log L over its cells: what a cell captured is measured against its scale."""
    rng = np.random.default_rng(0)
    mu = 2000 * rng.dirichlet(np.full(40, 0.5)) + 0.5
    dataset = np.repeat([0, 1], 150)
    capture = np.where(dataset == 0, 0.2, 0.1)
    counts = rng.poisson(mu * capture[:, None] * rng.gamma(20, 1 / 20, (300, 1)))
    names = [f"c{i}" for i in range(300)]
    adata = AnnData(counts.astype(np.float32), obs=pd.DataFrame({"batch": [f"b{d}" for d in dataset]}, index=names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(
            adata,
            dataset_key="batch",
            capture_scaling_prior="gaussian",
            parameterization="mean_odds",
            unconstrained=True,
            priors={"capture_efficiency": (np.log(2000.0), 0.1), "mu": (3.0, 3.0)},
            n_steps=1500,
            early_stopping=False,
        )
    scale = scribe.get.results(adata).get_map()["mu_eta"]
    total = adata.obs["scribe_total"].to_numpy()
    eta = -np.log(adata.obs["scribe_capture"].to_numpy())
    for d in (0, 1):
        learned = np.mean((eta + np.log(total))[dataset == d])
        assert np.isclose(scale[d], learned, atol=0.1)
    assert "mu_eta_mean" in adata.uns["scribe"]["scalars"]
