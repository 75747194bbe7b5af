"""From keywords to guides: every combination that is documented, and an error for every other."""

from __future__ import annotations

import numpy as np
import pytest

from scribe._model.completion import complete
from scribe._model.options import options_table
from scribe._model.resolve import resolve_spec
from scribe.guides import MLP, Amortised, Composed, Flow, Joint, LowRank, MeanField, choose, given

REST = MeanField()
SPECS = {
    "canonical": resolve_spec("zinbvcp"),
    "odds": resolve_spec("nbdm", parameterization="mean_odds"),
    "disp": resolve_spec("zinbvcp", parameterization="mean_disp"),
    "nbvcp": resolve_spec("nbvcp"),
    "mixture": resolve_spec("nbvcp", components=("a", "b")),
    "weights": resolve_spec("nbvcp", components=("a", "b"), datasets=("x", "y"), mixture_params=()),
}


def chosen(spec="canonical", **options):
    return choose(complete(options), SPECS[spec])


def parts(spec="canonical", **options):
    guide = chosen(spec, **options)
    assert isinstance(guide, Composed)
    assert guide.parts[-1] == REST
    return guide.parts[:-1] if len(guide.parts) > 2 else guide.parts[0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"guide_rank": 8}, LowRank(8)),
        ({"guide": "low_rank"}, LowRank()),
        ({"guide": "flow"}, Flow()),
        ({"guide": LowRank(rank=64)}, LowRank(64)),
        ({"guide_rank": 8, "joint_params": "biological"}, Joint(("p", "r"), family=LowRank(8))),
        ({"joint_params": ["r", "gate"]}, Joint(("r", "gate"))),
        ({"joint_params": "all"}, Joint(("p", "r", "gate"))),
        (
            {"guide_rank": 2, "joint_params": "all", "dense_params": "mean"},
            Joint(("p", "r", "gate"), family=LowRank(2), dense=("r",)),
        ),
        ({"joint_params": "all", "dense_params": []}, Joint(("p", "r", "gate"))),
        ({"guide_flow": "iaf"}, Flow("iaf")),
        (
            {"guide_flow": "spline_coupling", "guide_flow_n_bins": 5, "joint_params": ["r", "gate"]},
            Joint(("r", "gate"), family=Flow("spline_coupling", n_bins=5)),
        ),
        (
            {"guide_flow": "affine_coupling", "joint_params": ["r", "gate"], "dense_params": ["r", "gate"]},
            Joint(("r", "gate"), family=Flow(), dense=("r", "gate")),
        ),
        ({"amortize_capture": True, "capture_hidden_dims": [8]}, Amortised((8,))),
        ({"capture_amortization": {"hidden_dims": [8], "clamp_min": None}}, Amortised((8,), clamp_min=None)),
        ({"capture_amortization": Amortised((8,)), "amortize_capture": True}, Amortised((8,))),
        ({"guide_rank": 3, "capture_amortization": {"capture_activation": "tanh"}},
         (LowRank(3), Amortised(activation="tanh"))),
    ],
    ids=str,
)  # fmt: skip
def test_keywords(options, expected):
    assert parts(**options) == expected


def test_defaults_are_mean_field():
    assert chosen() == REST
    assert given(complete({})) == {}


def test_every_keyword_of_a_flow_has_an_effect():
    changed = {
        "num_layers": 2, "hidden_dims": [5, 5], "activation": "tanh", "mixture_strategy": "shared",
        "zero_init": False, "layer_norm": False, "residual": False, "loft": False, "log_det_f64": True,
    }  # fmt: skip
    of_kind = {"maf": {"soft_clamp": False}, "spline_coupling": {"n_bins": 4}}
    named = {f"guide_flow_{n}" for n in (*changed, *of_kind["maf"], *of_kind["spline_coupling"])}
    assert named == {n for n in options_table() if n.startswith("guide_flow_")}
    network = MLP((5, 5), activation="tanh", layer_norm=False, residual=False, zero_init=False)
    about = {"n_layers": 2, "network": network, "mixture_strategy": "shared", "loft": False, "log_det_f64": True}
    for kind, own in of_kind.items():
        given = {f"guide_flow_{name}": value for name, value in (changed | own).items()}
        assert parts("mixture", guide_flow=kind, **given) == Flow(kind, **about, **own)


