"""Donors and conditions from start to end: effects that were simulated are found, by name, and survive files."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scribe

pytestmark = pytest.mark.loose_promotion

N_DONORS, N_GENES, N_CELLS = 4, 10, 30
ASKED = {
    "dataset_key": ["donor", "condition"],
    "unconstrained": True,
    "expression_dataset_prior": {"donor": "gaussian", "condition": "fixed"},
}


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    """Poisson counts of four donors under two conditions, without those of the last donor under the second."""
    rng = np.random.default_rng(1)
    donor, condition = (np.repeat(x, N_CELLS) for x in ([0, 1, 2, 3, 0, 1, 2], [0, 0, 0, 0, 1, 1, 1]))
    of_donor, of_condition = rng.normal(0, 0.3, (N_DONORS, N_GENES)), rng.normal(0, 0.8, N_GENES)
    mean = np.exp(rng.normal(2, 0.7, N_GENES) + of_donor[donor] + np.outer(condition, of_condition))
    obs = pd.DataFrame({"donor": np.array(list("abcd"))[donor], "condition": np.array(["ctrl", "stim"])[condition]})
    made = ad.AnnData(rng.poisson(mean).astype(np.float32), obs=obs.set_index("c" + obs.index.astype(str)))
    made.uns["truth"] = {"donor": of_donor, "condition": of_condition}
    return made


def quick(adata: ad.AnnData, **options) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, **{**ASKED, "early_stopping": False, **options})


@pytest.fixture(scope="module")
def fitted(adata):
    made = adata.copy()
    quick(made, model="poisson", n_steps=800)
    return made


def test_effects_are_found(fitted) -> None:
    truth, found = fitted.uns["truth"], scribe.get.results(fitted).get_posterior_samples(200)
    of_condition = np.asarray(found["mu_condition_effect"])
    assert of_condition.shape == (200, 2, N_GENES)
    change = of_condition[:, 1] - of_condition[:, 0]
    np.testing.assert_allclose(change.mean(0), truth["condition"], atol=0.2)
    of_donor = np.asarray(found["mu_donor_effect"]).mean(0)
    np.testing.assert_allclose(of_donor - of_donor.mean(0), truth["donor"] - truth["donor"].mean(0), atol=0.25)


def test_what_was_never_seen_together_is_no_dataset(fitted) -> None:
    results = scribe.get.results(fitted)
    labels = results.spec.levels["dataset"].labels
    assert len(labels) == 7
    assert "d | stim" not in labels
    one = results.get_dataset("b | stim")
    assert one.n_cells == N_CELLS
    means = np.asarray(fitted.X)[(fitted.obs["donor"] == "b") & (fitted.obs["condition"] == "stim")].mean(0)
    np.testing.assert_allclose(one.get_map()["mu"], means, rtol=0.25, atol=0.3)


def test_every_effect_has_its_column(fitted, through_file) -> None:
    table = fitted.varm["scribe_params"]
    assert {f"mu_condition_effect_mean[{level}]" for level in ("ctrl", "stim")} <= set(table)
    assert {f"mu_donor_effect_sd[{level}]" for level in "abcd"} <= set(table)
    before, back = scribe.get.results(fitted), scribe.get.results(through_file(fitted))
    assert back.spec == before.spec
    for name, value in before.get_posterior_samples(5).items():
        np.testing.assert_array_equal(back.get_posterior_samples(5)[name], value, err_msg=name)
    genes = fitted[:, ["2", "7"]].copy()
    np.testing.assert_array_equal(
        scribe.get.results(genes).get_map()["mu_donor_effect"], before.get_map()["mu_donor_effect"][:, [2, 7]]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"model": "poisson", "guide_rank": 2},
        pytest.param(
            {"model": "poissonvcp", "amortize_capture": True, "capture_hidden_dims": [3], "joint_params": ["mu"]},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["low_rank", "amortised"],
)
def test_guides(adata, options) -> None:
    made = adata.copy()
    quick(made, n_steps=20, **options)
    results = scribe.get.results(made)
    assert np.isfinite(results.loss_history).all()
    draws = results.get_posterior_samples(3)
    assert (draws["mu_donor_effect"].shape, draws["mu_condition_effect"].shape) == ((3, 4, N_GENES), (3, 2, N_GENES))
    assert results.spec.site("mu").axes == ("dataset", "gene")
