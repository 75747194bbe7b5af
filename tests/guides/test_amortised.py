"""Capture predicted from the total: its start, its fit, and the table that is exact."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._model.initial import start as start_of
from scribe._model.resolve import resolve_spec
from scribe.datasets import simulate
from scribe.engines import SVI, EarlyStopping, Task
from scribe.engines.problem import make_problem
from scribe.guides import Amortised, Composed, MeanField, roles

pytestmark = pytest.mark.loose_promotion

NETWORK = Composed((Amortised((16, 8)), MeanField()))
TABLE = MeanField(by_total=True)


@functools.cache
def setting(parameterization="canonical"):
    counts = simulate(400, 12, "nbvcp", rng=0).X
    counts = counts[np.asarray(counts.sum(1)).ravel() > 0]
    return resolve_spec("nbvcp", parameterization=parameterization), Counts.from_matrix(counts)


@pytest.mark.parametrize("transform", ["softplus", "exp"])
def test_starts_at_what_the_data_suggest(transform):
    spec, counts = setting()
    latents = Amortised().select(spec.latents)
    guide = Amortised(output_transform=transform)
    start = spec.start(start_of(spec, counts).values)
    params = guide.init(latents, start, lengths={"cell": counts.n_cells}, totals=counts.totals)
    final = guide.finalise(params, latents=latents, counts=counts)
    (name,) = (latent.name for latent in latents)
    error = np.abs(final[name + "_loc"] - start[name])
    # logits bend where capture nears one, and the fit is kept smooth
    assert np.mean(error) < 0.7 < np.std(start[name])
    assert np.corrcoef(final[name + "_loc"], start[name])[0, 1] > 0.9
    np.testing.assert_allclose(np.exp(final[name + "_log_scale"]), 1 / np.sqrt(1 + counts.totals), rtol=1e-4)


def test_scales_stay_within_their_bounds():
    spec, counts = setting()
    latents = Amortised().select(spec.latents)
    start = {latent.name: np.zeros(()) for latent in latents}
    for bounds, expected in ({"clamp_max": 2.0}, 2.0), ({"clamp_max": None}, 40.0), ({"clamp_min": 0.5}, 40.0):
        guide = Amortised(output_transform="exp", **bounds)
        params = guide.init(latents, start, lengths={"cell": counts.n_cells}, totals=counts.totals)
        params["amortised_p_capture_bias_out"] = jnp.asarray([[0.0, np.log(40.0)]])
        scale = np.exp(guide.finalise(params, latents=latents, counts=counts)[latents[0].name + "_log_scale"])
        np.testing.assert_allclose(scale * np.sqrt(1 + counts.totals), expected, rtol=1e-4)


@functools.cache
def fitted(guide, batch_size=None):
    spec, counts = setting()
    engine = SVI(2000, batch_size=batch_size, early_stopping=EarlyStopping(enabled=False))
    return engine.fit(Task(spec, counts, guide), seed=0)


@pytest.mark.slow
def test_network_reaches_the_bound_of_the_table():
    """With shared odds the total is all that matters, so both can be what rows of single cells would be."""
    # of the default widths: narrow ones depend on the noise of their first steps, by up to 20 nats
    network = fitted(Composed((Amortised(), MeanField())))
    assert np.mean(network.losses[-300:]) == pytest.approx(np.mean(fitted(TABLE).losses[-300:]), abs=8.0)
    name = "p_capture_unconstrained_loc"
    apart = np.asarray(network.params[name] - fitted(TABLE).params[name])
    assert np.std(apart) < 0.25 * np.std(fitted(TABLE).params[name])


@pytest.mark.parametrize("guide", [NETWORK, TABLE], ids=["network", "table"])
def test_cells_of_equal_totals_have_equal_posteriors_in_minibatches(guide):
    _, counts = setting()
    loc = np.asarray(fitted(guide, 100).params["p_capture_unconstrained_loc"])
    index = counts.groups().index
    for group in np.flatnonzero(np.bincount(index) > 1)[:20]:
        np.testing.assert_allclose(loc[index == group], loc[index == group][0], rtol=1e-5)
    assert np.corrcoef(loc, np.log1p(counts.totals))[0, 1] > 0.95
    assert np.mean(fitted(guide, 100).losses[-300:]) == pytest.approx(np.mean(fitted(TABLE).losses[-300:]), rel=0.01)


@pytest.mark.parametrize("guide", [NETWORK, TABLE], ids=["network", "table"])
@pytest.mark.parametrize("batch_size", [None, 100])
def test_number_of_arrays_and_their_rows(guide, batch_size):
    spec, counts = setting()
    problem = make_problem(spec, counts, guide, batch_size=batch_size)
    of = roles(problem.start, spec.latents)
    rows = {x.shape[0] for name, x in problem.start.items() if "cell" in of[name].axes}
    n_totals = len(counts.groups().totals)
    assert rows <= ({problem.first.size} if guide is TABLE else set())
    assert guide is NETWORK or n_totals <= problem.first.size < counts.n_cells
    final = problem.per_cell(problem.start)
    assert final["p_capture_unconstrained_loc"].shape == (counts.n_cells,)
    for name, value in problem.from_cells(final).items():
        np.testing.assert_array_equal(value, problem.start[name])


def test_a_table_serves_genes_with_odds_of_their_own():
    """Where totals do not suffice, cells of one total share a posterior still: the data stay those of all cells."""
    spec, counts = setting("mean_disp")
    assert not spec.totals_suffice
    problem = make_problem(spec, counts, TABLE)
    assert problem.data.cells.totals.shape == (counts.n_cells,)
    assert problem.start["p_capture_unconstrained_loc"].shape == problem.first.shape
    assert np.isfinite(problem.loss_and_gradient(problem.start, jax.random.key(0), problem.data)[0])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"output_transform": "log"}, "Unknown output_transform 'log'"),
        ({"clamp_min": 2.0}, "either side of 1, got 2.0 and 50.0"),
        ({"clamp_max": 0.5}, "either side of 1"),
        ({"activation": "rely"}, "Unknown activation"),
        ({"hidden_dims": ()}, "hidden_dims must be"),
    ],
)
def test_bad_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Amortised(**settings)
