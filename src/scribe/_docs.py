"""Docstrings of public functions: what many of them say alike is written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping

__all__ = ["sections_of", "with_shared"]


def sections_of(function: Callable[..., object]) -> tuple[str, list[str]]:
    """What a docstring begins with, and its sections with their headings."""
    head, *sections = re.split(r"\n\n(?=\w+\n-+\n)", inspect.getdoc(function) or "")
    return head, sections


def with_shared(sections: list[str], names: Iterable[str], shared: Mapping[str, str]) -> list[str]:
    """The sections with parameters in the order of ``names``: as they are described, or else by ``shared`` texts.

    Parameters that are described together are listed once.
    """
    entries = {name: f"{name}\n    {text}" for name, text in shared.items()}
    mine, rest = (sections[:1], sections[1:]) if sections and sections[0].startswith("Parameters\n") else ([], sections)
    for section in mine:
        for entry in re.split(r"\n(?=\S)", section)[2:]:
            entries |= dict.fromkeys(entry.partition("\n")[0].replace("*", "").split(", "), entry)
    found = dict.fromkeys(entries[name] for name in names if name in entries)
    return ["\n".join(["Parameters\n----------", *found]), *rest] if found else rest
