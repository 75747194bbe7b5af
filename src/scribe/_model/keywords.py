"""What public functions have in common: an unknown keyword is an error that leads to the right one."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from scribe._device import quiet_compiler
from scribe._docs import sections_of, with_shared
from scribe._model.checks import refuse_unknown
from scribe._model.options import Option

__all__ = ["verb"]

P = ParamSpec("P")
R = TypeVar("R")


_SHARED = {
    "adata": "Annotated data with a fit and the counts it was made on.",
    "key": "Name of the fit.",
    "n_samples": "Draws of the parameters to average over; 0 takes them at their most probable values.",
    "rng": "Seed, NumPy generator or JAX key; the seed of the fit unless given.",
    "copy": "Return a copy of ``adata`` with the results instead of writing into it.",
}
"""What parameters of verbs are, unless a docstring says otherwise."""


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function one for users: it refuses unknown keywords with a hint, also those of its ``**options``.

    Its docstring gets the descriptions of parameters that verbs share. While it runs the compiler keeps to itself.
    """

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_unknown(function.__name__, kwargs, _keywords_of(function))
        with quiet_compiler():
            return function(*args, **kwargs)

    head, sections = sections_of(function)
    checked.__doc__ = "\n\n".join([head, *with_shared(sections, inspect.signature(function).parameters, _SHARED)])
    return checked


@functools.cache
def _keywords_of(function: Callable[..., object]) -> list[str]:
    """Names of its parameters, those of unpacked dictionaries among them, older names last."""
    names: list[str] = []
    older: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            names.append(parameter.name)
            continue
        (kind,) = typing.get_args(typing.get_type_hints(function, include_extras=True)[parameter.name])
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            names.append(name)
            older += [part.alias for part in typing.get_args(hint) if isinstance(part, Option) and part.alias]
    return [*names, *older]
