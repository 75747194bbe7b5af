"""The comparison of several models of the same counts: tables, weights, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

import jax
import numpy as np
import pandas as pd

from scribe._counts.container import Counts
from scribe._model.checks import nearest, require_known
from scribe._posterior.pointwise import Elements, by_element
from scribe._posterior.results import Results
from scribe._progress import progress
from scribe._stats.information import GOOD, K_HAT, Pointwise, differences, pseudo_bma, stacking, told_apart
from scribe._types import AnyArray, FloatArray, IntArray

__all__ = ["CRITERIA", "FROM_DRAWS", "Criterion", "ModelComparison", "ticking"]

Criterion = Literal["psis_loo", "waic", "thinned", "held_out"]
CRITERIA: tuple[str, ...] = get_args(Criterion)

_MEANING = {
    "psis_loo": "leave-one-{0}-out cross-validation (PSIS-LOO)",
    "waic": "the widely applicable information criterion (WAIC) by {0}",
    "thinned": "molecules held out of every {0}",
    "held_out": "{0}s held out of the fit",
}
FROM_DRAWS = ("psis_loo", "waic")
"""Criteria that draws from the posterior suffice for."""


@dataclass(frozen=True)
class ModelComparison:
    """Predictive densities of several models of the same counts, as :func:`scribe.compare_models` makes them.

    Parameters
    ----------
    names
        Names of the models.
    criterion
        What they are compared by unless a method is asked for another.
    observations
        ``"cell"`` or ``"gene"``: what was left out.
    pointwise
        For every criterion that was computed, elpd of every observation, by model.
    results
        The fits.
    counts
        The counts they were compared on.
    gene_names
        Names of the genes.
    n_samples, seed
        Draws of the parameters, and their seed.
    cells
        Numbers of the cells that are observations.
    """

    names: tuple[str, ...]
    _: KW_ONLY
    criterion: str
    observations: str
    pointwise: Mapping[str, tuple[Pointwise, ...]] = field(repr=False)
    results: tuple[Results, ...] = field(repr=False)
    counts: Counts = field(repr=False)
    gene_names: AnyArray = field(repr=False)
    n_samples: int = 1000
    seed: int = 42
    cells: slice | IntArray = field(default_factory=lambda: slice(None), repr=False)

    def __str__(self) -> str:
        return self.summary()

    @property
    def n_observations(self) -> int:
        """Number of observations."""
        return len(self.pointwise[self.criterion][0].elpd)

    def elpd(self, criterion: str | None = None) -> FloatArray:
        """Expected log predictive density in nats, (observations, models)."""
        return np.stack([one.elpd for one in self._of(criterion)], axis=1)

    def _of(self, criterion: str | None) -> tuple[Pointwise, ...]:
        wanted = self.criterion if criterion is None else criterion
        require_known("criterion", wanted, CRITERIA)
        if wanted not in self.pointwise:
            msg = f"The models were compared by {self.criterion}: run compare_models(..., criterion={wanted!r})."
            raise ValueError(msg)
        return self.pointwise[wanted]

    def _number(self, model: str | int) -> int:
        number = self.names.index(model) if model in self.names else model
        if not isinstance(number, int) or not -len(self.names) <= number < len(self.names):
            hint = nearest(str(model), list(self.names))
            msg = f"There is no model {model!r}.{hint} There are: {', '.join(self.names)}."
            raise KeyError(msg)
        return number % len(self.names)

    def psis_loo(self, model: str | int) -> Pointwise:
        """PSIS-LOO of a model, by name or number: ``elpd``, ``penalty`` and ``k_hat`` of every observation."""
        return self._of("psis_loo")[self._number(model)]

    def waic(self, model: str | int) -> Pointwise:
        """WAIC of a model, by name or number: ``elpd`` and ``penalty`` of every observation."""
        return self._of("waic")[self._number(model)]

    def rank(self, criterion: str | None = None) -> pd.DataFrame:
        """Models from best to worst.

        Parameters
        ----------
        criterion
            Another criterion that was computed, such as ``"waic"`` beside ``"psis_loo"``.

        Returns
        -------
        One row per model: ``rank`` from 0; ``elpd``, the expected log predictive density in nats, larger is better;
        ``p``, the effective number of parameters, NaN where observations were held out; ``elpd_diff``, by how much the
        best model's elpd is larger, and ``dse``, the standard error of that; ``weight`` in the stacked prediction of
        all models; ``se`` of ``elpd``; ``warning``, whether some k are above 0.7.
        """
        found, elpd = self._of(criterion), self.elpd(criterion)
        total = elpd.sum(axis=0)
        order = np.argsort(-total, kind="stable")
        difference = differences(elpd, int(order[0]))
        table = {
            "elpd": total,
            "p": [np.nan if one.penalty is None else one.penalty.sum() for one in found],
            "elpd_diff": -difference.elpd_diff + 0.0,
            "weight": stacking(elpd),
            "se": np.sqrt(len(elpd) * elpd.var(axis=0)),
            "dse": difference.dse,
            "warning": [one.k_hat is not None and bool(np.any(one.k_hat > GOOD)) for one in found],
        }
        ranked = pd.DataFrame(table, index=pd.Index(self.names, name="model")).iloc[order]
        ranked.insert(0, "rank", np.arange(len(order)))
        return ranked

    def differences(self, criterion: str | None = None) -> pd.DataFrame:
        """Differences of all pairs of models.

        Parameters
        ----------
        criterion
            Another criterion that was computed.

        Returns
        -------
        One row per pair: ``model_A``, ``model_B``, ``elpd_diff`` of A less B in nats, its standard error ``dse``, and
        ``favors``, the name of the better one, empty where the difference is within two standard errors or 4 nats.
        """
        elpd, rows = self.elpd(criterion), []
        for b in range(len(self.names)):
            found = differences(elpd, b)
            for a, difference, dse in zip(range(b), *found, strict=False):
                better = self.names[a if difference > 0 else b] if told_apart(difference, dse) else ""
                rows.append((self.names[a], self.names[b], difference, dse, better))
        return pd.DataFrame(rows, columns=["model_A", "model_B", "elpd_diff", "dse", "favors"])

    def diagnostics(self) -> pd.DataFrame:
        """How far PSIS-LOO can be relied on.

        Returns
        -------
        One row per model: the number of observations with a Pareto shape k that is ``good`` (below 0.5), ``ok`` (below
        0.7), ``bad`` (below 1) and ``very bad``, and the ``largest`` k. Where some are bad, the elpd of those
        observations is unknown: hold out molecules or cells instead.
        """
        limits = [-np.inf, *K_HAT.values()]
        rows = []
        for one in self._of("psis_loo"):
            k_hat = np.zeros(0) if one.k_hat is None else np.minimum(one.k_hat, np.finfo(float).max)
            counted = np.histogram(np.maximum(k_hat, np.finfo(float).min), limits)[0]
            rows.append([*counted, float(np.max(k_hat))])
        return pd.DataFrame(rows, columns=[*K_HAT, "largest"], index=pd.Index(self.names, name="model"))

    def stacking_weights(self, criterion: str | None = None) -> pd.Series:
        """Weights of the models in the mixture of their predictions that predicts best (Yao et al. 2018)."""
        return pd.Series(stacking(self.elpd(criterion)), index=pd.Index(self.names, name="model"), name="stacking")

    def pseudo_bma_weights(self, criterion: str | None = None) -> pd.Series:
        """Weights in proportion to the predictive density, averaged over a Bayesian bootstrap of the observations."""
        weights = pseudo_bma(self.elpd(criterion), seed=self.seed)
        return pd.Series(weights, index=pd.Index(self.names, name="model"), name="pseudo_bma")

    def summary(self) -> str:
        """Say which model predicts best, by how much, and whether that can be relied on; with the table of `rank`."""
        table = self.rank()
        shown = table.drop(columns=["rank", "warning"]).dropna(axis=1, how="all")
        what = _MEANING[self.criterion].format(self.observations)
        lines = [f"{len(self.names)} models compared by {what}, {self.n_observations:,} {self.observations}s", ""]
        formats = {name: "{:,.1f}".format for name in shown} | {"weight": "{:.2f}".format}
        lines += [shown.to_string(formatters=formats, index_names=False), ""]
        lines += [_verdict(table)]
        if self.criterion == "psis_loo":
            lines += [_reliability(self.diagnostics(), self.n_observations)]
        return "\n".join(lines)

    def gene_level_comparison(self, model_A: str | int, model_B: str | int) -> pd.DataFrame:
        r"""Which genes one of two models predicts better.

        Counts are taken one by one, each with its cell's capture and component known, as WAIC has it: see
        `scribe._posterior.pointwise`. Nothing larger than a block of cells is held, whatever the number of draws.

        Parameters
        ----------
        model_A, model_B
            The models, by name or number.

        Returns
        -------
        One row per gene: ``gene``; ``elpd_A``, ``elpd_B``, summed over cells, in nats; ``elpd_diff`` of A less B;
        ``elpd_diff_se`` :math:`= \sqrt{C\,\mathrm{Var}_c\,d_{cg}}`, its standard error over cells; ``z_score``, the
        quotient; ``p_waic_A``, ``p_waic_B``, effective numbers of parameters; ``favors``, the name of the better model,
        empty within two standard errors.
        """
        numbers = self._number(model_A), self._number(model_B)
        with progress(2 * self.n_samples, desc="genes", unit="draw") as bar:
            first, second = (self._elements(number, bar.update) for number in numbers)
        return self._gene_table(numbers, first, second)

    def gene_level_comparisons(self, model: str | int) -> dict[str, pd.DataFrame]:
        """Tables of `gene_level_comparison` of a model with every other one, by the name of the other."""
        number, tables = self._number(model), {}
        with progress(len(self.names) * self.n_samples, desc="genes", unit="draw") as bar:
            first = self._elements(number, bar.update)
            for other, name in enumerate(self.names):
                if other != number:
                    tables[name] = self._gene_table((number, other), first, self._elements(other, bar.update))
        return tables

    def _gene_table(self, numbers: tuple[int, int], first: Elements, second: Elements) -> pd.DataFrame:
        sums, n_cells = _sum_over_cells(first, second, self.counts), self.counts.n_cells
        difference = sums["elpd_A"] - sums["elpd_B"]
        variance = np.maximum(sums.pop("square") / n_cells - np.square(difference / n_cells), 0.0)
        error = np.sqrt(n_cells * variance)
        score = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
        names = np.array([self.names[number] for number in numbers], object)
        favors = np.where(np.abs(score) > 2, names[(difference < 0).astype(int)], "")
        table = {"elpd_diff": difference, "elpd_diff_se": error, "z_score": score, "favors": favors}
        order = ["gene", "elpd_A", "elpd_B", "elpd_diff", "elpd_diff_se", "z_score", "p_waic_A", "p_waic_B", "favors"]
        return pd.DataFrame({"gene": self.gene_names, **sums, **table})[order]

    def _elements(self, number: int, tick: Callable[[], None]) -> Elements:
        posterior = self.results[number].posterior
        draws = posterior.parameter_draws(jax.random.key(self.seed), self.n_samples)
        return by_element(posterior, self.counts, ticking(draws, tick))


def ticking(draws: Iterator[Any], tick: Callable[[], None]) -> Iterator[Any]:
    """Say whenever another draw has been worked on."""
    for draw in draws:
        yield draw
        tick()


def _sum_over_cells(first: Elements, second: Elements, counts: Counts) -> dict[str, FloatArray]:
    """Sums over cells of elpd and penalty of both models, and of squared differences, (genes,) each."""
    names = ("elpd_A", "elpd_B", "p_waic_A", "p_waic_B", "square")
    total: dict[str, FloatArray] = {name: np.zeros(counts.n_genes) for name in names}
    for (_, *a), (_, *b) in zip(first.blocks(counts), second.blocks(counts), strict=True):
        parts = (a[0], b[0], a[1], b[1], np.square(a[0] - b[0]))
        for name, part in zip(names, parts, strict=True):
            total[name] += part.sum(axis=0)
    return total


def _verdict(table: pd.DataFrame) -> str:
    best, rest = table.index[0], table.iloc[1:]
    close = list(map(str, rest.index[~told_apart(rest["elpd_diff"], rest["dse"])]))
    if not close:
        return f"{best} predicts best: the others are worse by more than two standard errors."
    return f"{best} predicts best, but cannot be told from {', '.join(close)}: within two standard errors or 4 nats."


def _reliability(table: pd.DataFrame, n: int) -> str:
    unreliable = (table["bad"] + table["very bad"]) / n
    if not unreliable.any():
        return f"All k are below {GOOD}: PSIS-LOO can be relied on."
    shares = ", ".join(f"{name} {share:.1%}" for name, share in unreliable.items() if share)
    return f'k is above {GOOD} in some observations ({shares}), whose elpd is unknown: use criterion="thinned".'
