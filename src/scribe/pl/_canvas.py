"""What all plots share: where they draw, how axes look, and when a figure is shown, saved and closed."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scribe._model.labels import as_labels
from scribe._types import AnyArray, Labels
from scribe.pl._names import INK, Names, write_names
from scribe.pl._signature import Axes

__all__ = [
    "ACCENT",
    "DATA",
    "MODEL",
    "SHADES",
    "SOFT",
    "bands",
    "chosen_among",
    "colours",
    "drawn",
    "filled",
    "group_name",
    "legend_below",
    "log_scale",
    "plain",
]

DATA, MODEL, ACCENT, SOFT = INK, "#0072B2", "#D55E00", "#8C8C8C"
"""Observed data, the model, what calls for attention, and guides to the eye: distinct to colour-blind readers too."""

SHADES = {95: 0.18, 68: 0.32, 50: 0.5}
"""Opacity of what holds so many percent of the replicates."""

_LEVELS = (MODEL, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", ACCENT, "#F0E442")
"""The palette of Okabe and Ito, for things without order."""

_MANY = 9
"""More panels than these have no ticks between those with numbers, which would take half of the time to draw."""

_LETTER, _LINE = 0.07, 0.2
"""Mean width of a letter and height of a line in small print, inches."""


_BELOW = 0.46
"""How far below the axes a legend begins, inches: beneath numbers and label."""


def colours(n: int) -> list[str]:
    """Colours of ``n`` levels, distinct to colour-blind readers; more than seven are taken from one scale, in order."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return list(_LEVELS[:n]) if n <= len(_LEVELS) else [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 1, n))]


