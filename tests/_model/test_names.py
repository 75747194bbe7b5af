"""Familiar names and the compositions they stand for."""

from __future__ import annotations

import pytest

from scribe._model.checks import nearest
from scribe._model.names import (
    DESCRIPTIVE,
    FAMILY_NAMES,
    MODELS,
    describe,
    rename,
    resolve_family,
    site_among,
    site_of,
)
from scribe.families import Family, nb, poisson, two_state, with_capture, zero_inflated

COMPOSITIONS = {
    "nbdm": nb,
    "nbvcp": with_capture(nb),
    "zinb": zero_inflated(nb),
    "zinbvcp": zero_inflated(with_capture(nb)),
    "poisson": poisson,
    "poissonvcp": with_capture(poisson),
    "zip": zero_inflated(poisson),
    "zipvcp": zero_inflated(with_capture(poisson)),
    "twostate": two_state,
    "twostatevcp": with_capture(two_state),
}

FLAGS = [
    (None, None, "nbvcp"),
    (False, None, "nbdm"),
    (None, True, "zinbvcp"),
    (False, True, "zinb"),
    (True, None, "nbvcp"),
    (True, True, "zinbvcp"),
    (None, False, "nbvcp"),
    (False, False, "nbdm"),
    (True, False, "nbvcp"),
]


def test_models_are_compositions() -> None:
    assert set(COMPOSITIONS) == set(MODELS)
    for name, family in COMPOSITIONS.items():
        assert resolve_family(name, variable_capture=None, zero_inflation=None) == family


@pytest.mark.parametrize(("capture", "zeros", "model"), FLAGS)
def test_flags_alone_compose_the_model(capture: bool | None, zeros: bool | None, model: str) -> None:
    found = resolve_family(None, variable_capture=capture, zero_inflation=zeros)
    assert found == COMPOSITIONS[model]


@pytest.mark.parametrize(("name", "base"), [("poisson", poisson), ("twostate", two_state)])
def test_flags_add_to_the_name_of_a_family(name: str, base: Family) -> None:
    def found(capture: bool | None, zeros: bool | None) -> Family:
        return resolve_family(name, variable_capture=capture, zero_inflation=zeros)

    assert name in FAMILY_NAMES
    assert found(None, None) == found(False, None) == found(False, False) == base
    assert found(True, None) == found(True, False) == with_capture(base)
    assert found(None, True) == zero_inflated(base)
    assert found(True, True) == zero_inflated(with_capture(base))


@pytest.mark.parametrize("model", [name for name in MODELS if name not in FAMILY_NAMES])
@pytest.mark.parametrize("capture", [None, True, False])
@pytest.mark.parametrize("zeros", [None, True, False])
def test_with_a_name_flags_may_only_confirm(model: str, capture: bool | None, zeros: bool | None) -> None:
    implied = {"variable_capture": model.endswith("vcp"), "zero_inflation": model.startswith("zi")}
    given = {"variable_capture": capture, "zero_inflation": zeros}
    wrong = [flag for flag in given if given[flag] is not None and given[flag] != implied[flag]]
    if not wrong:
        assert resolve_family(model, **given) == COMPOSITIONS[model]
        return
    message = f"model='{model}' means {wrong[0]}={implied[wrong[0]]}, but {wrong[0]}={given[wrong[0]]} was passed"
    with pytest.raises(ValueError, match=message):
        resolve_family(model, **given)


def test_a_family_object_is_taken_as_it_is() -> None:
    family = with_capture(zero_inflated(nb))
    assert resolve_family(family, variable_capture=None, zero_inflation=True) == family
    message = r"model=with_capture\(zero_inflated\(nb\)\) means variable_capture=True, but variable_capture=False"
    with pytest.raises(ValueError, match=message):
        resolve_family(family, variable_capture=False, zero_inflation=None)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("nbvpc", r"Unknown model 'nbvpc'\. Did you mean 'nbvcp'\? Choose one of: 'nbdm', 'nbvcp'"),
        ("ZINB", r"Unknown model 'ZINB'\. Choose one of: 'nbdm'"),
        ("poison", r"Did you mean 'poisson'\?"),
    ],
)
def test_unknown_models_get_the_nearest_name(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_family(typed, variable_capture=None, zero_inflation=None)


def test_nearest_says_nothing_rather_than_something_odd() -> None:
    assert nearest("gate_pior", ["gate_prior", "mu"]) == " Did you mean 'gate_prior'?"
    assert nearest("xyz", ["gate", "mu"]) == ""


@pytest.mark.parametrize(
    ("site", "names"),
    [
        ("mu", ("expression", "mean_expression")),
        ("r", ("dispersion",)),
        ("p", ("prob", "probability")),
        ("phi", ("odds", "odds_ratio")),
        ("gate", ("zero_inflation",)),
        ("p_capture", ("capture_prob", "capture_probability")),
        ("phi_capture", ("capture_odds", "capture_odds_ratio")),
        ("eta_capture", ("capture_efficiency",)),
    ],
)
def test_both_vocabularies_are_read_and_one_is_printed(site: str, names: tuple[str, ...]) -> None:
    assert {site_of(name) for name in (site, *names)} == {site}
    assert describe(site, descriptive=True) == DESCRIPTIVE[site] == names[0]
    assert describe(site, descriptive=False) == site
    assert rename({site: 1, "losses": 2}, descriptive_names=True) == {names[0]: 1, "losses": 2}


def test_unknown_parameters_have_no_site() -> None:
    assert site_of("loadings") is None
    assert describe("loadings", descriptive=True) == "loadings"


def test_parameters_of_a_fit() -> None:
    assert site_among("expression", ["mu", "phi"]) == site_among("mean_expression", ["mu", "phi"]) == "mu"
    with pytest.raises(ValueError, match=r"No parameter 'expresion' in this fit\. Did you mean 'expression'\?"):
        site_among("expresion", ["mu", "phi"])
    with pytest.raises(ValueError, match=r"No parameter 'gate' in this fit\..*It has: mu, phi"):
        site_among("gate", ["mu", "phi"])
