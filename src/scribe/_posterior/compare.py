"""Differences of expression between the datasets of one fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scribe._posterior.results import Results
from scribe._types import AnyArray, FloatArray, Rng

__all__ = ["Contrast", "compare_datasets"]

_FLOOR = 1e-30
"""Least mean whose logarithm is taken: below it float32 has but zero."""


@dataclass(frozen=True)
class Contrast:
    """Posterior of a difference between two groups of cells, gene by gene.

    Parameters
    ----------
    draws
        Draws of the differences, (draws, genes).
    gene_names
        Names of the genes, or None.
    """

    draws: FloatArray
    gene_names: AnyArray | None = None

    def gene_level(self, tau: float = 0.0) -> dict[str, FloatArray]:
        r"""Summarise the difference :math:`\Delta_g` of every gene.

        Parameters
        ----------
        tau
            Absolute differences up to this one do not matter.

        Returns
        -------
        Arrays (genes,): ``delta_mean``, ``delta_sd``, ``prob_positive`` :math:`P(\Delta_g > 0)`, ``prob_effect``
        :math:`P(|\Delta_g| > \tau)` and ``lfsr``, the local false sign rate
        :math:`\min\{P(\Delta_g > 0), P(\Delta_g < 0)\}` (Stephens 2017, doi:10.1093/biostatistics/kxw041), which S
        draws tell no smaller than 1/S.
        """
        positive, negative = np.mean(self.draws > 0, axis=0), np.mean(self.draws < 0, axis=0)
        return {
            "delta_mean": np.mean(self.draws, axis=0),
            "delta_sd": np.std(self.draws, axis=0, ddof=1),
            "prob_positive": positive,
            "prob_effect": np.mean(np.abs(self.draws) > tau, axis=0),
            "lfsr": np.maximum(np.minimum(positive, negative), 1.0 / len(self.draws)),
        }


def compare_datasets(
    results: Results,
    dataset_A: str | int,
    dataset_B: str | int,
    *,
    component: str | int | None = None,
    n_samples: int = 1000,
    rng: Rng = None,
) -> Contrast:
    r"""Compare mean expression in two datasets of one fit, as compositions.

    .. math:: \Delta_g = \operatorname{clr}(\mu^A)_g - \operatorname{clr}(\mu^B)_g,\qquad
        \operatorname{clr}(\mu)_g = \log\mu_g - \frac1G \sum_h \log\mu_h

    Both datasets are taken from the same draws, so that what they share cancels. A difference above 0 is a gene with a
    larger share in A.

    Parameters
    ----------
    results
        A fit with datasets.
    dataset_A, dataset_B
        The datasets, by label or number.
    component
        Component of a mixture in which to compare them, by label or number.
    n_samples
        Number of draws; at most those there are, of a fit by MCMC.
    rng
        Seed, key or generator.

    Returns
    -------
    The differences, of which ``gene_level`` gives means, standard deviations and local false sign rates.

    Raises
    ------
    ValueError
        If expression does not differ between datasets in this model, or a component must be chosen.
    """
    # expression is that of genes: one cell stands for all
    one = (results if component is None else results.get_component(component)).cells([0])
    numbers = [one._at_level("dataset", d).posterior.chosen["dataset"] for d in (dataset_A, dataset_B)]
    axes = one.posterior.readable_axes["mu"]
    if axes != ("dataset", "gene"):
        if "component" in axes:
            labels = results.spec.levels["component"].labels
            msg = f"Expression differs between components: pass component=, one of {', '.join(labels)}."
        else:
            msg = 'Expression is the same in all datasets of this model: fit with expression_dataset_prior="gaussian".'
        raise ValueError(msg)
    n_samples = min(n_samples, one.posterior.n_draws or n_samples)
    means = np.asarray(one.get_posterior_samples(n_samples, rng=rng, sites=["mu"])["mu"], np.float64)
    logs = np.log(np.maximum(means[:, numbers], _FLOOR))
    clr = logs - logs.mean(axis=-1, keepdims=True)
    return Contrast(clr[:, 0] - clr[:, 1], results.gene_names)
