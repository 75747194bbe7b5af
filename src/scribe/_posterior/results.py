"""The results object: what a fit knows, and every question one may ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from scribe._counts.container import Counts
from scribe._model.names import rename, site_among
from scribe._model.spec import ModelSpec
from scribe._posterior.denoise import DenoisedBlock, Method, denoise_blocks
from scribe._posterior.indexing import Selector, check_dense, index_of
from scribe._posterior.loglik import pointwise
from scribe._posterior.parameters import Parameters
from scribe._posterior.posterior import Posterior, Summary
from scribe._posterior.simulate import Sparse, simulate_blocks
from scribe._rng import as_key
from scribe._types import AnyArray, Array, FloatArray, IntArray, Key, Rng
from scribe.engines import Outcome

__all__ = ["Results"]


@dataclass(frozen=True)
class Results(ABC):
    """Result of a fit, whatever the engine.

    Index it to keep some genes: ``results["CD3D"]``, ``results[["CD3D", "CD8A"]]``, ``results[:100]``,
    ``results[mask]``; `cells` does the same for cells. All arrays put draws first, then cells or genes.

    Parameters
    ----------
    posterior
        The posterior of the parameters.
    verdict
        Whether and why the fit converged.
    seed
        Seed the fit was made with; draws use it too unless ``rng`` is given.
    gene_names, cell_names
        Names of genes and cells, or None.
    counts_source
        Returns the counts the fit was made on, or raises if they are not at hand.
    """

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
        """Keep some genes."""
        index = index_of(genes, self.n_genes, self.gene_names, what="gene")
        return self._subset(genes=index)

    def cells(self, cells: Selector) -> Self:
        """Keep some cells."""
        index = index_of(cells, self.n_cells, self.cell_names, what="cell")
        return self._subset(cells=index)

    def _subset(self, *, genes: IntArray | None = None, cells: IntArray | None = None) -> Self:
        source, gene_names, cell_names = self.counts_source, self.gene_names, self.cell_names
        return replace(
            self,
            posterior=self.posterior.subset(genes=genes, cells=cells),
            gene_names=gene_names if genes is None or gene_names is None else gene_names[genes],
            cell_names=cell_names if cells is None or cell_names is None else cell_names[cells],
            counts_source=None if source is None else lambda: source().subset(cells=cells, genes=genes),
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
        self,
        n_samples: int = 100,
        *,
        rng: Rng = None,
        sites: list[str] | None = None,
        descriptive_names: bool = False,
    ) -> dict[str, Array]:
        """Draws of all parameters, sampled and derived.

        Parameters
        ----------
        n_samples
            Number of draws.
        rng
            Seed, key or generator.
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

    def _parameter_draws(self, key: Key, n_samples: int, *, biological: bool) -> Iterator[Parameters]:
        for values in self.posterior.draw_one_by_one(key, n_samples):
            yield self._parameters(values, biological=biological)

    def _parameters(self, values: Mapping[str, Array], *, biological: bool) -> Parameters:
        parameters = self.posterior.parameters(values)
        if not biological:
            return parameters
        closed = {n: jnp.full_like(v, -jnp.inf) if n == "gate_logit" else v for n, v in parameters.natural.items()}
        return parameters._replace(natural=closed, offset=jnp.zeros_like(parameters.offset))

    def simulate(
        self, n_samples: int = 100, *, rng: Rng = None, biological: bool = False, at_map: bool = False
    ) -> Iterator[Iterator[Sparse]]:
        """Replicate data sets one after the other, each as a stream of sparse blocks of cells.

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
        key_parameters, key_counts = jax.random.split(self._key(rng))
        fixed = self._parameters(self.posterior.centre(), biological=biological)
        draws = self._parameter_draws(key_parameters, n_samples, biological=biological)
        for number in range(n_samples):
            parameters = fixed if at_map else next(draws)
            key = jax.random.fold_in(key_counts, number)
            if parameters.log_weights is not None:
                parameters = parameters._replace(component=jax.random.categorical(key, parameters.log_weights))
            yield simulate_blocks(self.spec.family, parameters, key, n_genes=self.n_genes)

    def _dense_samples(self, n_samples: int, **options: Any) -> FloatArray:
        check_dense((n_samples, self.n_cells, self.n_genes), remedy="read the stream results.simulate(...)")
        out = np.zeros((n_samples, self.n_cells, self.n_genes), np.float32)
        for data_set, blocks in zip(out, self.simulate(n_samples, **options), strict=True):
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
        if n_samples:
            draws = self._parameter_draws(self._key(rng), n_samples, biological=False)
        else:
            draws = iter([self._parameters(self.posterior.centre(), biological=False)])
        data = self.posterior.data(self.counts(counts))
        return pointwise(self.spec.family, data, draws, by=return_by, n_genes=self.n_genes)

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
            ``"mean"``, ``"mode"`` or ``"sample"`` of the posterior of every count.
        n_samples
            Draws of the parameters to integrate over; 0 takes their most probable values, as the mode always does.
        rng
            Seed, key or generator.

        Returns
        -------
        Molecules, (cells, genes). Larger than ``settings.max_array_gb`` raises; use `denoise_blocks`.
        """
        check_dense((1, self.n_cells, self.n_genes), remedy="read the stream results.denoise_blocks(...)")
        out = np.empty((self.n_cells, self.n_genes), np.float32)
        for block in self.denoise_blocks(counts, method=method, n_samples=n_samples, rng=rng, with_sd=False):
            out[block.cells] = block.value
        return out
