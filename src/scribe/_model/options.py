"""Every flat keyword of ``fit``: one declaration gives the typed signature, the docs table, the checks and defaults."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from scribe._model.names import nearest

__all__ = ["FitOptions", "ModelOptions", "Option", "complete", "options_table"]


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


class FitOptions(ModelOptions, total=False):
    """Flat keywords of `scribe.fit` and `scribe.tl.fit`."""

    guide: Annotated[
        Any, Option("mean_field", "guide", "Variational family: 'mean_field', 'low_rank', 'flow' or an object.")
    ]
    guide_rank: Annotated[
        int | None, Option(None, "guide", "Rank of a low-rank normal over genes; None is independent normals.")
    ]
    joint_params: Annotated[
        str | Sequence[str] | None,
        Option(None, "guide", "Parameters with a joint distribution, or 'all', 'biological', 'mean', 'prob', 'gate'."),
    ]
    dense_params: Annotated[
        str | Sequence[str] | None,
        Option(None, "guide", "Those of joint_params coupled across genes; the others within genes. None is all."),
    ]
    guide_flow: Annotated[
        str | None,
        Option(None, "guide", "Normalising flow: 'affine_coupling', 'spline_coupling', 'maf' or 'iaf'."),
    ]
    guide_flow_num_layers: Annotated[int, Option(4, "guide", "Layers of a flow.")]
    guide_flow_hidden_dims: Annotated[
        tuple[int, ...] | list[int], Option((64, 64), "guide", "Widths of the hidden layers of the networks of a flow.")
    ]
    guide_flow_activation: Annotated[str, Option("relu", "guide", "Activation of the networks of a flow.")]
    guide_flow_n_bins: Annotated[int, Option(8, "guide", "Pieces of the splines of 'spline_coupling'.")]
    guide_flow_mixture_strategy: Annotated[
        str, Option("independent", "guide", "A flow per component and data set ('independent') or one ('shared').")
    ]
    guide_flow_zero_init: Annotated[bool, Option(True, "guide", "Start a flow as the identity.")]
    guide_flow_layer_norm: Annotated[bool, Option(True, "guide", "Normalise the hidden layers of a flow.")]
    guide_flow_residual: Annotated[bool, Option(True, "guide", "Add the input of hidden layers of equal width.")]
    guide_flow_soft_clamp: Annotated[bool, Option(True, "guide", "Bound the scales of a flow smoothly, not by a cut.")]
    guide_flow_loft: Annotated[bool, Option(True, "guide", "Compress what a flow maps beyond 100.")]
    guide_flow_log_det_f64: Annotated[bool, Option(False, "guide", "Sum log-determinants of a flow in 64 bits.")]
    amortize_capture: Annotated[
        bool, Option(False, "guide", "Predict capture from a cell's total: by a table where exact, or a network.")
    ]
    capture_hidden_dims: Annotated[
        tuple[int, ...] | list[int], Option((64, 32), "guide", "Widths of the layers of the network for capture.")
    ]
    capture_activation: Annotated[str, Option("leaky_relu", "guide", "Activation of the network for capture.")]
    capture_output_transform: Annotated[
        str, Option("softplus", "guide", "What makes the scale of capture positive: 'softplus' or 'exp'.")
    ]
    capture_clamp_min: Annotated[
        float | None, Option(0.1, "guide", "Least scale of log capture, times the root of the total; None is no bound.")
    ]
    capture_clamp_max: Annotated[float | None, Option(50.0, "guide", "Largest such scale; None is no bound.")]
    capture_amortization: Annotated[
        Any, Option(None, "guide", "A dict or scribe.guides.Amortised(...) in place of the capture_ keywords.")
    ]
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
