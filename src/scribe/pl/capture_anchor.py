"""Total mRNA of every cell that an anchored capture probability implies, against its library size."""

from __future__ import annotations

from typing import Unpack

import numpy as np
import pandas as pd
from anndata import AnnData

from scribe._adata.fits import read_fit
from scribe.pl._canvas import DATA, SOFT, drawn, legend_below
from scribe.pl._signature import Axes, OnePanel, plot
from scribe.pl.capture import draw_cells
from scribe.pl.capture import frame as capture_frame

__all__ = ["capture_anchor", "frame"]


def frame(adata: AnnData, key: str = "scribe") -> pd.DataFrame:
    """One row per cell: that of `capture` and the implied total mRNA, ``molecules``; the prior is in ``attrs``."""
    table = capture_frame(adata, key)
    anchor = read_fit(adata, key=key).spec.anchor
    if anchor is None:
        msg = (
            f"The capture probabilities of the fit {key!r} are not anchored: nothing says how much mRNA a cell has. "
            f"Fit with scribe.tl.fit(adata, priors={{'organism': 'human'}}, key_added={key!r}), or see "
            "scribe.pl.capture."
        )
        raise ValueError(msg)
    table["molecules"] = table["total"] / table["capture"]
    table.attrs |= {"log_m0": float(anchor.log_m0), "sigma": float(anchor.sigma)}
    return table


@plot(fit='priors={"organism": "human"}')
def capture_anchor(adata: AnnData, *, key: str = "scribe", **figure: Unpack[OnePanel]) -> Axes:
    r"""Total mRNA that the capture probability of every cell implies, against its library size, both logarithmic.

    A cell with :math:`L_c` counts and capture :math:`\nu_c = e^{-\eta_c}` had :math:`M_c = L_c/\nu_c` molecules,
    :math:`\log M_c = \eta_c + \log L_c`. The prior puts them around :math:`M_0`, within a factor
    :math:`e^{\sigma_M}`: cells that lie there tell nothing that the prior does not, a trend away from it is what the
    counts say. Cells without counts are left out.

    Parameters
    ----------
    adata
        Annotated data with a fit of a model with anchored capture.
    """
    return drawn(draw, [frame(adata, key)], size=(4.6, 3.8), **figure)[0]


def draw(table: pd.DataFrame, ax: Axes) -> None:
    """Draw cells, medians over bins, and the prior."""
    log_m0, sigma = table.attrs["log_m0"], table.attrs["sigma"]
    ax.axhspan(np.exp(log_m0 - sigma), np.exp(log_m0 + sigma), color=SOFT, alpha=0.2, linewidth=0, label="prior ± sd")
    ax.axhline(np.exp(log_m0), color=DATA, linewidth=1.0, linestyle="--", label="prior, $M_0$", zorder=2.5)
    draw_cells(table, ax, "molecules")
    ax.set_ylabel("total mRNA (molecules per cell)")
    legend_below(ax, columns=2)
