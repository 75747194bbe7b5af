"""The results object: what a fit knows, and every question one may ask of it."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field, replace
from numbers import Integral
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._counts.checks import outside_stacklevel
from scribe._counts.container import Counts
from scribe._counts.data import CountData
from scribe._counts.parameters import Parameters
from scribe._model.axes import LEVEL_AXES
from scribe._model.checks import nearest
from scribe._model.labels import label_of
from scribe._model.names import rename, site_among
from scribe._model.spec import ModelSpec
from scribe._posterior.assign import Assignment, assign
from scribe._posterior.components import ComponentsWarning, nearly_empty
from scribe._posterior.composition import Composition, compositions, fit_dirichlet
from scribe._posterior.denoise import DenoisedBlock, Method, denoise_blocks
from scribe._posterior.expression import Estimand, Level, Population
from scribe._posterior.indexing import Selector, check_dense, index_of
from scribe._posterior.level_counts import LevelCounts, count_levels
from scribe._posterior.levels import levels_without_cells
from scribe._posterior.logistic_normal import LogisticNormal, fit_logistic_normal
from scribe._posterior.posterior import Posterior, Summary
from scribe._posterior.simulate import Sparse, simulate_blocks
from scribe._rng import as_key, categorical, stream
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key, Rng
from scribe.engines import ALL, Engine, Fitted, Outcome
from scribe.families import Family

__all__ = ["Results"]

_FEWER = "Ask for some genes or cells, results[genes].cells(cells), or read the stream results.{}(...)"


@dataclass(frozen=True)
class Results:
    """Result of a fit.

    Index it to keep some genes: ``results["CD3D"]``, ``results[["CD3D", "CD8A"]]``, ``results[:100]``,
    ``results[mask]``; `cells` does the same for cells. All arrays put draws first, then cells or genes.

    Parameters
    ----------
    posterior
        The posterior of the parameters.
    verdict
        Whether and why the fit converged.
    history
        What else the engine says of the fit, numbers and arrays by name.
    engine
        Name of the engine.
    seed
        Seed the fit was made with; draws use it too unless ``rng`` is given.
    gene_names, cell_names
        Names of genes and cells, or None.
    counts_source
        Returns the counts the fit was made on, or raises if they are not at hand.
    """

    posterior: Posterior
    verdict: Outcome
    history: Mapping[str, Any] = field(repr=False)
    _: KW_ONLY
    engine: str
    seed: int
    gene_names: AnyArray | None = None
    cell_names: AnyArray | None = None
    counts_source: Callable[[], Counts] | None = field(default=None, repr=False)

    def record(self) -> dict[str, Any]:
        """What a file keeps beside the posterior: the history and the verdict."""
        return {**self.history, "convergence": asdict(self.verdict)}

    def fitted(self) -> Fitted:
        """What the engine had returned, for it to go on from."""
        return Fitted(self.posterior.guide, self.posterior.device_params(), self.verdict, self.history, self.seed)

    def same_engine(self) -> Engine:
        """The engine of the fit, with settings as far as the results know them."""
        return ALL[self.engine]()

    @property
    def n_chains(self) -> int:
        """Number of chains that the draws come from."""
        return 1

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return self.posterior.spec

    @property
    def params(self) -> Mapping[str, AnyArray]:
        """Arrays of the variational family, or the draws, on the real line."""
        return self.posterior.params

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.posterior.n_cells

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.posterior.n_genes

    @property
    def converged(self) -> bool:
        """Whether the fit converged."""
        return self.verdict.converged

    @property
    def capture_identified(self) -> Literal["absolute", "relative", "none"]:
        """What is known of capture: absolute with an anchor, relative without, none in models without capture."""
        if not self.spec.family.captured:
            return "none"
        return "absolute" if self.spec.anchored else "relative"

    def __getitem__(self, genes: Selector) -> Self:
        """Keep some genes, ``results[genes]``, or some genes of one component, ``results[genes, component]``."""
        if isinstance(genes, tuple) and len(genes) == 2:
            return self[genes[0]].get_component(genes[1])
        index = index_of(genes, self.n_genes, self.gene_names, what="gene")
        return self._subset(genes=index)

    def cells(self, cells: Selector) -> Self:
        """Keep some cells."""
        index = index_of(cells, self.n_cells, self.cell_names, what="cell")
        return self._subset(cells=index)

    def get_component(self, component: str | int) -> Self:
        """Results of one component of a mixture, by label or number: as if all cells came from it."""
        return self._at_level("component", component)

    def get_dataset(self, dataset: str | int) -> Self:
        """Results of one dataset, by label or number, with the cells that belong to it."""
        chosen = self._at_level("dataset", dataset)
        number = chosen.posterior.chosen["dataset"]
        return chosen._subset(cells=np.flatnonzero(self.posterior.design.datasets(self.n_cells) == number))

    def _at_level(self, axis: str, level: str | int) -> Self:
        levels = self.spec.levels.get(axis)
        if levels is None or axis in self.posterior.chosen:
            msg = f"These results have no {axis}s to choose from: the model tells none apart, or one has been chosen."
            raise ValueError(msg)
        labels, label = list(levels.labels), label_of(level)
        number = labels.index(label) if label in labels else level
        if not isinstance(number, Integral) or not -len(labels) <= number < len(labels):
            msg = f"There is no {axis} {level!r}.{nearest(str(level), labels)} There are: {', '.join(labels)}."
            raise KeyError(msg)
        chosen = {**self.posterior.chosen, axis: int(number) % len(labels)}
        return replace(self, posterior=replace(self.posterior, chosen=chosen))

    def population(
        self,
        component: str | int | None = None,
        dataset: str | int | None = None,
        *,
        mixed: bool = False,
        weights: Sequence[float] | None = None,
        side: str = "",
    ) -> Population:
        """Genes in one component and dataset, or with ``mixed`` the average over all components.

        ``side`` is what follows ``component`` and ``dataset`` in the keywords that errors name.
        """
        levels = self.levels(component, dataset, mixed=mixed, side=side)
        if weights is not None and (np.shape(weights) != (len(levels),) or np.any(np.asarray(weights) < 0)):
            msg = f"Weights must be one number, not negative, for each of {len(levels)} components; got {weights!r}."
            raise ValueError(msg)
        if len(levels) == 1 and not self.has_cells(levels[0]):
            own = zip(LEVEL_AXES, levels[0], strict=True)
            named = " in ".join(
                f"{axis} {self.spec.levels[axis].labels[n]!r}" for axis, n in own if axis in self.spec.levels
            )
            msg = f"No cell is of {named}: nothing is known of its expression. Choose one that has cells."
            raise ValueError(msg)
        return Population(self.posterior, levels, None if weights is None else tuple(map(float, weights)))

    def levels(
        self,
        component: str | int | None = None,
        dataset: str | int | None = None,
        *,
        mixed: bool = False,
        side: str = "",
    ) -> tuple[Level, ...]:
        """Numbers of one component and dataset, or of all components with ``mixed``; see `population`."""
        chosen = dict(self.posterior.chosen)
        for axis, asked in (("component", component), ("dataset", dataset)):
            if asked is not None:
                chosen |= self._at_level(axis, asked).posterior.chosen
        found: dict[str, tuple[int, ...]] = {}
        for axis in LEVEL_AXES:
            levels = self.spec.levels.get(axis)
            if levels is None or axis in chosen:
                found[axis] = (chosen.get(axis, 0),)
            elif axis == "component" and mixed:
                found[axis] = tuple(range(len(levels.labels)))
            else:
                also = " or mixture_weighted=True" if axis == "component" else ""
                msg = f"The fit has {axis}s: pass {axis}{side}=, one of {', '.join(levels.labels)}{also}."
                raise ValueError(msg)
        return tuple((k, d) for k in found["component"] for d in found["dataset"])

    def has_cells(self, level: Level) -> bool:
        """Whether any cell tells of the expression in a component and dataset, as far as is known."""
        axes = self.spec.natural_axes["log_mean"]
        own = tuple(number for axis, number in zip(LEVEL_AXES, level, strict=True) if axis in axes)
        return own not in levels_without_cells(self.posterior, [axis for axis in LEVEL_AXES if axis in axes])

    def count_levels(self, levels: Sequence[Level]) -> LevelCounts:
        """What the counts of some levels say of the mean of every gene, free of its prior."""
        return count_levels(self.posterior, self.counts(), levels)

    def _subset(self, *, genes: IntArray | None = None, cells: IntArray | None = None) -> Self:
        source, gene_names, cell_names = self.counts_source, self.gene_names, self.cell_names
        posterior = self.posterior
        if genes is not None and source is not None and posterior.mixed and posterior.design.responsibilities is None:
            known = assign(posterior, self.counts()).probabilities
            posterior = replace(posterior, design=replace(posterior.design, responsibilities=known))
        return replace(
            self,
            posterior=posterior.subset(genes=genes, cells=cells),
            gene_names=gene_names if genes is None or gene_names is None else gene_names[genes],
            cell_names=cell_names if cells is None or cell_names is None else cell_names[cells],
            counts_source=None if source is None else functools.partial(_subset_of, source, cells=cells, genes=genes),
        )

    def _key(self, rng: Rng) -> Key:
        return as_key(self.seed if rng is None else rng)

    def counts(self, counts: Any | None = None) -> Counts:
        """Observed counts, cells x genes: ``counts`` if given, checked to fit the results, else those of the fit."""
        if counts is not None:
            found = counts if isinstance(counts, Counts) else Counts.from_matrix(counts)
        elif self.counts_source is not None:
            found = self.counts_source()
        else:
            msg = "These results do not hold the counts they were fitted to: pass counts=, cells x genes."
            raise ValueError(msg)
        if found.shape != (self.n_cells, self.n_genes):
            mine = f"{self.n_cells:,} cells x {self.n_genes:,} genes"
            msg = f"The results are for {mine}, but counts are {found.shape}. Subset both alike."
            raise ValueError(msg)
        return found

    def get_map(self, *, use_mean: bool = False, descriptive_names: bool = False) -> dict[str, Array]:
        """Point estimates of all parameters, sampled and derived.

        Parameters
        ----------
        use_mean
            Return posterior means rather than the values at the most probable point of the real line (for
            log-normal and logit-normal posteriors these are the medians).
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        Arrays by parameter name: (genes,), (cells,) or scalars.
        """
        if use_mean:
            values = {name: jnp.asarray(s.mean) for name, s in self.get_summaries().items()}
        else:
            values = self.posterior.named(self.posterior.centre())
        return rename(values, descriptive_names=descriptive_names)

    def get_summaries(self, *, n_samples: int | None = None, rng: Rng = None) -> dict[str, Summary]:
        """Posterior mean and standard deviation of all parameters, sampled and derived, by name.

        Parameters
        ----------
        n_samples
            Draws behind each number; they are streamed. None takes 1,000, or all draws of a fit by MCMC.
        rng
            Seed, key or generator.

        Returns
        -------
        A (mean, sd) pair of arrays by parameter name.
        """
        return self.posterior.summaries(self._key(rng), n_draws=n_samples)

    def get_distributions(self, *, descriptive_names: bool = False) -> dict[str, dist.Distribution]:
        """Posterior distribution of every sampled parameter, as numpyro distributions.

        Parameters
        ----------
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        Distributions by parameter name; batch shapes are (genes,), (cells,) or ().
        """
        return rename(self.posterior.distributions(), descriptive_names=descriptive_names)

    def get_posterior_samples(
        self, n_samples: int = 100, *, rng: Rng = None, sites: list[str] | None = None, descriptive_names: bool = False
    ) -> dict[str, Array]:
        """Draws of all parameters, sampled and derived.

        A draw is a function of the seed and its number: fewer draws are the first of more, those of some genes or cells
        are those of all, and likelihoods, replicates and denoised counts with this ``rng`` are at the same draws. Fits
        with one seed share their random numbers: take another for a fit whose draws you subtract.

        Parameters
        ----------
        n_samples
            Number of draws.
        rng
            Seed, key or generator; the seed of the fit unless given.
        sites
            Names of the parameters to return; None returns all.
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        Arrays by parameter name: (draws, genes), (draws, cells) or (draws,).
        """
        values = self.posterior.named(self.posterior.draws(self._key(rng), n_samples))
        if sites is not None:
            values = {site: values[site] for site in (site_among(name, list(values)) for name in sites)}
        return rename(values, descriptive_names=descriptive_names)

    def get_posterior_quantiles(
        self,
        q: tuple[float, ...] = (0.05, 0.5, 0.95),
        *,
        n_samples: int | None = None,
        rng: Rng = None,
        descriptive_names: bool = False,
    ) -> dict[str, FloatArray]:
        """Posterior quantiles of all parameters, sampled and derived, gene or cell block by block.

        Parameters
        ----------
        q
            Probabilities.
        n_samples
            Draws behind each number. None takes 1,000, or all draws of a fit by MCMC.
        rng
            Seed, key or generator.
        descriptive_names
            Use names such as ``dispersion`` for ``r``.

        Returns
        -------
        Arrays by parameter name with the quantiles along the first axis: (q, genes), (q, cells) or (q,).
        """
        quantiles = self.posterior.quantiles(self._key(rng), q, n_draws=n_samples)
        return rename(quantiles, descriptive_names=descriptive_names)

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
                parameters = _before_capture(self.spec.family, parameters)
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


def _before_capture(family: Family, parameters: Parameters) -> Parameters:
    """Parameters of the molecules before capture, none of them silenced."""
    natural = family.expressed(parameters.natural)
    return parameters._replace(natural=natural).at_exposure(jnp.zeros_like(parameters.log_exposure))


def _subset_of(source: Callable[[], Counts], **index: IntArray | None) -> Counts:
    """Counts of some cells and genes, read when asked for; unlike a closure it can be pickled."""
    return source().subset(**index)
