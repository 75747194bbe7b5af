"""What other packages of the field, and earlier versions of SCRIBE, call the keywords of this one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SYNONYMS"]

_ELSEWHERE: dict[str, str] = {
    # the data
    "adata": "counts data anndata",
    "counts": "adata data anndata",
    "dataset_key": "batch_key batch batches library_key sample_key donor_key condition_key categorical_covariate_keys",
    "annotation_key": "labels_key label_key cell_type_key celltype_key cell_type annotations annotation_column",
    "layer": "layers layer_key use_layer counts_layer count_layer use_raw",
    "cells_axis": "axis gene_axis transpose",
    # the model
    "model": "model_type likelihood gene_likelihood distribution",
    "variable_capture": "vcp with_capture capture",
    "zero_inflation": "zero_inflated zi gate",
    "parameterization": "parametrization parameterisation",
    "n_components": "n_clusters n_mixtures n_types num_components k",
    "priors": "prior hyperparameters",
    "expression_prior": "r_prior hierarchical_mu mu_hierarchy",
    "prob_prior": "phi_prior hierarchical_p p_hierarchy odds_prior",
    "zero_inflation_prior": "hierarchical_gate gate_hierarchy",
    "overdispersion_prior": "bnb_prior bnb_concentration_prior kappa_prior omega_prior",
    "expression_dataset_prior": "mu_dataset_prior r_dataset_prior",
    "prob_dataset_prior": "p_dataset_prior phi_dataset_prior odds_dataset_prior",
    "zero_inflation_dataset_prior": "gate_dataset_prior",
    "overdispersion_dataset_prior": "bnb_dataset_prior bnb_concentration_dataset_prior kappa_dataset_prior",
    "prob_dataset_mode": "p_dataset_mode phi_dataset_mode",
    "capture_scaling_prior": "mu_eta_prior eta_prior capture_scaling",
    "expression_anchor": "mu_anchor mean_anchor mu_mean_anchor anchor",
    "expression_anchor_sigma": "mu_anchor_sigma mean_anchor_sigma mu_mean_anchor_sigma",
    "omega": "bnb_concentration kappa",
    # the guide
    "guide": "guide_type variational_family",
    "guide_rank": "rank low_rank",
    "guide_flow": "flow flow_type",
    "guide_flow_num_layers": "n_layers num_layers flow_num_layers",
    "guide_flow_hidden_dims": "n_hidden hidden_dims flow_hidden_dims",
    "amortize_capture": "amortize amortized amortise_capture",
    # the engine
    "inference_method": "method inference sampler",
    "n_steps": "max_epochs n_epochs num_epochs epochs max_steps num_steps steps n_iter max_iter n_iterations",
    "batch_size": "batchsize minibatch_size mini_batch_size",
    "optimizer_config": "optimizer optim lr learning_rate step_size plan_kwargs",
    "early_stopping": "patience early_stopping_patience early_stopping_kwargs min_delta",
    "n_samples": "num_samples n_draws num_draws draws samples n_posterior_samples",
    "n_warmup": "num_warmup warmup tune n_tune burn_in n_burnin warmup_steps",
    "n_chains": "num_chains chains",
    "n_restarts": "n_init restarts n_runs",
    "svi_init": "init init_from warm_start",
    "rng": "random_state random_seed rng_key seed prng_key",
    # verbs and plots
    "key": "key_added result_key results_key",
    "key_added": "key name_added result_key results_key store_as",
    "copy": "inplace",
    "groupby": "group_by group_key cluster_key clusters condition condition_key labels_key label_key cell_type_key",
    "group": "groups group1 case treatment",
    "groups": "group clusters categories",
    "reference": "ref group2 control ctrl baseline",
    "sample_key": "donor_key replicate_key replicates subject_key patient_key individual_key sample samples batch_key",
    "min_lfc": "lfc_threshold log2fc_min min_logfoldchange delta",
    "target_pefp": "fdr fdr_target alpha pval_cutoff",
    "genes": "gene gene_list var_names features",
    "n_genes": "n_top_genes",
    "n_names": "n_genes n_top_genes n_labels",
    "ax": "axes axs axis",
    "save": "fname filename file path save_path outfile",
}
"""Keywords, and names under which others have them."""


def _by_name() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for keyword, names in _ELSEWHERE.items():
        for name in names.split():
            found[name] = (*found.get(name, ()), keyword)
    return found


SYNONYMS: Mapping[str, tuple[str, ...]] = _by_name()
"""The same by the names of others, in lower case."""
