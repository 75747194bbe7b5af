"""Simulated donors in two conditions: sizes, effects, what varies between donors, errors."""

from __future__ import annotations

import numpy as np
import pytest

import scribe


def log_shares(adata, donors) -> np.ndarray:
    """Log share of every gene in every donor and condition."""
    sums = np.stack([np.asarray(adata[mask].X.sum(axis=0)).ravel() for mask in donors]) + 0.5
    return np.log(sums / sums.sum(axis=1, keepdims=True))


def test_effects_and_spread_are_those_that_are_said() -> None:
    adata = scribe.datasets.conditions(12, 60, 200, share=0.2, donor_sd=0.3, rng=3)
    assert adata.shape == (2 * 12 * 60, 200)
    assert adata.obs["donor"].nunique() == 24
    assert (adata.X.data == np.round(adata.X.data)).all()
    donors = [(adata.obs["donor"] == name).to_numpy() for name in adata.obs["donor"].unique()]
    treated = np.array([(adata.obs["condition"] == "treated").to_numpy()[mask][0] for mask in donors])
    logs = log_shares(adata, donors)
    effect, common = adata.var["effect"].to_numpy(), np.asarray(adata.X.mean(axis=0)).ravel() > 0.3
    found = logs[treated].mean(axis=0) - logs[~treated].mean(axis=0)
    found -= np.median(found[effect == 0])
    np.testing.assert_allclose(np.polyfit(effect[common], found[common], 1)[0], 1.0, atol=0.2)
    assert 0.1 < np.mean(effect != 0) < 0.3
    assert np.abs(effect[effect != 0]).min() >= 0.5
    spread = logs[treated].std(axis=0, ddof=1)[common]
    np.testing.assert_allclose(np.median(spread / adata.var["donor_sd"][common]), 1.1, atol=0.25)


def test_pairs_have_both_conditions_and_what_is_special_to_the_donor() -> None:
    adata = scribe.datasets.conditions(10, 80, 200, share=0.0, donor_sd=0.5, paired=True, rng=2)
    table = adata.obs.groupby("donor", observed=True)["condition"].nunique()
    assert len(table) == 10
    assert (table == 2).all()
    names = adata.obs["donor"].unique()
    sides = [
        log_shares(adata, [((adata.obs["donor"] == n) & (adata.obs["condition"] == c)).to_numpy() for n in names])
        for c in ("control", "treated")
    ]
    common = np.asarray(adata.X.mean(axis=0)).ravel() > 1
    centred = [side[:, common] - side[:, common].mean(axis=0) for side in sides]
    together = np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1]
    assert 0.3 < together < 0.7, "half of the variance between donors is common to both conditions"


@pytest.mark.parametrize("up", [0.0, 0.8, 1.0])
def test_responses_go_up_in_a_share(up) -> None:
    effect = scribe.datasets.conditions(1, 2, 400, share=0.5, up=up, rng=1).var["effect"].to_numpy()
    np.testing.assert_allclose(np.mean(effect[effect != 0] > 0), up, atol=0.1 if up == 0.8 else 0.0)


def test_seeds_and_errors() -> None:
    first, again, other = (scribe.datasets.conditions(2, 10, 20, rng=rng) for rng in (3, 3, 4))
    assert (first.X != again.X).nnz == 0
    assert (first.X != other.X).nnz > 0
    with pytest.raises(ValueError, match="n_donors must be a whole number of at least 1, got 0"):
        scribe.datasets.conditions(0)
    with pytest.raises(ValueError, match=r"up must be a share between 0 and 1, got 1\.5"):
        scribe.datasets.conditions(up=1.5)