def drawn(
    draw: Callable[[Any, Axes], None],
    tables: Sequence[pd.DataFrame],
    *,
    size: tuple[float, float],
    columns: int | None = None,
    places: Sequence[int] | None = None,
    names: Callable[[Any], Names] | None = None,
    ax: Axes | Sequence[Axes] | AnyArray | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
) -> AnyArray:
    """Draw every table into axes of its own, the user's or those of a new figure; then save and show it as asked.

    A new figure has ``columns`` panels in a row, about as many as rows unless given, of a ``size`` in inches, at some
    ``places`` or, counted row by row, at the first. It is shown where there is a window or a notebook to show it in,
    and closed once saved, so that loops over plots keep no figures in memory. Labels are written once where panels of
    a row or column share them, and colours named beside the panels unless `draw` did. ``names`` gives those that are
    written once all panels have their size.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    panels = _new(len(tables), size, columns, places) if ax is None else _given(ax, len(tables))
    for table, panel in zip(tables, panels, strict=True):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(which="both", direction="out", colors=DATA)
        panel.tick_params(which="minor", length=2)
        draw(table, panel)
        if len(panels) > _MANY:
            panel.minorticks_off()
    figure, owned = panels[0].get_figure(root=True), ax is None
    if owned:
        _share_labels(panels)
    if panels[0].get_legend() is None:
        _legend(panels[0], owned=owned)
    if names is not None:
        figure.draw_without_rendering()
        for table, panel in zip(tables, panels, strict=True):
            write_names(panel, names(table))
    # what else it may be, `plot` has made a file of
    if isinstance(save, (str, Path)):
        Path(save).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(save, dpi=150, bbox_inches="tight")
    off_screen = mpl.get_backend().lower() in {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}
    if (owned and not off_screen) if show is None else show:
        plt.show()
    if owned and save is not None:
        plt.close(figure)
    return panels


def _given(ax: Axes | Sequence[Axes] | AnyArray, n: int) -> AnyArray:
    given = np.ravel(np.asarray(ax, dtype=object))
    if len(given) < n:
        msg = f"ax holds {len(given)} axes for {n} panels: pass an array of at least {n}, or leave out ax."
        raise ValueError(msg)
    return given[:n]


def _new(n: int, size: tuple[float, float], columns: int | None, places: Sequence[int] | None) -> AnyArray:
    from matplotlib import pyplot as plt

    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    places = range(n) if places is None else places
    rows = max(places) // columns + 1
    figsize = (size[0] * columns, size[1] * rows)
    made = plt.subplots(rows, columns, figsize=figsize, squeeze=False, layout="constrained")[1].ravel()
    for empty in set(range(len(made))) - set(places):
        made[empty].remove()
    return made[list(places)]


def _share_labels(panels: AnyArray) -> None:
    """Leave the labels to the lowest of the panels of a column that have the same, and to the first of a row."""
    below, left = set(), set()
    for first, last in zip(panels, panels[::-1], strict=True):
        row, column = first.get_subplotspec().rowspan.start, last.get_subplotspec().colspan.start
        across, up = (column, last.get_xlabel()), (row, first.get_ylabel())
        last.set_xlabel("" if across in below else across[1])
        first.set_ylabel("" if up in left else up[1])
        below.add(across)
        left.add(up)


def legend_below(ax: Axes, *, columns: int) -> None:
    """Name colours under the axes, where no point and no name can be."""
    from matplotlib.transforms import ScaledTranslation

    small: dict[str, Any] = {"frameon": False, "fontsize": "x-small", "columnspacing": 1.2, "handletextpad": 0.4}
    below = ax.transAxes + ScaledTranslation(0, -_BELOW, ax.figure.dpi_scale_trans)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=columns, **small)


def _legend(panel: Axes, *, owned: bool) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure = panel.get_figure(root=True)
    if not handles or figure is None:
        return
    if not owned:
        legend_below(panel, columns=min(len(labels), 3))
        return
    widths = [0.55 + _LETTER * len(label) for label in labels]
    small = {"frameon": False, "fontsize": "small"}
    if sum(widths) <= figure.get_figwidth():
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), **small)
    else:
        columns = math.ceil(len(labels) * _LINE / figure.get_figheight())
        figure.set_figwidth(figure.get_figwidth() + columns * max(widths))
        figure.legend(handles, labels, loc="outside right upper", ncols=columns, **small)


def filled(text: str, ax: Axes) -> str:
    """Break a text in small print into lines no wider than its panel, but not within brackets."""
    letters = max(int(ax.get_window_extent().width / ax.figure.dpi / _LETTER), 12)
    tied = re.sub(r"\[.*?\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    lines = (textwrap.fill(line, letters, break_on_hyphens=False) for line in tied.split("\n"))
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def group_name(label: str, what: str) -> str:
    """Name of a group of cells: its label, after what it is a number of if it is one, as in ``component 2``."""
    return f"{what} {label}" if label.isdigit() else label


def log_scale(ax: Axes, which: str) -> None:
    """Make axes, "x", "y" or "xy", logarithmic, labelled by plain numbers: decades, and steps between few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for letter in which:
        ax.set(**{f"{letter}scale": "log"})
        axis = {"x": ax.xaxis, "y": ax.yaxis}[letter]
        low, high = sorted(axis.get_view_interval())
        decades = np.log10(high / low)
        between = (2.0, 3.0, 5.0, 7.0) if decades < 0.9 else (2.0, 5.0) if decades < 1.7 else ()
        axis.set_major_locator(LogLocator(subs=(1.0, *between)))
        axis.set_major_formatter(FuncFormatter(plain))
        axis.set_minor_formatter(NullFormatter())


def plain(value: float, _position: int | None = None) -> str:
    """Write a number as it is read: ``0.01``, ``10``, ``1,000``."""
    return f"{value:,.10g}"


def bands(ax: Axes, rows: pd.DataFrame, edges: AnyArray) -> None:
    """Draw the central bands of replicates as steps between ``edges``."""
    for level, alpha in SHADES.items():
        low, high, label = rows[f"lower_{level}"].to_numpy(), rows[f"upper_{level}"], f"{level} % of replicates"
        ax.stairs(high, edges, baseline=low, fill=True, color=MODEL, alpha=alpha, linewidth=0, label=label)


_FEW = 20
"""So many names stand in an error."""


def chosen_among(column: pd.Series, wanted: Labels | None, call: str, what: str) -> list[str]:
    """Genes or groups to draw, all of a column unless some are named; the error names the call that makes others."""
    kept = list(dict.fromkeys(column.astype(str)))
    chosen = kept if wanted is None else as_labels(wanted)
    missing = [name for name in chosen if name not in kept]
    if missing or not chosen:
        some = ", ".join(kept[:_FEW]) + (", ..." if len(kept) > _FEW else "")
        msg = f"There are no {what} of {missing or f'any {column.name}'}, but of {some}. Run {call} for others."
        raise KeyError(msg)
    return chosen
