"""Results by the engine that made them: what all fits share, and what only this engine knows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from scribe._model.names import rename
from scribe._posterior.results import Results
from scribe._settings import settings
from scribe._types import AnyArray, Array, FloatArray, Rng
from scribe.engines import ALL, NUTS, SVI, EarlyStopping, Engine, Verdict, diagnostics

__all__ = [
    "DrawSummary",
    "ScribeMCMCResults",
    "ScribeSVIResults",
    "draws_by_chain",
    "from_record",
    "results_class",
    "thin_enough",
    "values_by_chain",
]

_log = logging.getLogger("scribe")


_KNOWN = {"schema_version", "config", "sites", "scalars", "seed", "versions", "data", "convergence"}
"""What the record of any fit holds beside its history."""


def from_record(record: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Verdict and history of a fit from what a file kept of `Results.record`."""
    verdict = ALL[engine].verdict(**{name: _plain(x) for name, x in record["convergence"].items()})
    return {"verdict": verdict, "history": {name: _plain(x) for name, x in record.items() if name not in _KNOWN}}


def _plain(value: Any) -> Any:
    """Arrays, and Python scalars of what a file format may give back as NumPy ones."""
    if isinstance(value, Mapping):
        return {name: _plain(x) for name, x in value.items()}
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array


@dataclass(frozen=True)
class ScribeSVIResults(Results):
    """Result of a fit by stochastic variational inference; see `scribe.Results`."""

    @property
    def loss_history(self) -> FloatArray:
        """Negative evidence lower bound of every step, in nats."""
        losses: FloatArray = self.history["loss"]
        return losses

    @property
    def losses(self) -> FloatArray:
        """Same as ``loss_history``."""
        return self.loss_history

    @property
    def restart_losses(self) -> FloatArray | None:
        """That with which every run ended, where there were several (``n_restarts``), else None."""
        return self.history.get("restart_losses")

    @property
    def fewer_loss(self) -> float | None:
        """That of a mixture of one component less, where it was measured (``check_components``) and is better."""
        return self.history.get("fewer_loss")

    @property
    def too_certain(self) -> str | None:
        """That a mixture of one component less has the better evidence lower bound, or one component all cells."""
        if self.fewer_loss is None or not isinstance(self.verdict, Verdict):
            return super().too_certain
        gain, n = self.verdict.loss - self.fewer_loss, self.spec.lengths["component"]
        return (
            f"A mixture of one component less has the better ELBO, by {gain:.3g} nats: the counts do not tell all {n} "
            "components apart, and assignments to them are more certain than they are right."
        )

    def same_engine(self) -> Engine:
        """SVI to convergence, or as many steps as were made."""
        if self.converged:
            return SVI(batch_size=settings.batch_size)
        # a fit of a given number of steps is repeated with as many
        rule = EarlyStopping(enabled=False, restore_best=False)
        return SVI(len(self.loss_history), batch_size=settings.batch_size, early_stopping=rule)


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
    """Result of a fit by Markov chain Monte Carlo; see `scribe.Results`. Its posterior are the draws."""

    @property
    def statistics(self) -> Mapping[str, AnyArray]:
        """What the sampler says of every draw, (chains, draws) by name."""
        statistics: Mapping[str, AnyArray] = self.history["mcmc"]
        return statistics

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
        return int(self.statistics["diverging"].sum())

    def same_engine(self) -> Engine:
        """NUTS with as many draws and chains."""
        return NUTS(self.n_samples, n_chains=self.n_chains)

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
        values = jax.device_get(self.posterior.named(self.posterior.stored_draws()))
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
        labels = [known.get(axis) for axis in self.posterior.named_axes[name]]
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
        return replace(self, posterior=replace(self.posterior, params=params), history={"mcmc": statistics})


_BY_ENGINE: dict[str, type[Results]] = {SVI.name: ScribeSVIResults, NUTS.name: ScribeMCMCResults}


def results_class(engine: str) -> type[Results]:
    """Class of the results of an engine: one of its own where it has something to say that others have not."""
    return _BY_ENGINE.get(engine, Results)


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