@pytest.mark.parametrize(
    ("spec", "idle", "match"),
    [
        ("nbvcp", {"guide_flow": "affine_coupling", "guide_flow_n_bins": 4}, "n_bins=4 .* only with .*spline_coupling"),
        ("nbvcp", {"guide_flow": "iaf", "guide_flow_n_bins": 4}, "n_bins=4 .* only with .*spline_coupling"),
        (
            "nbvcp",
            {"guide_flow": "spline_coupling", "guide_flow_soft_clamp": False},
            "only with a flow without splines",
        ),
        ("nbvcp", {"guide_flow": "maf", "guide_flow_mixture_strategy": "shared"}, "differ between components or data"),
        (
            "weights",
            {"guide_flow": "maf", "guide_flow_mixture_strategy": "shared"},
            "differ between components or data",
        ),
        (
            "nbvcp",
            {"guide_flow": "maf", "guide_flow_hidden_dims": [8, 4], "guide_flow_residual": False},
            "of one width",
        ),
        ("nbvcp", {"guide_rank": 2, "joint_params": "all", "dense_params": []}, "low_rank couples no genes"),
    ],
)
def test_keywords_without_effect_are_refused(spec, idle, match):
    with pytest.raises(ValueError, match=match):
        chosen(spec, **idle)


@pytest.mark.parametrize("name", ["guide_flow_hidden_dims", "capture_hidden_dims"])
@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_defaults_in_lists_are_defaults(name, kind):
    assert chosen(**{name: kind(options_table()[name].default)}) == REST


@pytest.mark.parametrize(
    ("spec", "shorthand", "expected"),
    [
        ("canonical", "biological", ("p", "r")),
        ("canonical", "mean", ("r",)),
        ("canonical", "prob", ("p",)),
        ("canonical", "gate", ("gate",)),
        ("canonical", ["dispersion", "prob"], ("r", "p")),
        ("odds", "biological", ("phi", "mu")),
        ("odds", "all", ("phi", "mu")),
        ("odds", ["expression", "odds"], ("mu", "phi")),
        ("disp", "mean", ("mu",)),
        ("disp", "prob", ("r",)),
        ("disp", "all", ("mu", "r", "gate")),
    ],
)
def test_shorthands_and_names(spec, shorthand, expected):
    assert parts(spec, joint_params=shorthand).params == expected


def test_capture_is_a_table_where_that_is_exact():
    """Not so with odds of every gene's own, nor where a network was asked for."""
    assert chosen("nbvcp", amortize_capture=True) == MeanField(by_total=True)
    assert parts("disp", amortize_capture=True) == Amortised()
    assert parts("nbvcp", amortize_capture=True, capture_activation="gelu") == Amortised(activation="gelu")
    both = chosen("nbvcp", amortize_capture=True, guide_rank=2)
    assert both == Composed((LowRank(2), MeanField(by_total=True)))
    assert chosen("nbvcp", capture_amortization={"enabled": False}) == REST


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"guide_rank": 2, "guide_flow": "iaf"}, ValueError, "two guides for the same parameters"),
        ({"guide_rank": 0}, ValueError, "rank of a low-rank guide must be a whole number of at least 1, got 0"),
        ({"dense_params": ["r"]}, ValueError, "has no effect without joint_params"),
        ({"joint_params": "all", "dense_params": ["r"]}, ValueError, r"dense_params=\['r'\] needs guide_rank"),
        ({"guide_rank": 2, "joint_params": ["r"], "dense_params": ["gate"]}, ValueError, r"\['gate'\], which joint"),
        ({"joint_params": ["r", "gte"]}, ValueError, "has 'gte'.*Did you mean 'gate'.*It has: p, r, gate"),
        ({"joint_params": ["mu"]}, ValueError, "has 'mu', which this model does not sample.*It has: p, r, gate"),
        ({"guide_rank": 2, "joint_params": "all", "dense_params": "biologica"}, ValueError, "mean 'biological'"),
        ({"joint_params": ["p_capture"]}, ValueError, "has 'p_capture', which this model does not sample for genes"),
        ({"guide_flow_loft": False}, ValueError, "guide_flow_loft=False has no effect without guide_flow"),
        ({"guide_flow": "afine_coupling"}, ValueError, "Did you mean 'affine_coupling'"),
        ({"capture_activation": "tanh"}, ValueError, "no effect without amortize_capture=True"),
        ({"capture_amortization": {"hiden_dims": [4]}}, ValueError, "Did you mean 'hidden_dims'"),
        ({"capture_amortization": 4}, TypeError, "must be a dict or scribe.guides.Amortised"),
        ({"capture_amortization": {}, "capture_clamp_max": 9.0}, ValueError, "replaces capture_clamp_max"),
        ({"guide": "low_rank", "guide_rank": 8}, ValueError, "guide='low_rank' and guide_rank were given"),
        ({"guide": MeanField(0.2), "amortize_capture": True}, ValueError, "and amortize_capture were given"),
        ({"guide": "lowrank"}, ValueError, "Unknown guide 'lowrank'. Did you mean 'low_rank'"),
    ],
    ids=str,
)  # fmt: skip
def test_contradictions_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        chosen(**options)


def test_gate_and_capture_need_their_models():
    with pytest.raises(ValueError, match="joint_params has 'gate', which this model does not sample"):
        chosen("odds", joint_params="gate")
    with pytest.raises(ValueError, match="amortize_capture needs a model with capture"):
        chosen("odds", amortize_capture=True)
