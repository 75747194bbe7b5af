"""Results by the engine that made them: what all fits share, and what only this engine knows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np

from scribe._model.names import rename
from scribe._posterior.results import Results
from scribe._settings import settings
from scribe._types import AnyArray, Array, FloatArray, Rng
from scribe.engines import Mixing, Verdict, diagnostics

__all__ = [
    "BY_ENGINE",
    "DrawSummary",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "draws_by_chain",
    "thin_enough",
    "values_by_chain",
]

_log = logging.getLogger("scribe")


def _scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """Python scalars of what a file format may give back as NumPy ones."""
    return {name: x.item() if isinstance(x, (np.generic, np.ndarray)) else x for name, x in record.items()}


@dataclass(frozen=True)
class ScribeSVIResults(Results):
    """Result of a fit by stochastic variational inference.

    Index it to keep some genes: ``results["CD3D"]``, ``results[["CD3D", "CD8A"]]``, ``results[:100]``,
    ``results[mask]``; `cells` does the same for cells. All arrays put draws first, then cells or genes.

    Parameters
    ----------
    posterior
        The posterior of the parameters.
    verdict
        Whether and why the fit converged.
    loss_history
        Negative evidence lower bound of every step, in nats.
    restart_losses
        That with which every run ended, where there were several (``n_restarts``), else None.
    fewer_loss
        That of a mixture of one component less, where it was measured (``check_components``) and is better, else None.
    seed
        Seed the fit was made with; draws use it too unless ``rng`` is given.
    gene_names, cell_names
        Names of genes and cells, or None.
    counts_source
        Returns the counts the fit was made on, or raises if they are not at hand.
    """

    engine: ClassVar[str] = "svi"
    verdict: Verdict
    _: KW_ONLY
    loss_history: FloatArray
    restart_losses: FloatArray | None = None
    fewer_loss: float | None = None

    @property
    def too_certain(self) -> str | None:
        """That a mixture of one component less has the better evidence lower bound, or one component all cells."""
        if self.fewer_loss is None:
            return super().too_certain
        gain, n = self.verdict.loss - self.fewer_loss, self.spec.lengths["component"]
        return (
            f"A mixture of one component less has the better ELBO, by {gain:.3g} nats: the counts do not tell all {n} "
            "components apart, and assignments to them are more certain than they are right."
        )

    @property
    def losses(self) -> FloatArray:
        """Same as ``loss_history``."""
        return self.loss_history

    def record(self) -> dict[str, Any]:
        """The losses and the verdict."""
        some = {"restart_losses": self.restart_losses, "fewer_loss": self.fewer_loss}
        known = {name: value for name, value in some.items() if value is not None}
        return {"loss": np.asarray(self.loss_history), **known, "convergence": asdict(self.verdict)}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor from what `record` gave and a file kept."""
        losses, restarts = np.asarray(record["loss"]), record.get("restart_losses")
        fewer, verdict = record.get("fewer_loss"), Verdict(**_scalars(record["convergence"]))
        known = {"restart_losses": restarts, "fewer_loss": None if fewer is None else float(fewer)}
        return {"loss_history": losses, **known, "verdict": verdict}


class DrawSummary(NamedTuple):
    """Summary of the draws of one quantity: arrays of its shape; quantiles are those at 5, 50 and 95 %."""

    mean: FloatArray
    sd: FloatArray
    q5: FloatArray
    median: FloatArray
    q95: FloatArray
    ess_bulk: FloatArray
    ess_tail: FloatArray
    r_hat: FloatArray


