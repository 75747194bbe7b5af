"""Every flat keyword of ``fit``: one declaration gives the typed signature, the docs table, the checks and defaults."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from scribe._types import Label

__all__ = [
    "CellOptions",
    "FitOptions",
    "ModelOptions",
    "Option",
    "given_among",
    "options_table",
]


Family = str | Mapping[str, Any]
"""A family of populations, by name or as a dict with the name under ``"type"`` and hyperparameters."""

_FAMILIES = "'none', 'gaussian', 'horseshoe', 'neg' or 'fixed'"

_BY_FACTOR = f"{_FAMILIES}, or a dict of them by column of dataset_key"


@dataclass(frozen=True)
class Option:
    """A flat keyword: its default, the group it is listed under, what it does, and an older name it goes by.

    ``population`` are the role of a parameter and an axis, where the keyword asks for a population of it along that.
    ``needs`` is a keyword without which it has no effect, by name or as users write it, ``"expression_anchor=True"``.
    """

    default: Any
    group: str
    doc: str
    alias: str | None = None
    population: tuple[str, str] | None = None
    needs: str | None = None


def _flow(default: Any, doc: str) -> Option:
    return Option(default, "guide", doc, needs="guide_flow")


def _capture(default: Any, doc: str) -> Option:
    return Option(default, "guide", doc, needs="amortize_capture=True")


def _earlier(default: Any, doc: str) -> Option:
    return Option(default, "model", doc, needs="informative_priors_from")


def _label(default: Any, doc: str) -> Option:
    return Option(default, "mixture", doc, needs="annotation_key")


def _dataset(default: Any, doc: str) -> Option:
    return Option(default, "dataset", doc, needs="dataset_key")


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
        Option(None, "model", "With unconstrained=True: 'exp' (default) or 'softplus', or one per parameter."),
    ]
    priors: Annotated[
        Mapping[str, Any] | None,
        Option(None, "model", "Hyperparameters by parameter name; 'organism' or 'capture_efficiency' anchors capture."),
    ]
    mixture_params: Annotated[
        str | Sequence[str],
        Option(
            "all",
            "mixture",
            "What differs between components: names, or 'all', 'biological', 'mean', 'prob', 'gate', 'regime'.",
        ),
    ]
    dataset_params: Annotated[
        str | Sequence[str] | None,
        _dataset(None, "Parameters that differ between datasets, in the manner of mixture_params."),
    ]
    dataset_mixing: Annotated[
        bool | None, _dataset(None, "Weights of components per dataset; None: wherever there are both.")
    ]
    auto_downgrade_single_dataset_hierarchy: Annotated[
        bool, _dataset(True, "With one dataset only, warn and fit without dataset levels; else raise.")
    ]
    capture_scaling_prior: Annotated[
        Family,
        Option(
            "none",
            "dataset",
            f"Learn total mRNA, as a population of datasets where there are some: {_FAMILIES}.",
            population=("mu_eta", "dataset"),
        ),
    ]
    expression_anchor: Annotated[
        bool, Option(False, "model", "Centre mu at the observed means over mean capture; unconstrained, sampling mu.")
    ]
    expression_anchor_sigma: Annotated[
        float,
        Option(
            0.3,
            "model",
            "Standard deviation of log mu about the anchor: 0.1 is tight, above 1 weak.",
            needs="expression_anchor=True",
        ),
    ]
    prob_prior: Annotated[
        Family,
        Option(
            "none",
            "model",
            f"Population of p or phi across genes: {_FAMILIES}.",
            "p_prior",
            population=("probability", "gene"),
        ),
    ]
    expression_prior: Annotated[
        Family,
        Option(
            "none",
            "mixture",
            f"Population of mu or r across components: {_FAMILIES}.",
            "mu_prior",
            population=("expression", "component"),
        ),
    ]
    expression_dataset_prior: Annotated[
        Family,
        Option(
            "none",
            "dataset",
            f"Population of mu or r across datasets: {_BY_FACTOR}.",
            population=("expression", "dataset"),
        ),
    ]
    prob_dataset_prior: Annotated[
        Family,
        Option(
            "none",
            "dataset",
            f"Population of p or phi across datasets: {_BY_FACTOR}.",
            population=("probability", "dataset"),
        ),
    ]
    prob_dataset_mode: Annotated[
        str,
        Option(
            "gene_specific",
            "dataset",
            "How p differs between datasets: 'scalar', 'gene_specific' about each gene's own, or 'two_level', where "
            "genes are a population within every dataset.",
        ),
    ]
    zero_inflation_dataset_prior: Annotated[
        Family,
        Option(
            "none", "dataset", f"Population of the gate across datasets: {_BY_FACTOR}.", population=("gate", "dataset")
        ),
    ]
    overdispersion_dataset_prior: Annotated[
        Family,
        Option(
            "none",
            "dataset",
            f"Population of the overdispersion across datasets: {_BY_FACTOR}.",
            population=("omega", "dataset"),
        ),
    ]
    zero_inflation_prior: Annotated[
        Family,
        Option(
            "none",
            "model",
            f"Population of the gate across genes: {_FAMILIES}.",
            "gate_prior",
            population=("gate", "gene"),
        ),
    ]
    overdispersion: Annotated[
        str, Option("none", "model", "Heavier tails: 'bnb', a beta-negative-binomial, or 'none'.")
    ]
    overdispersion_prior: Annotated[
        Family,
        Option(
            "horseshoe",
            "model",
            f"With overdispersion='bnb', its population across genes: {_FAMILIES}.",
            population=("omega", "gene"),
        ),
    ]
    horseshoe_tau0: Annotated[float, Option(1.0, "model", "Global scale of horseshoe priors; smaller shrinks more.")]
    horseshoe_slab_df: Annotated[float, Option(4.0, "model", "Degrees of freedom of the slab of horseshoe priors.")]
    horseshoe_slab_scale: Annotated[float, Option(2.0, "model", "Scale of the slab, the largest of a horseshoe prior.")]
    neg_u: Annotated[float, Option(1.0, "model", "Shape of the variances of 'neg' priors; 0.5 peaks like a horseshoe.")]
    neg_a: Annotated[float, Option(1.0, "model", "Shape of the rates of the variances of 'neg' priors.")]
    neg_tau: Annotated[float, Option(1.0, "model", "Rate of the rates of the variances; smaller shrinks more.")]


class CellOptions(TypedDict, total=False):
    """Flat keywords that say what is known of cells: their number of components, annotations and datasets."""

    n_components: Annotated[int | None, Option(None, "mixture", "Number of components of a mixture, 2 or more.")]
    annotation_key: Annotated[
        str | Sequence[str] | None, Option(None, "mixture", "Column(s) of obs with labels of components.")
    ]
    annotation_confidence: Annotated[
        float, _label(3.0, "Log prior odds of a cell's label; 0 ignores it, 3 favours it 20 times.")
    ]
    annotation_component_order: Annotated[
        Sequence[Label] | None, _label(None, "Labels in the order of the components; None sorts them.")
    ]
    annotation_min_cells: Annotated[int | None, _label(None, "Labels of fewer cells are treated as missing.")]
    dataset_key: Annotated[
        str | Sequence[str] | None,
        Option(None, "dataset", "Column(s) of obs that tell datasets apart; of several, their combinations are."),
    ]
    n_datasets: Annotated[int | None, _dataset(None, "Number of datasets, as a check of dataset_key.")]


class FitOptions(ModelOptions, CellOptions, total=False):
    """Flat keywords of `scribe.fit` and `scribe.tl.fit`."""

    model_config: Annotated[
        Any, Option(None, "model", "The model as a scribe.ModelConfig or a specification; it overrides keywords.")
    ]
    inference_config: Annotated[
        Any,
        Option(
            None, "inference", "The engine as a scribe.InferenceConfig, a dict or an object; it overrides keywords."
        ),
    ]
    informative_priors_from: Annotated[
        Any,
        Option(
            None, "model", "Results of an earlier fit, or in scribe.tl.fit its key, whose parameters are the priors."
        ),
    ]
    informative_priors_tau: Annotated[
        float, _earlier(1.0, "Factor of the standard deviations of such priors; above 1 trusts them less.")
    ]
    informative_priors_n_samples: Annotated[
        int, _earlier(1_000, "Draws of the earlier fit that the moments of such priors are taken from.")
    ]
    informative_priors_freeze: Annotated[
        str | Sequence[str],
        _earlier((), "Parameters that stay where the earlier fit left them: ('r', 'mu', 'eta') or other names."),
    ]
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
        Option(
            None,
            "guide",
            "Those of joint_params coupled across genes; the others within genes. None is all.",
            needs="joint_params",
        ),
    ]
    guide_flow: Annotated[
        str | None, Option(None, "guide", "Normalising flow: 'affine_coupling', 'spline_coupling', 'maf' or 'iaf'.")
    ]
    guide_flow_num_layers: Annotated[int, _flow(4, "Layers of a flow.")]
    guide_flow_hidden_dims: Annotated[
        tuple[int, ...] | list[int], _flow((64, 64), "Widths of the hidden layers of the networks of a flow.")
    ]
    guide_flow_activation: Annotated[str, _flow("relu", "Activation of the networks of a flow.")]
    guide_flow_n_bins: Annotated[int, _flow(8, "Pieces of the splines of 'spline_coupling'.")]
    guide_flow_mixture_strategy: Annotated[
        str, _flow("independent", "A flow per component and data set ('independent') or one ('shared').")
    ]
    guide_flow_zero_init: Annotated[bool, _flow(True, "Start a flow as the identity.")]
    guide_flow_layer_norm: Annotated[bool, _flow(True, "Normalise the hidden layers of a flow.")]
    guide_flow_residual: Annotated[bool, _flow(True, "Add the input of hidden layers of equal width.")]
    guide_flow_soft_clamp: Annotated[bool, _flow(True, "Bound the scales of a flow smoothly, not by a cut.")]
    guide_flow_loft: Annotated[bool, _flow(True, "Compress what a flow maps beyond 100.")]
    guide_flow_log_det_f64: Annotated[bool, _flow(False, "Sum log-determinants of a flow in 64 bits.")]
    amortize_capture: Annotated[
        bool, Option(False, "guide", "Predict capture from a cell's total: by a table where exact, or a network.")
    ]
    capture_hidden_dims: Annotated[
        tuple[int, ...] | list[int], _capture((64, 32), "Widths of the layers of the network for capture.")
    ]
    capture_activation: Annotated[str, _capture("leaky_relu", "Activation of the network for capture.")]
    capture_output_transform: Annotated[
        str, _capture("softplus", "What makes the scale of capture positive: 'softplus' or 'exp'.")
    ]
    capture_clamp_min: Annotated[
        float | None, _capture(0.1, "Least scale of log capture, times the root of the total; None is no bound.")
    ]
    capture_clamp_max: Annotated[float | None, _capture(50.0, "Largest such scale; None is no bound.")]
    capture_amortization: Annotated[
        Any, Option(None, "guide", "A dict or scribe.guides.Amortised(...) in place of the capture_ keywords.")
    ]
    inference_method: Annotated[Any, Option("svi", "inference", "Engine, by name or as an object.", "engine")]
    n_steps: Annotated[int, Option(50_000, "svi", "Largest number of optimisation steps.")]
    batch_size: Annotated[int | None, Option(None, "svi", "Cells per step; None is all of them.")]
    optimizer_config: Annotated[
        Mapping[str, Any] | None, Option(None, "svi", "Optimiser 'name', 'step_size' and settings.")
    ]
    stable_update: Annotated[bool, Option(True, "svi", "Skip steps whose loss or gradient is not finite.")]
    restore_best: Annotated[
        bool, Option(False, "svi", "Return the best parameters even where early stopping is disabled.")
    ]
    early_stopping: Annotated[Any, Option(None, "svi", "Convergence rule: a dict, an EarlyStopping or False.")]
    log_progress_lines: Annotated[bool, Option(False, "svi", "Log lines of plain text, for log files.")]
    checkpoint_dir: Annotated[
        Any, Option(None, "svi", "Directory in which to save the state of the fit, and to continue from.")
    ]
    n_restarts: Annotated[int, Option(1, "svi", "Runs from different starts; the one with the best ELBO is kept.")]
    n_samples: Annotated[int, Option(2_000, "mcmc", "Draws per chain.")]
    n_warmup: Annotated[int, Option(1_000, "mcmc", "Iterations per chain in which the sampler is adapted.")]
    n_chains: Annotated[int, Option(1, "mcmc", "Number of chains; four tell best whether they agree.")]
    svi_init: Annotated[
        Any, Option(None, "mcmc", "Results of a fit of this model by SVI, in any parameterization, to start from.")
    ]
    enable_x64: Annotated[
        bool | None, Option(None, "inference", "Use 64-bit floats; None is 64-bit for MCMC and 32-bit otherwise.")
    ]
    check_components: Annotated[
        bool,
        Option(True, "inference", "With SVI fit a mixture of one component less, too, and say if its ELBO is better."),
    ]
    seed: Annotated[Any, Option(None, "data", "Same as rng.")]
    cells_axis: Annotated[int, Option(0, "data", "Axis of an array that runs over cells.")]
    non_integer: Annotated[
        str, Option("warn", "data", "What to do with count-like values that are not whole: 'warn', 'round', 'raise'.")
    ]


@functools.cache
def options_table(kind: type = FitOptions) -> Mapping[str, Option]:
    """Every keyword with its declaration."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def given_among(options: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """Which of some keywords, or of all, differ from their defaults in complete options."""
    table = options_table()
    return [name for name in (table if names is None else names) if options[name] != table[name].default]
