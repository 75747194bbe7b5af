"""Unknown keywords of public functions are errors that lead to the right one."""

from __future__ import annotations

import importlib
import inspect

import pytest

import scribe
from scribe._model.keywords import _keywords_of
from scribe._model.names import DESCRIPTIVE
from scribe._model.options import CellOptions, FitOptions, ModelOptions
from scribe._model.synonyms import SYNONYMS

NAMESPACES = ("scribe", "scribe.tl", "scribe.pl", "scribe.get", "scribe.datasets")
VERBS = {
    f"{namespace}.{name}": item
    for namespace in NAMESPACES
    for name in importlib.import_module(namespace).__all__
    if inspect.isfunction(item := getattr(importlib.import_module(namespace), name))
}
FITS = ("scribe.fit", "scribe.tl.fit")
WANTED = {
    FITS: {
        "batch_key": "dataset_key",
        "condition_key": "dataset_key",
        "labels_key": "annotation_key",
        "cell_type_key": "annotation_key",
        "max_epochs": "n_steps",
        "n_epochs": "n_steps",
        "num_steps": "n_steps",
        "random_state": "rng",
        "rng_key": "rng",
        "lr": "optimizer_config",
        "learning_rate": "optimizer_config",
        "mu_dataset_prior": "expression_dataset_prior",
        "gate_dataset_prior": "zero_inflation_dataset_prior",
        "mu_anchor": "expression_anchor",
        "n_clusters": "n_components",
        "num_chains": "n_chains",
        "num_warmup": "n_warmup",
        "rank": "guide_rank",
        "use_raw": "layer",
        "n_step": "n_steps",
    },
    ("scribe.tl.fit",): {"key": "key_added", "inplace": "copy", "counts": "adata"},
    ("scribe.fit",): {"adata": "counts"},
    ("scribe.tl.de",): {
        "groups": "group",
        "cluster_key": "groupby",
        "donor_key": "sample_key",
        "batch_key": "sample_key",
        "ctrl": "reference",
        "lfc_threshold": "min_lfc",
        "random_state": "rng",
        "component_A": "component",
    },
    ("scribe.tl.denoise", "scribe.tl.ppc", "scribe.tl.normalize", "scribe.get.denoised", "scribe.get.datatree"): {
        "random_state": "rng",
        "seed": "rng",
        "num_samples": "n_samples",
        "n_draws": "n_samples",
    },
    ("scribe.get.de",): {"groups": "group"},
    ("scribe.pl.volcano",): {"group": "groups", "n_genes": "n_names", "axes": "ax", "filename": "save"},
    ("scribe.pl.loss", "scribe.pl.ppc"): {"key_added": "key", "fname": "save"},
    ("scribe.compare",): {"random_state": "rng", "componentA": "component_A"},
}
CASES = [(verb, *pair) for verbs, pairs in WANTED.items() for verb in verbs for pair in pairs.items()]


@pytest.mark.parametrize(("verb", "given", "wanted"), CASES)
def test_hints(verb, given, wanted) -> None:
    name = verb.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"^{name}\(\): unknown keyword '{given}'. Did you mean '{wanted}'\?$"):
        VERBS[verb](**{given: 1})


@pytest.mark.parametrize("verb", VERBS)
def test_every_public_function_refuses_what_it_does_not_know(verb) -> None:
    name = verb.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"^{name}\(\): unknown keyword 'qqq'. It takes: "):
        VERBS[verb](qqq=1)


def test_every_hint_leads_somewhere() -> None:
    known = {name for verb in VERBS.values() for name in _keywords_of(verb)} | set(DESCRIPTIVE)
    assert {keyword for keywords in SYNONYMS.values() for keyword in keywords} <= known


def test_no_keyword_of_a_fit_is_hidden_by_a_hint() -> None:
    known = {*FitOptions.__annotations__, *ModelOptions.__annotations__, *CellOptions.__annotations__}
    assert known <= set(_keywords_of(scribe.tl.fit))


def test_a_verb_stays_what_it_was() -> None:
    assert inspect.signature(scribe.tl.fit).parameters["options"].kind is inspect.Parameter.VAR_KEYWORD
    assert (scribe.tl.fit.__name__, scribe.tl.fit.__module__) == ("fit", "scribe.tl.fit")
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'adata'"):
        scribe.tl.denoise()
