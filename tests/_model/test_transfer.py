"""Parameters in other coordinates mean the same."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from scribe._model.resolve import resolve_spec
from scribe._model.transfer import transfer

N_GENES, N_CELLS = 6, 9
ANCHOR = {"priors": {"organism": "human"}}
SPECS = {
    **{name: {"parameterization": name} for name in ("canonical", "mean_prob", "mean_odds")},
    "anchored": {"parameterization": "mean_odds", **ANCHOR},
    "softplus": {"parameterization": "mean_prob", "unconstrained": True, "positive_transform": "softplus"},
    "disp": {"parameterization": "mean_disp"},
}
SHARED = [name for name in SPECS if name != "disp"]
"""Systems in which all genes share their odds; each is moved to the next."""


def random_values(spec):
    rng, shape = np.random.default_rng(0), {"gene": N_GENES, "cell": N_CELLS}
    return {
        s.name: jax.numpy.asarray(rng.normal(0.5, 0.5, tuple(shape[axis] for axis in s.axes)), np.float32)
        for s in spec.sites
    }


def moved(source, target, values):
    found = transfer(source, target, values, n_genes=N_GENES, n_cells=N_CELLS)
    shape = {"gene": N_GENES, "cell": N_CELLS}
    assert {n: x.shape for n, x in found.items()} == {s.name: tuple(shape[a] for a in s.axes) for s in target.sites}
    return target.named(found)


@pytest.mark.parametrize("model", ["nbvcp", "zinbvcp"])
@pytest.mark.parametrize(("source", "target"), list(zip(SHARED, (*SHARED[1:], SHARED[0]), strict=True)))
def test_same_meaning_in_other_coordinates(source, target, model):
    source, target = (resolve_spec(model, **SPECS[name]) for name in (source, target))
    values = random_values(source)
    before, after = source.named(values), moved(source, target, values)
    for name in {"mu", "r", "p", "phi", "p_capture"} | ({"gate"} if model == "zinbvcp" else set()):
        np.testing.assert_allclose(after[name], before[name], rtol=2e-5, err_msg=name)


def test_genes_share_the_mean_log_odds_where_they_must():
    source, target = resolve_spec(**SPECS["disp"]), resolve_spec(**SPECS["mean_odds"])
    values = random_values(source)
    before, after = source.named(values), moved(source, target, values)
    np.testing.assert_allclose(after["mu"], before["mu"], rtol=1e-5)
    np.testing.assert_allclose(after["phi"], np.exp(np.mean(np.log(before["phi"]))), rtol=1e-5)
    back = moved(target, source, transfer(source, target, values, n_genes=N_GENES, n_cells=N_CELLS))
    np.testing.assert_allclose(back["r"], np.asarray(after["phi"] * after["mu"]), rtol=1e-5)


def test_complete_capture_stays_finite():
    source, target = resolve_spec(**SPECS["anchored"]), resolve_spec(**SPECS["canonical"])
    values = random_values(source) | {"eta_capture": jax.numpy.full(N_CELLS, -200.0)}
    found = transfer(source, target, values, n_genes=N_GENES, n_cells=N_CELLS)["p_capture"]
    assert np.all((found > 10) & (found < 20))


def test_levels_stay_apart():
    options = {"components": ("a", "b")}
    source, target = (resolve_spec(parameterization=name, **options) for name in ("mean_odds", "canonical"))
    shape = {"gene": N_GENES, "cell": N_CELLS, "component": 2}
    rng = np.random.default_rng(1)
    values = {s.name: jax.numpy.asarray(rng.normal(size=[shape[a] for a in s.axes]), np.float32) for s in source.sites}
    found = transfer(source, target, values, n_genes=N_GENES, n_cells=N_CELLS)
    before, after = source.named(values), target.named(found)
    for name in ("mu", "r", "phi", "mixing_weights", "p_capture"):
        assert before[name].shape == after[name].shape
        np.testing.assert_allclose(after[name], before[name], rtol=2e-5)


def test_other_models_are_refused():
    source = resolve_spec("nbvcp")
    with pytest.raises(ValueError, match=r"A fit of with_capture\(nb\) cannot be where one of nb starts"):
        moved(source, resolve_spec("nbdm"), random_values(source))
    mixture = resolve_spec(components=("a", "b"))
    with pytest.raises(ValueError, match=r"has the levels \{\}, and the model \{'component': \('a', 'b'\)\}"):
        moved(source, mixture, random_values(source))
