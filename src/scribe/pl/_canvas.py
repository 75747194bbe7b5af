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

__all__ = [
    "ACCENT",
    "DATA",
    "MODEL",
    "SOFT",
    "colours",
    "finish",
    "grid",
    "group_name",
    "legend",
    "log_ticks",
    "plain",
    "tidy",
]

DATA, MODEL, ACCENT, SOFT = "#222222", "#0072B2", "#D55E00", "#8C8C8C"
"""Observed data, the model, what calls for attention, and guides to the eye: distinct to colour-blind readers too."""

_LEVELS = (MODEL, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", ACCENT, "#F0E442")
"""The palette of Okabe and Ito, for things without order."""


def colours(n: int) -> list[str]:
    """Colours of ``n`` levels, distinct to colour-blind readers; more than seven are taken from one scale, in order."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return list(_LEVELS[:n]) if n <= len(_LEVELS) else [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 1, n))]


def grid(
    ax: Axes | Sequence[Axes] | NDArray[np.object_] | None,
    n: int,
    *,
    size: tuple[float, float],
    columns: int | None = None,
    places: Sequence[int] | None = None,
) -> list[Axes]:
    """Return ``n`` axes: the user's own, or those of a new figure.

    Parameters
    ----------
    ax
        Axes of the user.
    n
        Number of panels.
    size
        Width and height of a panel of a new figure in inches.
    columns
        Panels in a row of it; None makes it about square.
    places
        Where its panels stand, counted row by row; None fills it without gaps.
    """
    from matplotlib.axes import Axes as AxesType

    if ax is not None:
        given = [ax] if isinstance(ax, AxesType) else list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) < n:
            msg = f"ax holds {len(given)} axes for {n} panels: pass an array of at least {n}, or leave out ax."
            raise ValueError(msg)
        return given[:n]
    from matplotlib import pyplot as plt

    columns = min(n, max(int(np.ceil(np.sqrt(n))), 1)) if columns is None else columns
    places = range(n) if places is None else places
    rows = max(places) // columns + 1
    width, height = size
    figure, made = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    panels = list(made.ravel())
    for empty in set(range(len(panels))) - set(places):
        figure.delaxes(panels[empty])
    return [panels[place] for place in places]


def tidy(ax: Axes) -> None:
    """Leave out what says nothing: the upper and right frame."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(which="both", direction="out", colors=DATA)
    ax.tick_params(which="minor", length=2)


def legend(panels: Sequence[Axes], *, owned: bool) -> None:
    """Name the colours of the first panel: above the panels of a figure of our own, else inside the panel."""
    handles, labels = panels[0].get_legend_handles_labels()
    figure = panels[0].get_figure(root=True)
    if not handles or figure is None:
        return
    if owned:
        figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize="small")
    else:
        panels[0].legend(frameon=False, fontsize="small")


def group_name(label: str, what: str) -> str:
    """Name of a group of cells: its label, after what it is a number of if it is one, as in ``component 2``."""
    return f"{what} {label}" if label.isdigit() else label


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
