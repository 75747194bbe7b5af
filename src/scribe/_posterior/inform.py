r"""Priors of a model from an earlier fit: moments of its parameters on the real line, or these parameters themselves.

.. math:: z_j \sim N(m_j, \tau^2 s_j^2),\qquad m_j = E[z_j \mid \text{earlier counts}],\quad
    s_j^2 = \mathrm{Var}[z_j \mid \text{earlier counts}].

With the fit of other cells this is Bayes' rule in two steps, as far as independent normals describe the first
posterior. With a fit of the same counts they are used twice, and intervals become too narrow; what it is good for is to
hold apart what the new model cannot tell apart by itself.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from scribe._counts.container import Counts
from scribe._counts.design import Design, Moments
from scribe._model.checks import nearest, require_whole
from scribe._model.names import site_of
from scribe._model.spec import ModelSpec
from scribe._model.transfer import transferred
from scribe._posterior.posterior import Posterior
from scribe._types import AnyArray, Array, FloatArray, IntArray
from scribe.priors import Crossed, Hierarchical, Informed, Prior, latent_name

__all__ = ["Informing", "inform"]

_log = logging.getLogger("scribe")

_LEAST = 1e-4
"""Least standard deviation of a prior: draws of a parameter that an earlier fit holds fixed do not differ."""
_BLOCK_ELEMENTS = 2**20


class Informing(NamedTuple):
    """How an earlier fit is used: a factor of its standard deviations, the number of draws, and what it holds fixed."""

    tau: float = 1.0
    n_samples: int = 1_000
    freeze: Sequence[str] = ()


def inform(
    spec: ModelSpec, design: Design, counts: Counts, *, earlier: Posterior, how: Informing, seed: int
) -> tuple[ModelSpec, Design]:
    """The model with priors from an earlier fit, and its covariates with the moments that these are made of.

    Parameters that the earlier fit lacks keep their priors, and so do weights of components; those of cells are
    informed where all cells of ``counts`` are among its own, by name.
    """
    _check(how)
    source = _of_these(earlier, counts)
    _check_alike(source, spec)
    same_cells = source.n_cells == counts.n_cells and _places(earlier, "cell", counts.cell_names) is not None
    known = _moments(source, spec, same_cells=same_cells, n_samples=how.n_samples, seed=seed)
    frozen = _frozen(how.freeze, spec, known, same_cells=same_cells)
    priors = {name: Informed(_free(name, spec.priors[name]), name in frozen) for name in known}
    informed = spec.with_priors(priors)
    if not informed.latents:
        msg = f"informative_priors_freeze={list(how.freeze)} leaves nothing to infer: name fewer parameters."
        raise ValueError(msg)
    scales = {name: 1.0 if name in frozen else how.tau for name in known}
    moments = {
        latent_name(name): replace(x, scale=np.maximum(scales[name] * x.scale, _LEAST)) for name, x in known.items()
    }
    what = {"prior": [name for name in known if name not in frozen], "frozen": frozen}
    _log.info("from an earlier fit: %s", "; ".join(f"{k} of {', '.join(v)}" for k, v in what.items() if v))
    return informed, replace(design, known=moments)


def _check(how: Informing) -> None:
    if not how.tau > 0:
        msg = f"informative_priors_tau must be above 0, got {how.tau!r}: 1 takes the earlier fit at its word."
        raise ValueError(msg)
    require_whole("informative_priors_n_samples", how.n_samples, 2)


def _places(earlier: Posterior, axis: str, names: AnyArray | None) -> IntArray | None:
    """Where the genes or cells of some names are in an earlier fit; None where it lacks one, or names are not known."""
    theirs = earlier.labels.get(axis)
    if names is None or theirs is None:
        return None
    at = {str(name): place for place, name in enumerate(theirs)}
    found = [at.get(str(name), -1) for name in names]
    return None if -1 in found else np.asarray(found)


def _of_these(earlier: Posterior, counts: Counts) -> Posterior:
    """The earlier posterior of the genes of some counts, and of their cells where it has them."""
    genes, cells = _places(earlier, "gene", counts.gene_names), _places(earlier, "cell", counts.cell_names)
    named = counts.gene_names is not None and "gene" in earlier.labels
    if named and genes is None:
        theirs = {str(name) for name in earlier.labels["gene"]}
        lacking = [str(name) for name in counts.gene_names if str(name) not in theirs]  # type: ignore[union-attr]
        msg = (
            f"informative_priors_from= is a fit of {earlier.n_genes:,} genes, and {len(lacking):,} of the "
            f"{counts.n_genes:,} here are not among them, such as {', '.join(map(repr, lacking[:3]))}: fit the genes "
            "that both have."
        )
        raise ValueError(msg)
    if not named and earlier.n_genes != counts.n_genes:
        msg = (
            f"informative_priors_from= is a fit of {earlier.n_genes:,} genes, the counts have {counts.n_genes:,}, and "
            "names to match them by are lacking: pass an AnnData, or the same genes in the same order."
        )
        raise ValueError(msg)
    return earlier.subset(genes=genes, cells=cells)


def _check_alike(source: Posterior, target: ModelSpec) -> None:
    """Raise where parameters of one name mean something else in the two models."""
    ours, theirs = target, source.spec
    if theirs.coordinates.family != ours.coordinates.family:
        msg = f"informative_priors_from= is a fit of {theirs.family.name}, which says nothing of {ours.family.name}."
        raise ValueError(msg)
    if theirs.family.captured != ours.family.captured or theirs.anchored != ours.anchored:
        kinds = {(False, True): "without capture", (True, True): "with an anchor of capture"}
        said = [kinds.get((x.family.captured, x.anchored), "with capture and no anchor") for x in (theirs, ours)]
        msg = (
            f"informative_priors_from= is a fit {said[0]}, and this model is one {said[1]}: their expression is on "
            "different scales. Fit both alike, with the same priors={'capture_efficiency': ...} if any."
        )
        raise ValueError(msg)
    for axis in theirs.level_axes:
        varies = any(axis in axes for axes in theirs.natural_axes.values()) and axis not in source.chosen
        mine = ours.levels[axis].labels if axis in ours.levels else ()
        if varies and mine != theirs.levels[axis].labels:
            msg = (
                f"informative_priors_from= is a fit of the {axis}s {list(theirs.levels[axis].labels)}, and this model "
                f"has {list(mine) or 'none'}: choose one of them, results.get_{axis}(...), or fit the same."
            )
            raise ValueError(msg)


def _moments(source: Posterior, spec: ModelSpec, *, same_cells: bool, n_samples: int, seed: int) -> dict[str, Moments]:
    """Mean and standard deviation of every parameter of a model that an earlier fit knows, on the real line."""
    chosen = tuple(source.chosen.items())
    carry = functools.partial(transferred, source.spec, spec, chosen=chosen, same_cells=same_cells)
    key = jax.random.fold_in(jax.random.key(seed), 2)
    sums: dict[str, FloatArray] = {}
    squares: dict[str, FloatArray] = {}
    centre = {name: np.asarray(x, np.float64) for name, x in carry(source.centre()).items()}
    block = int(np.clip(_BLOCK_ELEMENTS // max(source.n_genes, source.n_cells), 1, 50))
    n_samples = source.n_draws or n_samples

    @jax.jit
    def of_block(draws: Mapping[str, Array]) -> dict[str, Array]:
        return jax.vmap(carry)(draws)

    for draws in source.draw_blocks(key, n_samples, block=block):
        for name, values in of_block(draws).items():
            # from the centre, as sums of squares would round
            away = np.asarray(values, np.float64) - centre[name]
            sums[name] = sums.get(name, np.zeros(())) + away.sum(axis=0)
            squares[name] = squares.get(name, np.zeros(())) + np.square(away).sum(axis=0)

    def of(name: str) -> Moments:
        shift: FloatArray = sums[name] / n_samples
        variance = np.maximum(squares[name] / n_samples - np.square(shift), 0.0) * n_samples / (n_samples - 1)
        return Moments(spec.site(name).axes, centre[name] + shift, np.sqrt(variance))

    return {name: of(name) for name in sums}


def _frozen(
    asked: Sequence[str], spec: ModelSpec, known: Mapping[str, Moments], *, same_cells: bool
) -> dict[str, None]:
    """Sites that are to be held fixed, of names as users write them."""
    frozen: dict[str, None] = {}
    for name in [asked] if isinstance(asked, str) else asked:
        site = site_of(name) or name
        if site not in known:
            of_cells = site in {one.name for one in spec.sites} and "cell" in spec.site(site).axes and not same_cells
            why = "the cells here are not those of the earlier fit" if of_cells else "the two fits do not share it"
            msg = (
                f"informative_priors_freeze has {name!r}, but {why}.{nearest(name, list(known))} It can hold: "
                f"{', '.join(known)}."
            )
            raise ValueError(msg)
        frozen[site] = None
    return frozen


def _free(name: str, prior: Prior) -> Prior:
    """The prior itself; an error where it is a population of levels, which independent normals would replace."""
    if isinstance(prior, Hierarchical) and (prior.axis != "gene" or isinstance(prior.deviation, Crossed)):
        msg = (
            f"{name!r} is a population of {prior.axis}s in this model, and informative_priors_from would put "
            "independent normals in its place: leave one of the two out."
        )
        raise ValueError(msg)
    return prior
