"""Counts of two conditions, of several donors each, to learn and to plan with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scribe import families
from scribe._counts.parameters import Parameters
from scribe._counts.predictors import Scalar
from scribe._model.checks import require_whole
from scribe._model.keywords import verb
from scribe._posterior.simulate import compressed_rows, simulate_blocks
from scribe._rng import as_seed
from scribe._types import Rng

__all__ = ["conditions"]

_LOG_MEAN, _LOG_MEAN_SD = np.log(5.0), 1.3
_LOG_SIZE_SD = 0.7
_CAPTURE, _CAPTURE_SD, _DEPTH_SD = 0.1, 0.3, 0.3


@verb
def conditions(
    n_donors: int = 4,
    n_cells: int = 100,
    n_genes: int = 300,
    *,
    share: float = 0.1,
    log_fold: tuple[float, float] = (0.5, 1.2),
    up: float = 0.5,
    donor_sd: float = 0.25,
    paired: bool = False,
    rng: Rng = None,
) -> AnnData:
    r"""Simulate counts of donors in two conditions, where donors differ and some genes respond.

    Parameters
    ----------
    n_donors
        Donors per condition.
    n_cells
        Cells per donor, of each condition if ``paired``.
    n_genes
        Number of genes.
    share
        Share of the genes that respond to the condition.
    log_fold
        Range of the size of responses, natural logarithms.
    up
        Share of the responses that go up, on average.
    donor_sd
        Median over genes of the standard deviation of log expression between donors.
    paired
        Whether the same donors are in both conditions, or others in each.
    rng
        Seed, NumPy generator or JAX key; 42 unless given.

    Returns
    -------
    Counts in ``.X``, sparse float32; ``obs['condition']`` (``"control"`` or ``"treated"``), ``obs['donor']``;
    ``var['effect']``: log fold change of the treated, and ``var['donor_sd']``.

    Notes
    -----
    Log expression is :math:`\log\mu_{gdc} = a_g + \beta_g[c = \text{treated}] + b_{gd} + e_{gdc}` with
    :math:`a_g \sim N(\log 5, 1.3)`, what is special to a donor :math:`b_{gd}` and to its response :math:`e_{gdc}` both
    of the gene's variance between donors, halved if paired. Counts are negative binomial with :math:`\log r_g \sim
    N(0, 0.7)` and captured with a tenth of the molecules, give or take a factor 1.35 between cells and between donors.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.conditions(3, 50, 100)
    >>> adata.obs["condition"].value_counts().tolist()
    [150, 150]
    """
    for name, value in (("n_donors", n_donors), ("n_cells", n_cells), ("n_genes", n_genes)):
        require_whole(name, value, 1)
    if not 0.0 <= up <= 1.0:
        msg = f"up must be a share between 0 and 1, got {up!r}."
        raise ValueError(msg)
    seed = as_seed(rng)
    generator = np.random.default_rng(seed)
    donor = np.tile(np.arange(n_donors), 2) if paired else np.arange(2 * n_donors)
    treated = np.repeat([False, True], n_donors)
    responds = generator.random(n_genes) < share
    sizes = generator.uniform(*log_fold, n_genes) * generator.choice([-1.0, 1.0], n_genes, p=[1.0 - up, up])
    effect = np.where(responds, sizes, 0.0)
    spread = donor_sd * np.exp(generator.normal(0.0, 0.4, n_genes))
    of_donor, of_leaf = generator.normal(size=(donor.max() + 1, n_genes)), generator.normal(size=(len(donor), n_genes))
    varies = np.sqrt(0.5) * (of_donor[donor] + of_leaf) if paired else of_leaf
    log_mean = generator.normal(_LOG_MEAN, _LOG_MEAN_SD, n_genes) + treated[:, None] * effect + spread * varies
    log_size = generator.normal(0.0, _LOG_SIZE_SD, n_genes)
    leaf = np.repeat(np.arange(len(donor)), n_cells)
    depth = generator.normal(0.0, _DEPTH_SD, len(donor))[leaf] + generator.normal(0.0, _CAPTURE_SD, len(leaf))
    natural = {"log_mean": jnp.asarray(log_mean[None], jnp.float32)}
    natural["log_odds"] = jnp.asarray((log_size - log_mean)[None], jnp.float32)
    offset = jnp.asarray(np.minimum(np.log(_CAPTURE) + depth, -0.05), jnp.float32)
    parameters = Parameters(natural, Scalar(offset), jnp.asarray(leaf, jnp.int32))
    blocks = simulate_blocks(families.nb, parameters, jax.random.key(seed), n_genes=n_genes)
    indptr, genes, values = compressed_rows(blocks, len(leaf))
    obs = pd.DataFrame(
        {
            "condition": pd.Categorical(np.where(treated[leaf], "treated", "control")),
            "donor": pd.Categorical([f"donor{number}" for number in donor[leaf]]),
        },
        index=[f"cell{number}" for number in range(len(leaf))],
    )
    var = pd.DataFrame({"effect": effect, "donor_sd": spread}, index=[f"gene{number}" for number in range(n_genes)])
    return AnnData(sparse.csr_matrix((values, genes, indptr), shape=(len(leaf), n_genes)), obs=obs, var=var)
