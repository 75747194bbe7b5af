"""Every flat keyword of ``fit``: one declaration gives the typed signature, the docs table, the checks and defaults."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from scribe._model.names import nearest

__all__ = ["FitOptions", "ModelOptions", "Option", "complete", "options_table"]


Family = str | Mapping[str, Any]
"""A family of populations, by name or as a dict with the name under ``"type"`` and hyperparameters."""

_FAMILIES = "'none', 'gaussian', 'horseshoe' or 'neg'"


@dataclass(frozen=True)
class Option:
    """A flat keyword: its default, the group it is listed under, what it does, and an older name it goes by."""

    default: Any
    group: str
    doc: str
    alias: str | None = None


class ModelOptions(TypedDict, total=False):
    """Flat keywords that say which model it is."""

    variable_capture: Annotated[bool | None, Option(None, "model", "Give every cell its own capture probability.")]
    zero_inflation: Annotated[bool | None, Option(None, "model", "Give every gene a probability of being silent.")]
    parameterization: Annotated[
        str | None, Option(None, "model", "Which parameters are sampled; None is the family's default.", "coordinates")
    ]
    unconstrained: Annotated[
        bool, Option(False, "model", "Normal priors pushed through a transform instead of Beta and LogNormal ones.")
    ]
    positive_transform: Annotated[
        str | Mapping[str, str] | None,
        Option(None, "model", "With unconstrained=True: 'softplus' (default) or 'exp', or one per parameter."),
    ]
    priors: Annotated[
        Mapping[str, Any] | None,
        Option(None, "model", "Hyperparameters by parameter name; 'organism' or 'capture_efficiency' anchors capture."),
    ]
    expression_anchor: Annotated[
        bool, Option(False, "model", "Centre mu at the observed means over mean capture; sets unconstrained=True.")
    ]
    expression_anchor_sigma: Annotated[
        float, Option(0.3, "model", "Standard deviation of log mu about the anchor: 0.1 is tight, above 1 weak.")
    ]
    prob_prior: Annotated[
        Family, Option("none", "model", f"Population of p or phi across genes: {_FAMILIES}.", "p_prior")
    ]
    zero_inflation_prior: Annotated[
        Family, Option("none", "model", f"Population of the gate across genes: {_FAMILIES}.", "gate_prior")
    ]
    overdispersion: Annotated[
        str,
        Option("none", "model", "Heavier tails: 'bnb', a beta-negative-binomial, or 'none'."),
    ]
    overdispersion_prior: Annotated[
        Family, Option("horseshoe", "model", f"With overdispersion='bnb', its population across genes: {_FAMILIES}.")
    ]
    horseshoe_tau0: Annotated[float, Option(1.0, "model", "Global scale of horseshoe priors; smaller shrinks more.")]
    horseshoe_slab_df: Annotated[float, Option(4.0, "model", "Degrees of freedom of the slab of horseshoe priors.")]
    horseshoe_slab_scale: Annotated[float, Option(2.0, "model", "Scale of the slab, the largest of a horseshoe prior.")]
    neg_u: Annotated[float, Option(1.0, "model", "Shape of the variances of 'neg' priors; 0.5 peaks like a horseshoe.")]
    neg_a: Annotated[float, Option(1.0, "model", "Shape of the rates of the variances of 'neg' priors.")]
    neg_tau: Annotated[float, Option(1.0, "model", "Rate of the rates of the variances; smaller shrinks more.")]


class FitOptions(ModelOptions, total=False):
    """Flat keywords of `scribe.fit` and `scribe.tl.fit`."""

    guide: Annotated[Any, Option("mean_field", "guide", "Variational family, by name or as an object.")]
    inference_method: Annotated[Any, Option("svi", "inference", "Engine, by name or as an object.", "engine")]
    n_steps: Annotated[int, Option(50_000, "inference", "Largest number of optimisation steps.")]
    batch_size: Annotated[int | None, Option(None, "inference", "Cells per step; None is all of them.")]
    optimizer_config: Annotated[
        Mapping[str, Any] | None, Option(None, "inference", "Optimiser 'name', 'step_size' and settings.")
    ]
    stable_update: Annotated[bool, Option(True, "inference", "Skip steps whose loss or gradient is not finite.")]
    restore_best: Annotated[
        bool, Option(False, "inference", "Return the best parameters even where early stopping is disabled.")
    ]
    early_stopping: Annotated[Any, Option(None, "inference", "Convergence rule: a dict, an EarlyStopping or False.")]
    log_progress_lines: Annotated[bool, Option(False, "inference", "Log lines of plain text, for log files.")]
    checkpoint_dir: Annotated[
        Any, Option(None, "inference", "Directory in which to save the state of the fit, and to continue from.")
    ]
    enable_x64: Annotated[bool | None, Option(None, "inference", "Use 64-bit floats; None is 32-bit for SVI.")]
    seed: Annotated[Any, Option(None, "data", "Same as rng.")]
    cells_axis: Annotated[int, Option(0, "data", "Axis of an array that runs over cells.")]
    non_integer: Annotated[
        str, Option("warn", "data", "What to do with count-like values that are not whole: 'warn', 'round', 'raise'.")
    ]


def options_table(kind: type = FitOptions) -> dict[str, Option]:
    """Every keyword with its declaration."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def complete(given: Mapping[str, Any], *, kind: type = FitOptions, verb: str = "fit") -> dict[str, Any]:
    """Fill in defaults, resolve older names and refuse unknown keywords.

    Raises
    ------
    TypeError
        For an unknown keyword, naming the nearest one.
    ValueError
        If a keyword is given under two names.
    """
    table = options_table(kind)
    aliases = {option.alias: name for name, option in table.items() if option.alias}
    values: dict[str, Any] = {}
    for name, value in given.items():
        target = aliases.get(name, name)
        if target not in table:
            hint = nearest(name, [*table, *aliases])
            msg = f"{verb}() got an unknown keyword {name!r}.{hint} All keywords: {', '.join(sorted(table))}."
            raise TypeError(msg)
        if target in values:
            msg = f"{target!r} was given twice, also as {table[target].alias!r}: keep one."
            raise ValueError(msg)
        values[target] = value
    return {name: values.get(name, option.default) for name, option in table.items()}
