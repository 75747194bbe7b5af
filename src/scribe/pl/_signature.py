"""What plots have in common for those who call them: keywords, and the words that describe them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypedDict, TypeVar

from scribe._device import quiet_compiler
from scribe._docs import sections_of, with_shared
from scribe._model.checks import refuse_unknown
from scribe._types import AnyArray

if TYPE_CHECKING:
    import matplotlib.axes

__all__ = ["Axes", "OnePanel", "Panels", "plot"]

Axes: TypeAlias = "matplotlib.axes.Axes"
"""The type by its name alone: importing the package loads no matplotlib."""

P = ParamSpec("P")
R = TypeVar("R")


class OnePanel(TypedDict, total=False):
    """Keywords that all plots of one panel end with."""

    ax: Axes | None
    show: bool | None
    save: str | Path | bool | None


class Panels(TypedDict, total=False):
    """Keywords that all plots of several panels end with."""

    ax: Axes | Sequence[Axes] | AnyArray | None
    show: bool | None
    save: str | Path | bool | None


_NOT_IN_NAMES = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
"""What no file on Windows may be called, whatever its ending."""


def _check_names(path: Path) -> None:
    """Raise where Windows could not hold a file, or a folder that is to be made for it, by its name."""
    made = [path, *(folder for folder in path.parents if not folder.exists())]
    for name in (part.name for part in made if part.name != ".."):
        if _NOT_IN_NAMES.search(name) or _DEVICES.fullmatch(name):
            msg = (
                f"save={str(path)!r}: {name!r} is no name for a file on Windows, where the folder may be read. Names "
                'cannot contain < > : " | ? *, end in a dot or blank, or be those of devices (CON, NUL, COM1, ...).'
            )
            raise ValueError(msg)


def file_of(save: Any, plot: str) -> Path | None:
    """File of a figure from what users pass as ``save``; ``plot`` names those that have no name of their own.

    Raises
    ------
    ValueError
        If Windows cannot have a file of that name.
    """
    if save is None or save is False:
        return None
    path = Path("" if save is True else save).expanduser()
    _check_names(path)
    # a name that is an ending alone, as scanpy takes it
    ending = path.name if path.name.startswith(".") and not path.suffix else ""
    if save is not True and not ending:
        return path / plot if path.is_dir() else path
    import scanpy as sc

    folder = sc.settings.figdir if path.parent == Path() else path.parent
    return folder / f"{plot}{ending or '.' + sc.settings.file_format_figs}"


_SHARED = {
    "adata": "Annotated data with a fit.",
    "genes": "Genes to draw; None takes three of them, from rare to common.",
    "params": (
        "Parameters to draw, by internal or descriptive names; None takes those that are sampled, without those that\n"
        "    have a value per cell."
    ),
    "key": "Name of the fit.",
    "key_added": "Name of the comparison, of whichever fit it is; ``key + '_de'`` unless given.",
    "groups": "Groups to draw; None draws all that were compared.",
    "n_names": "Genes to name, the surest first.",
    "n_samples": "Draws of a fit by SVI; of one by MCMC all are shown.",
    "rng": "Seed, key or generator of these draws; the seed of the fit unless given.",
    "show": "Show the figure; None shows one of its own where there is a window or notebook.",
    "save": (
        'File to write, in folders that are made if need be. True, or an ending such as ``".pdf"`` alone, names it\n'
        "    after the plot and puts it where scanpy puts its figures."
    ),
}


def plot(
    panels: str | None = None, *, fit: str = "", after: Sequence[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Complete a plot: its signature by the keywords of its figure, its docstring by what all plots share.

    The docstring describes the plot and, under "Parameters", those of its own or with a meaning of their own. The
    others are written in their places, and what is returned: with several ``panels``, what each is for, in which order.
    The example is of a fit with the keywords ``fit``, ``after`` calls of the verbs whose results are drawn.
    """
    calls = (f"fit(adata{fit and ', '}{fit})", *after)
    each = "" if panels is None else f", one per {panels}"
    shared = {**_SHARED, "ax": f"Axes to draw into{each}; None makes a figure."}
    returns = f"Returns\n-------\n{'Array of the' if each else 'The'} axes{each}."
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind.__forward_arg__)
        for name, kind in (Panels if each else OnePanel).__annotations__.items()
    ]

    def complete(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        signature = signature.replace(parameters=[*list(signature.parameters.values())[:-1], *keywords])
        head, sections = sections_of(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_unknown(function.__name__, kwargs, signature.parameters)
            file: dict[str, Any] = {"save": file_of(kwargs["save"], function.__name__)} if "save" in kwargs else {}
            with quiet_compiler():
                return function(*args, **{**kwargs, **file})

        lines = ["import scribe", "adata = scribe.datasets.pbmc68k_counts()", *(f"scribe.tl.{call}" for call in calls)]
        lines.append(f"{'axes' if each else 'ax'} = scribe.pl.{function.__name__}(adata)")
        example = "\n".join(["Examples\n--------", *(f">>> {line}" for line in lines)])
        described, *rest = with_shared(sections, signature.parameters, shared)
        checked.__doc__ = "\n\n".join([head, described, returns, *rest, example])
        vars(checked)["__signature__"] = signature
        return checked

    return complete
