"""What all plots share: where they draw, how axes look, and when a figure is shown, saved and closed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray

__all__ = ["ACCENT", "DATA", "MODEL", "SOFT", "finish", "grid", "log_ticks", "plain", "tidy"]

DATA, MODEL, ACCENT, SOFT = "#222222", "#0072B2", "#D55E00", "#8C8C8C"
"""Observed data, the model, what calls for attention, and guides to the eye: distinct to colour-blind readers too."""


def grid(ax: Axes | Sequence[Axes] | NDArray[np.object_] | None, n: int, *, size: tuple[float, float]) -> list[Axes]:
    """Return ``n`` axes: the user's own, or those of a new figure with panels of the given size in inches."""
    from matplotlib.axes import Axes as AxesType

    if ax is not None:
        given = [ax] if isinstance(ax, AxesType) else list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) < n:
            msg = f"ax holds {len(given)} axes for {n} panels: pass an array of at least {n}, or leave out ax."
            raise ValueError(msg)
        return given[:n]
    from matplotlib import pyplot as plt

    columns = min(n, max(int(np.ceil(np.sqrt(n))), 1))
    rows = -(-n // columns)
    width, height = size
    figure, made = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    panels = list(made.ravel())
    for empty in panels[n:]:
        figure.delaxes(empty)
    return panels[:n]


def tidy(ax: Axes) -> None:
    """Leave out what says nothing: the upper and right frame."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", direction="out", colors=DATA)
    ax.tick_params(which="minor", length=2)


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis by plain numbers: decades, and some steps between them where there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    between = (2.0, 3.0, 5.0, 7.0) if decades < 0.9 else (2.0, 5.0) if decades < 1.7 else ()
    axis.set_major_locator(LogLocator(subs=(1.0, *between)))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())


def plain(value: float, _position: int | None = None) -> str:
    """Write a number as it is read: ``0.01``, ``10``, ``1,000``."""
    return f"{value:,.7g}"


def finish(panels: Sequence[Axes], *, owned: bool, show: bool | None, save: str | Path | None) -> None:
    """Save and show the figure as asked.

    Parameters
    ----------
    panels
        The axes that were drawn into.
    owned
        Whether the figure was made for this plot.
    show
        Show it; None shows figures of our own where there is a window or a notebook to show them in.
    save
        File to write, its format taken from the ending. A figure of our own is closed afterwards, so that loops over
        plots keep no figures in memory.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    figure = panels[0].get_figure(root=True)
    if figure is None:
        return
    if save is not None:
        figure.savefig(Path(save), dpi=150, bbox_inches="tight")
    off_screen = mpl.get_backend().lower() in {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
    if (owned and not off_screen) if show is None else show:
        plt.show()
    if owned and save is not None:
        plt.close(figure)
