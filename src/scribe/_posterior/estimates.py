"""What a fit knows of its parameters: point estimates, draws, summaries, by gene, cell, component and dataset."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._model.checks import nearest
from scribe._model.labels import label_of
from scribe._model.names import rename, site_among
from scribe._model.spec import LEVEL_AXES, ModelSpec
from scribe._posterior.assign import assign
from scribe._posterior.expression import Level, Population
from scribe._posterior.indexing import Selector, index_of
from scribe._posterior.level_counts import LevelCounts, count_levels
from scribe._posterior.levels import levels_without_cells
from scribe._posterior.posterior import Posterior, Summary
from scribe._rng import as_key
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key, Rng
from scribe.engines import Outcome

__all__ = ["Estimates"]


@dataclass(frozen=True)
class Estimates(ABC):
    """Estimates of the parameters of a fit, whatever the engine; what it holds is said in `ScribeSVIResults`."""

    engine: ClassVar[str]
    posterior: Posterior
    verdict: Outcome
    _: KW_ONLY
    seed: int
    gene_names: AnyArray | None = None
    cell_names: AnyArray | None = None
    counts_source: Callable[[], Counts] | None = field(default=None, repr=False)

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What the engine has to say of the fit, in arrays and mappings."""

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
            values = self.posterior.readable(self.posterior.centre())
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
        values = self.posterior.readable(self.posterior.draws(self._key(rng), n_samples))
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


def _subset_of(source: Callable[[], Counts], **index: IntArray | None) -> Counts:
    """Counts of some cells and genes, read when asked for; unlike a closure it can be pickled."""
    return source().subset(**index)
