"""What happens when the loss is not finite: back to a good state at a lower rate, or an error that says where."""

from __future__ import annotations

import logging
import re

import jax
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Fitted, NonFiniteError, Optimizer, Task, Verdict
from scribe.engines.diagnosis import where_not_finite
from scribe.engines.problem import make_problem
from scribe.guides import MeanField
from scribe.priors import latent_name

pytestmark = pytest.mark.loose_promotion

NEVER = EarlyStopping(enabled=False)
GENES = [f"gene_{i}" for i in range(8)]
CELLS = [f"cell_{i}" for i in range(30)]


@pytest.fixture(scope="module")
def counts() -> Counts:
    rng = np.random.default_rng(0)
    matrix = rng.poisson(rng.gamma(np.exp(rng.normal(1, 1, 8)), 1, (30, 8)))
    return Counts.from_matrix(matrix, gene_names=np.asarray(GENES), cell_names=np.asarray(CELLS))


@pytest.mark.parametrize(
    ("site", "index", "named", "others"),
    [
        ("r", 3, "site 'r', gene 'gene_3'", r"gene '(?!gene_3')|cell"),
        ("gate", 5, "site 'gate', gene 'gene_5'", r"gene '(?!gene_5')|cell"),
        ("p_capture", 7, "site 'p_capture', cell 'cell_7'", r"cell '(?!cell_7')|gene"),
        ("p", (), "site 'p'", "site 'p'.*site 'p'"),
    ],
)
def test_the_place_is_named_by_site_and_gene_or_cell(counts, site, index, named, others):
    problem = make_problem(resolve_spec("zinbvcp"), counts, MeanField())
    name = latent_name(site) + "_loc"
    params = {**problem.start, name: problem.start[name].at[index].set(np.nan)}
    where = where_not_finite(problem, params, jax.random.key(0), step=5)
    assert named in where
    assert not re.search(others, where), "nothing else is blamed"


def test_a_start_without_hope_is_an_error_at_once(counts):
    problem = make_problem(resolve_spec(), counts, MeanField())
    name = latent_name("r") + "_loc"
    bad = {**problem.per_cell(problem.start), name: problem.start[name].at[3].set(np.nan)}
    verdict = Verdict(converged=False, reason="", steps=0, loss=np.inf, slope=0.0)
    earlier = Fitted(MeanField(), bad, verdict, {"loss": np.zeros(0)}, 0)
    with pytest.raises(NonFiniteError, match=r"not finite at step 1 before any step was possible\. .*gene 'gene_3'"):
        SVI(n_steps=100, early_stopping=NEVER).fit(Task(resolve_spec(), counts, MeanField()), seed=0, start=earlier)


@pytest.mark.parametrize("stable_update", [True, False])
def test_a_rate_too_high_is_lowered_until_it_works(counts, stable_update, caplog):
    engine = SVI(
        n_steps=400,
        early_stopping=NEVER,
        optimizer=Optimizer("sgd", step_size=0.05),
        stable_update=stable_update,
    )
    with caplog.at_level(logging.WARNING, logger="scribe"):
        fit = engine.fit(Task(resolve_spec(), counts, MeanField()), seed=0)
    said = [
        re.search(r"back to step ([\d,]+) at half the learning rate \(retry (\d) of 5\)", m) for m in caplog.messages
    ]
    assert all(said)
    assert fit.verdict.retries == len(said) >= 1
    assert fit.verdict.rate == pytest.approx(0.05 / 2**fit.verdict.retries)
    assert "the loss was not finite" in fit.verdict.reason
    assert all(np.isfinite(value).all() for value in fit.params.values())
    skipped = ~np.isfinite(fit.losses)
    assert skipped.mean() <= (0.5 if stable_update else 0.0)


def test_a_hopeless_rate_is_an_error_with_the_remedy(counts):
    engine = SVI(n_steps=100, early_stopping=NEVER, optimizer=Optimizer("sgd", step_size=1e4))
    with pytest.raises(
        NonFiniteError,
        match=r"5 retries at lower .*Not finite: .*(gene|cell).*enable_x64=True.*'sgd', \"step_size\": 3e",
    ):
        engine.fit(Task(resolve_spec(), counts, MeanField()), seed=0)


def test_recovery_is_reproducible(counts):
    engine = SVI(n_steps=200, early_stopping=NEVER, optimizer=Optimizer("sgd", step_size=0.05))
    first, second = (engine.fit(Task(resolve_spec(), counts, MeanField()), seed=0) for _ in range(2))
    assert first.verdict.retries
    for name, value in first.params.items():
        np.testing.assert_array_equal(value, second.params[name])
