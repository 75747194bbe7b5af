"""The result of a comparison of expression between two groups of cells."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from scipy import stats

from scribe._compare import gene_sets
from scribe._compare.biology import biological_level, table_of
from scribe._compare.relative import Method, RelativeExpression, chosen_method, covering, mask_of
from scribe._model.checks import require_known
from scribe._posterior.expression import Estimand
from scribe._posterior.indexing import Selector
from scribe._stats.centre import Centre
from scribe._stats.contrasts import Comparison, Evidence
from scribe._stats.effects import MAX_LFSR, called_at, find_threshold, lfsr, pefp
from scribe._stats.gene_sets import Perturbation
from scribe._stats.laws import Drawn, Law
from scribe._stats.logratios import REFERENCES
from scribe._stats.shrinkage import Shrunk
from scribe._types import AnyArray, FloatArray, Rng

__all__ = ["DifferentialExpression"]

Metrics = Literal["clr", "bio", "all"]


@dataclass(eq=False, repr=False)
class DifferentialExpression:
    r"""Posterior of the differences of expression between two groups of cells, gene by gene.

    .. math:: \Delta_g = \{\log\rho^A_g - \log\rho^A_{ref}\} - \{\log\rho^B_g - \log\rho^B_{ref}\}

    with :math:`\rho` the shares of genes among the molecules of a group and :math:`\log\rho_{ref}` the mean over the
    genes of the reference. **A gene with a larger share in A than in B is positive.** Differences are natural
    logarithms: 0.69 is twice as much. `set_gene_mask`, `set_expression_threshold`, `set_composition_coverage`,
    `clear_mask` and `set_reference` change the comparison in place and return it.

    Parameters
    ----------
    evidence
        What differences are computed from.
    gene_names
        Names of all genes.
    label_A, label_B
        What the groups are called.
    method
        ``"empirical"`` (draws as they are), ``"shrinkage"`` (towards a population of effects learned from all genes)
        or ``"parametric"`` (normal log-ratios).
    estimand
        ``"mean"``: do the means of the groups differ? ``"cell"``: does a random cell of A exceed one of B?
    level
        ``"cell"``: uncertain is what cells leave open; ``"sample"``: differences between samples count as well.
    reference
        ``"unchanged"``, ``"expressed"``, ``"clr"``, ``"iqlr"``, or genes: see `set_reference`.
    gene_mask
        Genes to keep; None keeps all.
    shrinkage_options
        Those of `shrink`.
    """

    evidence: Evidence
    _: KW_ONLY
    gene_names: AnyArray | None = None
    label_A: str = "A"
    label_B: str = "B"
    method: Method = "empirical"
    estimand: Estimand = "mean"
    level: Literal["cell", "sample"] = "cell"
    reference: Selector = "unchanged"
    gene_mask: Selector | None = None
    shrinkage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chosen_method(self.method, self.estimand)
        self._set(self.gene_mask, self.reference)

    def _set(self, genes: Selector | None, reference: Selector) -> Self:
        """Keep some genes, relative to a reference."""
        kept = mask_of(genes, self.n_genes, self.gene_names)
        shrinkage = self.shrinkage_options if self.method == "shrinkage" else None
        self.gene_mask, self.reference = None if genes is None else kept, reference
        self.relative = RelativeExpression(self.evidence, self.gene_names, kept, reference, shrinkage)
        return self

    def __repr__(self) -> str:
        kept = f"{int(self.kept.sum()):,} of {self.n_genes:,} genes"
        what = f"{self.method}, estimand {self.estimand!r}, level {self.level!r}, reference {self.reference!r:.40}"
        return f"{self.label_A} vs {self.label_B} (positive = higher in {self.label_A}): {kept}; {what}"

    @functools.cached_property
    def expression(self) -> tuple[FloatArray, FloatArray]:
        """Expression in A and in B, (genes,) each: the expected share of a gene times 10,000."""
        return self.evidence.expression()

    @property
    def n_genes(self) -> int:
        """Number of all genes, kept or not."""
        return self.evidence.n_genes

    @property
    def names(self) -> AnyArray:
        """Names of all genes, their numbers where they have none."""
        return np.asarray(np.arange(self.n_genes) if self.gene_names is None else self.gene_names, str)

    @property
    def kept(self) -> AnyArray:
        """Which genes are kept, (genes,): the others are one part together and have no result of their own."""
        return self.relative.kept

    @property
    def relative_to(self) -> str:
        """What differences are relative to, in words: a reference by its name, or genes."""
        return self.relative.relative_to

    @property
    def comparison(self) -> Comparison[Law]:
        """Differences of the genes that are kept, before shrinkage."""
        return self.relative.comparison

    @property
    def shrunk(self) -> Shrunk | None:
        """Shrunken differences and the population they are drawn towards, with ``method="shrinkage"``."""
        return self.relative.shrunk

    @property
    def centre(self) -> Centre:
        """Weights of the reference, how many genes change relative to it, and whether that makes it doubtful."""
        return self.relative.centre

    @property
    def law(self) -> Law:
        """Law of the differences of the genes that are kept."""
        return self.relative.law

    @property
    def null_proportion(self) -> float:
        """Share of genes without any difference, as shrinkage estimates it; NaN without shrinkage."""
        return np.nan if self.shrunk is None else self.shrunk.null_proportion

    def shrink(self, **options: Any) -> Self:
        """Return the same comparison with its differences shrunk towards a population learned from all genes.

        Parameters
        ----------
        **options
            ``sds`` (grid of standard deviations, from zero), ``max_iterations`` and ``tolerance``.

        Returns
        -------
        A comparison with ``method="shrinkage"``.
        """
        given = {**self.shrinkage_options, **options}
        return replace(self, method="shrinkage", shrinkage_options=given)

    def set_gene_mask(self, genes: Selector) -> Self:
        """Keep some genes and pool all others into one part, whose share counts but has no result.

        Parameters
        ----------
        genes
            Names, numbers or a mask.

        Returns
        -------
        The comparison itself.
        """
        return self._set(genes, self.reference)

    def set_expression_threshold(self, min_mean_expression: float) -> Self:
        """Keep genes that have so many of 10,000 molecules in one of the groups.

        Parameters
        ----------
        min_mean_expression
            Molecules among 10,000.

        Returns
        -------
        The comparison itself.
        """
        return self._set(np.maximum(*self.expression) >= min_mean_expression, self.reference)

    def set_composition_coverage(self, coverage: float = 0.95) -> Self:
        """Keep the most expressed genes that make up a share of the molecules of either group.

        Parameters
        ----------
        coverage
            Share of the molecules, between 0 and 1.

        Returns
        -------
        The comparison itself.
        """
        return self._set(np.logical_or(*(covering(share, coverage) for share in self.expression)), self.reference)

    def clear_mask(self) -> Self:
        """Keep all genes.

        Returns
        -------
        The comparison itself.
        """
        return self._set(None, self.reference)

    def set_reference(self, reference: Selector) -> Self:
        """Choose what differences are relative to, which shifts them all by one number.

        Parameters
        ----------
        reference
            ``"unchanged"``: the largest group of genes that agree on a log-ratio, found among those that change one way
            or the other; where more than half change, the middle fifth of all. ``"expressed"``: genes whose expression
            is well known in both groups; ``"clr"``: all genes that are kept and the others together; ``"iqlr"``: genes
            that vary neither little nor much; or genes, by name, number or mask: one for additive log-ratios, several
            known to be stable.

        Returns
        -------
        The comparison itself.
        """
        return self._set(self.gene_mask, reference)

    def reference_agreement(
        self, references: Sequence[Selector] = REFERENCES, *, target_pefp: float = 0.05, tau: float = 0.0
    ) -> pd.DataFrame:
        """Under how many references a gene is called, with the same sign: calls of all of them rest on none.

        Parameters
        ----------
        references
            References as `set_reference` takes them.
        target_pefp
            Expected share of wrong signs among the genes that are called, under each reference.
        tau
            Absolute differences up to this one, in natural logarithms, count as none.

        Returns
        -------
        One row per gene that is kept: ``gene``; ``n_up`` and ``n_down``, the numbers of references under which it is
        called higher in A and lower; ``n_references``; ``delta_min`` and ``delta_max``, least and largest difference.
        """
        laws = [replace(self, reference=reference, gene_mask=self.kept).law for reference in references]
        called = np.stack([called_at(lfsr(law, tau), target_pefp) for law in laws])
        means = np.stack([law.mean for law in laws])
        up = np.stack([law.above(tau) >= law.below(-tau) for law in laws])
        return pd.DataFrame(
            {
                "gene": self.names[self.kept],
                "n_up": np.sum(called & up, axis=0),
                "n_down": np.sum(called & ~up, axis=0),
                "n_references": len(laws),
                "delta_min": means.min(axis=0),
                "delta_max": means.max(axis=0),
            }
        )

    def gene_level(self, tau: float | Sequence[float] = 0.0) -> dict[str, Any]:
        r"""Summarise the difference of every gene that is kept.

        Parameters
        ----------
        tau
            Absolute differences up to this one, in natural logarithms, count as none; several make a row each.

        Returns
        -------
        Arrays (genes,) and, of several ``tau``, (tau, genes) of the last three: ``delta_mean``, ``delta_sd``,
        ``prob_positive`` :math:`P(\Delta_g > 0)`, ``lfsr``, the local false sign rate, ``prob_effect``
        :math:`P(|\Delta_g| > \tau)`, ``lfsr_tau``
        :math:`1 - \max\{P(\Delta_g > \tau), P(\Delta_g < -\tau)\}`, ``prob_de``
        :math:`\max\{P(\Delta_g > \tau), P(\Delta_g < -\tau)\}`; ``tau_values``, ``gene_names``; with shrinkage
        ``null_proportion``. No rate is zero: of draws none is below one over their number, of normal laws
        (``"shrinkage"``, ``"parametric"``) rates are their tails, which moments of as many draws cannot vouch for.
        """
        law, taus = self.law, np.atleast_1d(np.asarray(tau, np.float64))
        above, below = (np.stack([side(sign * t) for t in taus]) for side, sign in ((law.above, 1), (law.below, -1)))
        rates = np.stack([lfsr(law, t) for t in taus])
        by_tau = {"prob_effect": above + below, "lfsr_tau": rates, "prob_de": np.maximum(above, below)}
        return {
            "delta_mean": law.mean,
            "delta_sd": law.sd,
            "prob_positive": law.above(0.0),
            "lfsr": lfsr(law),
            **{name: values[0] if np.ndim(tau) == 0 else values for name, values in by_tau.items()},
            "tau_values": taus,
            "gene_names": None if self.gene_names is None else self.gene_names[self.kept],
            **({} if self.shrunk is None else {"null_proportion": self.null_proportion}),
        }

    def call_genes(
        self,
        lfsr_threshold: float | None = None,
        *,
        prob_effect_threshold: float = 0.95,
        target_pefp: float | None = None,
        max_lfsr: float = MAX_LFSR,
        tau: float = 0.0,
    ) -> AnyArray:
        """Call genes.

        Parameters
        ----------
        lfsr_threshold
            Call genes whose local false sign rate lies below; 0.05 unless given.
        prob_effect_threshold
            With ``tau`` above zero they must also differ by more than it with this probability.
        target_pefp
            Call as many genes as keep the expected share of wrong signs among them below this, instead.
        max_lfsr
            With ``target_pefp``: the largest local false sign rate of a gene that is called. Many sure genes would
            else carry unsure ones.
        tau
            As in `gene_level`.

        Returns
        -------
        A mask (genes,) of the genes that are kept.
        """
        if lfsr_threshold is not None and target_pefp is not None:
            msg = f"lfsr_threshold={lfsr_threshold} and target_pefp={target_pefp} are two ways to call: keep one."
            raise ValueError(msg)
        for name, value in (("lfsr_threshold", lfsr_threshold), ("prob_effect_threshold", prob_effect_threshold)):
            if value is not None and not 0 < value <= 1:
                msg = f"{name} is a probability, above 0 and up to 1; got {value!r}."
                raise ValueError(msg)
        rates = lfsr(self.law, tau)
        if target_pefp is not None:
            return rates < find_threshold(rates, target_pefp, max_lfsr=max_lfsr)
        effect = self.law.above(tau) + self.law.below(-tau)
        return (rates < (0.05 if lfsr_threshold is None else lfsr_threshold)) & (effect > prob_effect_threshold)

    def compute_pefp(self, threshold: float = 0.05, *, tau: float = 0.0) -> float:
        """Expected share of wrong signs among the genes whose local false sign rate lies below a threshold.

        Parameters
        ----------
        threshold
            Threshold of the local false sign rate.
        tau
            As in `gene_level`.

        Returns
        -------
        Posterior expected false proportion; 0 where no gene is called.
        """
        rates = lfsr(self.law, tau)
        return pefp(rates, rates < threshold)

    def find_threshold(self, target_pefp: float = 0.05, *, tau: float = 0.0) -> float:
        """Threshold of the local false sign rate below which no larger share of signs is expected to be wrong.

        Parameters
        ----------
        target_pefp
            Expected share of wrong signs.
        tau
            As in `gene_level`.

        Returns
        -------
        The threshold, for `call_genes` and `compute_pefp`; 0 where no gene can be called. It calls no gene whose rate
        is above 0.2.
        """
        return find_threshold(lfsr(self.law, tau), target_pefp)

    def biological_level(self, *, tau_lfc: float = 0.0, tau_var: float = 0.0, tau_kl: float = 0.0) -> dict[str, Any]:
        """Differences that are not relative to other genes: of mean, variance and the law of expression.

        They rest on the absolute scale of the fits, which capture must be anchored for.

        Parameters
        ----------
        tau_lfc, tau_var
            Absolute log ratios of means and of variances up to these count as none.
        tau_kl
            Jeffreys divergences up to this count as none.

        Returns
        -------
        Arrays (genes,) over all genes; see `scribe.DifferentialExpression.to_dataframe`.

        Raises
        ------
        ValueError
            If means and variances are not known, as those of log-ratios, of several samples or of draws of r alone.
        """
        of_A, of_B = self.evidence.moments()
        if of_A is None or of_B is None:
            msg = (
                "Means and variances are known of two fits, or two levels of one, and of draws of r with those of p "
                "(p_samples_A=, p_samples_B=): not of log-ratios, of averages over samples, or of r alone."
            )
            raise ValueError(msg)
        return biological_level(of_A, of_B, tau_lfc=tau_lfc, tau_var=tau_var, tau_kl=tau_kl)

    def to_dataframe(
        self,
        tau: float | Sequence[float] = 0.0,
        *,
        target_pefp: float | None = None,
        metrics: Metrics = "clr",
        **biological: float,
    ) -> pd.DataFrame:
        """Table of all genes, in their order.

        Parameters
        ----------
        tau
            As in `gene_level`; of several, the columns that depend on it end in ``_tau<value>``.
        target_pefp
            Adds ``clr_is_de`` and ``bio_lfc_is_de``, ``bio_lvr_is_de``, ``bio_kl_is_de``: the genes that may be called
            with so small an expected share of wrong calls.
        metrics
            ``"clr"``: differences of log-ratios; ``"bio"``: of absolute means and variances; or ``"all"``.
        **biological
            ``tau_lfc``, ``tau_var`` and ``tau_kl`` of `biological_level`.

        Returns
        -------
        One row per gene. ``A`` and ``B``: the groups, **positive is higher in A** (said in ``attrs``, too);
        ``relative_to``: the genes that serve as reference; ``level``: ``"cell"`` or ``"sample"``. ``clr_delta_mean``,
        ``clr_delta_sd``,
        ``clr_prob_positive``, ``clr_lfsr``, ``clr_prob_effect``, ``clr_lfsr_tau``, ``clr_prob_de``, ``clr_is_de``: see
        `gene_level`; NaN where ``kept`` is False. ``expression_A``, ``expression_B``: expected share times 10,000.
        ``bio_lfc_*`` and ``bio_lvr_*`` (``mean``, ``sd``, ``lfsr``, ``prob_effect``): log ratio of means and of
        variances; ``bio_kl_*`` (``mean``, ``sd``, ``prob_effect``): Jeffreys divergence of the gamma laws of rates, in
        nats; ``bio_hellinger_mean``: their Hellinger distance; ``bio_mu_A_mean``, ``bio_var_A_mean`` and the same of B.
        """
        require_known("metrics", metrics, get_args(Metrics))
        if biological and metrics == "clr":
            msg = f"{', '.join(biological)} of means and variances goes with metrics='bio' or 'all', not 'clr'."
            raise TypeError(msg)
        columns: dict[str, Any] = {"gene": self.names, "kept": self.kept}
        columns |= {"A": self.label_A, "B": self.label_B, "relative_to": self.relative_to, "level": self.level}
        if metrics in ("clr", "all"):
            found = self.gene_level(tau)
            if target_pefp is not None:
                rates = np.atleast_2d(found["lfsr_tau"])
                called = np.stack([called_at(r, target_pefp) for r in rates])
                found["is_de"] = called[0] if np.ndim(tau) == 0 else called
            columns |= {f"clr_{name}": value for name, value in table_of(found, self.kept).items()}
        columns["expression_A"], columns["expression_B"] = self.expression
        if metrics in ("bio", "all"):
            absolute = self.biological_level(**biological)
            if target_pefp is not None:
                wrong = {name: absolute[f"{name}_lfsr"] for name in ("lfc", "lvr")}
                wrong["kl"] = 1.0 - absolute["kl_prob_effect"]
                absolute |= {f"{name}_is_de": called_at(rates, target_pefp) for name, rates in wrong.items()}
            columns |= {f"bio_{name}": value for name, value in absolute.items()}
        table = pd.DataFrame(columns)
        table.attrs = {"positive": f"higher in {self.label_A}", "unit": "natural logarithm"}
        return table

    def summary(self, *, sort_by: str = "clr_lfsr", top_n: int = 20) -> pd.DataFrame:
        """Genes with the clearest differences.

        Parameters
        ----------
        sort_by
            Column of `to_dataframe` to sort by, ascending; ``"lfsr"`` is short for ``"clr_lfsr"``.
        top_n
            Number of genes.

        Returns
        -------
        Rows of `to_dataframe`.
        """
        table = self.to_dataframe()
        sort_by = sort_by if sort_by in table else f"clr_{sort_by}"
        if sort_by not in table:
            msg = f"There is no column {sort_by.removeprefix('clr_')!r} to sort by. There are: {', '.join(table)}."
            raise KeyError(msg)
        order = table[[sort_by]].assign(size=-table["clr_delta_mean"].abs()).sort_values([sort_by, "size"]).index
        return table.loc[order[:top_n]].reset_index(drop=True)

    def normality(self) -> pd.DataFrame:
        """Whether draws of the differences are normal, as ``method="parametric"`` takes them to be.

        Returns
        -------
        One row per gene that is kept: ``gene``; ``skewness`` and ``excess_kurtosis`` of the draws of its difference,
        both 0 of a normal law; ``jarque_bera``, the statistic of the test of Jarque and Bera (1980) that draws are
        normal, and its ``p_value``, which finds ever smaller departures as draws grow in number.

        Raises
        ------
        ValueError
            If the comparison is one of laws or of samples, which have no draws.
        """
        plain = self.evidence.plain
        found = self.comparison if plain is self.evidence else self.relative.compare(plain)
        if not isinstance(found.law, Drawn):
            law = type(found.law).__name__
            msg = f"The differences are known by a law ({law}), not by draws: compare fits or draws of them."
            raise ValueError(msg)
        drawn = found.law.draws.astype(np.float64)
        tested = stats.jarque_bera(drawn, axis=0)
        columns = {"skewness": stats.skew(drawn, axis=0), "excess_kurtosis": stats.kurtosis(drawn, axis=0)}
        columns |= {"jarque_bera": tested.statistic, "p_value": tested.pvalue}
        return pd.DataFrame({"gene": self.names[self.kept], **columns})

    def test_contrast(self, weights: FloatArray, *, tau: float = 0.0) -> dict[str, float]:
        """Weighted sum of the differences of genes.

        Parameters
        ----------
        weights
            Weight of every gene, kept or not; those of genes that are not kept must be zero.
        tau
            Absolute values up to this one count as none.

        Returns
        -------
        ``mean``, ``sd``, ``prob_positive``, ``lfsr`` and ``prob_effect`` of the sum.
        """
        return gene_sets.contrast(self.relative, np.asarray(weights, np.float64), tau=tau)

    def ilr_level(self, *, tau: float = 0.0) -> dict[str, FloatArray]:
        r"""Summarise the difference in isometric log-ratios.

        They are the coordinates :math:`V^\top\mathrm{clr}(\rho)` in an orthonormal basis (Egozcue et al. 2003,
        doi:10.1023/A:1023818214614): the i-th is :math:`\sqrt{i/(i+1)}` times the mean logarithm of the first i parts
        less that of the part after them. Parts are the genes that are kept in their order and, where genes are pooled,
        all others as the last. No choice of reference changes them.

        Parameters
        ----------
        tau
            Absolute differences up to this one count as none.

        Returns
        -------
        Arrays (parts - 1,): ``mean``, ``sd``, ``prob_positive``, ``lfsr`` and ``prob_effect``.
        """
        return gene_sets.isometric(self.relative, tau=tau)

    def test_gene_set(self, genes: Selector, *, tau: float = 0.0) -> dict[str, float]:
        r"""Whether the genes of a set shift together, against all others.

        Parameters
        ----------
        genes
            Genes by name, number or mask; those that are not kept are left out.
        tau
            Absolute balances up to this one count as none.

        Returns
        -------
        ``balance_mean``, ``balance_sd``, ``prob_positive``, ``lfsr`` and ``prob_effect`` of the balance
        :math:`\sqrt{n_+n_-/(n_++n_-)}\,(\bar\Delta_{set} - \bar\Delta_{others})` (Egozcue and
        Pawlowsky-Glahn 2005, doi:10.1007/s11004-005-7381-9), which no choice of reference changes; ``n_genes``.
        """
        row = gene_sets.table(self.relative, {"set": genes}, tau=tau).iloc[0]
        return {str(name): value for name, value in row.items() if name not in ("gene_set", "is_de")}

    def test_multiple_gene_sets(
        self, sets: Mapping[str, Selector], *, tau: float = 0.0, target_pefp: float = 0.05
    ) -> pd.DataFrame:
        """Test many sets of genes as `test_gene_set` does one.

        Parameters
        ----------
        sets
            Genes by the name of the set, as :func:`scribe.get.gene_sets` reads them.
        tau
            As in `test_gene_set`.
        target_pefp
            Expected share of wrong signs among the sets in ``is_de``.

        Returns
        -------
        One row per set: ``gene_set``, the columns of `test_gene_set`, and ``is_de``. Sets of which no gene is kept are
        NaN.
        """
        return gene_sets.table(self.relative, sets, tau=tau, target_pefp=target_pefp)

    def test_pathway_perturbation(self, genes: Selector, *, n_permutations: int = 999, rng: Rng = None) -> Perturbation:
        """Whether the genes of a set differ from each other in their differences, more than other genes do.

        Parameters
        ----------
        genes
            Genes by name, number or mask; two or more that are kept.
        n_permutations
            Random sets to compare with, of genes with similar expression.
        rng
            Seed, key or generator.

        Returns
        -------
        ``statistic``, the expected sum of squares about the mean of the set, and ``p_value``, at least
        ``1 / (n_permutations + 1)``.
        """
        return gene_sets.perturbed(self.relative, genes, n_permutations=n_permutations, rng=rng)
