"""The results object: what a fit knows, and every question one may ask of it."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.checks import outside_stacklevel
from scribe._counts.data import CountData
from scribe._counts.parameters import Parameters
from scribe._posterior.assign import Assignment, assign
from scribe._posterior.components import ComponentsWarning, nearly_empty
from scribe._posterior.composition import Composition, compositions, fit_dirichlet
from scribe._posterior.denoise import DenoisedBlock, Method, denoise_blocks
from scribe._posterior.estimates import Estimates
from scribe._posterior.expression import Estimand
from scribe._posterior.indexing import check_dense
from scribe._posterior.logistic_normal import LogisticNormal, fit_logistic_normal
from scribe._posterior.simulate import Sparse, simulate_blocks
from scribe._rng import categorical, stream
from scribe._types import Array, FloatArray, Key, Rng

__all__ = ["Results"]

_FEWER = "Ask for some genes or cells, results[genes].cells(cells), or read the stream results.{}(...)"


@dataclass(frozen=True)
class Results(Estimates):
    """Result of a fit, whatever the engine: estimates, replicates, likelihoods, assignments and denoised counts."""

    @property
    def too_certain(self) -> str | None:
        """Why assignments to the components of a mixture are more certain than they are right; None if not known."""
        n = self.spec.lengths.get("component", 1)
        if not self.posterior.mixed or len(nearly_empty(self.posterior)) < n - 1:
            return None
        return f"One of the {n} components holds all cells: assignments to it are certain, and tell no types apart."

    def _in_components(self, parameters: Parameters, data: CountData | None, key: Key) -> Parameters:
        """Put every cell into a component, by its responsibilities where its counts are at hand."""
        weights = parameters.log_weights
        if weights is None:
            return parameters
        if data is not None:
            weights = jnp.log(self.posterior.responsibilities(parameters, data))
        return parameters._replace(component=categorical(key, self.posterior.ids["cell"], weights))

    def simulate(
        self, n_samples: int = 100, *, rng: Rng = None, biological: bool = False, at_map: bool = False
    ) -> Iterator[Iterator[Sparse]]:
        """Replicate data sets one after the other, each as a stream of sparse blocks of cells.

        In a mixture a cell is drawn from the components it may belong to given its counts, or, where the results do not
        hold the counts, from all of them by their weights.

        Parameters
        ----------
        n_samples
            Number of data sets.
        rng
            Seed, key or generator.
        biological
            Simulate the molecules before capture and without zero inflation.
        at_map
            Keep the parameters at their most probable values rather than drawing them for every data set.

        Yields
        ------
        For every data set an iterator over blocks (cell, gene, value) of positive counts.
        """
        key = self._key(rng)
        fixed = itertools.repeat(self.posterior.centre(), n_samples) if at_map else None
        values = self.posterior.draw_one_by_one(key, n_samples) if fixed is None else fixed
        yield from self.replicates(values, key, biological=biological)

    def replicates(
        self, values: Iterable[Mapping[str, Array]], key: Key, *, biological: bool = False
    ) -> Iterator[Iterator[Sparse]]:
        """The data sets of `simulate` at given values of the parameters on the real line, one after the other."""
        posterior = self.posterior
        known = posterior.mixed and self.counts_source is not None
        data = posterior.data(self.counts()) if known else None
        for number, drawn in enumerate(map(posterior.parameters, values)):
            of_counts, of_components = (
                jax.random.fold_in(stream(key, use), number) for use in ("counts", "components")
            )
            parameters = self._in_components(drawn, data, of_components)
            if biological:
                parameters = _before_capture(parameters)
            yield simulate_blocks(self.spec.family, parameters, of_counts, n_genes=self.n_genes, ids=posterior.ids)

    def _dense_samples(self, n_samples: int, **options: Any) -> FloatArray:
        return self.dense(self.simulate(n_samples, **options), n_samples, remedy=_FEWER.format("simulate"))

    def dense(self, data_sets: Iterable[Iterable[Sparse]], n_samples: int, *, remedy: str) -> FloatArray:
        """Data sets of `simulate` as one array, (data sets, cells, genes); ``remedy`` ends an error."""
        check_dense((n_samples, self.n_cells, self.n_genes), remedy=remedy)
        out = np.zeros((n_samples, self.n_cells, self.n_genes), np.float32)
        for data_set, blocks in zip(out, data_sets, strict=True):
            for block in blocks:
                data_set[block.cell, block.gene] = block.value
        return out

    def get_ppc_samples(self, n_samples: int = 100, *, rng: Rng = None) -> FloatArray:
        """Posterior predictive data sets: parameters are drawn anew for each.

        Parameters
        ----------
        n_samples
            Number of data sets.
        rng
            Seed, key or generator.

        Returns
        -------
        Counts, (draws, cells, genes). Larger than ``settings.max_array_gb`` raises; subset first or use `simulate`.
        """
        return self._dense_samples(n_samples, rng=rng)

    def get_map_ppc_samples(self, n_samples: int = 100, *, rng: Rng = None) -> FloatArray:
        """As `get_ppc_samples`, with the parameters kept at their most probable values."""
        return self._dense_samples(n_samples, rng=rng, at_map=True)

    def get_ppc_samples_biological(self, n_samples: int = 100, *, rng: Rng = None) -> FloatArray:
        """As `get_ppc_samples`, for the molecules before capture and without zero inflation."""
        return self._dense_samples(n_samples, rng=rng, biological=True)

    def get_map_ppc_samples_biological(self, n_samples: int = 100, *, rng: Rng = None) -> FloatArray:
        """As `get_ppc_samples_biological`, with the parameters kept at their most probable values."""
        return self._dense_samples(n_samples, rng=rng, biological=True, at_map=True)

    def log_likelihood(
        self,
        counts: Any | None = None,
        *,
        return_by: Literal["cell", "gene"] = "cell",
        n_samples: int = 100,
        rng: Rng = None,
    ) -> FloatArray:
        """Log-likelihood of the data at draws of the parameters, at the cost of the non-zeros.

        Parameters
        ----------
        counts
            Counts, cells x genes; None takes those the fit was made on.
        return_by
            Sum over genes for every ``"cell"`` or over cells for every ``"gene"``.
        n_samples
            Number of draws; 0 evaluates once at the most probable parameters.
        rng
            Seed, key or generator.

        Returns
        -------
        Nats, (draws, cells) or (draws, genes).
        """
        if return_by not in ("cell", "gene"):
            msg = f"return_by must be 'cell' or 'gene', got {return_by!r}."
            raise ValueError(msg)
        likelihood, data = self.spec.likelihood, self.posterior.data(self.counts(counts))
        draws = self.posterior.parameter_draws(self._key(rng), n_samples)
        if return_by == "cell":
            return np.stack([np.asarray(likelihood.by_cell(parameters, data)) for parameters in draws])
        by_gene = functools.partial(likelihood.by_gene, n_genes=self.n_genes)
        return np.stack([np.asarray(by_gene(parameters, data)) for parameters in draws])

    def denoise_blocks(
        self,
        counts: Any | None = None,
        *,
        method: Method = "mean",
        n_samples: int = 100,
        rng: Rng = None,
        with_sd: bool = True,
    ) -> Iterator[DenoisedBlock]:
        """Denoised counts as a stream of blocks of cells (cells, value, sd); see `denoise_counts`."""
        found, key = self.counts(counts), self._key(rng)
        return denoise_blocks(self.posterior, found, key, method=method, n_samples=n_samples, with_sd=with_sd)

    def denoise_counts(
        self, counts: Any | None = None, *, method: Method = "mean", n_samples: int = 100, rng: Rng = None
    ) -> FloatArray:
        """Posterior of the counts before capture, given the observed ones.

        Parameters
        ----------
        counts
            Counts, cells x genes; None takes those the fit was made on.
        method
            ``"mean"``, ``"mode"`` or ``"sample"`` of the posterior of every count, or a pair of them: for observed
            counts and for zeros.
        n_samples
            Draws of the parameters to integrate over; 0 takes their most probable values, as the mode always does.
        rng
            Seed, key or generator.

        Returns
        -------
        Molecules, (cells, genes). Larger than ``settings.max_array_gb`` raises; use `denoise_blocks`.
        """
        check_dense((1, self.n_cells, self.n_genes), remedy=_FEWER.format("denoise_blocks"))
        out = np.empty((self.n_cells, self.n_genes), np.float32)
        for block in self.denoise_blocks(counts, method=method, n_samples=n_samples, rng=rng, with_sd=False):
            out[block.cells] = block.value
        return out

    def get_compositional_samples(
        self,
        n_samples: int = 100,
        *,
        estimand: Estimand = "cell",
        component: str | int | None = None,
        dataset: str | int | None = None,
        mixture_weighted: bool = False,
        rng: Rng = None,
    ) -> FloatArray:
        """Draws of the shares of genes among the molecules of a cell, before capture.

        Parameters
        ----------
        n_samples
            Number of draws, each with its own draw of the parameters.
        estimand
            ``"cell"``: the shares in one random cell; ``"mean"``: those of the mean over cells.
        component, dataset
            Component and dataset, by label or number, where the model has them.
        mixture_weighted
            Average the shares over the components of a mixture, by the weights of the model.
        rng
            Seed, key or generator.

        Returns
        -------
        Shares, (draws, genes), which sum to one.
        """
        population = self.population(component, dataset, mixed=mixture_weighted)
        return compositions(population.log_expression(self._key(rng), n_samples, estimand=estimand))

    def normalize_counts(
        self, n_samples: int = 1000, *, fit_distribution: bool = True, store_samples: bool = False, **levels: Any
    ) -> Composition:
        """Shares of genes among the molecules of a cell, from the posterior: counts without library size.

        Parameters
        ----------
        n_samples
            Number of draws.
        fit_distribution
            Fit a Dirichlet law to the draws.
        store_samples
            Keep the draws.
        **levels
            ``estimand``, ``component``, ``dataset``, ``mixture_weighted`` and ``rng`` of `get_compositional_samples`.

        Returns
        -------
        ``mean_probabilities`` and ``sd`` of the shares, ``concentrations`` and ``samples``.
        """
        samples = self.get_compositional_samples(n_samples, **levels)
        law = fit_dirichlet(np.log(np.maximum(samples, 1e-30))) if fit_distribution else None
        moments = samples.mean(axis=0, dtype=np.float64), samples.std(axis=0, ddof=1, dtype=np.float64)
        return Composition(*moments, law, samples if store_samples else None)

    def fit_logistic_normal(
        self, n_samples: int = 1000, *, rank: int | None = None, estimand: Estimand = "mean", **levels: Any
    ) -> LogisticNormal:
        """Fit a logistic-normal law of low rank to the shares of genes, by the moments of draws.

        Parameters
        ----------
        n_samples
            Number of draws.
        rank
            Rank of the covariance; 50 or the number of genes less one.
        estimand
            ``"mean"``: the shares of the mean over cells; ``"cell"``: those in one random cell.
        **levels
            ``component``, ``dataset``, ``mixture_weighted`` and ``rng`` of `get_compositional_samples`.

        Returns
        -------
        The law, which `scribe.compare` takes for a comparison by normal theory.
        """
        samples = self.get_compositional_samples(n_samples, estimand=estimand, **levels)
        return fit_logistic_normal(np.log(np.maximum(samples, 1e-30)), rank=rank, estimand=estimand)

    def cell_type_assignments(
        self,
        counts: Any | None = None,
        *,
        n_samples: int = 100,
        temper: bool = True,
        doublet_rate: float = 0.0,
        rng: Rng = None,
    ) -> Assignment:
        """Posterior probability of every component of a mixture in every cell; see `scribe.tl.assign`.

        Parameters
        ----------
        counts
            Counts, cells x genes; None takes those the fit was made on.
        n_samples
            Draws of the parameters to average over; 0 takes their most probable values, which are too certain.
        temper
            Whether log-likelihoods are tempered by their reliability.
        doublet_rate
            Share of cells with two types in them; above 0 every pair of components is a component as well.
        rng
            Seed, key or generator.

        Returns
        -------
        ``probabilities`` (cells, components), the most probable ``component`` (cells,), ``entropy`` (cells,) in nats,
        ``weights`` (components,), the shares of the components among the cells, and of cells ``reliability`` and
        ``doublet``, by how much ratios were tempered and the probability of two components.
        """
        if not self.posterior.mixed:
            msg = "These results have one component only: fit a mixture, n_components=2 or more, to assign cells."
            raise ValueError(msg)
        if self.too_certain is not None:
            warnings.warn(self.too_certain, ComponentsWarning, stacklevel=outside_stacklevel())
        options: dict[str, Any] = {"n_samples": n_samples, "temper": temper, "doublet_rate": doublet_rate}
        return assign(self.posterior, self.counts(counts), key=self._key(rng), **options)


def require_results(found: object, *, verb: str) -> None:
    """Raise where something else was passed than the results of a fit."""
    if not isinstance(found, Results):
        msg = (
            f"{verb} takes results of fits, what scribe.fit or scribe.get.results(adata, key=...) returns; "
            f"got {type(found).__name__}."
        )
        raise TypeError(msg)


def _before_capture(parameters: Parameters) -> Parameters:
    """Parameters of the molecules before capture, none of them silenced."""
    natural = {n: jnp.full_like(v, -jnp.inf) if n == "gate_logit" else v for n, v in parameters.natural.items()}
    return parameters._replace(natural=natural).at_exposure(jnp.zeros_like(parameters.log_exposure))