@dataclass(frozen=True)
class ScribeMCMCResults(Results):
    """Result of a fit by Markov chain Monte Carlo.

    Index it to keep some genes: ``results["CD3D"]``, ``results[["CD3D", "CD8A"]]``, ``results[:100]``,
    ``results[mask]``; `cells` does the same for cells. All arrays put draws first, then cells or genes.

    Parameters
    ----------
    posterior
        The posterior of the parameters: the draws.
    verdict
        Whether the chains mixed.
    statistics
        What the sampler says of every draw, (chains, draws) by name.
    seed
        Seed the fit was made with.
    gene_names, cell_names
        Names of genes and cells, or None.
    counts_source
        Returns the counts the fit was made on, or raises if they are not at hand.
    """

    engine: ClassVar[str] = "mcmc"
    verdict: Mixing
    _: KW_ONLY
    statistics: Mapping[str, AnyArray] = field(repr=False)

    def record(self) -> dict[str, Any]:
        """What the sampler says of every draw, and the verdict."""
        return {"mcmc": dict(self.statistics), "convergence": asdict(self.verdict)}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the constructor from what `record` gave and a file kept."""
        statistics = {name: np.asarray(value) for name, value in record["mcmc"].items()}
        return {"statistics": statistics, "verdict": Mixing(**_scalars(record["convergence"]))}

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.statistics["diverging"].shape[0])

    @property
    def n_samples(self) -> int:
        """Draws per chain."""
        return int(self.statistics["diverging"].shape[1])

    @property
    def divergences(self) -> int:
        """Number of draws whose trajectory diverged: regions that the sampler cannot enter."""
        return self.verdict.divergences

    def get_samples(self, *, group_by_chain: bool = False, descriptive_names: bool = False) -> dict[str, AnyArray]:
        """All draws of all parameters, sampled and derived.

        Parameters
        ----------
        group_by_chain
            Keep the chains apart.
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        Arrays by parameter name, (draws, ...) chain after chain, or (chains, draws, ...).
        """
        total = self.n_chains * self.n_samples
        values = jax.device_get(self.posterior.readable(self.posterior.stored_draws()))
        shape = (self.n_chains, self.n_samples) if group_by_chain else (total,)
        values = {name: np.asarray(value).reshape(*shape, *value.shape[1:]) for name, value in values.items()}
        return rename(values, descriptive_names=descriptive_names)

    def get_extra_fields(self, *, group_by_chain: bool = False) -> dict[str, AnyArray]:
        """What the sampler says of every draw.

        Parameters
        ----------
        group_by_chain
            Keep the chains apart.

        Returns
        -------
        ``diverging``, ``num_steps``, ``accept_prob``, ``energy`` and ``potential_energy``, (draws,) chain after chain,
        or (chains, draws).
        """
        return {name: value if group_by_chain else value.ravel() for name, value in self.statistics.items()}

    def summary(self, *, descriptive_names: bool = False) -> dict[str, DrawSummary]:
        """Means, quantiles and diagnostics of all parameters, sampled and derived.

        Parameters
        ----------
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        By parameter name: mean, sd, quantiles, effective sample sizes of bulk and tails, and R-hat (rank-normalised
        and split, Vehtari et al. 2021, doi:10.1214/20-BA1221).
        """
        out = {}
        for name, draws in self.get_samples(group_by_chain=True, descriptive_names=descriptive_names).items():
            found, flat = diagnostics(draws), np.asarray(draws, np.float64).reshape(-1, *draws.shape[2:])
            q5, median, q95 = np.quantile(flat, (0.05, 0.5, 0.95), axis=0)
            moments = flat.mean(axis=0), flat.std(axis=0, ddof=1)
            out[name] = DrawSummary(*moments, q5, median, q95, found.ess_bulk, found.ess_tail, found.r_hat)
        return out

    def print_summary(self, *, n_rows: int = 10) -> None:
        """Print the verdict, and of every parameter the elements that mixed worst.

        Parameters
        ----------
        n_rows
            Most rows per parameter.
        """
        print(self.verdict)
        print(f"{'':24}" + "".join(f"{field:>10}" for field in DrawSummary._fields))
        for name, summary in self.summary().items():
            columns = np.stack([np.asarray(column).ravel() for column in summary])
            order = np.argsort(-np.nan_to_num(columns[-1], nan=np.inf), kind="stable")[:n_rows]
            for i in order:
                label = self._label(name, np.unravel_index(i, summary.r_hat.shape))
                print(f"{label:24.24}" + "".join(f"{value:10.4g}" for value in columns[:, i]))

    def _label(self, name: str, index: tuple[Any, ...]) -> str:
        """Name of one element of a parameter."""
        known = {"gene": self.gene_names, "cell": self.cell_names}
        known |= {axis: np.asarray(levels.labels) for axis, levels in self.spec.levels.items()}
        labels = [known.get(axis) for axis in self.posterior.readable_axes[name]]
        parts = [str(i if x is None else x[i]) for x, i in zip(labels, index, strict=True)]
        return f"{name}[{', '.join(parts)}]" if parts else name

    def thinned(self, n_samples: int) -> Self:
        """Keep some draws of every chain, at equal distances.

        Parameters
        ----------
        n_samples
            Draws per chain to keep.

        Returns
        -------
        Results with fewer draws; the verdict stays that of all.
        """
        kept = np.linspace(0, self.n_samples - 1, n_samples).round().astype(int)
        params = {}
        for name, value in self.params.items():
            chains = value.reshape(*value.shape[:-1], self.n_chains, self.n_samples)
            params[name] = chains[..., kept].reshape(*value.shape[:-1], -1)
        statistics = {name: value[:, kept] for name, value in self.statistics.items()}
        return replace(self, posterior=replace(self.posterior, params=params), statistics=statistics)


BY_ENGINE: dict[str, type[ScribeSVIResults] | type[ScribeMCMCResults]] = {
    kind.engine: kind for kind in (ScribeSVIResults, ScribeMCMCResults)
}
"""Every class of results by the engine that a stored fit names."""


def draws_by_chain(results: Results, n_samples: int, *, rng: Rng = None) -> dict[str, AnyArray]:
    """All draws of a fit by MCMC, or ``n_samples`` of another as one chain: (chains, draws, ...) by parameter name."""
    if isinstance(results, ScribeMCMCResults):
        return results.get_samples(group_by_chain=True)
    return {name: np.asarray(x)[None] for name, x in results.get_posterior_samples(n_samples, rng=rng).items()}


def thin_enough(results: Results) -> Results:
    """Thin the draws of a fit by MCMC where they would take too much space."""
    size, most = sum(x.nbytes for x in results.params.values()), settings.max_array_gb * 1e9
    if not isinstance(results, ScribeMCMCResults) or size <= most:
        return results
    n_kept = max(int(results.n_samples * most / size), 1)
    found = f"{results.n_chains * results.n_samples:,} draws take {size / 1e9:.2g} GB"
    kept = f"{results.n_chains * n_kept:,} of them are kept, summaries are those of all"
    _log.warning("%s, more than settings.max_array_gb=%g: %s", found, settings.max_array_gb, kept)
    return results.thinned(n_kept)


def values_by_chain(results: Results, n_samples: int, *, rng: Rng = None) -> Iterator[dict[str, Array]]:
    """The draws of `draws_by_chain` singly, every site on the real line."""
    if not isinstance(results, ScribeMCMCResults):
        yield from results.posterior.draw_one_by_one(results._key(rng), n_samples)
        return
    stored = results.posterior.stored_draws()
    for number in range(results.n_chains * results.n_samples):
        yield {name: value[number] for name, value in stored.items()}
